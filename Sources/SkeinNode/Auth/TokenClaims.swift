// What Skein reads from a token, and nothing more. Claims are read only after the signature held, so that
// no stranger's JSON is parsed at length.

internal import FoundationEssentials
package import JWTKit

struct TokenHeader {
    let alg: String?
    let kid: String?
    /// Whether it names extensions that must be understood; we understand none.
    let hasCritical: Bool
}

/// The times are whole or fractional seconds since 1970.
package struct TokenClaims: Codable, Sendable, JWTPayload {
    package var subject: String?
    package var userID: String?
    package var userIDCamel: String?
    package var username: String?
    package var preferredUsername: String?
    package var role: String?
    package var issuer: String?
    package var audience: Audience?
    package var expiresAt: Double?
    package var notBefore: Double?
    package var issuedAt: Double?
    package var tokenID: String?

    enum CodingKeys: String, CodingKey {
        case subject = "sub"
        case userID = "user_id"
        case userIDCamel = "userId"
        case username
        case preferredUsername = "preferred_username"
        case role
        case issuer = "iss"
        case audience = "aud"
        case expiresAt = "exp"
        case notBefore = "nbf"
        case issuedAt = "iat"
        case tokenID = "jti"
    }

    package init() {}

    /// The times are checked by the authenticator, which has a tolerance and a clock of its own.
    package func verify(using algorithm: some JWTAlgorithm) async throws {}

    /// One string or several.
    package enum Audience: Codable, Sendable, Equatable {
        case one(String)
        case several([String])

        package init(from decoder: any Decoder) throws {
            let value = try decoder.singleValueContainer()
            if let one = try? value.decode(String.self) {
                self = .one(one)
            } else {
                self = .several(try value.decode([String].self))
            }
        }

        package func encode(to encoder: any Encoder) throws {
            var value = encoder.singleValueContainer()
            switch self {
            case .one(let audience): try value.encode(audience)
            case .several(let audiences): try value.encode(audiences)
            }
        }

        func contains(_ audience: String) -> Bool {
            switch self {
            case .one(let one): one == audience
            case .several(let several): several.contains(audience)
            }
        }
    }
}
