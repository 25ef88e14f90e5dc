// Which tokens let a client in. Tokens are made by hand here, so that a fault which the minter and
// the authenticator share would show.

import Foundation
import JWTKit
import Skein
import SkeinNode
import Testing

private let secret = "0123456789abcdef0123456789abcdef"
private let now: Int64 = 1_800_000_000_000

private func token(
    _ claims: String, header: String = #"{"alg":"HS256","typ":"JWT"}"#, secret: String = secret
) async throws -> String {
    let signed = base64URL(header) + "." + base64URL(claims)
    let keys = JWTKeyCollection()
    await keys.add(hmac: HMACKey(from: secret), digestAlgorithm: .sha256)
    let signature = try await keys.getKey().sign(Array(signed.utf8))
    let encoded = Data(signature).base64EncodedString().replacingOccurrences(of: "+", with: "-")
        .replacingOccurrences(of: "/", with: "_").replacingOccurrences(of: "=", with: "")
    return signed + "." + encoded
}

private func authenticator(
    issuer: String? = nil, audience: String? = nil, at time: Int64 = now
) async throws -> JWTAuthenticator {
    var settings = JWTSettings(secret: secret)
    settings.issuers = issuer.map { [$0] } ?? []
    settings.audiences = audience.map { [$0] } ?? []
    return try JWTAuthenticator(settings, now: { time })
}

@Suite struct JWTAuthenticatorTests {
    @Test(arguments: [
        (#"{"sub":"alice"}"#, "alice"),
        (#"{"user_id":"bob"}"#, "bob"),
        (#"{"userId":"carol"}"#, "carol"),
        (#"{"sub":"a","user_id":"b","userId":"c"}"#, "a"),
        (#"{"user_id":"b","userId":"c"}"#, "b"),
        (#"{"sub":7,"user_id":"b"}"#, "b"),
        (#"{"sub":"alice","exp":1800000001,"nbf":1799999999}"#, "alice"),
        (#"{"sub":"alice","exp":1799999971}"#, "alice"),
        (#"{"sub":"alice","exp":1800000001.5}"#, "alice"),
        (#"{"sub":"alice","nbf":1800000030}"#, "alice"),
        (#"{"sub":"alice","aud":"x","iss":"y","extra":{"deep":[1,2]}}"#, "alice"),
    ])
    func letsIn(claims: String, user: String) async throws {
        let identity = try await authenticator().authenticate(token: token(claims))
        #expect(identity.userID.description == user)
    }

    @Test(arguments: [
        (#"{"sub":"alice","exp":1799999969}"#, AuthenticationFailure.expired),
        (#"{"sub":"alice","nbf":1800000031}"#, .notYetValid),
        (#"{"sub":"alice","exp":"never"}"#, .malformed),
        (#"{"sub":"alice","nbf":[]}"#, .malformed),
        (#"{"name":"alice"}"#, .noUser),
        (#"{"sub":""}"#, .noUser),
        (#"{"sub":"al ice"}"#, .noUser),
        (#"{"sub":"älice"}"#, .noUser),
        (#"["alice"]"#, .malformed),
        (#"{"sub":"alice""#, .malformed),
    ])
    func refuses(claims: String, failure: AuthenticationFailure) async throws {
        let authenticator = try await authenticator()
        let token = try await token(claims)
        await #expect(throws: failure) { try await authenticator.authenticate(token: token) }
    }

    @Test(arguments: [
        #"{"alg":"none"}"#, #"{"alg":"HS384"}"#, #"{"alg":"hs256"}"#, "{}",
        #"{"alg":"HS256","crit":["exp"]}"#,
    ])
    func refusesOtherAlgorithms(header: String) async throws {
        let authenticator = try await authenticator()
        let token = try await token(#"{"sub":"alice"}"#, header: header)
        await #expect(throws: AuthenticationFailure.badSignature) {
            try await authenticator.authenticate(token: token)
        }
        let unsigned = token.split(separator: ".").prefix(2).joined(separator: ".") + "."
        await #expect(throws: AuthenticationFailure.badSignature) {
            try await authenticator.authenticate(token: unsigned)
        }
    }

    @Test func refusesWhatWasTamperedWith() async throws {
        let authenticator = try await authenticator()
        let good = try await token(#"{"sub":"alice"}"#)
        let other = try await token(#"{"sub":"alice"}"#, secret: String(secret.reversed()))
        let parts = good.split(separator: ".")
        let cases: [(String, AuthenticationFailure)] = [
            (other, .badSignature),
            ("\(parts[0]).\(base64URL(#"{"sub":"root"}"#)).\(parts[2])", .badSignature),
            ("\(parts[0]).\(parts[1])", .malformed), ("\(good).x", .malformed),
            (good + "=", .malformed), ("", .missing), ("a.b.c", .malformed),
            (String(repeating: "a", count: 20_000), .malformed),
        ]
        for (token, failure) in cases {
            await #expect(throws: failure) { try await authenticator.authenticate(token: token) }
        }
    }

    @Test func issuerAndAudience() async throws {
        let strict = try await authenticator(issuer: "me", audience: "skein")
        _ = try await strict.authenticate(
            token: token(#"{"sub":"a","iss":"me","aud":["x","skein"]}"#))
        _ = try await strict.authenticate(token: token(#"{"sub":"a","iss":"me","aud":"skein"}"#))
        let wrongIssuer = try await token(#"{"sub":"a","iss":"you","aud":"skein"}"#)
        await #expect(throws: AuthenticationFailure.wrongIssuer) {
            try await strict.authenticate(token: wrongIssuer)
        }
        let wrongAudience = try await token(#"{"sub":"a","iss":"me"}"#)
        await #expect(throws: AuthenticationFailure.wrongAudience) {
            try await strict.authenticate(token: wrongAudience)
        }
    }

    @Test func namesRolesAndExpiry() async throws {
        let authenticator = try await authenticator()
        let full = try await authenticator.verify(
            token(#"{"sub":"a","username":"n","role":"service","exp":1800000060}"#))
        #expect(full.identity.username == "n")
        #expect(full.identity.expiresAtMilliseconds == 1_800_000_060_000)
        #expect(full.isService)
        let other = try await authenticator.verify(token(#"{"sub":"a","preferred_username":"p"}"#))
        #expect(other.identity.username == "p")
        #expect(other.identity.expiresAtMilliseconds == nil)
        #expect(!other.isService)
    }

    @Test func theCacheForgetsWhatHasExpired() async throws {
        let clock = Clock()
        var settings = JWTSettings(secret: secret)
        settings.cacheEntriesMax = 8
        let authenticator = try JWTAuthenticator(settings, now: { clock.value })
        let short = try await token(#"{"sub":"a","exp":1800000010}"#)
        #expect(try await authenticator.verify(short) == authenticator.verify(short))
        clock.value = now + 40_001
        await #expect(throws: AuthenticationFailure.expired) { try await authenticator.verify(short) }
        for index in 0..<100 { _ = try await authenticator.verify(token(#"{"sub":"u\#(index)"}"#)) }
        #expect(authenticator.cachedCount <= 8)
    }

    @Test func whatIsMintedIsTaken() async throws {
        var settings = JWTSettings(secret: secret)
        settings.issuers = ["me", "us"]
        settings.audiences = ["skein"]
        let minter = try await TokenMinter(settings)
        let minted = try await minter.mint(
            user: "alice", username: "Alice", role: .admin, lifetime: .seconds(60))
        let verified = try await (try JWTAuthenticator(settings)).verify(minted)
        #expect(verified.identity.userID.description == "alice")
        #expect(verified.identity.username == "Alice")
        #expect(verified.role == "admin")
        await #expect(throws: ConfigurationProblem.self) {
            try await minter.mint(user: "no blanks", lifetime: .seconds(60))
        }
    }
}

private final class Clock: @unchecked Sendable {
    var value = now
}
