// Every bound of the broker, in one value: its unit is in its name, its default here, and nothing
// else in the code invents a number. `0` means none where the comment says so.

public struct Limits: Sendable, Equatable {
    // Messages
    /// Bytes of one message, fragments together. Past it: close 1009.
    public var messageBytesMax = 65_536
    /// Messages a second one connection may send; 0: none. Past it: `RATE_LIMITED`.
    public var messageRate = 50
    /// How many messages may come at once before the rate holds.
    public var messageBurst = 100
    /// Refused messages in one stretch after which a connection is closed with 4429.
    public var messageRefusalsMax = 1_000
    /// How long a connection may go on over its rate before it is closed with 4429.
    public var messageAbusePeriod: Duration = .seconds(10)

    // Handshakes
    /// Bytes of a request head. Past it: 431.
    public var headBytesMax = 16_384
    /// From accept to the end of authentication; absolute, whatever trickles in meanwhile.
    public var handshakeTimeout: Duration = .seconds(10)
    /// TLS handshakes that one shard does in one turn, 0.1 to 1 ms each; the rest wait for the next.
    public var tlsHandshakesPerTurn = 4
    /// Handshakes a second from one address; 0: none. Past it: 429.
    public var handshakeRate = 20
    /// How many handshakes may come at once before the rate holds.
    public var handshakeBurst = 100

    // Connections; 0: none
    public var connectionsPerUserMax = 20
    public var connectionsPerAddressMax = 200
    public var connectionsMax = 0

    /// Users and tokens that may be revoked at once; past it another is refused.
    public var revocationsMax = 100_000

    // Timers
    public var pingInterval: Duration = .seconds(25)
    /// From the last byte heard. Past it the peer is closed as gone.
    public var pongTimeout: Duration = .seconds(60)
    /// How long a send may make no progress. Past it the connection is reset.
    public var writeTimeout: Duration = .seconds(10)

    // Send queue of one connection; 0: none. Past either: close 4008.
    public var sendQueueMessagesMax = 256
    public var sendQueueBytesMax = 1_048_576

    // History
    /// Events kept of each user for who comes back; 0: none, and no event has an offset.
    public var historyEventsMax = 256
    public var historyAge: Duration = .seconds(600)
    /// What one user's kept events may take in memory, and what one resume may bring from Redis.
    public var historyUserBytesMax = 1_048_576
    /// What the kept events of all users may take on the memory backplane. 0: an eighth of what the
    /// process may use.
    public var historyBytesMax = 0
    /// Users whose history the memory backplane knows, gone or not.
    public var historyUsersMax = 1_000_000
    /// How long Redis remembers where a user stands who is sent nothing.
    public var historyPositionAge: Duration = .seconds(604_800)
    /// Histories that are asked of Redis at once; the rest wait.
    public var historyReadsMax = 16

    /// Memory of all connections of the node: records, send queues, partial messages, contexts. At
    /// 80 % of it newcomers are refused, at all of it those that hold the most are reset. 0: half of
    /// what the process may use.
    public var memoryBytesMax = 0

    // Backplane
    /// What may wait for Redis while it is gone, and what may be under way to it. Past either, a
    /// command fails with `INTERNAL_ERROR`.
    public var backplaneQueueCommandsMax = 262_144
    public var backplaneQueueBytesMax = 67_108_864

    /// How long an event may take through Redis and back before this node's own devices are served
    /// without it.
    public var backplaneStall: Duration = .milliseconds(500)
    /// How long the canary may be silent before the backplane counts as degraded and is reconnected.
    public var canaryTimeout: Duration = .seconds(3)

    // Nodes
    /// How long a node that says nothing counts as alive; it says so three times meanwhile.
    public var nodeLease: Duration = .seconds(10)
    /// How much longer before what it wrote of its devices is taken back.
    public var nodeGrace: Duration = .seconds(2)
    /// Other nodes that one node knows at most.
    public var nodesMax = 1_024
    /// Connections a second that this node says it can take, by which others pace their drains; 0:
    /// 2,000 for each shard.
    public var acceptPerSecond = 0
    /// How long a wave of a drain waits to be sure that all accepted before it has arrived.
    public var drainFence: Duration = .seconds(1)

    // Machinery
    /// Receive buffers of one shard, a power of two, and the bytes of each.
    public var receiveBuffersCount = 512
    public var receiveBufferBytes = 8_192
    /// Bytes of one connection that one turn reads; the rest waits for the next, behind all others.
    public var receiveTurnBytesMax = 65_536
    /// Bytes made in one turn of an event for everyone where each connection needs bytes of its own (TLS,
    /// compression that keeps its context); the turns after it go on with the rest.
    public var fanOutTurnBytesMax = 16_777_216
    /// Batches of messages from one thread to all others that may be under way, 64 KiB each; half of them to
    /// any one of several.
    public var parcelsMax = 256
    /// Requests from outside the loops (control plane, library) that one loop may have waiting.
    public var postsMax = 65_536

    public init() {}
}
