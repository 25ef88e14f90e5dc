// The `skein` command: picks the subcommand, and turns whatever goes wrong into one sentence.

internal import ArgumentParser
internal import Glibc
internal import SkeinNode
internal import Skein

@main
struct SkeinCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "skein",
        abstract: "A broker of WebSocket connections: it holds them and moves messages.",
        discussion: """
            Examples:
              skein serve --dev                       a node to try things on
              skein serve --config /etc/skein.yaml    a node for real
              skein tail --user alice                 see what alice gets, send what you type
              skein status                            one screen about a node
              skein drain --follow                    empty a node before it is stopped
              skein bench                             messages per second, and their latency
            """,
        version: ServerConfiguration().version,
        subcommands: [
            ServeCommand.self, TokenCommand.self, TailCommand.self, StatusCommand.self,
            DrainCommand.self, BenchCommand.self, ConfigCommand.self,
        ])

    static func main() async {
        do {
            var command = try parseAsRoot()
            if var command = command as? any AsyncParsableCommand {
                try await command.run()
            } else {
                try command.run()
            }
        } catch let failure as CommandFailure {
            StandardStream.error.write(line: "skein: \(failure.message)")
            Glibc.exit(failure.status)
        } catch {
            end(with: error)
        }
    }

    /// Of the command that was meant.
    private static var help: String {
        let names = configuration.subcommands.compactMap { $0.configuration.commandName }
        let named = CommandLine.arguments.dropFirst().first.flatMap { names.contains($0) ? $0 : nil }
        return "skein help" + (named.map { " \($0)" } ?? "")
    }

    /// Help and version go to stdout and are no failure; a wrong command line is one sentence.
    private static func end(with error: any Error) -> Never {
        let code = exitCode(for: error)
        if code.isSuccess {
            StandardStream.output.write(line: fullMessage(for: error))
        } else if !(error is ExitCode) {
            let sentence = message(for: error).split(separator: "\n").joined(separator: " ")
            let end = sentence.last.map { ".?!".contains($0) } ?? true ? "" : "."
            StandardStream.error.write(line: "skein: \(sentence)\(end) See `\(help)`.")
        }
        Glibc.exit(code.rawValue)
    }
}
