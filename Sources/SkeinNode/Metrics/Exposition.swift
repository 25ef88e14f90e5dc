// Prometheus' text format, version 0.0.4. Every family has HELP and TYPE, and comes once.

package import Skein

package struct Exposition {
    package static let contentType = "text/plain; version=0.0.4; charset=utf-8"

    package private(set) var text = ""

    package init() { text.reserveCapacity(16_384) }

    package enum Kind: String { case counter, gauge, histogram }

    package mutating func family(_ name: String, _ kind: Kind, _ help: String) {
        text += "# HELP \(name) \(help)\n# TYPE \(name) \(kind.rawValue)\n"
    }

    package mutating func sample(
        _ name: String, _ labels: [(String, String)] = [], _ value: some CustomStringConvertible
    ) {
        text += name
        if !labels.isEmpty {
            text += "{"
            for (index, (key, value)) in labels.enumerated() {
                text += (index == 0 ? "" : ",") + "\(key)=\"\(Self.escape(value))\""
            }
            text += "}"
        }
        text += " \(value)\n"
    }

    /// A family with one sample and no label.
    package mutating func single(
        _ name: String, _ kind: Kind, _ value: some CustomStringConvertible, _ help: String
    ) {
        family(name, kind, help)
        sample(name, [], value)
    }

    /// - Parameters:
    ///   - exponents: which powers of two are shown; the same at every scrape.
    ///   - scale: from the histogram's unit to the metric's.
    package mutating func histogram(
        _ name: String, _ snapshot: HistogramSnapshot, exponents: ClosedRange<Int>, scale: Double,
        _ help: String
    ) {
        family(name, .histogram, help)
        // The buckets are read while others add to them: their own sum is the one count that
        // cannot contradict them.
        var below: UInt64 = 0
        for (index, count) in snapshot.buckets.enumerated() where index < exponents.lowerBound {
            below += count
        }
        for exponent in exponents {
            if exponent < snapshot.buckets.count { below += snapshot.buckets[exponent] }
            let bound = Double(UInt64(1) << UInt64(exponent)) * scale
            sample("\(name)_bucket", [("le", "\(bound)")], below)
        }
        let total = snapshot.buckets.reduce(0, +)
        sample("\(name)_bucket", [("le", "+Inf")], total)
        sample("\(name)_sum", [], Double(snapshot.sum) * scale)
        sample("\(name)_count", [], total)
    }

    private static func escape(_ value: String) -> String {
        var escaped = ""
        for character in value.unicodeScalars {
            switch character {
            case "\\": escaped += "\\\\"
            case "\"": escaped += "\\\""
            case "\n": escaped += "\\n"
            default: escaped.unicodeScalars.append(character)
            }
        }
        return escaped
    }
}
