// Verifies clients' tokens with the keys of a ring. A token that held once is remembered until it
// expires or the keys change, so that a reconnecting crowd costs one look-up each. No token and no
// claim ever reaches an error or a log line: failures are one of a few words.

internal import FoundationEssentials
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
    /// Longer tokens are refused unread.
    package static let tokenBytesMax = 8_192

    package let keys: KeyRing
    private let issuers: [String]
    private let audiences: [String]
    private let leewayMilliseconds: Int64
    private let cache: TokenCache
    private let headers = AcceptedHeaders()
    private let millisecondsSince1970: @Sendable () -> Int64

    /// - Parameter now: milliseconds since 1970, for tests.
    package init(
        _ settings: JWTSettings, keys: KeyRing,
        now: @escaping @Sendable () -> Int64 = { Int64(Date().timeIntervalSince1970 * 1_000) }
    ) {
        self.keys = keys
        issuers = settings.issuers
        audiences = settings.audiences
        leewayMilliseconds = Int64(settings.leeway.milliseconds)
        cache = TokenCache(entriesMax: settings.cacheEntriesMax)
        millisecondsSince1970 = now
    }

    /// Tokens that are remembered now.
    package var cachedCount: Int { cache.count }

    package func authenticate(token: String) async throws(AuthenticationFailure) -> Identity {
        try await verify(token).identity
    }

    /// Waits for a fetch of the JWKS at most, and only where the token names a key that is not here.
    package func verify(_ token: String) async throws(AuthenticationFailure) -> VerifiedToken {
        let before = keys.snapshot
        do throws(AuthenticationFailure) {
            return try verify(token, before)
        } catch {
            guard error == .unknownKey else { throw error }
        }
        let isFetched: Bool
        do throws(KeyRingIsBusy) {
            isFetched = try await keys.fetchForUnknownKey()
        } catch {
            throw .overloaded
        }
        let now = keys.snapshot
        // Someone else's fetch may have ended between the two looks.
        guard isFetched || now.generation != before.generation else { throw .unknownKey }
        return try verify(token, now)
    }

    /// As `verify`, with the keys that are here.
    package func verifyNow(_ token: String) throws(AuthenticationFailure) -> VerifiedToken {
        try verify(token, keys.snapshot)
    }
}

private extension JWTAuthenticator {
    func verify(
        _ token: String, _ keys: KeySnapshot
    ) throws(AuthenticationFailure) -> VerifiedToken {
        guard !token.isEmpty else { throw .missing }
        guard token.utf8.count <= Self.tokenBytesMax else { throw .malformed }
        let now = millisecondsSince1970()
        if let known = cache.find(token, at: now, generation: keys.generation) { return known }
        let claims = try checkSignature(of: token, keys)
        let verified = try check(claims, at: now)
        let expiry = verified.identity.expiresAtMilliseconds
        cache.insert(
            token, verified, until: expiry.map { $0 + leewayMilliseconds } ?? .max,
            generation: keys.generation)
        return verified
    }

    func checkSignature(
        of token: String, _ keys: KeySnapshot
    ) throws(AuthenticationFailure) -> TokenClaims {
        let bytes = Array(token.utf8)
        let parts = bytes.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
        guard parts.count == 3 else { throw .malformed }
        let header = try header(parts[0])
        guard let signature = Base64URL.decode(parts[2]), let payload = Base64URL.decode(parts[1])
        else { throw .malformed }
        let signed = bytes[..<parts[1].endIndex]
        let candidates = keys.candidates(header.algorithm, keyID: header.keyID)
        guard candidates.contains(where: { $0.verifies(signature, of: signed) }) else {
            throw keys.mayLack(header.algorithm, keyID: header.keyID) ? .unknownKey : .badSignature
        }
        headers.insert(parts[0], header)
        guard let claims = TokenClaims(json: payload) else { throw .malformed }
        return claims
    }

    /// Of a header only the algorithm and the key's ID are read; `jwk`, `jku`, `x5u` and `x5c`, by
    /// which a token would bring its own key, are never looked at.
    func header(_ encoded: ArraySlice<UInt8>) throws(AuthenticationFailure) -> AcceptedHeader {
        if let known = headers.find(encoded) { return known }
        guard let decoded = Base64URL.decode(encoded),
            let header = TokenHeader(json: decoded),
            (header.kid?.utf8.count ?? 0) <= VerificationKey.keyIDBytesMax
        else { throw .malformed }
        guard let name = header.alg, let algorithm = TokenAlgorithm(rawValue: name), !header.hasCritical
        else { throw .badSignature }
        return AcceptedHeader(algorithm: algorithm, keyID: header.kid)
    }

    func check(_ claims: TokenClaims, at now: Int64) throws(AuthenticationFailure) -> VerifiedToken {
        var expiry: Int64?
        if let seconds = claims.expiresAt {
            let milliseconds = Self.milliseconds(seconds)
            guard milliseconds + leewayMilliseconds > now else { throw .expired }
            expiry = milliseconds
        }
        if let seconds = claims.notBefore {
            guard Self.milliseconds(seconds) - leewayMilliseconds <= now else { throw .notYetValid }
        }
        if !issuers.isEmpty {
            guard let issuer = claims.issuer, issuers.contains(issuer) else { throw .wrongIssuer }
        }
        if !audiences.isEmpty {
            guard let named = claims.audience, audiences.contains(where: named.contains) else {
                throw .wrongAudience
            }
        }
        guard let name = claims.subject ?? claims.userID ?? claims.userIDCamel,
            let userID = UserID(name)
        else { throw .noUser }
        return VerifiedToken(
            identity: Identity(
                userID: userID, username: claims.username ?? claims.preferredUsername,
                expiresAtMilliseconds: expiry,
                issuedAtMilliseconds: claims.issuedAt.map(Self.milliseconds), tokenID: claims.tokenID),
            role: claims.role)
    }

    /// Clamped to some 140,000 years either way, so that no arithmetic on it overflows.
    static func milliseconds(_ seconds: Double) -> Int64 {
        Int64(min(max(seconds * 1_000, -4.5e15), 4.5e15))
    }
}

private struct AcceptedHeader {
    let algorithm: TokenAlgorithm
    let keyID: String?
}

/// Heads of tokens that were found good. An issuer writes the same few again and again.
private final class AcceptedHeaders: Sendable {
    private static let countMax = 16
    private let heads = Mutex<[(encoded: [UInt8], header: AcceptedHeader)]>([])

    func find(_ head: ArraySlice<UInt8>) -> AcceptedHeader? {
        heads.withLock { heads in heads.first { $0.encoded.elementsEqual(head) }?.header }
    }

    func insert(_ head: ArraySlice<UInt8>, _ header: AcceptedHeader) {
        heads.withLock { heads in
            guard !heads.contains(where: { $0.encoded.elementsEqual(head) }) else { return }
            if heads.count == Self.countMax { heads.removeFirst() }
            heads.append((Array(head), header))
        }
    }
}
