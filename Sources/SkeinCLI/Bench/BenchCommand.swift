// `skein bench`: load on any WebSocket server, and what came of it.

internal import ArgumentParser
internal import FoundationEssentials
internal import Glibc
internal import Skein
internal import SkeinBench
internal import SkeinNode
internal import Synchronization

struct BenchCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bench", abstract: "Puts load on a WebSocket server and measures it.",
        discussion: """
            Without a scenario it runs `pair`. Every message is followed to its receiver: \
            lost, repeated, reordered or misdirected ones are counted and end it with 1. \
            With a --rate, latency counts from the moment at which a message was due, so \
            that a server that stalls cannot hide it by slowing this client down.

            Scenarios:
            \(Scenario.allCases.map { "  \($0.rawValue.padded(to: 9))\($0.summary)" }.joined(separator: "\n"))

            Templates (--path, --header, --first-message, --message) take %user%, %to% \
            (who gets it), %token%, %index% and %partner% (the numbers of both); messages \
            also %marker% (needed: what is checked), %seq% and %pad%.

            Examples, with JWT_SECRET set as the node has it:
              skein bench                                  2,000 messages/s, 100 users
              skein bench pair --rate 0 --connections 500  as many as it can (see below)
              skein bench echo --depth 4                   no token at a --dev node
              skein bench hold --connections 18000 --sources 4 --pid $PID
              skein bench storm --connections 5000 --rounds 3
              skein bench drain --control http://a:9090 \\
                --url ws://a:8080/ws --url ws://b:8080/ws
              skein bench pair --rate 20000 --json --hgrm pair.hgrm > pair.json

            A node's own limits stop such a client: for more than its defaults, start it \
            with WS_MESSAGE_RATE=0 WS_HANDSHAKE_RATE=0 WS_MAX_CONNECTIONS_PER_IP=0, and for \
            fanout, where all are one user, WS_MAX_CONNECTIONS_PER_USER=0.

            Other servers:
              skein bench echo --preset plain --url wss://echo.example.com/
              skein bench pair --preset plain --rate 1000 \\
                --url 'ws://10.0.0.9:9000/?id=%user%' \\
                --message '{"to":"%to%","text":"%marker%%pad%"}'

            Exit codes:
              0   all right
              1   something was lost, duplicated, out of order, refused or closed
              3   no connection, or out of time
              64  a wrong command line
              130 interrupted before there was a result
            """)

    @Argument(help: ArgumentHelp("What to do.", valueName: "scenario"))
    var scenario: String = "pair"
    @OptionGroup(title: "Connections") var connection: BenchConnectionOptions
    @OptionGroup(title: "Users") var user: BenchUserOptions
    @OptionGroup(title: "Traffic") var traffic: BenchTrafficOptions
    @OptionGroup(title: "Result") var output: BenchOutputOptions
    @OptionGroup var options: ConfigurationOptions
    @OptionGroup(title: "TLS") var trust: ControlTrustOptions

    func run() async throws {
        guard let scenario = Scenario(rawValue: scenario) else {
            let names = Scenario.allCases.map(\.rawValue).joined(separator: ", ")
            throw CommandFailure("`\(scenario)` is no scenario; take one of \(names).", status: 64)
        }
        let plan = try BenchPlanMaker(
            scenario: scenario, connection: connection, user: user, traffic: traffic, output: output,
            configuration: options, authorities: trust.ca
        ).plan()
        // Before the run, not after it: whether its place can be written.
        try writeDistribution(Latencies())
        var hooks = BenchHooks()
        hooks.measuring = try await drainStarter(scenario)
        hooks.isInterrupted = Interruption.watch()
        let line = ProgressLine(isShown: !output.quiet && StandardStream.error.isTerminal)
        hooks.progress = { line.show($0) }
        let report: BenchReport
        do throws(BenchFailure) { report = try await Bench(plan, hooks: hooks).run() } catch {
            line.clear()
            throw CommandFailure(error.message, status: error.status)
        }
        line.clear()
        try write(report)
        if report.hasFault {
            throw CommandFailure("The run failed: what is marked in the result has to be 0.")
        }
    }

    private func write(_ report: BenchReport) throws(CommandFailure) {
        if output.json {
            StandardStream.output.write(line: report.json)
        } else {
            StandardStream.output.write(report.table)
        }
        try writeDistribution(report.latencies)
    }

    private func writeDistribution(_ latencies: Latencies) throws(CommandFailure) {
        guard let path = output.hgrm else { return }
        do {
            try Data(latencies.distribution.utf8).write(to: URL(filePath: path))
        } catch {
            throw CommandFailure(
                "--hgrm \(path) cannot be written; name a file in a folder that is there.", status: 64)
        }
    }

    private struct Empty: Encodable {}

    private func drainStarter(
        _ scenario: Scenario
    ) async throws(CommandFailure) -> (@Sendable () async -> Void)? {
        guard let control = traffic.control else {
            if scenario == .drain, !output.quiet {
                StandardStream.error.write(
                    line: "skein: without --control nobody begins the drain: do so yourself while this runs "
                        + "(skein drain --control <url of the node that is to leave>).")
            }
            return nil
        }
        guard scenario == .drain else { throw CommandFailure("--control is for drain.", status: 64) }
        let client = try await options.controlClient(control, trust)
        // Asked before the load, so that a wrong address is told at once.
        _ = try await client.get("/health")
        return {
            do throws(CommandFailure) {
                _ = try await client.post("/drain", Empty())
            } catch {
                StandardStream.error.write(line: "skein: the drain could not be begun: \(error.message)")
            }
        }
    }
}

/// Ctrl-C ends the measurement and shows what there is; the second one ends the program.
private enum Interruption {
    private static let count = Atomic<Int>(0)

    static func watch() -> @Sendable () -> Bool {
        _ = signal(SIGINT) { _ in
            if Interruption.count.add(1, ordering: .relaxed).newValue > 1 { _exit(130) }
        }
        return { count.load(ordering: .relaxed) > 0 }
    }
}

/// One line on a terminal, written over and over.
private struct ProgressLine: Sendable {
    let isShown: Bool

    func show(_ progress: BenchProgress) {
        guard isShown else { return }
        var text = "\(progress.phase): \(progress.open)/\(progress.wanted) connected"
        if progress.sent > 0 { text += ", \(Int(progress.perSecond))/s, \(progress.delivered) delivered" }
        if progress.refused > 0 { text += ", \(progress.refused) refused" }
        if progress.closes > 0 { text += ", \(progress.closes) closed" }
        StandardStream.error.write("\r\u{1B}[K\(text)")
    }

    func clear() { if isShown { StandardStream.error.write("\r\u{1B}[K") } }
}
