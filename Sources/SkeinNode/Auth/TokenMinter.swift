// Makes tokens that `JWTAuthenticator` takes, for `skein token`, `skein tail` and `--dev`.

internal import FoundationEssentials
internal import JWTKit
internal import Skein

package struct TokenMinter: Sendable {
    package enum Role: String, Sendable, CaseIterable { case user, service, admin }

    private let keys: JWTKeyCollection
    private let settings: JWTSettings

    /// - Throws: where there is no secret: public keys verify, and sign nothing.
    package init(_ settings: JWTSettings) async throws(ConfigurationProblem) {
        guard let secret = settings.secret else {
            guard settings.hasKeys else {
                throw .error(
                    "JWT_SECRET",
                    "There is no secret to sign with: set JWT_SECRET as the node has it, or name its file with --config.")
            }
            throw .error(
                "JWT_SECRET",
                "Only public keys are configured here, and these verify tokens but make none: get one from "
                    + "who holds the private key, or set JWT_SECRET beside them on the node and here.")
        }
        keys = JWTKeyCollection()
        self.settings = settings
        await keys.add(hmac: HMACKey(from: secret), digestAlgorithm: .sha256)
    }

    package func mint(
        user: String, username: String? = nil, role: Role = .user, lifetime: Duration
    ) async throws(ConfigurationProblem) -> String {
        guard UserID(user) != nil else {
            throw .error(
                nil,
                "`\(user)` is no user ID: it takes 1 to 128 visible ASCII characters; take another."
            )
        }
        let now = Date().timeIntervalSince1970.rounded(.down)
        var claims = TokenClaims()
        claims.subject = user
        claims.username = username
        claims.role = role == .user ? nil : role.rawValue
        claims.issuer = settings.issuers.first
        claims.audience = settings.audiences.first.map { .one($0) }
        claims.tokenID = UUID().uuidString.lowercased()
        claims.issuedAt = now
        claims.expiresAt = now + lifetime.inSeconds.rounded()
        do {
            return try await keys.sign(claims)
        } catch {
            throw .error(nil, "The token could not be signed; check JWT_SECRET.")
        }
    }
}
