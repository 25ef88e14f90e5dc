// What a shard knows of one connection, as a plain value: no reference, no buffer. Everything that
// exists only while something is partial or waiting hangs off a pointer that is usually empty.

internal import SkeinIO
internal import SkeinWire

/// Where a connection stands. It only ever moves down this list.
enum ConnectionState: UInt8 {
    /// Reading the request head. → `authenticating`, `joining`, `open`, `finishing`, `dead`
    case handshaking
    /// A question is out to the authenticator; nothing is in flight. → `joining`, moved, `finishing`
    case authenticating
    /// At its home shard, waiting for the router to hear the user's channels. → `open`, `finishing`
    case joining
    case open
    /// Our close frame is out or queued; the peer's is awaited. → `finishing`, `dead`
    case closing
    /// The last byte is written and our side shut down; what still comes is thrown away. → `dead`
    case finishing
    /// Everything in flight is cancelled; the slot is freed with the last completion.
    case dead

    /// Whether what comes is still read, or kept for later.
    var readsOn: Bool { self != .finishing && self != .dead }
}

/// What is asked of the kernel for a connection; the low byte of its tokens.
enum ShardOperation {
    static let receive: UInt8 = 1
    static let sendNow: UInt8 = 2
    static let sendWhenPossible: UInt8 = 3
    static let accept: UInt8 = 4
}

struct ConnectionRecord: BitwiseCopyable {
    struct Flags: OptionSet, BitwiseCopyable {
        let rawValue: UInt16
        /// A receive is in flight.
        static let receiving = Flags(rawValue: 1 << 0)
        /// A `sendWhenPossible` is in flight; its bytes head the backlog.
        static let sending = Flags(rawValue: 1 << 1)
        /// Shut down our side once everything is written.
        static let finishAfterFlush = Flags(rawValue: 1 << 2)
        static let closeSent = Flags(rawValue: 1 << 3)
        static let closeReceived = Flags(rawValue: 1 << 4)
        /// Waits for receive buffers to come back.
        static let starved = Flags(rawValue: 1 << 5)
        /// Told to leave by a drain.
        static let told = Flags(rawValue: 1 << 6)
        /// Counted in the address table.
        static let counted = Flags(rawValue: 1 << 7)
        /// Its dialect was told that it is connected.
        static let announced = Flags(rawValue: 1 << 8)
        /// The router counts it among its user's devices.
        static let toldRouter = Flags(rawValue: 1 << 9)
        /// permessage-deflate was agreed.
        static let compresses = Flags(rawValue: 1 << 10)
        /// TLS has said that nothing more will come.
        static let notified = Flags(rawValue: 1 << 11)
        /// Given what it had missed: until that is out, more may wait for it than for others.
        static let replaying = Flags(rawValue: 1 << 12)
        /// On the list of what is freed at the end of the turn.
        static let reaped = Flags(rawValue: 1 << 13)
        /// Its dialect is still to be told that it has gone.
        static let parting = Flags(rawValue: 1 << 14)
        /// It brought so much that some of it waits for the next turn.
        static let deferred = Flags(rawValue: 1 << 15)
    }

    var fd: Int32
    var state: ConnectionState
    var dialect: UInt8 = 0
    var flags: Flags = []

    /// Device list of its user; `none` where it has no user.
    var user: UInt32 = Self.none
    var nextDevice: UInt32 = Self.none
    var previousDevice: UInt32 = Self.none

    // This turn's output, or the last turn's until its outcome is known.
    var segmentHead: UInt32 = 0
    var segmentTail: UInt32 = 0
    var segmentCount: UInt32 = 0
    var turnBytes: UInt32 = 0
    var turnMessages: UInt32 = 0
    var turn: UInt32 = 0
    /// What was agreed, packed, where `compresses` is set.
    var deflate: UInt16 = 0
    /// The turn, cut short, in which it brought `turnReceived` bytes; kept in turns that bring much.
    var receivedTurn: UInt16 = 0
    var turnReceived: UInt32 = 0

    var lastHeard: Instant
    /// Absolute: of the handshake, of a close, or of a send without progress; by state.
    var deadline: Instant
    var lastPing: Instant
    /// When the next message would be allowed at the sustained rate.
    var rateDue: Int64 = 0
    var refusalsStart: Int64 = 0
    var refusals: UInt32 = 0
    /// What its buffers held when they were last looked at.
    var bytesHeld: UInt32 = 0
    var expiresAtMilliseconds: Int64 = .max
    /// Of its token; the earliest there is where the token does not say.
    var issuedAtMilliseconds: Int64 = .min
    /// Its token's ID, see `TokenMark`.
    var tokenMark: UInt64 = 0
    var connectedAtMilliseconds: Int64 = 0
    var address: PeerAddress

    var input: OwnedPointer<PartialInput> = .none
    var backlog: OwnedPointer<Backlog> = .none
    var handshake: OwnedPointer<HandshakeState> = .none
    var userAgent: OwnedText = .none
    /// Speaks for the connection where the listener speaks TLS, from its first byte on.
    var tls = TLSSession.none
    var context: OwnedPointer<CompressionContext> = .none

    static let none = UInt32.max

    init(fd: Int32, address: PeerAddress, now: Instant, deadline: Instant) {
        self.fd = fd
        self.state = .handshaking
        self.address = address
        self.lastHeard = now
        self.lastPing = now
        self.deadline = deadline
    }
}

/// A pointer that its record owns: made and freed by the shard, copied with the record's bytes.
@safe
struct OwnedPointer<Value: ~Copyable>: BitwiseCopyable {
    private let address: UInt

    static var none: OwnedPointer { OwnedPointer(address: 0) }

    private init(address: UInt) { self.address = address }

    init(_ value: consuming Value) {
        let pointer = UnsafeMutablePointer<Value>.allocate(capacity: 1)
        unsafe pointer.initialize(to: value)
        address = UInt(bitPattern: pointer)
    }

    @inline(__always) var exists: Bool { address != 0 }

    var value: Value {
        unsafeAddress { unsafe UnsafePointer(bitPattern: address)! }
        nonmutating unsafeMutableAddress { unsafe UnsafeMutablePointer(bitPattern: address)! }
    }

    /// Ends the value, where there is one.
    mutating func free() {
        guard let pointer = unsafe UnsafeMutablePointer<Value>(bitPattern: address) else { return }
        unsafe pointer.deinitialize(count: 1)
        unsafe pointer.deallocate()
        self = .none
    }
}

/// A short text of a record's own, in one block of exactly its size.
@safe
struct OwnedText: BitwiseCopyable {
    private let address: UInt

    static let none = OwnedText(address: 0)
    static let countMax = 256

    private init(address: UInt) { self.address = address }

    /// Copies up to 256 bytes.
    init(copying bytes: Bytes) {
        let count = min(bytes.count, Self.countMax)
        guard count > 0 else { self = .none; return }
        let block = UnsafeMutablePointer<UInt8>.allocate(capacity: count + 2)
        unsafe block[0] = UInt8(count & 0xFF)
        unsafe block[1] = UInt8(count >> 8)
        unsafe (block + 2).update(from: bytes.base, count: count)
        address = UInt(bitPattern: block)
    }

    var bytes: Bytes {
        guard let block = unsafe UnsafePointer<UInt8>(bitPattern: address) else { return .empty }
        return unsafe Bytes(block + 2, count: Int(block[0]) | Int(block[1]) << 8)
    }

    mutating func free() {
        guard let block = unsafe UnsafeMutablePointer<UInt8>(bitPattern: address) else { return }
        unsafe block.deallocate()
        self = .none
    }
}
