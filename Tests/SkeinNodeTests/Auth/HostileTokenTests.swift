// Tokens that no issuer made: many of them, each a good one with something wrong. None gets in, none ends
// the node, and the answer is one of the few words there are.

import Foundation
import JWTKit
import Skein
import SkeinNode
import Testing

@Suite struct HostileTokenTests {
    private static let secret = "0123456789abcdef0123456789abcdef"
    private static let mutationCount = 100_000

    private static func base64URL(_ bytes: [UInt8]) -> String {
        Data(bytes).base64EncodedString().replacingOccurrences(of: "+", with: "-")
            .replacingOccurrences(of: "/", with: "_").replacingOccurrences(of: "=", with: "")
    }

    private static func tokens() async throws -> [[UInt8]] {
        let keys = JWTKeyCollection()
        await keys.add(hmac: HMACKey(from: secret), digestAlgorithm: .sha256)
        let signer = try await keys.getKey()
        let claims = [#"{"sub":"alice"}"#, #"{"user_id":"bob","exp":1800000100,"aud":["a","b"]}"#]
        return try claims.map { claims in
            let signed = base64URL(Array(#"{"alg":"HS256","typ":"JWT"}"#.utf8)) + "."
                + base64URL(Array(claims.utf8))
            return Array((signed + "." + base64URL(Array(try signer.sign(Array(signed.utf8))))).utf8)
        }
    }

    @Test func damagedTokensAreRefused() async throws {
        let settings = JWTSettings(secret: Self.secret)
        let authenticator = JWTAuthenticator(
            settings, keys: try KeyRing(settings), now: { 1_800_000_000_000 })
        let good = try await Self.tokens()
        for token in good {
            _ = try await authenticator.authenticate(token: String(decoding: token, as: UTF8.self))
        }
        var generator = Seeded(state: 41)
        var counts: [AuthenticationFailure: Int] = [:]
        for _ in 0..<Self.mutationCount {
            var token = good[Int.random(in: 0..<good.count, using: &generator)]
            for _ in 0..<Int.random(in: 1...3, using: &generator) {
                let place = Int.random(in: 0..<max(token.count, 1), using: &generator)
                let byte = Int.random(in: 0...3, using: &generator) == 0
                    ? UInt8.random(in: 0...255, using: &generator)
                    : "ABCxyz019-_.=+/ ".utf8.randomElement(using: &generator)!
                switch Int.random(in: 0..<5, using: &generator) {
                case 0: token.insert(byte, at: place)
                case 1 where !token.isEmpty: token.remove(at: place)
                case 2 where !token.isEmpty: token.removeSubrange(place...)
                case 3 where !token.isEmpty:
                    let other = good[Int.random(in: 0..<good.count, using: &generator)]
                    token.replaceSubrange(place..., with: other[min(place, other.count)...])
                default: if !token.isEmpty { token[place] = byte }
                }
            }
            let text = String(decoding: token, as: UTF8.self)
            guard !good.contains(Array(text.utf8)) else { continue }
            do throws(AuthenticationFailure) {
                let identity = try await authenticator.authenticate(token: text)
                Issue.record("\(text) let \(identity.userID) in")
            } catch {
                counts[error, default: 0] += 1
            }
        }
        #expect(Set(counts.keys).isSubset(of: [.malformed, .badSignature, .missing, .unknownKey]))
        #expect(counts.values.reduce(0, +) > Self.mutationCount / 2)
        #expect(authenticator.cachedCount == good.count)
    }
}

/// SplitMix64: the same seed gives the same run everywhere.
private struct Seeded: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}

