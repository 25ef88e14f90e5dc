// All that one shard owns, behind one pointer made on its thread. `ShardCore` is that pointer with
// the shard's verbs on it, one file a verb: Accepting, Handshaking, Joining, Resuming, Receiving,
// Delivering, Sending, Closing, Timing, Draining.

internal import SkeinIO
internal import SkeinWire

struct UserRecord: UserKeyed {
    var id: StoredUserID
    var firstDevice: UInt32 = ConnectionRecord.none
    var deviceCount: UInt32 = 0

    static var idOffset: Int { MemoryLayout<UserRecord>.offset(of: \.id)! }
}

/// Bytes that one connection sends this turn: a frame, or neighbouring frames as one.
struct Segment: BitwiseCopyable {
    var address: UInt
    var count: UInt32
    var next: UInt32
}

/// A connection that has left its user, and of which its dialect is told at the end of the turn.
struct Parting: BitwiseCopyable {
    var slot: UInt32
    var dialect: UInt8
    var userID: OwnedText
}

/// A departure that the router has not been told of, for want of room on the way.
struct Departure: BitwiseCopyable {
    var reference: UInt64
    var userID: OwnedText
}

/// A connection on its way to its home shard, between its release and its parcel.
struct Move: BitwiseCopyable {
    var home: UInt32
    var record: ConnectionRecord
    var id: OwnedText
}

struct ShardState: ~Copyable {
    let index: Int
    let shardCount: Int
    let shared: ServerShared
    let clock: Clock
    let limits: Limits
    let metrics: Shared<ShardMetrics>
    let dialects: DialectTable
    /// By dialect. Apart from the table, which is copied without a count because it holds no reference.
    let paths: [String]
    let buffers: BufferPool
    let counters: RingCounters
    let usesBackplane: Bool
    /// Where it is, depends on the backplane.
    let keepsHistory: Bool
    /// On the memory backplane, where history is on.
    var history: OwnedPointer<HistoryTable>
    /// Of the history in memory: new with every start.
    let epoch: UInt64
    /// What a connection that is being opened is told of its history.
    var welcome: Welcome?
    let decoder: FrameDecoder
    /// For connections that agreed on compression: a message may be longer compressed than plain.
    let compressedDecoder: FrameDecoder
    var compression: Compression

    /// Where the listener speaks TLS.
    var tls: OwnedPointer<TLSDoor>
    var tlsHandshakesLeft = 0
    /// Connections whose handshake waits for the next turn.
    var postponed = RawQueue<UInt32>(capacity: 64)

    var connections: Slab<ConnectionRecord>
    var users: UserTable<UserRecord>
    var timers: TimerWheel
    var arena = TurnArena()
    /// This turn's segments and the last turn's; which is which goes by `turn`'s lowest bit.
    var evenSegments = RawList<Segment>(capacity: 4_096)
    var oddSegments = RawList<Segment>(capacity: 4_096)
    var dirty = RawList<UInt32>(capacity: 4_096)
    var finishing = RawList<UInt32>()
    /// Given this turn what they had missed.
    var replayed = RawList<UInt32>()
    var starved = RawList<UInt32>()
    var reaped = RawList<UInt32>()
    var partings = RawQueue<Parting>()
    /// No more than there were connections: while these wait, arrivals find no room either.
    var departures = RawQueue<Departure>()
    var departuresDue = Instant(nanoseconds: 0)
    /// Devices were told of again, and the router does not know yet how far.
    var announced: RestatementCursor?
    /// The one that a dialect is being told of.
    var parting: Parting?
    var moving = RawList<Move>()
    /// Receives of who brought too much in one turn, in their order; their buffers stay lent.
    var deferred = RawQueue<Completion>(capacity: 64)
    /// An event for everyone that has not reached everyone yet, and what came behind it.
    var fanOut = FanOut()
    var pending = RawList<Submission>(capacity: 1_024)
    var outbox: Outbox

    // Memory that outlives a call: the draft of a dialect, the indexes of a message in hand.
    var draft: Scratch
    var draftInUse = false
    var envelope = MemberTable()
    var data = MemberTable()
    var timestamp = Scratch(capacity: 32)
    /// A message's type, where it was written with escapes.
    var name = Scratch(capacity: 1_024)
    /// What the dialect of the message in hand calls its data.
    var dataKey: StaticString = "data"

    /// Nanoseconds between messages at the sustained rate; 0: no limit.
    let messageInterval: Int64
    /// How far ahead of that rate a burst may run.
    let messageLead: Int64

    var turn: UInt32 = 0
    var now: Instant
    var wallMilliseconds: Int64 = 0
    var turnStart: Instant

    var listener: Int32
    var acceptArmed = false
    var acceptPausedUntil: Instant?
    var reserve: Int32
    var isShedding = false
    /// By the buffers of all connections; what the node was told of all memory; when to shed next.
    var bytesHeld = 0
    var bytesTold = 0
    var nextShed = Instant(nanoseconds: 0)
    var drain: ShardDrain?
    /// The connections of a wave that waits for its fence.
    var chosen = RawList<ConnectionReference>()
    var fenceNumber: UInt32 = 0
    var isFinished = false

    /// The router's place in the outbox: behind the shards.
    var routerIndex: Int { shardCount }

    /// Where a user's devices meet.
    @inline(__always)
    func home(of hash: UInt64) -> Int { shardCount == 1 ? 0 : Int(hash % UInt64(shardCount)) }
}

@safe
struct ShardCore {
    private let pointer: UnsafeMutablePointer<ShardState>

    /// Called on the shard's own thread.
    init(_ state: consuming ShardState) {
        unsafe pointer = .allocate(capacity: 1)
        unsafe pointer.initialize(to: state)
    }

    func destroy() {
        unsafe pointer.deinitialize(count: 1)
        unsafe pointer.deallocate()
    }

    @inline(__always)
    var state: ShardState {
        unsafeAddress { unsafe UnsafePointer(pointer) }
        nonmutating unsafeMutableAddress { unsafe pointer }
    }

    @inline(__always)
    var metrics: ShardMetrics {
        unsafeAddress { unsafe state.metrics.address }
    }

    func reference(_ slot: UInt32) -> ConnectionReference {
        ConnectionReference(
            shard: state.index, slot: slot, generation: state.connections.generation(of: slot))
    }

    func token(_ slot: UInt32, _ operation: UInt8) -> Token {
        Token(slot: slot, generation: state.connections.generation(of: slot), operation: operation)
    }

    /// The slot, if that connection still lives here.
    func slot(of reference: ConnectionReference) -> UInt32? {
        guard reference.shard == state.index,
            state.connections.isLive(reference.slot, generation: reference.generation)
        else { return nil }
        return reference.slot
    }

    func log(_ level: LogEvent.Level, _ message: String, _ fields: [(String, String)] = []) {
        state.shared.log(
            LogEvent(level: level, message: message, fields: [("shard", "\(state.index)")] + fields))
    }
}

/// Which dialect speaks where: looked up once at the handshake, called without a reference count.
@safe
struct DialectTable {
    private let base: UnsafeMutablePointer<Unmanaged<Dialect>>
    let count: Int
    private let shapes: UnsafeMutablePointer<EnvelopeShape>
    /// Bit by dialect.
    private let echoes: UInt8

    /// Called on the shard's own thread: a dialect's instance lives and dies with its shard.
    init(_ dialects: [Dialect]) {
        precondition(dialects.count <= ShardMetrics.dialectsMax, "at most 8 dialects")
        count = dialects.count
        unsafe base = .allocate(capacity: max(1, count))
        unsafe shapes = .allocate(capacity: max(1, count))
        for (index, dialect) in dialects.enumerated() {
            unsafe (base + index).initialize(to: .passRetained(dialect))
            unsafe (shapes + index).initialize(to: dialect.envelope)
        }
        echoes = dialects.enumerated().reduce(0) { $0 | ($1.element.isEcho ? 1 << UInt8($1.offset) : 0) }
    }

    func destroy() {
        for index in 0..<count { unsafe base[index].release() }
        unsafe base.deallocate()
        unsafe shapes.deallocate()
    }

    @inline(__always)
    func shape(_ index: UInt8) -> EnvelopeShape {
        precondition(Int(index) < count, "no such dialect")
        return unsafe shapes[Int(index)]
    }

    @inline(__always)
    func isEcho(_ index: UInt8) -> Bool { echoes & 1 << index != 0 }

    @inline(__always)
    func dialect(_ index: UInt8) -> Unmanaged<Dialect> {
        precondition(Int(index) < count, "no such dialect")
        return unsafe base[Int(index)]
    }

    @inline(__always)
    func with<R>(_ index: UInt8, _ body: (Dialect) -> R) -> R {
        unsafe dialect(index)._withUnsafeGuaranteedRef { body($0) }
    }
}
