// Everything that a run needs to know, as plain values: made from flags once, shared by all threads.

package import SkeinIO

/// A server to connect to.
package struct BenchTarget: Sendable {
    package var address: SocketAddress
    /// As the `Host` field has it.
    package var authority: String
    package var target: Template
    package var isSecure: Bool
    /// What its certificate has to be good for.
    package var serverName: String

    package init(
        address: SocketAddress, authority: String, target: String, isSecure: Bool, serverName: String
    ) {
        self.address = address
        self.authority = authority
        self.target = Template(target)
        self.isSecure = isSecure
        self.serverName = serverName
    }
}

package enum TokenPlace: String, CaseIterable, Sendable {
    case query
    case header
    case subprotocol
    /// Only where a template says `%token%`.
    case template
}

package enum Publisher: Sendable {
    /// The receivers are devices of one user, to whom another user sends.
    case user
    /// A WebSocket of its own, to another URL.
    case url(BenchTarget)
    case redis(SocketAddress, channel: String)
}

package struct BenchPlan: Sendable {
    package var scenario: Scenario
    package var targets: [BenchTarget]

    package var connections = 100
    /// Per second; 0: as fast as they complete.
    package var connectRate = 0.0
    package var connectConcurrency = 128
    /// Local addresses to connect from, in turn; empty: the kernel's choice.
    package var sources: [SocketAddress] = []
    package var threads = 1
    package var cores: [Int] = []
    package var io: IOChoice = .auto
    package var spins = false

    package var tokens = TokenSource(.none, userPrefix: "u")
    package var tokenPlace: TokenPlace = .header
    package var headers: [Template] = []
    package var firstMessage: Template?
    package var message = MessagePreset.template("chat")
    /// A connection is open once a text with this word in quotes has come; `nil`: with the 101.
    package var awaits: String?
    package var payloadBytes = 128
    /// PEM of who signed the servers' certificates; `nil`: those that the system trusts.
    package var authorityPEM: [UInt8]?

    /// In flight: per connection, in fanout in all.
    package var depth = 1
    /// Messages per second in all, sent when they are due; 0: closed loop.
    package var rate = 0.0
    package var warmupSeconds = 0.5
    package var seconds = 5.0
    package var restSeconds = 0.3
    package var graceSeconds = 5.0

    package var publisher: Publisher = .user
    /// chat: this part of all connections leaves and returns, per second.
    package var churn = 0.01
    package var rounds = 1
    /// drain, with one address: come back to it.
    package var comesBack = false
    /// End by a close frame, not by a reset.
    package var closesByFrame = false

    /// The server's, on this machine.
    package var processes: [Int32] = []
    /// Cores whose `ksoftirqd` works for the server.
    package var softirqCores: [Int] = []
    package var label: String?
    /// Of this program.
    package var version: String?

    package init(scenario: Scenario, targets: [BenchTarget]) {
        self.scenario = scenario
        self.targets = targets
    }

    /// The bounds of a run.
    package enum Limits {
        package static let connectionsMax = 1_000_000
        package static let threadsMax = 64
        package static let depthMax = 4_096
        package static let payloadBytesMax = 1 << 20
        /// Of one connection; past it a message counts as not sent in time.
        static let outBytesMax = 16 << 20
        /// A frame from the server; past it the connection has failed.
        static let messageBytesMax = 64 << 20
        static let dueTimesMax = 4_096
        static let fanoutSlots = 65_536
        static let handshakeSeconds = 10
        /// chat: who wants to leave waits as long for what has no number.
        static let unnumberedNanoseconds: Int64 = 2_000_000_000
    }

    /// Descriptors that the process needs: sockets, and what loops and reports open.
    package var descriptorsNeeded: Int { connectionsAtOnce + threads * 4 + 32 }

    var connectionsAtOnce: Int { scenario == .connect ? connectConcurrency : connections + publishers }

    /// Connections besides, which only publish.
    var publishers: Int { scenario == .fanout ? 1 : hasPresence ? threads : 0 }

    /// chat: whoever leaves or returns is told of by a backend.
    var hasPresence: Bool {
        guard scenario == .chat, case .redis = publisher else { return false }
        return true
    }

    /// How many of `total` connections thread `number` of `threads` has: pairs go round.
    package static func share(of total: Int, number: Int, threads: Int) -> Int {
        let pairs = (total + 1) / 2
        let own = pairs / threads + (number < pairs % threads ? 1 : 0)
        // The last pair may be a half.
        let hasHalf = total % 2 == 1 && (pairs - 1) % threads == number
        return own * 2 - (hasHalf ? 1 : 0)
    }

    /// What is wrong with it, as a sentence that says what to do.
    package var problem: String? {
        if targets.isEmpty { return "There is no address; name one with --url." }
        if !(1...Limits.connectionsMax).contains(connections) {
            return "--connections is 1 to \(Limits.connectionsMax)."
        }
        if scenario.isPaired, connections % 2 != 0 {
            return "--connections has to be even: connections send to each other in pairs."
        }
        if !(1...Limits.threadsMax).contains(threads) || threads > max(1, connections / 2) {
            return "--threads is 1 to \(Limits.threadsMax), and needs two connections each."
        }
        if !(1...Limits.depthMax).contains(depth) { return "--depth is 1 to \(Limits.depthMax)." }
        if !(0...Limits.payloadBytesMax).contains(payloadBytes) {
            return "--payload is at most \(Limits.payloadBytesMax)."
        }
        if connectConcurrency < 1 { return "--connect-concurrency is at least 1." }
        if !(seconds > 0 && seconds <= 86_400) { return "--seconds is above 0, and a day at most." }
        let amounts = [rate, connectRate, warmupSeconds, restSeconds, graceSeconds, churn]
        if !amounts.allSatisfy({ $0 >= 0 && $0 < 1e9 }) {
            return "--rate, --connect-rate, --warmup, --rest, --grace and --churn are not below 0."
        }
        if scenario != .connect, !message.has(.marker) {
            return "--message needs %marker%: by it each message is known again."
        }
        if scenario == .connect || scenario == .storm, rate > 0 {
            return "--rate is for messages, and \(scenario.rawValue) sends none at a rate; leave it out. "
                + "--connect-rate paces connections."
        }
        if scenario == .hold || scenario == .chat || scenario == .drain, rate == 0 {
            return "\(scenario.rawValue) needs a --rate above 0."
        }
        return nil
    }
}
