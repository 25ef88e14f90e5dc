// What one shard counts. Each reason has its place in an enum, so that a new one cannot be counted
// without a name in the metrics.

/// Why something that was accepted, or offered, went nowhere.
enum DropReason: Int, CaseIterable {
    case slowConsumer, rateLimited, overload, staleCompletion, connectionGone, noDescriptors
    /// A trusted proxy's word on whom it speaks for: the proxy's own address stood.
    case malformedForward
    /// Connections held too much; these were reset.
    case memory

    var name: String {
        switch self {
        case .slowConsumer: "slow_consumer"
        case .rateLimited: "rate_limited"
        case .overload: "overload"
        case .staleCompletion: "stale_completion"
        case .connectionGone: "connection_gone"
        case .noDescriptors: "no_descriptors"
        case .memory: "memory"
        case .malformedForward: "malformed_forward"
        }
    }
}

enum HandshakeResult: Int, CaseIterable {
    case accepted, malformed, notFound, notWebSocket, tooLarge, timeout, gone, unauthorized
    case forbiddenOrigin, noSession, tooManyUser, tooManyAddress, tooManyNode, rateLimited
    case overload, unavailable, health, memory, tls, tlsFailed, plainHTTP, httpVersion, proxyHeader

    var name: String {
        switch self {
        case .accepted: "accepted"
        case .malformed: "malformed"
        case .notFound: "not_found"
        case .notWebSocket: "not_websocket"
        case .tooLarge: "too_large"
        case .timeout: "timeout"
        case .gone: "gone"
        case .unauthorized: "unauthorized"
        case .forbiddenOrigin: "forbidden_origin"
        case .noSession: "no_session"
        case .tooManyUser: "too_many_user"
        case .tooManyAddress: "too_many_address"
        case .tooManyNode: "too_many_node"
        case .rateLimited: "rate_limited"
        case .overload: "overload"
        case .unavailable: "unavailable"
        case .health: "health"
        case .tls: "tls"
        case .memory: "memory"
        case .tlsFailed: "tls_failed"
        case .plainHTTP: "plain_http"
        case .httpVersion: "http_version"
        case .proxyHeader: "proxy_header"
        }
    }
}

/// Lives as long as the server; written by its shard only.
struct ShardMetrics: ~Copyable, Sendable {
    static let dialectsMax = 8
    static let closeCodes: [UInt16] = [
        1000, 1001, 1002, 1003, 1005, 1006, 1007, 1009, 1011, 1012, 4008, 4401, 4403, 4429,
    ]

    let connections = CounterArray(dialectsMax)
    let handshaking = Counter()
    let users = Counter()
    let messagesReceived = Counter()
    let messagesSent = Counter()
    let bytesReceived = Counter()
    let bytesSent = Counter()
    let deliveries = Counter()
    let slowConsumers = Counter()
    let malformed = Counter()
    /// Receives that waited for the next turn because their connection had its share of this one.
    let deferredReads = Counter()
    /// Receives that found no buffer free and were asked for again.
    let starvedReads = Counter()
    /// Events for everyone that took more than one turn.
    let slicedBroadcasts = Counter()
    let ringOverflows = Counter()
    let ringRefusals = Counter()
    /// Turns of other shards, which slept, that were run here.
    let borrowedTurns = Counter()
    let sendQueueHighWater = Counter()
    let drops = CounterArray(DropReason.allCases.count)
    let handshakes = CounterArray(HandshakeResult.allCases.count)
    /// By place in `closeCodes`; one more for all other codes.
    let closes = CounterArray(closeCodes.count + 1)
    let loopTurn = Histogram()
    let sendBatch = Histogram()
    // Drain
    let told = Counter()
    let moved = Counter()
    let closedAtDeadline = Counter()
    let eventsFlushed = Counter()
    let eventsLeft = Counter()
    let waves = Counter()
    let open = Counter()
    /// Connections in any state, to the last completion.
    let alive = Counter()
    let isListening = Counter()
    /// What the shard holds for its connections, now.
    let memoryBytes = Counter()
    // History; the memory backplane's, but for the first two
    /// By `ResumeResult`.
    let resumes = CounterArray(ResumeResult.allCases.count)
    /// Events given to those who came back.
    let replayed = Counter()
    let historyEvents = Counter()
    let historyBytes = Counter()
    let historyUsers = Counter()
    /// By `HistoryLoss`.
    let historyLosses = CounterArray(HistoryLoss.allCases.count)
    // TLS
    let tlsSessions = Counter()
    let tlsHandshakes = Counter()
    let tlsResumed = Counter()
    // Compression
    /// Connections that agreed on it, so far.
    let compressed = Counter()
    /// Of contexts that are kept between messages, now.
    let compressionBytes = Counter()

    init() {}

    func countDropped(_ reason: DropReason, _ amount: UInt64 = 1) {
        drops[reason.rawValue].add(amount)
    }

    func countHandshake(_ result: HandshakeResult) {
        handshakes[result.rawValue].add()
    }

    func countClose(_ code: UInt16) {
        closes[Self.closeCodes.firstIndex(of: code) ?? Self.closeCodes.count].add()
    }

    func snapshot(index: Int, dialects: [String]) -> ShardSnapshot {
        var shard = ShardSnapshot()
        shard.index = index
        for (place, name) in dialects.enumerated() {
            shard.connections[name] = Int(connections[place].count)
        }
        shard.handshaking = Int(handshaking.count)
        shard.users = Int(users.count)
        shard.messagesReceived = messagesReceived.count
        shard.messagesSent = messagesSent.count
        shard.bytesReceived = bytesReceived.count
        shard.bytesSent = bytesSent.count
        shard.deliveries = deliveries.count
        shard.slowConsumers = slowConsumers.count
        shard.malformed = malformed.count
        shard.deferredReads = deferredReads.count
        shard.starvedReads = starvedReads.count
        shard.slicedBroadcasts = slicedBroadcasts.count
        shard.ringOverflows = ringOverflows.count
        shard.ringRefusals = ringRefusals.count
        shard.borrowedTurns = borrowedTurns.count
        shard.sendQueueHighWaterBytes = sendQueueHighWater.count
        for reason in DropReason.allCases { shard.dropped[reason.name] = drops[reason.rawValue].count }
        for result in HandshakeResult.allCases {
            shard.handshakes[result.name] = handshakes[result.rawValue].count
        }
        for (place, code) in Self.closeCodes.enumerated() {
            shard.closes[Int(code)] = closes[place].count
        }
        shard.closes[0] = closes[Self.closeCodes.count].count
        shard.loopTurn = loopTurn.snapshot
        shard.sendBatch = sendBatch.snapshot
        shard.memoryBytes = memoryBytes.count
        for result in ResumeResult.allCases where result != .none {
            shard.resumes[result.name] = resumes[Int(result.rawValue)].count
        }
        shard.replayed = replayed.count
        shard.historyEvents = historyEvents.count
        shard.historyBytes = historyBytes.count
        shard.historyUsers = Int(historyUsers.count)
        for loss in HistoryLoss.allCases { shard.historyLosses[loss.name] = historyLosses[loss.rawValue].count }
        shard.tlsSessions = Int(tlsSessions.count)
        shard.tlsHandshakes = tlsHandshakes.count
        shard.tlsResumed = tlsResumed.count
        shard.compressed = compressed.count
        shard.compressionBytes = compressionBytes.count
        return shard
    }
}

/// A way to one shard's figures from any thread, without a reference count. The server makes it,
/// and gives the memory back after every loop has ended.
@safe
struct Shared<Value: ~Copyable & Sendable>: @unchecked Sendable {
    private let pointer: UnsafeMutablePointer<Value>

    init(_ value: consuming Value) {
        unsafe pointer = .allocate(capacity: 1)
        unsafe pointer.initialize(to: value)
    }

    func destroy() {
        unsafe pointer.deinitialize(count: 1)
        unsafe pointer.deallocate()
    }

    @inline(__always)
    var value: Value {
        unsafeAddress { unsafe UnsafePointer(pointer) }
    }

    @inline(__always)
    @unsafe
    var address: UnsafePointer<Value> { unsafe UnsafePointer(pointer) }
}
