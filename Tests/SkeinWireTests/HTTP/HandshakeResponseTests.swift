import Foundation
import SkeinWire
import Testing

@Suite struct HandshakeResponseTests {
    static func accept(_ key: String, protocol: String = "", extensions: String = "") -> String {
        string(
            written {
                HandshakeResponse.writeAccept(
                    key: key.bytes.span, protocol: `protocol`.bytes.span,
                    extensions: extensions.bytes.span, into: &$0)
            })
    }

    static func response(_ status: Int, _ body: String, retryAfter: Int? = nil) -> String {
        string(
            written {
                HandshakeResponse.write(
                    status: status, body: body.bytes.span, retryAfterSeconds: retryAfter, into: &$0)
            })
    }

    static func parse(_ text: String) throws(HandshakeError) -> ResponseHead? {
        var scanned = 0
        let bytes = text.bytes
        return try ResponseHead.parse(bytes.span, scanned: &scanned)
    }

    @Test func answersTheExampleOfTheRFC() {
        #expect(
            Self.accept("dGhlIHNhbXBsZSBub25jZQ==") == """
                HTTP/1.1 101 Switching Protocols\r
                Upgrade: websocket\r
                Connection: Upgrade\r
                Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r
                \r\n
                """)
    }

    @Test func namesSubprotocolAndExtensions() {
        let text = Self.accept(
            "dGhlIHNhbXBsZSBub25jZQ==", protocol: "bearer", extensions: "permessage-deflate")
        #expect(text.contains("\r\nSec-WebSocket-Protocol: bearer\r\n"))
        #expect(text.hasSuffix("\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"))
        #expect(
            text.utf8.count
                <= HandshakeResponse.acceptBytes(protocolBytes: 6, extensionsBytes: 18))
    }

    @Test func writesErrors() throws {
        #expect(
            Self.response(401, "{\"error\":\"Unauthorized\"}") == """
                HTTP/1.1 401 Unauthorized\r
                Content-Type: application/json\r
                Content-Length: 24\r
                Connection: close\r
                \r
                {"error":"Unauthorized"}
                """)
        #expect(Self.response(503, "{}", retryAfter: 7).contains("\r\nRetry-After: 7\r\n"))
        #expect(Self.response(405, "{}").contains("\r\nAllow: GET\r\n"))
        #expect(Self.response(426, "{}").contains("\r\nSec-WebSocket-Version: 13\r\n"))
        #expect(!Self.response(400, "{}").contains("Sec-WebSocket-Version"))
        for error in HandshakeError.allCases {
            let text = string(written { HandshakeResponse.write(error, into: &$0) })
            #expect(text.utf8.count <= HandshakeResponse.errorBytesMax)
            let head = try #require(try Self.parse(text))
            #expect(head.status == error.status)
            #expect(head.headBytes + (head.contentLength ?? 0) == text.utf8.count)
            let body = Data(text.utf8.dropFirst(head.headBytes))
            let json = try JSONSerialization.jsonObject(with: body) as? [String: String]
            #expect(json == ["error": "\(error.reason)"])
        }
        let longest = Self.response(431, "{}", retryAfter: .max)
        #expect(longest.utf8.count <= HandshakeResponse.responseBytes(bodyBytes: 2))
        #expect(
            Self.response(426, "", retryAfter: .max).utf8.count
                <= HandshakeResponse.responseBytes(bodyBytes: 0))
    }

    @Test func clientAndServerUnderstandEachOther() throws {
        var generator = SeededGenerator(seed: 7)
        for _ in 0..<50 {
            let random = (generator.next(), generator.next())
            let key = written { WebSocketKey.writeKey(random: random, into: &$0) }
            let text = string(
                written {
                    ClientHandshake.writeRequest(
                        target: "/ws?a=b".bytes.span, host: "h:1".bytes.span, key: key.span,
                        token: "t".bytes.span, protocols: "p".bytes.span,
                        extensions: "e".bytes.span, into: &$0)
                })
            #expect(
                text.utf8.count
                    <= ClientHandshake.requestBytes(
                        targetBytes: 7, hostBytes: 3, tokenBytes: 1, protocolsBytes: 1,
                        extensionsBytes: 1))
            #expect(UpgradeRequestTests.refusal(text) == nil)
            let more = string(
                written {
                    ClientHandshake.writeRequest(
                        target: "/".bytes.span, host: "h".bytes.span, key: key.span, token: Span(),
                        protocols: Span(), extensions: Span(),
                        fields: "X-A: 1\r\nOrigin: http://h\r\n".bytes.span, into: &$0)
                })
            #expect(UpgradeRequestTests.refusal(more) == nil)
            #expect(more.hasSuffix("\r\nX-A: 1\r\nOrigin: http://h\r\n\r\n"))
            let answer = Self.accept(string(key), protocol: "p")
            let head = try #require(try Self.parse(answer + "frames"))
            #expect(head.headBytes == answer.utf8.count)
            #expect(head.isAccepted(key: key, in: answer))
            #expect(answer.text(try #require(head.protocol)) == "p")
            let other = written { WebSocketKey.writeKey(random: (1, 2), into: &$0) }
            #expect(!head.isAccepted(key: other, in: answer))
        }
    }

    @Test func readsResponsesHoweverCut() throws {
        let text = "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 3\r\nContent-Length: 12\r\n\r\n"
        var scanned = 0
        for length in 0..<text.utf8.count {
            let piece = Array(text.bytes[0..<length])
            let head = try ResponseHead.parse(piece.span, scanned: &scanned)
            #expect(head == nil)
        }
        let head = try #require(try Self.parse(text))
        #expect(head.status == 429)
        #expect(head.contentLength == 12)
        #expect(text.text(try #require(head.retryAfter)) == "3")
        #expect(!head.isAccepted(key: Array("dGhlIHNhbXBsZSBub25jZQ==".utf8), in: text))
        for bad in [
            "HTTP/2 200\r\n\r\n", "HTTP/1.1 20\r\n\r\n", "HTTP/1.1 abc\r\n\r\n", "x\r\n\r\n",
        ] {
            #expect(throws: HandshakeError.requestLineMalformed) { try Self.parse(bad) }
        }
    }

    @Test func encodesBase64LikeFoundation() {
        var generator = SeededGenerator(seed: 8)
        for length in 0...100 {
            let bytes = generator.bytes(length)
            let encoded = written { Base64.encode(bytes.span, into: &$0) }
            #expect(string(encoded) == Data(bytes).base64EncodedString())
            #expect(encoded.count == Base64.encodedBytes(length))
        }
    }
}

extension ResponseHead {
    fileprivate func isAccepted(key: [UInt8], in text: String) -> Bool {
        let bytes = text.bytes
        return isAccepted(key: key.span, in: bytes.span)
    }
}
