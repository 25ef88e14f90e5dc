// What is taken back before its time: all tokens of a user that were issued before a moment, or one
// token by its ID. Kept by every node until it expires, and looked at where a connection opens.

public struct Revocation: Sendable, Equatable {
    public enum Subject: Sendable, Hashable {
        case user(UserID)
        /// A token's `jti`, 1 to ``Revocation/tokenIDBytesMax`` bytes.
        case token(String)
    }

    public static let tokenIDBytesMax = 256

    public var subject: Subject
    /// Of a user, the tokens issued (`iat`) before this, in milliseconds since 1970; a token that
    /// does not say when it was issued counts as older. Nothing is made of it for a single token.
    public var beforeMilliseconds: Int64
    /// When it is forgotten, in milliseconds since 1970. Later than the tokens themselves expire.
    public var expiresAtMilliseconds: Int64

    public init(_ subject: Subject, beforeMilliseconds: Int64, expiresAtMilliseconds: Int64) {
        self.subject = subject
        self.beforeMilliseconds = beforeMilliseconds
        self.expiresAtMilliseconds = expiresAtMilliseconds
    }
}

/// How far a revocation got when it was answered.
public struct RevocationOutcome: Sendable, Equatable {
    public enum Scope: String, Sendable, Codable {
        /// This node alone knows: there is no Redis, or it is away. Where it is away, the others are
        /// told when it returns.
        case node
        /// It was handed to Redis, for all nodes and for those that start later.
        case cluster
    }

    /// Connections that were closed on this node.
    public var closed: Int
    public var scope: Scope

    public init(closed: Int, scope: Scope) {
        self.closed = closed
        self.scope = scope
    }
}
