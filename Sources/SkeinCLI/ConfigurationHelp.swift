// The table of settings as people read it: in a terminal, and as Markdown for the README.

internal import SkeinNode

enum ConfigurationHelp {
    static func text() -> String {
        ConfigurationTable.keys.map { key in
            let value = key.defaultText.map { "=\($0)" } ?? ""
            return "  \(key.name)\(value)\n      \(note(key))"
        }.joined(separator: "\n")
    }

    static func markdown() -> String {
        let rows = ConfigurationTable.keys.map { key in
            let value = key.defaultText.map { "`\($0)`" } ?? ""
            let flag = key.flag.map { "`--\($0)`" } ?? ""
            return "| `\(key.name)` | \(value) | \(flag) | \(note(key).escapedForTable) |"
        }
        return (["| key | default | flag | what it does |", "| --- | --- | --- | --- |"] + rows)
            .joined(separator: "\n")
    }

    private static func note(_ key: ConfigurationKey) -> String {
        var note = key.help
        if case .choice(let choices) = key.kind {
            note += " One of \(choices.joined(separator: ", "))."
        }
        if let range = key.rangeText {
            note += " From \(range)\(key.unit.isEmpty ? "" : " \(key.unit)")."
        }
        if let idle = key.idle { note += " Without effect so far: \(idle)." }
        return note
    }
}

private extension String {
    var escapedForTable: String { split(separator: "|").joined(separator: "\\|") }
}
