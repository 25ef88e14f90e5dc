// Tokens as strangers send them: whole, as claims under a good signature, and as heads under one. Parsing
// the three parts, base64url, head and claims is Skein's own; jwt-kit only computes the signature.

#if SKEIN_FUZZ
import FuzzBodies
#endif
import Foundation
import JWTKit
import Skein
import SkeinNode

extension FuzzTarget {
    package static let token = FuzzTarget("Token") {
        let body = try await TokenBody()
        return { (input) throws(Contradiction) in try body.check(input) }
    }

    package static let configuration = FuzzTarget("Configuration") { checkConfiguration }

    package static let node: [FuzzTarget] = [.token, .configuration]
}

private struct TokenBody: Sendable {
    static let secret = "0123456789abcdef0123456789abcdef"
    static let seconds = 1_800_000_000.0

    let authenticator: JWTAuthenticator
    let signer: any JWTAlgorithm

    init() async throws {
        let settings = JWTSettings(secret: Self.secret)
        authenticator = JWTAuthenticator(
            settings, keys: try KeyRing(settings), now: { Int64(Self.seconds * 1_000) })
        let keys = JWTKeyCollection()
        await keys.add(hmac: HMACKey(from: Self.secret), digestAlgorithm: .sha256)
        signer = try await keys.getKey()
    }

    func check(_ input: [UInt8]) throws(Contradiction) {
        guard let choice = input.first else { return }
        let rest = Array(input[1...])
        switch choice % 3 {
        case 0:
            let token = String(decoding: rest, as: UTF8.self)
            guard verify(token) != nil else { return }
            let parts = token.split(separator: ".", omittingEmptySubsequences: false)
            try expect(
                parts.count == 3 && parts[2] == signature(of: parts[0] + "." + parts[1]),
                "let in without a signature: \(token)")
        case 1:
            let text = signed(head: Array(#"{"alg":"HS256"}"#.utf8), claims: rest)
            guard let verified = verify(text) else { return }
            let user = verified.identity.userID.description
            try expect(
                (1...128).contains(user.utf8.count) && user.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F },
                "user \(user)")
            if let expiry = verified.identity.expiresAtMilliseconds {
                try expect(Double(expiry) > (Self.seconds - 30) * 1_000, "expired: \(rest.shown)")
            }
        default:
            guard verify(signed(head: rest, claims: Array(#"{"sub":"alice"}"#.utf8))) != nil else { return }
            // The letters may be escaped, and a key may come twice; without any of these there is no way in.
            let text = String(decoding: rest, as: UTF8.self)
            try expect(text.contains("HS256") || text.contains("\\u"), "let in by \(rest.shown)")
            try expect(!text.contains(#""crit":["#), "extensions that no one understands: \(rest.shown)")
        }
    }

    private func verify(_ token: String) -> VerifiedToken? { try? authenticator.verifyNow(token) }

    private func signed(head: [UInt8], claims: [UInt8]) -> String {
        let text = Self.base64URL(head) + "." + Self.base64URL(claims)
        return text + "." + signature(of: text)
    }

    private func signature(of text: some StringProtocol) -> String {
        Self.base64URL((try? signer.sign(Array(text.utf8))) ?? [])
    }

    private static func base64URL(_ bytes: [UInt8]) -> String {
        Data(bytes).base64EncodedString().replacingOccurrences(of: "+", with: "-")
            .replacingOccurrences(of: "/", with: "_").replacingOccurrences(of: "=", with: "")
    }
}
