// What a server knows of itself at one moment, for health, metrics and the status screen. Counters
// only grow; gauges say what is now. Read by any thread while the loops go on.

/// Powers-of-two buckets: `buckets[i]` counts values below `2^i` and not below `2^(i-1)`.
public struct HistogramSnapshot: Sendable, Equatable {
    public var buckets: [UInt64]
    public var count: UInt64
    public var sum: UInt64

    public init(buckets: [UInt64] = [], count: UInt64 = 0, sum: UInt64 = 0) {
        self.buckets = buckets
        self.count = count
        self.sum = sum
    }
}

public struct ShardSnapshot: Sendable {
    public var index = 0
    public var core: Int?
    /// Open connections by dialect name (`relay`, `echo`, …); only open ones count.
    public var connections: [String: Int] = [:]
    public var handshaking = 0
    public var users = 0
    public var messagesReceived: UInt64 = 0
    public var messagesSent: UInt64 = 0
    public var bytesReceived: UInt64 = 0
    public var bytesSent: UInt64 = 0
    public var deliveries: UInt64 = 0
    public var slowConsumers: UInt64 = 0
    /// By reason: `slow_consumer`, `rate_limited`, `overload`, `stale`, …
    public var dropped: [String: UInt64] = [:]
    public var closes: [Int: UInt64] = [:]
    /// By result: `accepted`, `unauthorized`, `forbidden_origin`, `too_many_user`, …
    public var handshakes: [String: UInt64] = [:]
    public var malformed: UInt64 = 0
    /// Receives that waited for the next turn because their connection had had its share of this one.
    public var deferredReads: UInt64 = 0
    /// Receives that found no buffer free and were asked for again.
    public var starvedReads: UInt64 = 0
    /// Events for everyone that took more than one turn.
    public var slicedBroadcasts: UInt64 = 0
    /// Turns in which the kernel had more answers than its queue has room for.
    public var ringOverflows: UInt64 = 0
    /// Calls that the kernel had no memory for, and that were made again.
    public var ringRefusals: UInt64 = 0
    /// Turns of other shards, which slept, that this one's thread ran.
    public var borrowedTurns: UInt64 = 0
    /// Most bytes that ever waited in one connection's send queue.
    public var sendQueueHighWaterBytes: UInt64 = 0
    public var inboxDepth = 0
    /// What connections hold now: records, send queues, partial messages, contexts.
    public var memoryBytes: UInt64 = 0
    /// Clients that came back, by what came of it: `recovered`, `lost`, `malformed`.
    public var resumes: [String: UInt64] = [:]
    /// Events that they were given.
    public var replayed: UInt64 = 0
    /// Events that were kept here; Redis's are counted by the backplane.
    public var historyEvents: UInt64 = 0
    /// What kept events and their users take now.
    public var historyBytes: UInt64 = 0
    public var historyUsers = 0
    /// Events that are not kept any more, by what they had to go for: `count`, `age`, `user_bytes`,
    /// `bytes`, `users`.
    public var historyLosses: [String: UInt64] = [:]
    public var tlsSessions = 0
    public var tlsHandshakes: UInt64 = 0
    /// Handshakes that a ticket made short.
    public var tlsResumed: UInt64 = 0
    /// Handshakes that agreed on permessage-deflate.
    public var compressed: UInt64 = 0
    /// What connections keep between compressed messages now.
    public var compressionBytes: UInt64 = 0
    /// Nanoseconds of work in one loop turn.
    public var loopTurn = HistogramSnapshot()
    /// Sends that one turn gave to the kernel at once.
    public var sendBatch = HistogramSnapshot()

    public init() {}
}

public enum BackplaneState: String, Sendable {
    /// No other node: nothing can be down.
    case memory
    case connecting, up, degraded
}

public struct BackplaneSnapshot: Sendable {
    public var state = BackplaneState.memory
    /// Why it is not up, in a sentence.
    public var reason: String?
    /// Since the canary was last heard; `nil` where there is none.
    public var canaryAgeSeconds: Double?
    /// From the command's acceptance to its coming back, in nanoseconds.
    public var publishLatency = HistogramSnapshot()
    public var queuedCommands = 0
    public var queuedBytes = 0
    public var subscriptions = 0
    public var malformed: UInt64 = 0
    public var reconnects: UInt64 = 0
    /// Links to Redis that were lost, by cause.
    public var linkFailures: [String: UInt64] = [:]
    public var published: UInt64 = 0
    /// Events that were appended to a history in Redis.
    public var historyEvents: UInt64 = 0
    /// Users whose devices were brought up to date from history after something was missed.
    public var catchUps: UInt64 = 0
    /// Users whose devices were closed with 1012, because history did not have all they missed.
    public var gaps: UInt64 = 0
    public var dropped: [String: UInt64] = [:]
    public var inboxDepth = 0
    /// Nodes that live, this one among them.
    public var nodes = 1
    /// Since Redis last took this node's lease; `nil` where there are no leases.
    public var leaseAgeSeconds: Double?
    public var leasesLost: UInt64 = 0
    /// Dead nodes that this one cleared up after, and what they had left.
    public var clearedNodes: UInt64 = 0
    public var clearedDevices: UInt64 = 0
    public var clearedUsers: UInt64 = 0

    public init() {}
}

public struct ServerSnapshot: Sendable {
    public var nodeID = ""
    public var version = ""
    public var uptimeSeconds = 0.0
    public var io = ""
    public var shards: [ShardSnapshot] = []
    public var backplane = BackplaneSnapshot()
    public var isAccepting = false
    /// Redis is heard. The router says so too in `backplane.state`, unless it is the one that is stuck.
    public var hearsRedis: Bool {
        backplane.state == .up && (backplane.canaryAgeSeconds ?? 0) <= limits.canaryTimeout / .seconds(1)
    }
    /// What connections may hold before those that hold the most are reset.
    public var memoryBytesMax = 0
    /// Connections hold so much that newcomers are refused.
    public var isShortOfMemory = false
    public var drain = DrainProgress(phase: .running, remaining: 0, told: 0, waves: 0)
    public var limits = Limits()
    /// Users and tokens that are revoked.
    public var revocations = 0

    public var users: Int { shards.reduce(0) { $0 + $1.users } }
    public var connections: Int {
        shards.reduce(0) { $0 + $1.connections.values.reduce(0, +) }
    }

    public init() {}
}

/// One open connection, as the control plane shows it.
public struct ConnectionInfo: Sendable, Codable, Equatable {
    public var connectionId: String
    public var userId: String
    public var dialect: String
    public var remoteAddress: String
    public var userAgent: String
    public var connectedAtMilliseconds: Int64
    public var shard: Int
    public var sendQueueMessages: Int
    public var sendQueueBytes: Int

    public init(
        connectionId: String, userId: String, dialect: String, remoteAddress: String,
        userAgent: String, connectedAtMilliseconds: Int64, shard: Int, sendQueueMessages: Int,
        sendQueueBytes: Int
    ) {
        self.connectionId = connectionId
        self.userId = userId
        self.dialect = dialect
        self.remoteAddress = remoteAddress
        self.userAgent = userAgent
        self.connectedAtMilliseconds = connectedAtMilliseconds
        self.shard = shard
        self.sendQueueMessages = sendQueueMessages
        self.sendQueueBytes = sendQueueBytes
    }
}
