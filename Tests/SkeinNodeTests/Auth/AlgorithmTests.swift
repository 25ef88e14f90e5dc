// Every algorithm against every way in which a token may be wrong, and every way in which one key
// may be taken for another.

import Foundation
import Skein
import SkeinNode
import Testing

@Suite struct AlgorithmTests {
    /// Knows one key of each kind, and what tokens have to say.
    private func authenticator() throws -> JWTAuthenticator {
        let folder = Folder()
        defer { withExtendedLifetime(folder) {} }
        var settings = JWTSettings(secret: sharedSecret)
        settings.publicKeyFile = try folder.write(
            Issuer.rsa.publicPEM + Issuer.p256.publicPEM + Issuer.ed25519.publicPEM)
        settings.issuers = ["me", "us"]
        settings.audiences = ["skein", "chat"]
        return try JWTAuthenticator(settings, now: { issuedAt })
    }

    private static let claims: [(String, String)] = [
        (#"{"sub":"alice","iss":"me","aud":"skein"}"#, "alice"),
        (#"{"sub":"alice","iss":"us","aud":["x","chat"]}"#, "alice"),
        (#"{"sub":"alice","iss":"me","aud":"skein","exp":1799999971}"#, "alice"),
        (#"{"sub":"alice","iss":"me","aud":"skein","exp":1799999970}"#, "expired"),
        (#"{"sub":"alice","iss":"me","aud":"skein","nbf":1800000030}"#, "alice"),
        (#"{"sub":"alice","iss":"me","aud":"skein","nbf":1800000031}"#, "not_yet_valid"),
        (#"{"sub":"alice","iss":"you","aud":"skein"}"#, "wrong_issuer"),
        (#"{"sub":"alice","aud":"skein"}"#, "wrong_issuer"),
        (#"{"sub":"alice","iss":["me"],"aud":"skein"}"#, "wrong_issuer"),
        (#"{"sub":"alice","iss":"me"}"#, "wrong_audience"),
        (#"{"sub":"alice","iss":"me","aud":["x"]}"#, "wrong_audience"),
        (#"{"sub":"alice","iss":"me","aud":[]}"#, "wrong_audience"),
        (#"{"sub":"alice","sub":"root","iss":"me","aud":"skein"}"#, "malformed"),
        (#"{"sub":"alice","s\u0075b":"root","iss":"me","aud":"skein"}"#, "malformed"),
        (#"{"sub":"alice","iss":"me","aud":"skein","exp":1700000000,"exp":1900000000}"#, "malformed"),
        (#"{"sub":"alice","iss":"me","aud":"skein","x":{"sub":1},"y":[{"sub":2}]}"#, "alice"),
        (#"{"sub":"alice","iss":"me","aud":"skein","https:\/\/x":1}"#, "alice"),
    ]

    @Test(arguments: Issuer.all)
    func claimsAreChecked(issuer: Issuer) async throws {
        let authenticator = try authenticator()
        for (claims, expected) in Self.claims {
            let token = try issuer.token(claims)
            #expect(await authenticator.outcome(token) == expected, "\(issuer): \(claims)")
            // And the same from the cache, or again without it.
            #expect(await authenticator.outcome(token) == expected, "\(issuer): \(claims)")
        }
    }

    private static let good = #"{"sub":"alice","iss":"me","aud":"skein"}"#

    @Test(arguments: Issuer.all, Issuer.all)
    func aKeyVerifiesItsOwnAlgorithmOnly(issuer: Issuer, claimed: Issuer) async throws {
        let authenticator = try authenticator()
        let token = try issuer.token(Self.good, header: #"{"alg":"\#(claimed.algorithm)"}"#)
        let isOwn = issuer.algorithm == claimed.algorithm
        #expect(await authenticator.outcome(token) == (isOwn ? "alice" : "bad_signature"))
    }

    @Test(arguments: Issuer.all)
    func othersKeysAreRefused(issuer: Issuer) async throws {
        let authenticator = try authenticator()
        let token = try issuer.other.token(Self.good)
        #expect(await authenticator.outcome(token) == "bad_signature")
    }

    /// The classic: what everyone may read, used as the secret of an HMAC.
    @Test(arguments: Issuer.asymmetric)
    func aPublicKeyIsNoSecret(issuer: Issuer) async throws {
        let folder = Folder()
        defer { withExtendedLifetime(folder) {} }
        let pem = issuer.publicPEM
        var withSecret = JWTSettings(secret: sharedSecret)
        withSecret.publicKeyFile = try folder.write(pem)
        var without = withSecret
        without.secret = nil
        for settings in [withSecret, without] {
            let authenticator = try JWTAuthenticator(settings)
            for secret in [pem, pem.trimmingCharacters(in: .whitespacesAndNewlines), issuer.members] {
                let token = try Issuer.secret(secret).token()
                #expect(await authenticator.outcome(token) == "bad_signature")
            }
            #expect(try await authenticator.outcome(issuer.token()) == "alice")
        }
        #expect(try await JWTAuthenticator(without).outcome(Issuer.hmac.token()) == "bad_signature")
    }

    @Test(arguments: Issuer.all)
    func headersThatAreRefused(issuer: Issuer) async throws {
        let authenticator = try authenticator()
        let own = issuer.algorithm
        for (header, expected) in [
            (#"{"alg":"none"}"#, "bad_signature"), (#"{"alg":"None"}"#, "bad_signature"),
            (#"{"alg":""}"#, "bad_signature"), ("{}", "bad_signature"),
            (#"{"alg":"\#(own.lowercased())x"}"#, "bad_signature"),
            (#"{"alg":"RS512"}"#, "bad_signature"), (#"{"alg":"PS256"}"#, "bad_signature"),
            (#"{"alg":"ES384"}"#, "bad_signature"), (#"{"alg":"HS384"}"#, "bad_signature"),
            (#"{"alg":"\#(own)","crit":["exp"],"exp":1}"#, "bad_signature"),
            (#"{"alg":"\#(own)","crit":[]}"#, "bad_signature"),
            (#"{"alg":"\#(own)","crit":null}"#, "bad_signature"),
            (#"{"alg":"\#(own)","b64":false,"crit":["b64"]}"#, "bad_signature"),
            (#"{"alg":"none","alg":"\#(own)"}"#, "malformed"),
            (#"{"alg":"\#(own)","kid":7}"#, "malformed"),
            (#"{"alg":["\#(own)"]}"#, "malformed"), (#""\#(own)""#, "malformed"),
            (#"{"alg":"\#(own)","kid":"\#(String(repeating: "k", count: 257))"}"#, "malformed"),
            // Keys that a token brings along are not even looked at.
            (#"{"alg":"\#(own)","jwk":{},"jku":"https://x","x5u":"https://x","x5c":[]}"#, "alice"),
            (#"{"alg":"\#(own)","kid":"whatever"}"#, "alice"),
        ] {
            let token = try issuer.token(Self.good, header: header)
            #expect(await authenticator.outcome(token) == expected, "\(header)")
        }
    }

    @Test(arguments: Issuer.all)
    func garbage(issuer: Issuer) async throws {
        let authenticator = try authenticator()
        let parts = try issuer.token(Self.good).split(separator: ".").map(String.init)
        let signature = Array(parts[2].utf8)
        for text in [
            "", "..", "a.b.c", "\(parts[0]).\(parts[1]).", "\(parts[0]).\(parts[1])",
            "\(parts[0])..\(parts[2])", ".\(parts[1]).\(parts[2])", "\(parts[0]).\(parts[1]).\(parts[2])=",
            "\(parts[0]).\(parts[1]).\(parts[2]).\(parts[2])", "\(parts[0]).\(parts[1]).AAAA",
            "\(parts[0]).\(base64URL(#"{"sub":"root","iss":"me","aud":"skein"}"#)).\(parts[2])",
            "\(parts[0]).\(parts[1]).\(String(decoding: signature.reversed(), as: UTF8.self))",
        ] {
            #expect(await authenticator.outcome(text) != "alice", "\(text)")
        }
    }

    @Test func tokensAreBounded() async throws {
        let authenticator = try authenticator()
        func token(_ count: Int) throws -> String {
            let pad = String(repeating: "x", count: count)
            return try Issuer.hmac.token(#"{"sub":"alice","iss":"me","aud":"skein","x":"\#(pad)"}"#)
        }
        let fits = try token(6_000)
        #expect(fits.utf8.count <= JWTAuthenticator.tokenBytesMax)
        #expect(await authenticator.outcome(fits) == "alice")
        let large = try token(6_100)
        #expect(large.utf8.count > JWTAuthenticator.tokenBytesMax)
        #expect(await authenticator.outcome(large) == "malformed")
    }

    @Test(arguments: [(0, "expired", "not_yet_valid"), (60, "alice", "alice")])
    func leeway(seconds: Int, expired: String, early: String) async throws {
        var settings = JWTSettings(secret: sharedSecret)
        settings.leeway = .seconds(seconds)
        let authenticator = try JWTAuthenticator(settings, now: { issuedAt })
        #expect(try await authenticator.outcome(
            Issuer.hmac.token(#"{"sub":"alice","exp":1799999999}"#)) == expired)
        #expect(try await authenticator.outcome(
            Issuer.hmac.token(#"{"sub":"alice","nbf":1800000001}"#)) == early)
    }

    @Test func whenAndByWhatItCanBeRevoked() async throws {
        var settings = JWTSettings(secret: sharedSecret)
        settings.cacheEntriesMax = 8
        let authenticator = try JWTAuthenticator(settings, now: { issuedAt })
        let token = try Issuer.hmac.token(#"{"sub":"alice","iat":1799999990.5,"jti":"t-1"}"#)
        for _ in 0..<2 {
            let identity = try await authenticator.authenticate(token: token)
            #expect(identity.issuedAtMilliseconds == 1_799_999_990_500)
            #expect(identity.tokenID == "t-1")
        }
        let bare = try await authenticator.authenticate(
            token: Issuer.hmac.token(#"{"sub":"alice","iat":"x","jti":7}"#))
        #expect(bare.issuedAtMilliseconds == nil)
        #expect(bare.tokenID == nil)
    }

    @Test func withoutASecretNothingIsMinted() async {
        let nothing = await Self.refusal(of: JWTSettings())
        #expect(nothing.contains("set JWT_SECRET as the node has it"))
        var settings = JWTSettings()
        settings.jwksFile = "/nowhere"
        let keysOnly = await Self.refusal(of: settings)
        #expect(keysOnly.contains("Only public keys"))
    }

    private static func refusal(of settings: JWTSettings) async -> String {
        do throws(ConfigurationProblem) {
            _ = try await TokenMinter(settings)
            return "it was made"
        } catch {
            return error.message
        }
    }
}
