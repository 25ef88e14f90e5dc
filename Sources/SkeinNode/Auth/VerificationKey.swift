// One key that verifies tokens, and the one algorithm it is good for. The algorithm belongs to the
// key and never to the token: a public key cannot be taken for a shared secret, whatever a header
// says.

internal import Crypto
internal import CryptoExtras
internal import FoundationEssentials

/// What tokens may be signed with; everything else, `none` first of all, is refused.
package enum TokenAlgorithm: String, Sendable, CaseIterable {
    case hs256 = "HS256"
    case rs256 = "RS256"
    case es256 = "ES256"
    case edDSA = "EdDSA"
}

package struct VerificationKey: Sendable {
    private enum Material {
        case secret(SymmetricKey)
        case rsa(_RSA.Signing.PublicKey)
        case p256(P256.Signing.PublicKey)
        case ed25519(Curve25519.Signing.PublicKey)
    }

    /// Larger keys make every verification dear and nobody safer.
    static let rsaBitsMax = 8_192
    static let rsaBitsMin = 2_048
    static let keyIDBytesMax = 256

    package let algorithm: TokenAlgorithm
    /// `kid`; `nil`: tried for every token of its algorithm.
    package let keyID: String?
    private let material: Material
    /// By which two keys are told apart; never shown.
    private let fingerprint: [UInt8]

    private init(_ algorithm: TokenAlgorithm, _ keyID: String?, _ material: Material, _ bytes: Data) {
        self.algorithm = algorithm
        self.keyID = keyID
        self.material = material
        fingerprint = Array(SHA256.hash(data: bytes))
    }

    package init(secret: String) {
        let bytes = Data(secret.utf8)
        self.init(.hs256, nil, .secret(SymmetricKey(data: bytes)), bytes)
    }

    /// - Parameter pem: one `PUBLIC KEY` or `RSA PUBLIC KEY` in PEM.
    package init(pem: String) throws(KeyProblem) {
        // Below 2,048 bits too, so that a weak key is told from what is no key.
        if let key = try? _RSA.Signing.PublicKey(unsafePEMRepresentation: pem) {
            self = try Self.rsa(key, keyID: nil)
        } else if let key = try? P256.Signing.PublicKey(pemRepresentation: pem) {
            self.init(.es256, nil, .p256(key), key.rawRepresentation)
        } else if let key = try? Curve25519.Signing.PublicKey(pemRepresentation: pem) {
            self.init(.edDSA, nil, .ed25519(key), key.rawRepresentation)
        } else {
            throw KeyProblem(
                "holds a key that is neither RSA of \(Self.rsaBitsMin) bits or more, nor P-256, nor Ed25519")
        }
    }

    static func rsa(modulus: [UInt8], exponent: [UInt8], keyID: String?) throws(KeyProblem) -> Self {
        // A small exponent is a number that fits 33 bits; more only costs time.
        guard modulus.count <= rsaBitsMax / 8, exponent.count <= 5,
            let key = try? _RSA.Signing.PublicKey(n: modulus, e: exponent)
        else {
            throw KeyProblem(
                "has a modulus that is not of \(rsaBitsMin) to \(rsaBitsMax) bits, or a bad exponent")
        }
        return try rsa(key, keyID: keyID)
    }

    private static func rsa(_ key: _RSA.Signing.PublicKey, keyID: String?) throws(KeyProblem) -> Self {
        guard (rsaBitsMin...rsaBitsMax).contains(key.keySizeInBits) else {
            throw KeyProblem(
                "holds an RSA key of \(key.keySizeInBits) bits; it takes \(rsaBitsMin) to \(rsaBitsMax)")
        }
        return Self(.rs256, keyID, .rsa(key), key.derRepresentation)
    }

    static func p256(x: [UInt8], y: [UInt8], keyID: String?) throws(KeyProblem) -> Self {
        guard x.count == 32, y.count == 32,
            let key = try? P256.Signing.PublicKey(x963Representation: [4] + x + y)
        else { throw KeyProblem("has coordinates that are no point of P-256") }
        return Self(.es256, keyID, .p256(key), key.rawRepresentation)
    }

    static func ed25519(x: [UInt8], keyID: String?) throws(KeyProblem) -> Self {
        guard x.count == 32, let key = try? Curve25519.Signing.PublicKey(rawRepresentation: x) else {
            throw KeyProblem("has an x that is no Ed25519 key of 32 bytes")
        }
        return Self(.edDSA, keyID, .ed25519(key), key.rawRepresentation)
    }

    /// Whether `signature` is this key's under `signed`.
    func verifies(_ signature: [UInt8], of signed: ArraySlice<UInt8>) -> Bool {
        switch material {
        case .secret(let key):
            return HMAC<SHA256>.isValidAuthenticationCode(signature, authenticating: signed, using: key)
        case .rsa(let key):
            return key.isValidSignature(
                _RSA.Signing.RSASignature(rawRepresentation: signature), for: SHA256.hash(data: signed),
                padding: .insecurePKCS1v1_5)
        case .p256(let key):
            // Two numbers of 32 bytes, as JWTs have them; not ASN.1.
            guard signature.count == 64,
                let signature = try? P256.Signing.ECDSASignature(rawRepresentation: signature)
            else { return false }
            return key.isValidSignature(signature, for: SHA256.hash(data: signed))
        case .ed25519(let key):
            return key.isValidSignature(signature, for: signed)
        }
    }
}

extension VerificationKey: Equatable {
    package static func == (left: Self, right: Self) -> Bool {
        left.algorithm == right.algorithm && left.keyID == right.keyID
            && left.fingerprint == right.fingerprint
    }
}

/// What is wrong with keys, to follow the name of where they came from: `… is no JWKS`.
package struct KeyProblem: Error, Sendable, Equatable {
    package let what: String

    init(_ what: String) { self.what = what }
}
