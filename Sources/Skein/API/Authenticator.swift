// Who a connection belongs to. A shard asks with the token it found in the handshake and goes on
// with its other connections; the answer comes back through its inbox.

/// What a verified token says.
public struct Identity: Sendable, Equatable {
    public var userID: UserID
    /// The name that block lists and messages show, where the token has one.
    public var username: String?
    /// When the connection ends with 4401, in milliseconds since 1970; `nil`: never.
    public var expiresAtMilliseconds: Int64?
    /// When the token was issued, in milliseconds since 1970; `nil`: it does not say.
    public var issuedAtMilliseconds: Int64?
    /// By which the token can be revoked alone, its `jti`.
    public var tokenID: String?

    public init(
        userID: UserID, username: String? = nil, expiresAtMilliseconds: Int64? = nil,
        issuedAtMilliseconds: Int64? = nil, tokenID: String? = nil
    ) {
        self.userID = userID
        self.username = username
        self.expiresAtMilliseconds = expiresAtMilliseconds
        self.issuedAtMilliseconds = issuedAtMilliseconds
        self.tokenID = tokenID
    }
}

/// Why a token was refused. The client is told no more than 401; the reason is counted and logged.
public enum AuthenticationFailure: String, Error, Sendable, CaseIterable {
    case missing, malformed, badSignature = "bad_signature", expired, notYetValid = "not_yet_valid"
    case wrongIssuer = "wrong_issuer", wrongAudience = "wrong_audience", noUser = "no_user"
    case unknownKey = "unknown_key", revoked, overloaded
}

/// Verifies tokens. Called on the cooperative pool, never on a shard's thread; may take its time,
/// within the handshake timeout.
public protocol Authenticator: Sendable {
    func authenticate(token: String) async throws(AuthenticationFailure) -> Identity
}
