import Testing

@testable import Skein

@Suite("Redis replies that fit a line")
struct RedisReplyTests {
    @Test func wholeReplies() {
        withBytes(":42\r\nrest") { bytes in
            guard case .integer(let number)? = RedisLink.line(bytes)?.reply else {
                Issue.record("not an integer")
                return
            }
            #expect(number == 42)
            #expect(RedisLink.line(bytes)?.count == 5)
        }
        withBytes("-NOAUTH Authentication required.\r\n") { bytes in
            guard case .error(let text)? = RedisLink.line(bytes)?.reply else {
                Issue.record("not an error")
                return
            }
            #expect(text.text == "NOAUTH Authentication required.")
        }
        withBytes("+OK\r\n") { bytes in
            guard case .status? = RedisLink.line(bytes)?.reply else {
                Issue.record("not a status")
                return
            }
        }
    }

    @Test("a reply cut anywhere asks for more", arguments: [":123456\r\n", "+OK\r\n", "-ERR no\r\n"])
    func cutReplies(text: String) {
        for end in 1..<text.utf8.count {
            withBytes(Array(text.utf8.prefix(end))) { bytes in #expect(RedisLink.line(bytes) == nil) }
        }
    }

    @Test("what is no line goes to the general reader", arguments: ["$3\r\nabc\r\n", "*1\r\n:1\r\n", ":x\r\n"])
    func otherReplies(text: String) {
        withBytes(text) { bytes in
            guard case .other? = RedisLink.line(bytes)?.reply else {
                Issue.record("taken for a line")
                return
            }
        }
    }
}
