// Which files are taken for keys, which are not, and what a bad one does to the keys of before.

import Foundation
import Skein
import SkeinNode
import Testing

@Suite struct KeySourceTests {
    private let folder = Folder()

    private func settings(pem: String) throws -> JWTSettings {
        var settings = JWTSettings()
        settings.publicKeyFile = try folder.write(pem)
        return settings
    }

    private func settings(jwks: String) throws -> JWTSettings {
        var settings = JWTSettings()
        settings.jwksFile = try folder.write(jwks)
        return settings
    }

    @Test func aPEMFileMayHoldSeveral() async throws {
        let text = "# ours\n" + Issuer.rsa.publicPEM + "\nbetween\n" + Issuer.p256.publicPEM
            + Issuer.ed25519.publicPEM + Issuer.p256.publicPEM
        let ring = try KeyRing(settings(pem: text))
        #expect(ring.status.keys == ["RS256": 1, "ES256": 1, "EdDSA": 1])
        #expect(ring.status.jwks == nil)
    }

    @Test func carriageReturnsAndPKCS1() throws {
        guard case .rsa(let key) = Issuer.rsa else { return }
        let pem = key.publicKey.pkcs1PEMRepresentation.replacingOccurrences(of: "\n", with: "\r\n")
        #expect(try KeyRing(settings(pem: pem)).status.keys == ["RS256": 1])
    }

    /// Made with `openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -days 1`; long expired,
    /// which says nothing of its key.
    private static let certificate = """
        -----BEGIN CERTIFICATE-----
        MIIBbTCCAROgAwIBAgIUcYs5pZIpgl+ljW9FN+RxChXXDtMwCgYIKoZIzj0EAwIw
        DDEKMAgGA1UEAwwBdDAeFw0yNjExMjExNTAzMTZaFw0yNjExMjIxNTAzMTZaMAwx
        CjAIBgNVBAMMAXQwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAASlORPO/ZOLa+Tc
        iO4BWidXHqg4vU61X9VpGdR4keZLJLa3UdvPb7Z5q6i6Wo/IGg/uKJ89CZ338zPM
        klvpCbq8o1MwUTAdBgNVHQ4EFgQUcj10auCYxzWTS4EO3q++2X1h2RMwHwYDVR0j
        BBgwFoAUcj10auCYxzWTS4EO3q++2X1h2RMwDwYDVR0TAQH/BAUwAwEB/zAKBggq
        hkjOPQQDAgNIADBFAiEAgfVF7ldQKOBhN8Vz2dqZxBagKv5iuYrcRVBglUOUx5AC
        ID9zLYNVT0FAZqEd+D+yTjf9tKwewTuECmZ54wuiqv1s
        -----END CERTIFICATE-----

        """

    @Test func certificatesBringTheirKey() throws {
        #expect(try KeyRing(settings(pem: Self.certificate)).status.keys == ["ES256": 1])
    }

    static let badPEM: [(String, String)] = [
        ("", "no public key"), ("hello", "no public key"), ("{}", "no public key"),
        (String(Issuer.p256.publicPEM.dropLast(40)), "cut short"),
        (Issuer.rsa.publicPEM + Issuer.p256.publicPEM.prefix(60), "cut short"),
        (String(Issuer.p256.publicPEM.dropFirst(30)), "cut short"),
        (Issuer.p256.privatePEM, "private key"),
        (Issuer.rsa.publicPEM + Issuer.ed25519.privatePEM, "private key"),
        (Issuer.smallRSA.publicPEM, "1024 bits"),
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "neither RSA"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "certificate"),
        ("-----BEGIN DH PARAMETERS-----\nAAAA\n-----END DH PARAMETERS-----\n", "no public key"),
    ]

    @Test(arguments: badPEM)
    func badPEMFiles(text: String, why: String) throws {
        let settings = try settings(pem: text)
        let error = #expect(throws: ConfigurationProblem.self) { try KeyRing(settings) }
        #expect(error?.key == "JWT_PUBLIC_KEY_FILE")
        #expect(error?.message.contains(why) == true, "\(error?.message ?? "")")
    }

    @Test func aFileThatIsNotThere() throws {
        var settings = JWTSettings()
        settings.jwksFile = folder.path + "/none"
        let error = #expect(throws: ConfigurationProblem.self) { try KeyRing(settings) }
        #expect(error?.message.contains("cannot be read") == true)
    }

    @Test func aKeySet() throws {
        let text = keySet(
            Issuer.rsa.jwk(kid: "a", more: #","alg":"RS256","use":"sig","key_ops":["verify"]"#),
            Issuer.p256.jwk(kid: "b"), Issuer.ed25519.jwk(more: #","alg":"EdDSA""#),
            // For others:
            Issuer.otherRSA.jwk(kid: "c", more: #","use":"enc""#),
            Issuer.otherRSA.jwk(kid: "d", more: #","alg":"RS512""#),
            Issuer.otherRSA.jwk(kid: "e", more: #","key_ops":["encrypt"]"#),
            Issuer.otherP256.jwk(kid: "f", more: #","alg":"RS256""#),
            Issuer.hmac.jwk(kid: "g", more: #","alg":"HS256""#),
            #"{"kty":"EC","crv":"P-521","x":"AA","y":"AA"}"#, #"{"kty":"NEW"}"#)
        #expect(try KeyRing(settings(jwks: text)).status.keys == ["RS256": 1, "ES256": 1, "EdDSA": 1])
    }

    static let badSets: [(String, String)] = [
        ("", "no JWKS"), ("[]", "no JWKS"), ("{}", "no JWKS"), (#"{"keys":{}}"#, "no JWKS"),
        (#"{"keys":[]}"#, "no key"), (keySet(Issuer.hmac.jwk()), "no key"),
        (String(keySet(Issuer.p256.jwk()).dropLast(10)), "no JWKS"),
        (keySet(Issuer.smallRSA.jwk(kid: "a")), "modulus"),
        (keySet(Issuer.rsa.jwk(), #"{"kty":"RSA","n":"!","e":"AQAB"}"#), "key 2"),
        (keySet(#"{"kty":"EC","crv":"P-256","x":"AAAA","y":"AAAA"}"#), "P-256"),
        (keySet(#"{"kty":"OKP","crv":"Ed25519","x":"AAAA"}"#), "Ed25519"),
        (keySet(Issuer.p256.jwk(more: #","d":"AAAA""#)), "private"),
        (keySet(#"{"kid":"a"}"#), "no JWKS"),
        (#"{"keys":[\#(Array(repeating: Issuer.p256.jwk(), count: 65).joined(separator: ","))]}"#, "65 keys"),
        (#"{"keys":[],"x":"\#(String(repeating: "x", count: 1 << 20))"}"#, "1 MiB"),
    ]

    @Test(arguments: badSets)
    func badKeySets(text: String, why: String) throws {
        let settings = try settings(jwks: text)
        let error = #expect(throws: ConfigurationProblem.self) { try KeyRing(settings) }
        #expect(error?.key == "JWT_JWKS_FILE")
        #expect(error?.message.contains(why) == true, "\(error?.message ?? "")")
    }

    @Test func keysAreChosenByTheirID() async throws {
        let text = keySet(
            Issuer.rsa.jwk(kid: "old"), Issuer.otherRSA.jwk(kid: "new"), Issuer.p256.jwk(kid: "old"))
        let authenticator = try JWTAuthenticator(settings(jwks: text))
        for (token, expected) in [
            (try Issuer.rsa.token(kid: "old"), "alice"), (try Issuer.otherRSA.token(kid: "new"), "alice"),
            // Without an ID, each of its algorithm is tried.
            (try Issuer.rsa.token(), "alice"), (try Issuer.otherRSA.token(), "alice"),
            // One key's ID does not vouch for another key.
            (try Issuer.rsa.token(kid: "new"), "bad_signature"),
            (try Issuer.otherRSA.token(kid: "old"), "bad_signature"),
            (try Issuer.p256.token(kid: "old"), "alice"),
            (try Issuer.p256.token(kid: "new"), "unknown_key"),
            (try Issuer.rsa.token(kid: "gone"), "unknown_key"),
            (try Issuer.ed25519.token(kid: "old"), "unknown_key"),
        ] {
            #expect(await authenticator.outcome(token) == expected)
        }
    }

    @Test func rotationByFile() async throws {
        var settings = JWTSettings()
        settings.publicKeyFile = try folder.write(Issuer.rsa.publicPEM)
        let authenticator = try JWTAuthenticator(settings)
        let old = try Issuer.rsa.token()
        let new = try Issuer.otherRSA.token()
        #expect(await authenticator.outcome(old) == "alice")
        #expect(await authenticator.outcome(new) == "bad_signature")
        try folder.write(Issuer.rsa.publicPEM + Issuer.otherRSA.publicPEM)
        await authenticator.keys.reload()
        #expect(await authenticator.outcome(old) == "alice")
        #expect(await authenticator.outcome(new) == "alice")
        try folder.write(Issuer.otherRSA.publicPEM)
        await authenticator.keys.reload()
        // The cache must not outlive the key.
        #expect(await authenticator.outcome(old) == "bad_signature")
        #expect(await authenticator.outcome(new) == "alice")
    }

    @Test func aBadFileTakesNoKeyAway() async throws {
        let lines = Lines()
        var settings = JWTSettings()
        settings.publicKeyFile = try folder.write(Issuer.p256.publicPEM)
        let ring = try KeyRing(settings, log: { lines.append("\($0) \($1)") })
        let authenticator = JWTAuthenticator(settings, keys: ring)
        for (text, _) in Self.badPEM {
            try folder.write(text)
            await ring.reload()
            #expect(try await authenticator.outcome(Issuer.p256.token()) == "alice")
        }
        try FileManager.default.removeItem(atPath: folder.path + "/keys")
        await ring.reload()
        #expect(try await authenticator.outcome(Issuer.p256.token()) == "alice")
        #expect(lines.all.count == Self.badPEM.count + 1)
        #expect(lines.all.allSatisfy { $0.hasPrefix("error JWT_PUBLIC_KEY_FILE") && $0.contains("SIGHUP") })
    }

    /// A writer that is half done when the node looks: cut where the file still reads as one with a
    /// key less.
    @Test func aFileInTheMiddleOfBeingWritten() async throws {
        var settings = JWTSettings()
        settings.publicKeyFile = try folder.write(Issuer.rsa.publicPEM + Issuer.p256.publicPEM)
        let authenticator = try JWTAuthenticator(settings)
        try folder.write(Issuer.rsa.publicPEM)
        async let reloading: Void = authenticator.keys.reload()
        // Before the second look, which comes a quarter of a second after the first.
        try await Task.sleep(for: .milliseconds(50))
        try folder.write(Issuer.rsa.publicPEM + Issuer.p256.publicPEM)
        await reloading
        #expect(try await authenticator.outcome(Issuer.p256.token()) == "alice")
    }
}

final class Lines: @unchecked Sendable {
    private let lock = NSLock()
    private var lines: [String] = []

    var all: [String] { lock.withLock { lines } }
    func append(_ line: String) { lock.withLock { lines.append(line) } }
}
