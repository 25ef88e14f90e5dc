import SkeinBench
import Testing

@Suite("TokenSource")
struct TokenSourceTests {
    @Test("a token has three parts and the claims asked for")
    func made() {
        let kind = TokenSource.Kind.secret(
            "a-secret-of-more-than-thirty-two-bytes", issuer: "i", audience: "a", lifetimeSeconds: 60)
        let source = TokenSource(kind, userPrefix: "u")
        let token = String(decoding: source.token(7, secondsSince1970: 1_000), as: UTF8.self)
        // As Python's hmac and base64 make it of the same header and claims.
        #expect(token == Self.expected)
        #expect(source.user(7) == "u7")
    }

    static let expected = 
        "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJ1NyIsImlhdCI6MTAwMCwiaXNzIjo"
        + "iaSIsImF1ZCI6ImEiLCJleHAiOjEwNjB9.TOWNSXA5SbgAixQUJGjxQlVEUfsCS8xt8BgD2_hmrPw"

    @Test("lists go round")
    func listed() {
        guard let kind = TokenSource.parse(list: "a x\nb  y\n\n") else {
            Issue.record("not read")
            return
        }
        let source = TokenSource(kind, userPrefix: "u")
        #expect(source.user(0) == "a" && source.user(3) == "b")
        #expect(source.token(2, secondsSince1970: 0) == Array("x".utf8))
        #expect(TokenSource.parse(list: "a\n") == nil)
        #expect(TokenSource.parse(list: "") == nil)
    }
}
