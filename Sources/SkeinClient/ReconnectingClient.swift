// How a client of the relay dialect comes back: what to do when a connection ends, where to go on, and
// which events it has had already. It knows no socket and no clock: it is told what happened and says
// what to do next. `skein tail` and `skein bench` run on it; this folder imports nothing, so that it can be
// copied into a client of yours, or read as the rules for one in another language.
//
//     var client = ReconnectingClient(seed: .random(in: 1 ... .max))
//     var next = client.start()
//     while case .connect(let milliseconds, let query) = next {
//         wait(milliseconds)
//         let socket = open(url + (query.map { "?" + $0 } ?? ""))     // or "&" behind a token
//         …for each text frame:   switch client.textReceived(frame.span) { case .deliver: show(frame) … }
//         next = client.closed(code: 1012, reason: "…")               // or refused, or lost
//     }

public struct ReconnectingClient: Sendable {
    public struct Settings: Sendable, Equatable {
        /// The first wait after a failure is up to twice this, each further one up to twice as long.
        public var backOffMilliseconds = 250
        public var backOffMillisecondsMax = 10_000
        /// A node's hint beyond this is cut: it is a node's, and may be wrong.
        public var hintMillisecondsMax = 300_000

        public init() {}
    }

    /// What to do when there is no connection.
    public enum Next: Equatable, Sendable {
        /// - Parameter query: to be added to the URL, `resume=epoch:offset`; `nil` without a place to
        ///   go on from.
        case connect(afterMilliseconds: Int, query: String?)
        /// As `connect`, with another token: this one is expired, revoked or not accepted.
        case renewToken(afterMilliseconds: Int, query: String?)
        case giveUp(Reason)
    }

    /// Why coming back would change nothing.
    public enum Reason: Equatable, Sendable {
        /// A close that means it: 1000, or 4403 by an operator.
        case closed(code: Int)
        /// The handshake is wrong, or its address: 400, 403, 404 and the like.
        case refused(status: Int)
    }

    /// What a text frame is to the application.
    public enum Received: Equatable, Sendable {
        /// The greeting. Where `mayResume` is false, what happens while away is lost to this client.
        case connected(mayResume: Bool)
        case deliver
        /// Had it before, on an earlier connection.
        case duplicate
        /// All that was missed has been delivered, this many events.
        case resumed(replayed: Int)
        /// Something was missed and cannot be had again: read the state anew, from where it is kept. May stand
        /// in the place of `connected`.
        case reread
    }

    private let settings: Settings
    private var random: UInt64
    private var failures = 0
    /// Where to go on from, as the node names it.
    private var epoch: String?
    private var offset: EventOffset?
    /// The latest that the application was given; what is not after it is a duplicate.
    private var given: EventOffset?
    /// The greeting of a connection that asked to resume, until it is known what came of it.
    private var greeting: (epoch: String, offset: EventOffset)?
    private var isResuming = false
    /// A node has said that something was missed which no place leads to.
    private var hasMissed = false

    /// - Parameter seed: of the jitter, different for each client: a crowd that lost its node together must
    ///   not come back together.
    public init(seed: UInt64, settings: Settings = Settings()) {
        // 0 is the one state that xorshift never leaves.
        random = seed == 0 ? 0x9E37_79B9_7F4A_7C15 : seed
        self.settings = settings
    }

    /// The `resume` parameter as a connection of now would have it.
    public var query: String? {
        guard let epoch, let offset else { return nil }
        return "resume=" + Self.escape(epoch) + ":" + offset.description
    }

    /// The first connection.
    public mutating func start() -> Next { connect(after: 0) }

    /// One whole text message, as it came.
    public mutating func textReceived(_ bytes: Span<UInt8>) -> Received {
        guard let envelope = Envelope(bytes) else { return .deliver }
        if envelope.type(equals: "connected", in: bytes) { return connected(envelope, bytes) }
        if isResuming, envelope.type(equals: "resumed", in: bytes) { return resumed(envelope, bytes) }
        guard let range = envelope.offset, let offset = EventOffset(bytes, range) else { return .deliver }
        if let given, offset <= given { return .duplicate }
        given = offset
        self.offset = offset
        return .deliver
    }

    /// The connection was open and has ended with a close frame.
    /// - Parameter code: `nil` where the frame had none.
    public mutating func closed(code: Int?, reason: String) -> Next {
        leave()
        switch code {
        case 1000: return .giveUp(.closed(code: 1000))
        case 4403: return .giveUp(.closed(code: 4403))
        case 4401: return renewToken(after: backOff())
        // Jittered by the node already, over as long as its drain takes.
        case 1012:
            let hint = hint(in: reason)
            if hint?.mayResume == false {
                hasMissed = hasMissed || query != nil
                forget()
            }
            return connect(after: hint?.milliseconds ?? backOff())
        default: return connect(after: backOff())
        }
    }

    /// The connection has ended without a close frame, or could not be made.
    public mutating func lost() -> Next {
        leave()
        return connect(after: backOff())
    }

    /// The node answered the handshake with something other than 101.
    public mutating func refused(status: Int, retryAfterSeconds: Int? = nil) -> Next {
        leave()
        switch status {
        case 401: return renewToken(after: backOff())
        case 408, 429, 500...:
            let seconds = min(max(retryAfterSeconds ?? 0, 0), settings.hintMillisecondsMax / 1_000)
            return connect(after: seconds * 1_000 + backOff())
        default: return .giveUp(.refused(status: status))
        }
    }
}

private extension ReconnectingClient {
    mutating func connected(_ envelope: Envelope, _ bytes: Span<UInt8>) -> Received {
        failures = 0
        let wasResuming = isResuming
        guard let data = envelope.data.flatMap({ Greeting(bytes, $0) }), data.mayResume,
            let epoch = data.epoch, let offset = data.offset
        else {
            // No history here: what we hold leads nowhere.
            isResuming = false
            forget()
            defer { hasMissed = false }
            return wasResuming || hasMissed ? .reread : .connected(mayResume: false)
        }
        defer { hasMissed = false }
        if wasResuming {
            // Its offset is behind us or beyond what we have yet to get; `resumed` tells.
            greeting = (epoch, offset)
        } else {
            self.epoch = epoch
            self.offset = offset
            if hasMissed { return .reread }
        }
        return .connected(mayResume: true)
    }

    mutating func resumed(_ envelope: Envelope, _ bytes: Span<UInt8>) -> Received {
        isResuming = false
        let outcome = envelope.data.flatMap { Outcome(bytes, $0) }
        if let outcome, outcome.isRecovered { return .resumed(replayed: outcome.replayed) }
        forget()
        epoch = greeting?.epoch
        offset = greeting?.offset
        greeting = nil
        return .reread
    }

    mutating func forget() {
        epoch = nil
        offset = nil
        given = nil
    }

    mutating func leave() {
        greeting = nil
        isResuming = false
    }

    mutating func connect(after milliseconds: Int) -> Next {
        isResuming = query != nil
        return .connect(afterMilliseconds: milliseconds, query: query)
    }

    mutating func renewToken(after milliseconds: Int) -> Next {
        isResuming = query != nil
        return .renewToken(afterMilliseconds: milliseconds, query: query)
    }

    /// Full jitter above a floor.
    mutating func backOff() -> Int {
        failures = min(failures + 1, 16)
        let ceiling = min(settings.backOffMillisecondsMax, settings.backOffMilliseconds << failures)
        let floor = min(settings.backOffMilliseconds / 2, ceiling)
        return floor + Int(nextRandom() % UInt64(ceiling - floor + 1))
    }

    func hint(in reason: String) -> (milliseconds: Int, mayResume: Bool)? {
        let bytes = Array(reason.utf8)
        var hint: Int?
        var mayResume = true
        let isWhole = JSONMembers.forEach(in: bytes.span, 0..<bytes.count) { name, value, _ in
            if name.equals("reconnectAfterMs", in: bytes.span) { hint = value.number(in: bytes.span) }
            if name.equals("resume", in: bytes.span) { mayResume = !value.equals("false", in: bytes.span) }
        }
        guard isWhole, let hint else { return nil }
        return (min(hint, settings.hintMillisecondsMax), mayResume)
    }

    mutating func nextRandom() -> UInt64 {
        random ^= random << 13
        random ^= random >> 7
        random ^= random << 17
        return random
    }

    /// As a query's value: an epoch is the node's to choose.
    static func escape(_ text: String) -> String {
        let digits = Array("0123456789ABCDEF".utf8)
        var escaped: [UInt8] = []
        for byte in text.utf8 {
            switch byte {
            case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, 0x2D, 0x2E, 0x5F, 0x7E: escaped.append(byte)
            default: escaped += [0x25, digits[Int(byte >> 4)], digits[Int(byte & 15)]]
            }
        }
        return String(decoding: escaped, as: UTF8.self)
    }
}
