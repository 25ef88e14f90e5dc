// `skein config check` and `skein config keys`: what a node would start with, and what there is.

internal import ArgumentParser
internal import SkeinNode

struct ConfigCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "config", abstract: "Shows and checks the configuration.",
        discussion: """
            Examples:
              skein config check --config /etc/skein.yaml
              skein config keys
            """,
        subcommands: [ConfigCheckCommand.self, ConfigKeysCommand.self],
        defaultSubcommand: ConfigCheckCommand.self)
}

struct ConfigCheckCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check",
        abstract: "Prints every key with its value and origin, and everything that is wrong.",
        discussion: """
            Secrets are shown as ***. Fails where a node would not start, and where an environment
            variable looks like one of ours but is none.

            Examples:
              skein config check
              skein config check --config /etc/skein.yaml --json
            """)

    @OptionGroup var options: ConfigurationOptions
    @Flag(help: "Check as `skein serve --dev` would.")
    var dev = false
    @Flag(help: "One JSON value on stdout.")
    var json = false

    private struct Result: Encodable {
        struct Problem: Encodable {
            let severity: ConfigurationProblem.Severity
            let key: String?
            let message: String
        }
        let ok: Bool
        let config: [ConfigurationEntry]
        let problems: [Problem]
    }

    func run() async throws {
        let report = NodeConfiguration.load(options.sources(), isDevelopment: dev)
        let problems = report.problems.map { problem in
            // A slip in a variable's name must not stop a node that runs; a check has to tell it.
            problem.isUnknownVariable
                ? ConfigurationProblem.error(problem.key, problem.message) : problem
        }
        let errors = problems.filter { $0.severity == .error }
        if json {
            let shown = problems.map {
                Result.Problem(severity: $0.severity, key: $0.key, message: $0.message)
            }
            let result = Result(ok: errors.isEmpty, config: report.entries, problems: shown)
            StandardStream.output.write(line: ControlJSON.encode(result))
        } else {
            show(report.entries, problems)
        }
        guard errors.isEmpty else {
            throw CommandFailure(
                errors.count == 1
                    ? "One setting is wrong: \(errors[0].message)"
                    : "\(errors.count) settings are wrong; put right what is marked `error`.")
        }
    }

    private func show(_ entries: [ConfigurationEntry], _ problems: [ConfigurationProblem]) {
        let widest = entries.map(\.key.count).max() ?? 0
        var text = ""
        for entry in entries {
            let value = entry.value.isEmpty ? "-" : entry.value
            text +=
                entry.key.padded(to: widest) + "  " + value.padded(to: 24) + "  \(entry.origin)\n"
        }
        if !problems.isEmpty { text += "\n" }
        for problem in problems { text += "\(problem.severity.rawValue): \(problem.message)\n" }
        StandardStream.output.write(text)
    }
}

struct ConfigKeysCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "keys", abstract: "Lists all settings with their defaults.",
        discussion: """
            Example:
              skein config keys --markdown
            """)

    @Flag(help: "As a Markdown table.")
    var markdown = false

    func run() async throws {
        StandardStream.output.write(
            line: markdown ? ConfigurationHelp.markdown() : ConfigurationHelp.text())
    }
}

extension String {
    func padded(to width: Int) -> String {
        self + String(repeating: " ", count: max(0, width - count))
    }
}
