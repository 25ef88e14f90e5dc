// Verifies clients' tokens: HS256 with the shared secret. A token that held once is remembered
// until it expires, so that a reconnecting crowd costs one look-up each. No token and no claim ever
// reaches an error or a log line: failures are one of a few words.

internal import FoundationEssentials
internal import JWTKit
package import Skein
internal import Synchronization

/// What a token said, once it is known to be true.
package struct VerifiedToken: Sendable, Equatable {
    package let identity: Identity
    package let role: String?

    /// Whether it may call what only services may.
    package var isService: Bool { role == "service" || role == "admin" }
}

package final class JWTAuthenticator: Authenticator {
    /// How far the clocks of issuer and node may differ when a client connects.
    package static let clockTolerance: Duration = .seconds(30)
    /// Longer tokens are refused unread: a head could not hold them anyway.
    static let tokenBytesMax = 16_384

    private let algorithm: any JWTAlgorithm
    private let issuer: String?
    private let audience: String?
    private let cache: TokenCache
    private let headers = AcceptedHeaders()
    private let millisecondsSince1970: @Sendable () -> Int64

    /// - Parameter now: milliseconds since 1970, for tests.
    package init(
        _ settings: JWTSettings,
        now: @escaping @Sendable () -> Int64 = { Int64(Date().timeIntervalSince1970 * 1_000) }
    ) async throws {
        // Other algorithms (RS256, ES256, EdDSA) belong here: one key for each `alg`, chosen by
        // the header only among those that the configuration names.
        algorithm = try await TokenKey.hs256(settings.secret)
        issuer = settings.issuer
        audience = settings.audience
        cache = TokenCache(entriesMax: settings.cacheEntriesMax)
        millisecondsSince1970 = now
    }

    /// Tokens that are remembered now.
    package var cachedCount: Int { cache.count }

    package func authenticate(token: String) async throws(AuthenticationFailure) -> Identity {
        try verify(token).identity
    }

    package func verify(_ token: String) throws(AuthenticationFailure) -> VerifiedToken {
        guard !token.isEmpty else { throw .missing }
        guard token.utf8.count <= Self.tokenBytesMax else { throw .malformed }
        let now = millisecondsSince1970()
        if let known = cache.find(token, at: now) { return known }
        let claims = try checkSignature(of: token)
        let verified = try check(claims, at: now)
        let expiry = verified.identity.expiresAtMilliseconds
        cache.insert(
            token, verified,
            until: expiry.map { $0 + Int64(Self.clockTolerance.milliseconds) } ?? .max)
        return verified
    }
}

private extension JWTAuthenticator {
    func checkSignature(of token: String) throws(AuthenticationFailure) -> TokenClaims {
        let bytes = Array(token.utf8)
        let parts = bytes.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
        guard parts.count == 3 else { throw .malformed }
        try checkHeader(parts[0])
        guard let signature = Base64URL.decode(parts[2]), let payload = Base64URL.decode(parts[1])
        else { throw .malformed }
        let signed = bytes[..<parts[1].endIndex]
        guard (try? algorithm.verify(signature, signs: signed)) == true else { throw .badSignature }
        guard let claims = try? JSONDecoder().decode(TokenClaims.self, from: Data(payload)) else {
            throw .malformed
        }
        return claims
    }

    /// The algorithm is ours to choose, not the token's: `none` and all others end here.
    func checkHeader(_ encoded: ArraySlice<UInt8>) throws(AuthenticationFailure) {
        if headers.contains(encoded) { return }
        guard let decoded = Base64URL.decode(encoded),
            let header = try? JSONDecoder().decode(TokenHeader.self, from: Data(decoded))
        else { throw .malformed }
        guard header.alg == "HS256", header.crit == nil else { throw .badSignature }
        headers.insert(encoded)
    }

    func check(_ claims: TokenClaims, at now: Int64) throws(AuthenticationFailure) -> VerifiedToken
    {
        let tolerance = Int64(Self.clockTolerance.milliseconds)
        var expiry: Int64?
        if let seconds = claims.expiresAt {
            let milliseconds = Self.milliseconds(seconds)
            guard milliseconds + tolerance > now else { throw .expired }
            expiry = milliseconds
        }
        if let seconds = claims.notBefore {
            guard Self.milliseconds(seconds) - tolerance <= now else { throw .notYetValid }
        }
        if let issuer, claims.issuer != issuer { throw .wrongIssuer }
        if let audience, claims.audience?.contains(audience) != true { throw .wrongAudience }
        guard let name = claims.subject ?? claims.userID ?? claims.userIDCamel,
            let userID = UserID(name)
        else { throw .noUser }
        return VerifiedToken(
            identity: Identity(
                userID: userID, username: claims.username ?? claims.preferredUsername,
                expiresAtMilliseconds: expiry),
            role: claims.role)
    }

    /// Clamped to some 140,000 years either way, so that no arithmetic on it overflows.
    static func milliseconds(_ seconds: Double) -> Int64 {
        Int64(min(max(seconds * 1_000, -4.5e15), 4.5e15))
    }
}

enum TokenKey {
    /// jwt-kit hands its algorithm out of an actor; taken once, it is used without hops.
    static func hs256(_ secret: String) async throws -> any JWTAlgorithm {
        let keys = JWTKeyCollection()
        await keys.add(hmac: HMACKey(from: secret), digestAlgorithm: .sha256)
        return try await keys.getKey()
    }
}

/// Heads of tokens that were found good. An issuer writes the same few again and again.
private final class AcceptedHeaders: Sendable {
    private static let countMax = 16
    private let heads = Mutex<[[UInt8]]>([])

    func contains(_ head: ArraySlice<UInt8>) -> Bool {
        heads.withLock { $0.contains { $0.elementsEqual(head) } }
    }

    func insert(_ head: ArraySlice<UInt8>) {
        heads.withLock { heads in
            if heads.count == Self.countMax { heads.removeFirst() }
            heads.append(Array(head))
        }
    }
}
