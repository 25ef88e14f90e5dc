// A JWKS (RFC 7517) down to the keys that verify our algorithms. Keys made for something else (for
// encryption, for another algorithm, symmetric ones) are passed over and counted; a key that claims
// to be one of ours and is broken makes the whole set refused.

internal import FoundationEssentials

struct JSONWebKeySet {
    static let bytesMax = 1 << 20
    static let keysMax = 64

    let keys: [VerificationKey]
    /// Keys for other purposes.
    let ignoredCount: Int

    init(_ bytes: [UInt8]) throws(KeyProblem) {
        guard bytes.count <= Self.bytesMax else { throw KeyProblem("is larger than 1 MiB") }
        guard let set = try? JSONDecoder().decode(KeySet.self, from: Data(bytes)) else {
            throw KeyProblem("is no JWKS: it takes a JSON object with a list `keys`")
        }
        guard set.keys.count <= Self.keysMax else {
            throw KeyProblem("holds \(set.keys.count) keys; at most \(Self.keysMax) are taken")
        }
        var keys: [VerificationKey] = []
        for (index, key) in set.keys.enumerated() {
            do throws(KeyProblem) {
                if let key = try key.verificationKey, !keys.contains(key) { keys.append(key) }
            } catch {
                throw KeyProblem("is no good: key \(index + 1) \(error.what)")
            }
        }
        guard !keys.isEmpty else {
            throw KeyProblem(
                "holds no key that verifies RS256, ES256 or EdDSA (of \(set.keys.count) in it)")
        }
        self.keys = keys
        ignoredCount = set.keys.count - keys.count
    }
}

private struct KeySet: Decodable {
    let keys: [JSONWebKey]
}

private struct JSONWebKey: Decodable {
    let kty: String
    let alg: String?
    let use: String?
    let kid: String?
    let keyOperations: [String]?
    let crv: String?
    let n: String?
    let e: String?
    let x: String?
    let y: String?
    /// Private halves, and symmetric keys.
    let d: String?
    let k: String?

    enum CodingKeys: String, CodingKey {
        case kty, alg, use, kid, crv, n, e, x, y, d, k
        case keyOperations = "key_ops"
    }

    /// `nil` where it is for another purpose.
    var verificationKey: VerificationKey? {
        get throws(KeyProblem) {
            guard let algorithm, alg == nil || alg == algorithm.rawValue, use == nil || use == "sig",
                keyOperations?.contains("verify") ?? true
            else { return nil }
            guard d == nil, k == nil else {
                throw KeyProblem("is a private key; publish its public half only, and make a new key")
            }
            guard (kid?.utf8.count ?? 0) <= VerificationKey.keyIDBytesMax else {
                throw KeyProblem("has a kid of more than \(VerificationKey.keyIDBytesMax) bytes")
            }
            switch algorithm {
            case .rs256:
                return try .rsa(modulus: bytes("n", n), exponent: bytes("e", e), keyID: kid)
            case .es256: return try .p256(x: bytes("x", x), y: bytes("y", y), keyID: kid)
            case .edDSA: return try .ed25519(x: bytes("x", x), keyID: kid)
            case .hs256: return nil
            }
        }
    }

    private var algorithm: TokenAlgorithm? {
        switch (kty, crv) {
        case ("RSA", _): .rs256
        case ("EC", "P-256"): .es256
        case ("OKP", "Ed25519"): .edDSA
        // A symmetric key that others can fetch signs anything; it is never taken from a set.
        default: nil
        }
    }

    private func bytes(_ name: String, _ text: String?) throws(KeyProblem) -> [UInt8] {
        guard let text, let bytes = Base64URL.decode(Array(text.utf8)[...]), !bytes.isEmpty else {
            throw KeyProblem("has no `\(name)` in base64url")
        }
        return bytes
    }
}
