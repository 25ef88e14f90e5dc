// The result as an ordered list of figures: the same for people and for programs, with the names that
// `Benchmarks/Load` gives them.

package struct BenchReport: Sendable {
    package enum Value: Sendable, Equatable {
        case text(String)
        case count(Int)
        case number(Double)
        case counts([Int])
        case table([String: Int])
    }

    package struct Entry: Sendable, Equatable {
        package let name: String
        package let value: Value
        /// What has to be zero and is not.
        package let isFault: Bool
    }

    package private(set) var entries: [Entry] = []
    /// For `--hgrm`.
    package var latencies = Latencies()
    /// What one reads first.
    package var headline = ""
    package var advice: [String] = []

    package init() {}

    package var hasFault: Bool { entries.contains { $0.isFault } }
    package var verdict: String { hasFault ? "FAILED" : "ok" }

    package mutating func add(_ name: String, text: String?) {
        if let text { entries.append(Entry(name: name, value: .text(text), isFault: false)) }
    }

    package mutating func add(_ name: String, count: some BinaryInteger) {
        entries.append(Entry(name: name, value: .count(Int(clamping: count)), isFault: false))
    }

    package mutating func add(_ name: String, number: Double) {
        entries.append(Entry(name: name, value: .number(number.isFinite ? number : 0), isFault: false))
    }

    package mutating func add(_ name: String, value: Value) {
        entries.append(Entry(name: name, value: value, isFault: false))
    }

    /// Anything but 0 is a fault.
    package mutating func add(_ name: String, zero count: some BinaryInteger) {
        entries.append(Entry(name: name, value: .count(Int(clamping: count)), isFault: count != 0))
    }

    package subscript(name: String) -> Value? { entries.first { $0.name == name }?.value }

    /// One JSON object.
    package var json: String {
        let members = entries.map { "\(Self.quote($0.name)):\(Self.json($0.value))" }
        return "{" + (members + ["\"verdict\":\(Self.quote(verdict))"]).joined(separator: ",") + "}"
    }

    /// A line for each, those at fault marked.
    package var table: String {
        let width = entries.map(\.name.count).max() ?? 0
        var lines = ["", "  " + headline, ""]
        for entry in entries {
            let name = entry.name + String(repeating: " ", count: width - entry.name.count)
            lines.append("  \(name)  \(Self.plain(entry.value))\(entry.isFault ? "   <- must be 0" : "")")
        }
        lines += advice.map { "  " + $0 }
        lines.append("  " + (hasFault ? "FAILED" : "All right: nothing lost, duplicated or out of order."))
        return lines.joined(separator: "\n") + "\n"
    }

    private static func json(_ value: Value) -> String {
        switch value {
        case .text(let text): quote(text)
        case .table(let table):
            "{"
                + table.sorted { $0.key < $1.key }.map { "\(quote($0.key)):\($0.value)" }
                .joined(separator: ",") + "}"
        case .count, .number, .counts: plain(value)
        }
    }

    private static func plain(_ value: Value) -> String {
        switch value {
        case .text(let text): text
        case .count(let count): "\(count)"
        case .number(let number): digits(number)
        case .counts(let counts): "[" + counts.map { "\($0)" }.joined(separator: ",") + "]"
        case .table(let table):
            table.sorted { $0.key < $1.key }.map { "\($0.key): \($0.value)" }.joined(separator: ", ")
        }
    }

    /// Three decimals below 1,000, none above.
    static func digits(_ number: Double) -> String {
        if number.magnitude >= 1_000 { return "\(Int(number.rounded()))" }
        let thousandths = Int((number * 1_000).rounded())
        let rest = "\(thousandths.magnitude % 1_000)"
        let sign = thousandths < 0 ? "-" : ""
        return "\(sign)\(thousandths.magnitude / 1_000)." + String(repeating: "0", count: 3 - rest.count) + rest
    }

    private static func quote(_ text: String) -> String {
        var quoted = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": quoted += "\\\""
            case "\\": quoted += "\\\\"
            case "\u{0}"..."\u{1F}":
                let hex = String(scalar.value, radix: 16)
                quoted += "\\u" + String(repeating: "0", count: 4 - hex.count) + hex
            default: quoted.unicodeScalars.append(scalar)
            }
        }
        return quoted + "\""
    }
}
