// What loops say to one another. A record is a kind, 64 bits and some bytes; it is written by one
// thread, read once by another, and its layout is known to this file and to those two ends.

internal import SkeinIO

/// To a shard.
enum ShardRecord: UInt16 {
    /// A connection comes home: `Adoption`, then the user's ID.
    case adopt = 1
    /// The authenticator's answer about the connection in the argument.
    case authenticated
    /// The router's answer: a user's channels are heard. The result is in the flags; where there is
    /// history, `Welcome` follows, and all that a client that resumes has missed.
    case joined
    /// An event for one user, who lives here if anywhere.
    case deliver
    /// An event for everyone.
    case broadcast
    /// A publish that the argument's connection asked for did not happen; its `requestId`.
    case publishFailed
    /// Close all of a user's connections: `Disconnection`.
    case disconnectUser
    /// Tell the router of the next devices again: Redis may have forgotten them. From where on is in the
    /// argument, a `RestatementCursor`.
    case announce
    /// Pass it on, behind all that was accepted here: another shard's question, a `FenceTicket`.
    case fence
    /// Nothing that was accepted before the question is on its way any more.
    case fenced
    case task
}

/// To the router.
enum RouterRecord: UInt16 {
    /// A device wants to join: `Arrival`. Flags: `ArrivalFlags`.
    case arrive = 32
    /// A device has gone: the user's ID; the argument says which.
    case leave
    /// An event for one user, to be put in order and sent to wherever the user is.
    case publish
    /// Devices of a shard's have been told again; a `RestatementCursor`.
    case announced
    /// A shard's question whether anything is on its way to it: a `FenceTicket`. Each shard sends it.
    case fence
    case task
}

enum JoinResult: UInt16 {
    case welcome
    /// `session:{userID}` is not there.
    case noSession
    /// Redis cannot be asked for the session.
    case unavailable
    /// The user has as many connections as may be, on all nodes together.
    case tooMany
}

struct ArrivalFlags: OptionSet {
    let rawValue: UInt16
    static let needsSession = ArrivalFlags(rawValue: 1)
    /// The device is open already; nobody waits for an answer.
    static let again = ArrivalFlags(rawValue: 2)
    /// It says where it left off: a `ResumePoint` follows.
    static let resumes = ArrivalFlags(rawValue: 4)
}

/// Small self-describing payloads: fixed numbers, then texts each behind its length.
@safe
struct RecordReader {
    private var bytes: Bytes
    private var offset = 0

    init(_ bytes: Bytes) { self.bytes = bytes }

    mutating func number<T: BitwiseCopyable>(_ type: T.Type = T.self) -> T {
        let part = bytes.slice(from: offset, count: MemoryLayout<T>.size)
        offset += MemoryLayout<T>.size
        return unsafe UnsafeRawPointer(part.base).loadUnaligned(as: T.self)
    }

    /// Bytes behind a length of 32 bits.
    mutating func block() -> Bytes {
        let count = Int(number(UInt32.self))
        defer { offset += count }
        return bytes.slice(from: offset, count: count)
    }

    mutating func text() -> Bytes {
        let count = Int(number(UInt16.self))
        defer { offset += count }
        return bytes.slice(from: offset, count: count)
    }
}

@safe
struct RecordWriter {
    private let base: UnsafeMutablePointer<UInt8>
    private let capacity: Int
    private var offset = 0

    init(_ base: UnsafeMutablePointer<UInt8>, capacity: Int) {
        unsafe self.base = base
        self.capacity = capacity
    }

    static func bytes(_ texts: Bytes...) -> Int { texts.reduce(0) { $0 + 2 + $1.count } }

    mutating func number<T: BitwiseCopyable>(_ value: T) {
        precondition(offset + MemoryLayout<T>.size <= capacity, "a record outgrew its bytes")
        unsafe UnsafeMutableRawPointer(base + offset).storeBytes(of: value, as: T.self)
        offset += MemoryLayout<T>.size
    }

    mutating func text(_ bytes: Bytes) {
        number(UInt16(bytes.count))
        precondition(offset + bytes.count <= capacity, "a record outgrew its bytes")
        unsafe bytes.copy(to: base + offset)
        offset += bytes.count
    }
}

/// Work from outside that must happen on a loop's thread: the control plane's questions.
final class LoopTask<Core>: Sendable {
    private let body: @Sendable (Core) -> Void

    init(_ body: @escaping @Sendable (Core) -> Void) { self.body = body }

    /// - Parameter always: even when the loop has too much waiting.
    /// - Returns: false when the loop has too much waiting; nothing will run then.
    static func post(
        to inbox: Inbox, kind: UInt16, always: Bool = false, _ body: @escaping @Sendable (Core) -> Void
    ) -> Bool {
        let task = unsafe Unmanaged.passRetained(LoopTask(body))
        let argument = unsafe UInt64(UInt(bitPattern: task.toOpaque()))
        if inbox.post(kind: kind, argument: argument, payload: [], always: always) {
            return true
        }
        unsafe task.release()
        return false
    }

    static func run(_ argument: UInt64, _ core: Core) {
        guard let opaque = unsafe UnsafeRawPointer(bitPattern: UInt(argument)) else { return }
        unsafe Unmanaged<LoopTask<Core>>.fromOpaque(opaque).takeRetainedValue().body(core)
    }
}
