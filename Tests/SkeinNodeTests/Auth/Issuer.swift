// An issuer of tokens that shares nothing with the authenticator but the cryptography: headers,
// claims and key sets are put together here by hand.

import Crypto
import CryptoExtras
import Foundation
import Skein
import SkeinNode

let sharedSecret = "0123456789abcdef0123456789abcdef"
let issuedAt: Int64 = 1_800_000_000_000

func base64URL(_ bytes: some DataProtocol) -> String {
    Data(bytes).base64EncodedString().replacingOccurrences(of: "+", with: "-")
        .replacingOccurrences(of: "/", with: "_").replacingOccurrences(of: "=", with: "")
}

func base64URL(_ text: String) -> String { base64URL(Data(text.utf8)) }

/// One key pair, or a secret.
enum Issuer: Sendable, CustomStringConvertible {
    case secret(String)
    case rsa(_RSA.Signing.PrivateKey)
    case p256(P256.Signing.PrivateKey)
    case ed25519(Curve25519.Signing.PrivateKey)

    static let hmac = Issuer.secret(sharedSecret)
    // Making one takes a while; all tests share these.
    static let rsa: Issuer = .rsa(try! _RSA.Signing.PrivateKey(keySize: .bits2048))
    static let otherRSA: Issuer = .rsa(try! _RSA.Signing.PrivateKey(keySize: .bits2048))
    static let smallRSA: Issuer = .rsa(
        try! _RSA.Signing.PrivateKey(unsafeKeySize: .init(bitCount: 1_024)))
    static let p256 = Issuer.p256(P256.Signing.PrivateKey())
    static let otherP256 = Issuer.p256(P256.Signing.PrivateKey())
    static let ed25519 = Issuer.ed25519(Curve25519.Signing.PrivateKey())
    static let otherEd25519 = Issuer.ed25519(Curve25519.Signing.PrivateKey())
    static let all = [hmac, rsa, p256, ed25519]
    static let asymmetric = [rsa, p256, ed25519]

    var description: String { algorithm }

    var algorithm: String {
        switch self {
        case .secret: "HS256"
        case .rsa: "RS256"
        case .p256: "ES256"
        case .ed25519: "EdDSA"
        }
    }

    /// Another key of the same kind.
    var other: Issuer {
        switch self {
        case .secret: .secret(String(sharedSecret.reversed()))
        case .rsa: .otherRSA
        case .p256: .otherP256
        case .ed25519: .otherEd25519
        }
    }

    func sign(_ text: String) throws -> String {
        let bytes = Data(text.utf8)
        switch self {
        case .secret(let secret):
            let key = SymmetricKey(data: Data(secret.utf8))
            return base64URL(Data(HMAC<SHA256>.authenticationCode(for: bytes, using: key)))
        case .rsa(let key):
            return base64URL(
                try key.signature(for: SHA256.hash(data: bytes), padding: .insecurePKCS1v1_5)
                    .rawRepresentation)
        case .p256(let key): return base64URL(try key.signature(for: bytes).rawRepresentation)
        case .ed25519(let key): return base64URL(try key.signature(for: bytes))
        }
    }

    func token(
        _ claims: String = #"{"sub":"alice"}"#, header: String? = nil, kid: String? = nil
    ) throws -> String {
        let id = kid.map { #","kid":"\#($0)""# } ?? ""
        let signed =
            base64URL(header ?? #"{"alg":"\#(algorithm)","typ":"JWT"\#(id)}"#) + "." + base64URL(claims)
        return try signed + "." + sign(signed)
    }

    var publicPEM: String {
        switch self {
        case .secret(let secret): secret
        case .rsa(let key): key.publicKey.pemRepresentation + "\n"
        case .p256(let key): key.publicKey.pemRepresentation + "\n"
        case .ed25519(let key): key.publicKey.pemRepresentation + "\n"
        }
    }

    var privatePEM: String {
        switch self {
        case .secret(let secret): secret
        case .rsa(let key): key.pemRepresentation + "\n"
        case .p256(let key): key.pemRepresentation + "\n"
        case .ed25519(let key): key.pemRepresentation + "\n"
        }
    }

    /// The members that make it a JWK, without braces.
    var members: String {
        switch self {
        case .secret(let secret): return #""kty":"oct","k":"\#(base64URL(secret))""#
        case .rsa(let key):
            let parts = try! key.publicKey.getKeyPrimitives()
            return
                #""kty":"RSA","n":"\#(base64URL(parts.modulus))","e":"\#(base64URL(parts.publicExponent))""#
        case .p256(let key):
            let raw = key.publicKey.rawRepresentation
            return
                #""kty":"EC","crv":"P-256","x":"\#(base64URL(raw.prefix(32)))","y":"\#(base64URL(raw.suffix(32)))""#
        case .ed25519(let key):
            return
                #""kty":"OKP","crv":"Ed25519","x":"\#(base64URL(key.publicKey.rawRepresentation))""#
        }
    }

    func jwk(kid: String? = nil, more: String = "") -> String {
        let id = kid.map { #","kid":"\#($0)""# } ?? ""
        return "{\(members)\(id)\(more)}"
    }
}

func keySet(_ keys: String...) -> String { #"{"keys":[\#(keys.joined(separator: ","))]}"# }

/// A folder of a test's own.
final class Folder: Sendable {
    let path: String

    init() {
        path = NSTemporaryDirectory() + "skein-keys-\(UUID().uuidString)"
        try! FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    @discardableResult
    func write(_ text: String, to name: String = "keys") throws -> String {
        try Data(text.utf8).write(to: URL(filePath: path + "/" + name))
        return path + "/" + name
    }
}

extension JWTAuthenticator {
    convenience init(
        _ settings: JWTSettings,
        now: @escaping @Sendable () -> Int64 = { Int64(Date().timeIntervalSince1970 * 1_000) }
    ) throws {
        self.init(settings, keys: try KeyRing(settings), now: now)
    }
}

extension JWTAuthenticator {
    /// The user, or why not: as one word, for tables.
    func outcome(_ token: String) async -> String {
        do throws(AuthenticationFailure) {
            return try await verify(token).identity.userID.description
        } catch {
            return error.rawValue
        }
    }
}
