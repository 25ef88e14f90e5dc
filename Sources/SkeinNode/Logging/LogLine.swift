// One log line and its two spellings. Whatever came from outside is escaped, so that no client can
// write a line of its own.

internal import FoundationEssentials
package import Logging

package struct LogLine: Sendable {
    package var millisecondsSince1970: Int64
    package var level: Logger.Level
    package var message: String
    package var fields: [(key: String, value: String)]

    package init(
        millisecondsSince1970: Int64, level: Logger.Level, message: String,
        fields: [(key: String, value: String)] = []
    ) {
        self.millisecondsSince1970 = millisecondsSince1970
        self.level = level
        self.message = message
        self.fields = fields
    }

    package func write(as format: LogFormat) -> String {
        switch format {
        case .text: text
        case .json: json
        }
    }
}

private extension LogLine {
    var timestamp: String {
        // Formatting cuts, so half a millisecond keeps the one before from showing.
        let date = Date(timeIntervalSince1970: (Double(millisecondsSince1970) + 0.5) / 1_000)
        return date.formatted(Date.ISO8601FormatStyle(includingFractionalSeconds: true))
    }

    var text: String {
        let level = level.rawValue.uppercased()
        let padding = String(repeating: " ", count: max(0, 8 - level.utf8.count))
        var line = "\(timestamp) \(level)\(padding) \(Self.escaped(message))"
        for (key, value) in fields {
            let isPlain = !value.isEmpty && value.utf8.allSatisfy { $0 > 0x20 && $0 != 0x22 }
            line += " \(key)=" + (isPlain ? Self.escaped(value) : JSONText.quote(value))
        }
        return line
    }

    var json: String {
        var line = "{\"time\":\"\(timestamp)\",\"level\":\"\(level.rawValue)\",\"message\":"
        line += JSONText.quote(message)
        for (key, value) in fields { line += ",\(JSONText.quote(key)):\(JSONText.quote(value))" }
        return line + "}"
    }

    static func escaped(_ text: String) -> String {
        guard text.unicodeScalars.contains(where: JSONText.needsEscape) else { return text }
        return String(JSONText.quote(text).dropFirst().dropLast())
    }
}

package enum JSONText {
    /// Control characters, also those that terminals obey and that Unicode takes for line ends.
    static func needsEscape(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.value {
        case 0..<0x20, 0x7F...0x9F, 0x2028, 0x2029: true
        default: false
        }
    }

    package static func quote(_ text: String) -> String {
        var quoted = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": quoted += "\\\""
            case "\\": quoted += "\\\\"
            case "\n": quoted += "\\n"
            case "\r": quoted += "\\r"
            case "\t": quoted += "\\t"
            case _ where needsEscape(scalar):
                let digits = String(scalar.value, radix: 16)
                quoted += "\\u" + String(repeating: "0", count: 4 - digits.utf8.count) + digits
            default: quoted.unicodeScalars.append(scalar)
            }
        }
        return quoted + "\""
    }
}
