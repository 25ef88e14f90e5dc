// All that the router owns, behind one pointer made on its thread: who is on this node, the links to
// Redis, and the journal of what is under way between the two.

internal import SkeinIO
internal import SkeinWire

/// A device that may not be told yet that it is connected.
struct Waiter: BitwiseCopyable {
    var reference: ConnectionReference
    var next: UInt32
    var user: UInt32
    var needsSession: Bool
    var hasSession: Bool
    /// Whether it is within its user's connections on all nodes.
    var hasPlace: Bool
    /// Redis was asked whether it is one too many, and takes it back then.
    var isDoubted = false
    /// It comes back, and says where it left off.
    var resumes: Bool
    var asked: ResumePoint
    /// The last of this node's events that was accepted before it came.
    var after: UInt64
    /// A read for it waits or is out.
    var isReading = false
    /// It is in `unready`.
    var isQueued = false
    /// What presence will say of the device once its session is known.
    var agent: OwnedText
}

/// A step that follows a departure unless somebody came back.
struct Delayed: BitwiseCopyable {
    var due: Instant
    var user: UInt32
    var generation: UInt32
    var change: UInt32
}

/// A user for as long as it is the same one.
struct UserReference: BitwiseCopyable {
    var place: UInt32
    var generation: UInt32
}

/// A device that waits until Redis has acknowledged an event of this node's.
struct UnreadyWaiter: BitwiseCopyable {
    var after: UInt64
    var place: UInt32
    var generation: UInt32
}

/// A question to Redis about a user's history: where the user stands, and what came after `from`.
struct HistoryRead: BitwiseCopyable {
    var user: UInt32
    var generation: UInt32
    /// The device that waits for it; `none` where it is for those that are here.
    var waiter = ConnectionRecord.none
    var waiterGeneration: UInt32 = 0
    var from: Offset?
    /// What Redis had acknowledged when it was asked.
    var acknowledged: UInt64 = 0
    /// What had been heard of the user on its channel by then.
    var heard = Offset.none
    /// And the epoch: what was known of one says nothing of the next.
    var epoch: UInt64?
}

/// Up to where another node's events have been heard.
struct HeardNode: BitwiseCopyable {
    var node: UInt64
    var sequence: UInt64
    var at: Instant
}

@safe
struct RouterState: ~Copyable {
    let shared: ServerShared
    let clock: Clock
    let limits: Limits
    /// Of an event as Redis brings it: what `EventDraft` may hold, and what is written around it.
    var payloadBytesMax: Int { 2 * limits.messageBytesMax + 32_768 }
    let metrics: Shared<RouterMetrics>
    let reason: BackplaneReason
    let buffers: BufferPool
    let redis: RedisAddress?
    let hasRedis: Bool
    let shardCount: Int
    /// Where Redis is; looked up before the loop starts and again by a thread after failures.
    let resolver: AddressResolver
    /// This node in `via`, as 64 bits.
    let node: UInt64
    let channelPrefix: String
    let canaryChannel: [UInt8]
    let commandChannel: [UInt8]
    let revocationsKey: [UInt8]
    let load: @Sendable () -> NodeLoad
    /// Users have a history in Redis.
    let keepsHistory: Bool
    let epochKey: [UInt8]
    /// What a user's keys begin with, up to the brace that the ID stands in.
    let historyKey: [UInt8]
    let positionKey: [UInt8]
    /// How far this node's own events are in history.
    let appendedKey: [UInt8]
    var scripts: LoadedScripts

    var users: UserTable<RoutedUser>
    /// Those that are present in Redis because of a device here.
    var presentCount = 0
    var waiters: Slab<Waiter>
    var outbox: Outbox
    var links = Links()
    let security = LinkSecurity()
    var journal: Journal
    var pending = RawList<Submission>()
    let socketAddress: UnsafeMutableRawPointer

    // Numbers of the journal: what Redis was sent, has acknowledged, and gave back; and up to where
    // this node's devices were served without waiting for it.
    var sentSequence: UInt64 = 0
    var acknowledgedSequence: UInt64 = 0
    var heardSequence: UInt64 = 0
    /// The newest that came back from a history: what was to be kept before it, is.
    var keptSequence: UInt64 = 0
    var localSequence: UInt64 = 0
    /// The newest that Redis said is in history.
    var keptAcknowledged: UInt64 = 0
    var keptAt = Instant(nanoseconds: 0)
    /// The newest that went to a history on the link as it is.
    var appendedSequence: UInt64 = 0
    /// Sent before the link broke, and not answered for: Redis may have them.
    var doubtfulThrough: UInt64 = 0
    /// Redis is not to be waited for: this node's devices are served at once.
    var isLocal = true
    /// Since when, and when the newest canary that came back was sent.
    var silentSince = Instant(nanoseconds: 0)
    var canaryEcho = Instant(nanoseconds: 0)
    var heardNodes = RawList<HeardNode>()

    /// Of the history in Redis, once it is known.
    var epoch: UInt64?
    /// Those before it, oldest first.
    var pastEpochs: [UInt64] = []
    /// The epoch to be ended, since Redis lost events of it; 0: whatever it is.
    var lostEpoch: UInt64?
    var toRead = RawQueue<HistoryRead>()
    /// Reads without an answer yet, in the order of the link.
    var readsOut = RawQueue<HistoryRead>()
    /// Devices that wait until Redis has acknowledged an event.
    var unready = RawQueue<UnreadyWaiter>()
    /// Since when reads wait for their link.
    var readsBlockedSince: Instant?
    /// A shard took nothing: it is not read for until then.
    var readsHeldUntil: [Instant]
    /// By shard, users whose devices are to be sent back once it takes that; and how many they are.
    var owedReturns: [[UserReference]]
    var owedReturnCount = 0
    /// What a device is given that comes back.
    var replay = CommandBuffer(capacity: 0)

    var toSubscribe = RawQueue<UInt32>()
    var unacknowledgedSubscribes = 0
    var quiet = RawQueue<Delayed>()
    var leaving = RawQueue<Delayed>()
    var canaryDue = Instant(nanoseconds: 0)
    var canaryHeard: Instant?
    var canaryAsked: Instant?
    var stallDue = Instant(nanoseconds: 0)
    var renewDue = Instant(nanoseconds: 0)
    var renewCursor: UInt32 = 0
    var pollDue = Instant(nanoseconds: 0)
    var pollCursor: UInt32 = 0
    /// Revocations of this node's that Redis has not all confirmed: the first `confirmedCount` are.
    var unconfirmed: [Revocation] = []
    var confirmedCount = 0
    /// When it is seen whether Redis has them all, after it refused one.
    var revocationsDue: Instant?
    /// Another node's found no room here; said once.
    var isRevocationLost = false
    /// The canary is heard.
    var wasUp = false
    /// And the link for presence and sessions is there too.
    var wasWhole = false
    /// A user's keys may be in several places, so no script can have them all.
    var isCluster = false
    /// Presence is not written for now.
    var refusedWrites: RefusedWrites?
    var news = FailureNews()
    var revocationNews = FailureNews()
    var registry: NodeRegistry
    var restatement = Restatement()
    var registryNews = FailureNews()
    /// By shard.
    var fences: [RouterFence]

    var envelope = MemberTable()
    var inner = MemberTable()
    var json: Scratch
    var channel = Scratch(capacity: 2_048)
    var timestamp = Scratch(capacity: 32)

    var now: Instant
    var wallMilliseconds: Int64 = 0
    var turnStart = Instant(nanoseconds: 0)
    var finishBy: Instant?
    var isFinished = false

    /// The shard where a user's devices meet.
    @inline(__always)
    func home(of hash: UInt64) -> Int { shardCount == 1 ? 0 : Int(hash % UInt64(shardCount)) }
}

/// The four links, each in its place for the router's life.
@safe
struct Links: ~Copyable {
    private let base: UnsafeMutablePointer<RedisLink>

    init() {
        unsafe base = .allocate(capacity: RedisLink.Role.allCases.count)
        for role in RedisLink.Role.allCases {
            unsafe (base + Int(role.rawValue)).initialize(to: RedisLink(role: role))
        }
    }

    deinit {
        unsafe base.deinitialize(count: RedisLink.Role.allCases.count)
        unsafe base.deallocate()
    }

    // By address: an accessor that yields would allocate its frame for each access.
    subscript(role: RedisLink.Role) -> RedisLink {
        unsafeAddress { unsafe UnsafePointer(base + Int(role.rawValue)) }
        unsafeMutableAddress { unsafe base + Int(role.rawValue) }
    }
}

@safe
struct RouterCore {
    private let pointer: UnsafeMutablePointer<RouterState>

    init(_ state: consuming RouterState) {
        unsafe pointer = .allocate(capacity: 1)
        unsafe pointer.initialize(to: state)
    }

    func destroy() {
        state.resolver.stop()
        unsafe state.socketAddress.deallocate()
        unsafe pointer.deinitialize(count: 1)
        unsafe pointer.deallocate()
    }

    @inline(__always)
    var state: RouterState {
        unsafeAddress { unsafe UnsafePointer(pointer) }
        nonmutating unsafeMutableAddress { unsafe pointer }
    }

    @inline(__always)
    var metrics: RouterMetrics {
        unsafeAddress { unsafe state.metrics.address }
    }

    func log(_ level: LogEvent.Level, _ message: String, _ fields: [(String, String)] = []) {
        state.shared.log(LogEvent(level: level, message: message, fields: [("part", "router")] + fields))
    }
}

extension RouterState {
    init(
        shared: ServerShared, configuration: ServerConfiguration, metrics: Shared<RouterMetrics>,
        reason: BackplaneReason, buffers: BufferPool, node: UInt64, address: String,
        load: @escaping @Sendable () -> NodeLoad
    ) {
        let limits = configuration.limits
        var redis: RedisAddress?
        if case .redis(let address) = configuration.backplane { redis = address }
        let inbox = shared.routerInbox
        unsafe self.init(
            shared: shared, clock: shared.host.clock, limits: limits, metrics: metrics, reason: reason, buffers: buffers,
            redis: redis, hasRedis: redis != nil, shardCount: shared.shardCount,
            resolver: AddressResolver(redis ?? RedisAddress(endpoint: .unix(path: "/nonexistent"))) {
                _ = LoopTask<RouterCore>.post(to: inbox, kind: RouterRecord.task.rawValue) {
                    $0.addressChanged()
                }
            },
            node: node, channelPrefix: configuration.redisPrefix,
            canaryChannel: Array("\(configuration.redisPrefix)canary:\(shared.nodeID)".utf8),
            commandChannel: Array("\(configuration.redisPrefix)commands".utf8),
            revocationsKey: Array("\(configuration.redisPrefix)revocations".utf8), load: load,
            keepsHistory: redis != nil && limits.historyEventsMax > 0,
            epochKey: Array("\(configuration.redisPrefix)epoch".utf8),
            historyKey: Array("\(configuration.redisPrefix)history:{".utf8),
            positionKey: Array("\(configuration.redisPrefix)position:{".utf8),
            appendedKey: Array("\(configuration.redisPrefix)appended:\(shared.nodeID)".utf8),
            scripts: LoadedScripts(limits, keepsHistory: redis != nil && limits.historyEventsMax > 0),
            users: UserTable(usersMax: 1 << 20), waiters: Slab(maxSlots: 1 << 20),
            outbox: Outbox(targets: shared.shardInboxes, pool: ParcelPool(parcelsMax: limits.parcelsMax)),
            journal: Journal(
                countMax: limits.backplaneQueueCommandsMax, bytesMax: limits.backplaneQueueBytesMax),
            socketAddress: .allocate(byteCount: 512, alignment: 8),
            readsHeldUntil: Array(repeating: Instant(nanoseconds: 0), count: shared.shardCount),
            owedReturns: Array(repeating: [], count: shared.shardCount),
            registry: NodeRegistry(
                prefix: configuration.redisPrefix, id: shared.nodeID, address: address,
                startedAtMilliseconds: shared.startedAtMilliseconds),
            fences: Array(repeating: RouterFence(), count: shared.shardCount),
            json: Scratch(capacity: 2 * limits.messageBytesMax + 32_768), now: shared.host.clock.now())
    }
}

extension RouterCore {
    /// Tells the other nodes to close a user's connections. Best effort: it is not kept for later.
    func publishDisconnect(_ user: UserID, code: UInt16, reason: String) {
        guard state.hasRedis, state.links[.publish].isReady else { return }
        state.json.clear()
        state.json.writer.append("{\"command\":\"disconnect\",\"userId\":")
        user.withBytes { state.json.writer.appendJSONString($0) }
        state.json.writer.append(",\"code\":")
        state.json.writer.appendDecimal(Int(code))
        state.json.writer.append(",\"reason\":")
        var reason = String(reason.prefix(120))
        reason.withUTF8 { unsafe state.json.writer.appendJSONString($0.span) }
        state.json.writer.append(UInt8(ascii: "}"))
        let payload = state.json.bytes
        state.links[.publish].command(Awaited(kind: .canary), room: payload.count + 512) { writer in
            RESPCommand.writeArray(3, into: &writer)
            writer.appendBulk("PUBLISH")
            RESPCommand.writeBulk(state.commandChannel.span, into: &writer)
            writer.appendBulk(payload)
        }
    }
}
