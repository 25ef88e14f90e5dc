// What a worker knows of one connection: plain, in a table that never moves. A connection's place stays its
// own for the whole run; each socket that it has in turn is a life of it.

internal import SkeinIO
internal import SkeinWire

enum ConnectionState: UInt8 {
    /// No socket. → `connecting`
    case closed
    case connecting
    /// TLS, before the request.
    case securing
    /// The request is out.
    case upgrading
    /// Upgraded; the text that it waits for has not come.
    case greeting
    case open
    /// A close frame is out or has come; the rest is still read.
    case closing
    /// What is in flight is cancelled; the socket is closed with the last completion. → `closed`
    case leaving

    var isPending: Bool {
        self == .connecting || self == .securing || self == .upgrading || self == .greeting
    }
    var speaksFrames: Bool { self == .greeting || self == .open || self == .closing }
}

/// The low byte of tokens.
enum Operation {
    static let receive: UInt8 = 1
    static let sendNow: UInt8 = 2
    static let sendLater: UInt8 = 3
    static let connect: UInt8 = 4
}

struct Connection: BitwiseCopyable {
    struct Flags: OptionSet, BitwiseCopyable {
        let rawValue: UInt16
        static let receiving = Flags(rawValue: 1)
        /// A `sendWhenPossible` is in flight on `out`.
        static let sendingLater = Flags(rawValue: 2)
        static let connecting = Flags(rawValue: 4)
        /// In the list of those to be flushed.
        static let dirty = Flags(rawValue: 8)
        /// A fragmented message is under way, gathered in `message`.
        static let fragmented = Flags(rawValue: 16)
        static let textFragments = Flags(rawValue: 32)
        /// Waits in the queue of those to connect.
        static let queued = Flags(rawValue: 64)
        /// chat: sends and gets nothing more until it has been away.
        static let parting = Flags(rawValue: 128)
        /// It only publishes: of fanout, or chat's presence; and its kind.
        static let publisher = Flags(rawValue: 256)
        static let redis = Flags(rawValue: 512)
        /// Has been open before.
        static let wasOpen = Flags(rawValue: 1024)
        /// Its end has been told.
        static let told = Flags(rawValue: 2048)
        /// No receive buffer was free: to be armed again.
        static let starved = Flags(rawValue: 4096)
        /// Came back and was told, or could know, that it may have missed something.
        static let mayMiss = Flags(rawValue: 8192)
    }

    var fd: Int32 = -1
    var state = ConnectionState.closed
    var flags: Flags = []
    var target: UInt16 = 0
    var key: UInt8 = 0
    /// Whose user it has: in `connect` another one each time.
    var identity: UInt32 = 0
    var life: UInt32 = 0
    /// Where the last marker was found.
    var hint: UInt32 = 0
    /// Of the request, since it wants to leave, or since the last end.
    var since: Int64 = 0
    /// chat: what is on its way to it and has no number: typing, presence, pongs.
    var unnumbered: UInt32 = 0
    /// Head bytes already looked through.
    var scanned: Int32 = 0

    /// What the kernel is given: by the turn, or, while `sendingLater`, untouched.
    var out = RawBuffer()
    /// What waits until `out` is free, or to be sealed.
    var waiting = RawBuffer()
    /// Input that is not whole yet.
    var partial = RawBuffer()
    /// A fragmented message.
    var message = RawBuffer()
    var session = TLSSession.none

    func token(_ slot: UInt32, _ operation: UInt8) -> Token {
        Token(slot: slot, generation: life & 0xFF_FFFF, operation: operation)
    }

    var hasInFlight: Bool {
        !flags.isDisjoint(with: [.receiving, .sendingLater, .connecting])
    }

    mutating func freeBuffers() {
        out.free()
        waiting.free()
        partial.free()
        message.free()
    }
}

/// What one connection sends, and what of it has arrived.
struct Stream: BitwiseCopyable {
    var sent: UInt32 = 0
    /// One more than the last that the server should confirm to the sender.
    var confirmableEnd: UInt32 = 0
    /// By its receiver.
    var received = SequenceCheck()
    /// By its sender, where the server confirms.
    var confirmed = SequenceCheck()
}
