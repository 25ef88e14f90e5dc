// What a service brings to a server: an endpoint, the envelope spoken there, and what its messages
// do. The broker's own services are written against this and nothing else.

/// The behaviour of one endpoint on one shard.
///
/// Subclass it and override what you need. A server makes one instance per shard, through its
/// ``DialectFactory``, on that shard's thread; all calls come from that thread, one at a time, so an
/// instance may keep plain state without locks. A call must not block: what must wait is handed to
/// ordinary async code.
open class Dialect {
    /// Where clients connect, such as `/ws`.
    public let path: String
    /// What metrics and the control plane call it, such as `relay`.
    public let name: String
    /// How events and messages are written at this endpoint.
    public let envelope: EnvelopeShape

    public init(path: String, name: String, envelope: EnvelopeShape) {
        self.path = path
        self.name = name
        self.envelope = envelope
    }

    /// A client was told 101. What is sent to it here is the first that it gets. The default sends
    /// `connected` with the connection's ID.
    open func connected(_ connection: borrowing Connection) {
        connection.sendConnected()
    }

    /// A text message in this dialect's envelope came: `message.type` is there, `message.data` is an
    /// object. The default answers `UNKNOWN_EVENT`.
    open func received(_ message: borrowing Message, from connection: borrowing Connection) {
        connection.fail(.unknownEvent, "this endpoint knows no such type")
    }

    /// The connection is closing or gone; nothing can be sent to it any more, but to others. Called at
    /// the end of the turn in which it left, so never from within another call.
    open func disconnected(_ connection: borrowing Connection) {}

    /// Anyone may connect, and a connection without a token has no user.
    var needsNoToken: Bool { false }
    /// Every message is answered with itself.
    var isEcho: Bool { false }
}

/// How a server gets a dialect for each of its shards.
public struct DialectFactory: Sendable {
    let make: @Sendable () -> Dialect

    /// - Parameter make: called once per shard, on the shard's thread.
    public init(_ make: @escaping @Sendable () -> Dialect) { self.make = make }
}

/// Answers every text and binary message with itself: for conformance suites and measurements.
final class EchoDialect: Dialect {
    private let isOpen: Bool

    init(path: String, isOpen: Bool) {
        self.isOpen = isOpen
        super.init(path: path, name: "echo", envelope: .relay)
    }

    override var needsNoToken: Bool { isOpen }
    override var isEcho: Bool { true }
    override func connected(_ connection: borrowing Connection) {}
}

/// What a client is told when a message of its was not carried out.
public enum ErrorCode: Sendable {
    case invalidMessage, validation, unknownEvent, unauthorized, forbidden, blocked, notFound
    case rateLimited, internalError

    var text: StaticString {
        switch self {
        case .invalidMessage: "INVALID_MESSAGE"
        case .validation: "VALIDATION_ERROR"
        case .unknownEvent: "UNKNOWN_EVENT"
        case .unauthorized: "UNAUTHORIZED"
        case .forbidden: "FORBIDDEN"
        case .blocked: "BLOCKED"
        case .notFound: "NOT_FOUND"
        case .rateLimited: "RATE_LIMITED"
        case .internalError: "INTERNAL_ERROR"
        }
    }
}

/// Why an event was not accepted; nothing of it was sent.
public enum SendError: Error, Sendable {
    /// Too much is under way between this node's threads. Retry after 50 ms or more.
    case overloaded
    /// The event's data is larger than the draft's room.
    case tooLarge
}
