// One connection to Redis, as a machine on the router's loop: connect, greet, pipeline commands,
// hand out replies in order. It knows nothing of what the commands are for.

internal import Glibc
internal import SkeinIO
internal import SkeinWire

/// A growable buffer that is written at its end and sent from its front.
@safe
struct CommandBuffer: ~Copyable {
    private var base: UnsafeMutablePointer<UInt8>
    private var capacity: Int
    private(set) var count = 0

    init(capacity: Int = 1 << 16) {
        self.capacity = capacity
        unsafe base = .allocate(capacity: capacity)
    }

    deinit { unsafe base.deallocate() }

    var address: UInt { unsafe UInt(bitPattern: base) }

    @inline(__always)
    mutating func write(room: Int, _ body: (inout ByteWriter) -> Void) {
        if count + room > capacity { grow(count + room) }
        var writer = unsafe ByteWriter(unsafe: base + count, capacity: room)
        body(&writer)
        count += writer.count
    }

    mutating func removeAll() { count = 0 }

    func withBytes<Result>(_ body: (Bytes) -> Result) -> Result {
        unsafe body(Bytes(base, count: count))
    }

    private mutating func grow(_ wanted: Int) {
        var size = max(capacity, 4_096)
        while size < wanted { size *= 2 }
        let larger = UnsafeMutablePointer<UInt8>.allocate(capacity: size)
        unsafe larger.update(from: base, count: count)
        unsafe base.deallocate()
        unsafe base = larger
        capacity = size
    }
}

/// What a reply will be the answer to.
struct Awaited: BitwiseCopyable {
    enum Kind: UInt8 {
        case authenticate, select, role, setName, publish, canary, session, poll
        /// A script being loaded, an event appended and published by it; the epoch; a user's history.
        case load, append, epoch, history
        /// How far this node's events are in history, and the end of an epoch.
        case mark, ending
        /// The presence link's own canary: a write that changes nothing.
        case probe
        /// The own link's: it has to say something once a second.
        case pulse
        /// A write to presence, whose answer matters only when it is an error.
        case write
        /// One that is passed on, and all that there are.
        case revocation, revocations
        /// One that Redis turned out not to have.
        case restoredRevocation
        /// How many devices the user of one that comes has, and, where they are too many, whether they are
        /// alive.
        case arrival, crowded
        /// A step through what is left of the departed.
        case sweep
        /// This node's lease, all nodes' leases, and what a dead one left.
        case beat, nodes, clear
    }
    var kind: Kind
    var argument: UInt32 = 0
    var generation: UInt32 = 0
}

/// A reply that fits a line; anything longer comes through the general reader.
enum LineReply {
    case status
    case integer(Int64)
    case error(Bytes)
    case null
    case emptyArray
    case other
}

enum LinkState: Equatable { case idle, connecting, securing, greeting, ready }

struct RedisLink: ~Copyable {
    /// `own` is for Skein's own keys, whose answers may be long: they keep nothing else waiting.
    enum Role: UInt8, CaseIterable {
        case publish, subscribe, presence, own

        /// Events and the canary travel on it.
        var carriesEvents: Bool { self == .publish || self == .subscribe }

        /// 1 is pub/sub's, 4 that of sessions and presence, 0 that of Skein's own keys. A channel is
        /// the same in all of them.
        var database: Int {
            switch self {
            case .publish, .own: 0
            case .subscribe: 1
            case .presence: 4
            }
        }
    }

    let role: Role
    var state = LinkState.idle
    var fd: Int32 = -1
    /// Of this descriptor; answers to older ones are stale.
    var generation: UInt32 = 0
    var filling = CommandBuffer()
    var flying = CommandBuffer()
    var sentOfFlying = 0
    /// Where the link is in TLS: its session, and what that has to say.
    var session = TLSSession.none
    var sealed = CommandBuffer(capacity: 0)
    /// The session is in use further up the stack, so it may not be freed.
    var isOpening = false
    var isSending = false
    var isReceiving = false
    /// Cancelled, and waiting for its last completion before the descriptor is closed.
    var isClosing = false
    var input = ByteBlock()
    var awaited = RawQueue<Awaited>(capacity: 1_024)
    var reader: RESPReader?
    var retryAt: Instant?
    var attempts = 0
    /// By when connecting and greeting must be done, or a reply must have come.
    var deadline: Instant?
    var lastFlush = Instant(nanoseconds: 0)
    /// When Redis last said something on this link.
    var lastReply = Instant(nanoseconds: 0)
    var readyAt = Instant(nanoseconds: 0)
    /// Why it is not there, or may not be for long.
    var failure: LinkFailure?
    /// Redis took the greeting last time and then refused what the link is for.
    var isProving = false
    /// Until when it has to stand, after such a refusal, before it counts as up.
    var provenAt: Instant?

    init(role: Role) { self.role = role }

    deinit {
        if !session.isNone { session.free() }
    }

    /// Something is there to be sent, and nothing on its way.
    var wantsFlush: Bool { (filling.count > 0 || sealed.count > 0) && !isSending && state != .idle }
    var isReady: Bool { state == .ready }
    /// And nothing it was given has been refused since.
    var isProven: Bool { state == .ready && provenAt == nil }

    func token(_ operation: UInt8) -> Token {
        Token(slot: UInt32(role.rawValue), generation: generation, operation: operation)
    }

    /// Appends one command; its reply will be handed out as `awaited`.
    @inline(__always)
    mutating func command(_ awaited: Awaited, room: Int, _ write: (inout ByteWriter) -> Void) {
        filling.write(room: room, write)
        self.awaited.append(awaited)
    }

    /// What is still to be sent.
    var waitingBytes: Int { filling.count + (isSending ? flying.count - sentOfFlying : 0) }

    /// Swaps the buffers for the next send; `nil` while one is in flight or nothing waits.
    mutating func takeOff(at now: Instant) -> Submission? {
        guard !isSending, !isClosing, state != .idle, state != .connecting else { return nil }
        if session.isNone {
            guard filling.count > 0 else { return nil }
            swap(&filling, &flying)
            filling.removeAll()
        } else {
            guard sealed.count > 0 else { return nil }
            swap(&sealed, &flying)
            sealed.removeAll()
        }
        sentOfFlying = 0
        lastFlush = now
        return sendRest()
    }

    mutating func sendRest() -> Submission {
        isSending = true
        return Submission(
            .sendWhenPossible, fd: fd, token: token(RouterOperation.send),
            address: flying.address + UInt(sentOfFlying), count: UInt32(flying.count - sentOfFlying))
    }

    /// Forgets everything of the last connection.
    mutating func reset() {
        filling.removeAll()
        flying.removeAll()
        sentOfFlying = 0
        input.removeAll()
        awaited.removeAll()
        sealed.removeAll()
        if !session.isNone { session.free() }
        session = .none
        reader = nil
        deadline = nil
    }

    /// Reads one reply at the front of `bytes`.
    ///
    /// - Returns: the reply and the bytes it took; `nil` when it has not all come.
    static func line(_ bytes: Bytes) -> (reply: LineReply, count: Int)? {
        guard bytes.count >= 3 else { return nil }
        let base = unsafe bytes.base
        var end = 1
        let last = min(bytes.count - 1, 1_024)
        while unsafe end < last && !(base[end] == 13 && base[end + 1] == 10) { end += 1 }
        let isLine = unsafe end < bytes.count - 1 && base[end] == 13 && base[end + 1] == 10
        switch unsafe base[0] {
        case UInt8(ascii: "+") where isLine:
            return (.status, end + 2)
        case UInt8(ascii: "-") where isLine:
            return (.error(bytes.slice(from: 1, count: end - 1)), end + 2)
        case UInt8(ascii: ":") where isLine:
            let text = bytes.slice(from: 1, count: end - 1)
            guard let number = unsafe JSONNumber.integer(text.buffer.span) else { return (.other, 0) }
            return (.integer(Int64(number)), end + 2)
        case UInt8(ascii: "$") where unsafe isLine && base[1] == UInt8(ascii: "-"):
            return (.null, end + 2)
        case UInt8(ascii: "*") where isLine && bytes.slice(from: 1, count: end - 1).equals("0"):
            return (.emptyArray, end + 2)
        case UInt8(ascii: "+"), UInt8(ascii: "-"), UInt8(ascii: ":"):
            return end >= 1_024 ? (.other, 0) : nil
        default:
            return (.other, 0)
        }
    }
}

/// What the router asks of the kernel; the low byte of its tokens.
enum RouterOperation {
    static let connect: UInt8 = 1
    static let receive: UInt8 = 2
    static let send: UInt8 = 3
}
