// `skein drain`: asks a node to leave, and watches it go.

internal import ArgumentParser
internal import Skein
internal import SkeinNode

struct DrainCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "drain", abstract: "Empties a node: its clients move to the others.",
        discussion: """
            Exits 0 when the drain has begun, and with --follow when the node is empty or gone.

            Examples:
              skein drain --follow
              skein drain --control http://10.0.0.7:9090 --deadline 60s --follow
              skein drain --cancel
            """)

    @OptionGroup var options: ConfigurationOptions
    @OptionGroup var trust: ControlTrustOptions
    @Option(help: ArgumentHelp("The node's control listener.", valueName: "url"))
    var control: String?
    @Option(help: ArgumentHelp("What is still connected then is closed.", valueName: "duration"))
    var deadline: String?
    @Option(help: ArgumentHelp("Between two slices of the connections.", valueName: "duration"))
    var wave: String?
    @Flag(help: "Shows the progress until the node is empty.")
    var follow = false
    @Flag(help: "Takes a drain back, while the node still listens.")
    var cancel = false
    @Flag(help: "One JSON value on stdout: the report with --follow, else the progress.")
    var json = false

    private struct Plan: Encodable {
        var deadlineSeconds: Double?
        var waveMs: Int?
    }

    func run() async throws {
        let client = try await options.controlClient(control, trust)
        if cancel {
            let answer = try await client.send("DELETE", "/drain", body: nil)
            try require(answer)
            show(try answer.decode(DrainBody.self), note: "The node goes on.")
            return
        }
        var plan = Plan()
        plan.deadlineSeconds = try duration(deadline, "--deadline")?.inSeconds
        plan.waveMs = try duration(wave, "--wave")?.milliseconds
        let answer = try await client.post("/drain", plan)
        try require(answer)
        let begun = try answer.decode(DrainBody.self)
        guard follow else {
            show(begun, note: "The drain has begun; add --follow to watch it.")
            return
        }
        try await watch(client, from: begun)
    }

    private func duration(
        _ text: String?, _ option: String
    ) throws(CommandFailure) -> Duration? {
        guard let text else { return nil }
        guard let duration = DurationText.read(text) else {
            throw CommandFailure(
                "\(option) is `\(text)`; write a duration such as 60s.", status: 64)
        }
        return duration
    }

    private func require(_ answer: ControlClient.Answer) throws(CommandFailure) {
        guard !(200..<300).contains(answer.status) else { return }
        throw CommandFailure(ControlFailure.sentence(answer))
    }

    private func show(_ body: DrainBody, note: String) {
        StandardStream.output.write(
            line: json ? ControlJSON.encode(body) : "\(line(body)). \(note)")
    }

    private func line(_ body: DrainBody) -> String {
        "\(body.phase.rawValue): \(body.remaining) connections left, \(body.told) told in "
            + "\(body.waves) waves" + pace(body)
    }

    private func pace(_ body: DrainBody) -> String {
        guard let perSecond = body.perSecond else { return "" }
        let nodes = body.peers == 1 ? "another node takes" : "\(body.peers) other nodes take"
        let forced = body.pacedBy == .deadline ? ", and the deadline asks for more" : ""
        return "; \(nodes) \(perSecond)/s\(forced)"
    }

    /// On a terminal one line that is drawn anew, else a line a second.
    private func watch(_ client: ControlClient, from begun: DrainBody) async throws(CommandFailure)
    {
        let isTerminal = StandardStream.output.isTerminal && !json
        var last = begun
        var ticks = 0
        while last.report == nil {
            if isTerminal {
                StandardStream.output.write("\r\u{1B}[K\(line(last))")
            } else if !json, ticks.isMultiple(of: 5) {
                StandardStream.output.write(line: line(last))
            }
            ticks += 1
            try? await Task.sleep(for: .milliseconds(200))
            do throws(CommandFailure) {
                let answer = try await client.get("/drain")
                try require(answer)
                last = try answer.decode(DrainBody.self)
            } catch {
                guard error.isUnreachable else { throw error }
                break
            }
        }
        if isTerminal { StandardStream.output.write("\n") }
        finish(last)
    }

    private func finish(_ last: DrainBody) {
        if json {
            StandardStream.output.write(line: ControlJSON.encode(last))
        } else if let report = last.report {
            StandardStream.output.write(
                line: "Empty after \(rounded(report.seconds)) s: \(report.told) told, "
                    + "\(report.moved) moved, \(report.closedAtDeadline) closed at the deadline, "
                    + "\(report.eventsFlushed) events flushed, \(report.eventsLeft) left"
                    + (report.pacedBy == .none ? "." : "; paced by \(words(report.pacedBy))."))
        } else {
            StandardStream.output.write(line: "The node is gone.")
        }
    }

    private func words(_ pacer: DrainPacer) -> String {
        switch pacer {
        case .none: "nothing"
        case .peers: "what the other nodes take"
        case .deadline: "the deadline, faster than the other nodes take"
        }
    }

    private func rounded(_ seconds: Double) -> Double { (seconds * 10).rounded() / 10 }
}

/// What went wrong, from the JSON that the control plane answers with.
enum ControlFailure {
    private struct Body: Decodable {
        struct Content: Decodable { let message: String }
        let error: Content
    }

    static func sentence(_ answer: ControlClient.Answer) -> String {
        guard let body = try? answer.decode(Body.self) else {
            return "The node answered \(answer.status); check --control."
        }
        let remedy =
            answer.status == 401 || answer.status == 403
            ? " Set API_KEY or JWT_SECRET as the node has it." : ""
        return body.error.message + remedy
    }
}
