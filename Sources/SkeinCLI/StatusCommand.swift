// `skein status`: one screen about a node and those beside it. It asks twice, a second apart, to tell
// rates.

internal import ArgumentParser
internal import Skein
internal import SkeinNode

struct StatusCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status", abstract: "Shows a node, and all others, on one screen.",
        discussion: """
            Examples:
              skein status
              skein status --control http://10.0.0.7:9090 --json
              skein status --control https://node7:9090 --ca ca.pem --cert me.pem \\
                --key me.key
            """)

    @OptionGroup var options: ConfigurationOptions
    @OptionGroup var trust: ControlTrustOptions
    @Option(help: ArgumentHelp("The node's control listener.", valueName: "url"))
    var control: String?
    @Flag(help: "One JSON value on stdout, without rates.")
    var json = false
    @Flag(help: "Asks once and tells no rates.")
    var once = false

    private static let interval = Duration.seconds(1)

    func run() async throws {
        let client = try await options.controlClient(control, trust)
        let answer = try await client.get("/health")
        guard answer.status == 200 else { throw CommandFailure(ControlFailure.sentence(answer)) }
        let first = try answer.decode(HealthBody.self)
        let list = try await client.get("/nodes")
        guard list.status == 200 else { throw CommandFailure(ControlFailure.sentence(list)) }
        let nodes = try list.decode(NodesBody.self)
        if json {
            StandardStream.output.write(line: ControlJSON.encode(StatusBody(health: first, nodes: nodes)))
            return
        }
        var second: HealthBody?
        if !once {
            try await Task.sleep(for: Self.interval)
            second = try await client.get("/health").decode(HealthBody.self)
        }
        StandardStream.output.write(
            StatusScreen.text(second ?? first, before: second == nil ? nil : first, nodes.nodes))
    }
}

/// What `/health` says, and all nodes beside it.
private struct StatusBody: Encodable {
    let health: HealthBody
    let nodes: NodesBody

    func encode(to encoder: any Encoder) throws {
        try health.encode(to: encoder)
        try nodes.encode(to: encoder)
    }
}

enum StatusScreen {
    static func text(
        _ now: HealthBody, before: HealthBody?, _ nodes: [NodesBody.Node]
    ) -> String {
        var rows = [
            ["node", "\(now.nodeId), version \(now.version), \(now.io)"],
            ["status", now.status],
            ["uptime", uptime(now.uptimeSeconds)],
            ["backplane", backplane(now)],
            ["users", "\(now.websocket.users)"],
            ["connections", "\(now.websocket.connections)"],
        ]
        if now.drain.phase != .running {
            rows.append(["drain", "\(now.drain.phase.rawValue), \(now.drain.remaining) left"])
        }
        var text = rows.map { $0[0].padded(to: 13) + $0[1] }.joined(separator: "\n") + "\n\n"
        text += table(shards(now, before))
        if nodes.count > 1 { text += "\n" + table(self.nodes(nodes)) }
        return text
    }

    private static func nodes(_ nodes: [NodesBody.Node]) -> [[String]] {
        var lines = [["node", "control", "version", "connections", "users", "takes/s", "came/s", "state"]]
        for (index, node) in nodes.enumerated() {
            lines.append([
                node.nodeId, node.controlAddress ?? "-", node.version, "\(node.connections)",
                "\(node.users)", "\(node.acceptPerSecond)", "\(node.arrivingPerSecond)",
                (node.draining ? "draining" : "serves") + (index == 0 ? ", asked" : ""),
            ])
        }
        return lines
    }

    private static func shards(_ now: HealthBody, _ before: HealthBody?) -> [[String]] {
        var lines = [["shard", "core", "connections", "users", "inbox", "slow", "in/s", "out/s"]]
        for shard in now.shards {
            let earlier = before?.shards.first { $0.index == shard.index }
            let seconds = now.uptimeSeconds - (before?.uptimeSeconds ?? 0)
            func rate(_ path: KeyPath<HealthBody.Shard, UInt64>) -> String {
                guard let earlier, seconds > 0 else { return "-" }
                let growth = shard[keyPath: path] &- earlier[keyPath: path]
                return "\(Int((Double(growth) / seconds).rounded()))"
            }
            lines.append([
                "\(shard.index)", shard.core.map(String.init) ?? "-", "\(shard.connections)",
                "\(shard.users)", "\(shard.inboxDepth)", "\(shard.slowConsumers)",
                rate(\.messagesReceived), rate(\.messagesSent),
            ])
        }
        return lines
    }

    /// Columns as wide as they need to be, numbers at the right.
    private static func table(_ lines: [[String]]) -> String {
        let widths = lines[0].indices.map { column in lines.map { $0[column].count }.max() ?? 0 }
        return lines.map { line in
            line.indices.map { column in
                String(repeating: " ", count: widths[column] - line[column].count) + line[column]
            }.joined(separator: "  ") + "\n"
        }.joined()
    }

    private static func backplane(_ now: HealthBody) -> String {
        var text = now.redis == "memory" ? "memory (this node alone)" : "redis, \(now.redis)"
        if let age = now.redisCanaryAgeSeconds {
            text += ", canary heard \((age * 10).rounded() / 10) s ago"
        }
        if let reason = now.redisReason { text += ": \(reason)" }
        return text
    }

    private static func uptime(_ seconds: Double) -> String {
        let whole = Int(seconds)
        let (days, hours, minutes) = (whole / 86_400, whole / 3_600 % 24, whole / 60 % 60)
        if days > 0 { return "\(days) d \(hours) h" }
        if hours > 0 { return "\(hours) h \(minutes) min" }
        return minutes > 0 ? "\(minutes) min \(whole % 60) s" : "\(whole) s"
    }
}
