// What Skein reads from a token, and nothing more. Decoded only after the signature held, so that
// no stranger's JSON is parsed at length.

internal import FoundationEssentials
package import JWTKit

package struct TokenHeader: Decodable {
    let alg: String?
    let kid: String?
    /// Whether it names extensions that must be understood; we understand none.
    let hasCritical: Bool

    enum CodingKeys: String, CodingKey { case alg, kid, crit }

    package init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: CodingKeys.self)
        alg = try values.decodeIfPresent(String.self, forKey: .alg)
        kid = try values.decodeIfPresent(String.self, forKey: .kid)
        hasCritical = values.contains(.crit)
    }
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

    package init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: CodingKeys.self)
        // A user ID that is no string stands for none: `{"sub": 7}` is not user "7".
        subject = try? values.decodeIfPresent(String.self, forKey: .subject)
        if subject == nil {
            userID = try? values.decodeIfPresent(String.self, forKey: .userID)
            if userID == nil {
                userIDCamel = try? values.decodeIfPresent(String.self, forKey: .userIDCamel)
            }
        }
        username = try? values.decodeIfPresent(String.self, forKey: .username)
        if username == nil {
            preferredUsername = try? values.decodeIfPresent(
                String.self, forKey: .preferredUsername)
        }
        role = try? values.decodeIfPresent(String.self, forKey: .role)
        issuer = try? values.decodeIfPresent(String.self, forKey: .issuer)
        audience = try? values.decodeIfPresent(Audience.self, forKey: .audience)
        // Times that are there but are no numbers make the token malformed: to take them for
        // absent would let it live for ever.
        expiresAt = try values.decodeIfPresent(Double.self, forKey: .expiresAt)
        notBefore = try values.decodeIfPresent(Double.self, forKey: .notBefore)
        // What does not say when it was issued counts as old, so this errs to the safe side.
        issuedAt = try? values.decodeIfPresent(Double.self, forKey: .issuedAt)
        tokenID = try? values.decodeIfPresent(String.self, forKey: .tokenID)
    }

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
