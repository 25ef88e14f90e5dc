import SkeinWire
import Testing

@Suite struct UpgradeRequestTests {
    static let key = "dGhlIHNhbXBsZSBub25jZQ=="

    /// A proper handshake, with some lines changed: nil takes a line away.
    static func request(
        line: String = "GET /ws?token=abc&resume=e:1 HTTP/1.1",
        _ changes: KeyValuePairs<String, String?> = [:], adding extra: [String] = []
    ) -> String {
        var headers = [
            ("Host", "example.com:8080"), ("Upgrade", "websocket"), ("Connection", "Upgrade"),
            ("Sec-WebSocket-Key", key), ("Sec-WebSocket-Version", "13"),
        ]
        for (name, value) in changes {
            headers.removeAll { $0.0 == name }
            if let value { headers.append((name, value)) }
        }
        let lines = [line] + headers.map { "\($0.0): \($0.1)" } + extra
        return lines.joined(separator: "\r\n") + "\r\n\r\n"
    }

    enum Outcome: Equatable {
        case request(UpgradeRequest)
        case more
        case error(HandshakeError)
    }

    static func parse(
        _ bytes: [UInt8], scanned: inout Int, limits: HandshakeLimits = HandshakeLimits()
    ) -> Outcome {
        do throws(HandshakeError) {
            let request = try UpgradeRequest.parse(bytes.span, scanned: &scanned, limits: limits)
            return request.map(Outcome.request) ?? .more
        } catch {
            return .error(error)
        }
    }

    static func parse(_ text: String, limits: HandshakeLimits = HandshakeLimits()) -> Outcome {
        var scanned = 0
        return parse(text.bytes, scanned: &scanned, limits: limits)
    }

    /// The error of parsing, or else of asking for a WebSocket; nil for a proper handshake.
    static func refusal(_ text: String) -> HandshakeError? {
        switch parse(text) {
        case .error(let error): return error
        case .more: return .requestLineMalformed
        case .request(let request):
            do throws(HandshakeError) {
                try request.requireWebSocket()
                return nil
            } catch {
                return error
            }
        }
    }

    @Test func findsEverything() throws {
        let text = Self.request(adding: [
            "Origin: https://example.com", "Authorization: Bearer x.y.z",
            "Sec-WebSocket-Protocol: bearer, tok", "User-Agent:  curl/8 \t", "X-Other: ž",
            "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
            "X-Forwarded-For: 1.2.3.4", "X-Forwarded-For: 5.6.7.8, 9.9.9.9", "Empty:",
        ])
        guard case .request(let request) = Self.parse(text + "pipelined") else {
            Issue.record("refused: \(Self.parse(text))")
            return
        }
        #expect(request.headBytes == text.utf8.count)
        #expect(request.isGet)
        #expect(text.text(request.method) == "GET")
        #expect(text.text(request.path) == "/ws")
        #expect(text.text(try #require(request.query)) == "token=abc&resume=e:1")
        #expect(text.text(request.host) == "example.com:8080")
        #expect(text.text(try #require(request.origin)) == "https://example.com")
        #expect(text.text(try #require(request.authorization)) == "Bearer x.y.z")
        #expect(text.text(try #require(request.key)) == Self.key)
        #expect(text.text(try #require(request.protocols)) == "bearer, tok")
        #expect(
            text.text(try #require(request.extensions))
                == "permessage-deflate; client_max_window_bits")
        #expect(text.text(try #require(request.userAgent)) == "curl/8")
        #expect(
            text.text(try #require(request.forwardedForLines))
                == "X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-For: 5.6.7.8, 9.9.9.9")
        #expect(request.forwardedLines == nil)
        #expect(!request.hasBody)
        try request.requireWebSocket()
    }

    @Test func takesAPlainGet() throws {
        let text = "GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
        guard case .request(let request) = Self.parse(text) else {
            Issue.record("refused")
            return
        }
        #expect(request.isGet)
        #expect(!request.isUpgrade)
        #expect(request.query == nil)
        #expect(text.text(request.path) == "/health")
        #expect(throws: HandshakeError.notAnUpgrade) { try request.requireWebSocket() }
    }

    static let good: [String] = [
        request(), request(["Upgrade": "WebSocket"]), request(["Upgrade": "h2c, websocket"]),
        request(["Connection": "keep-alive, Upgrade"]), request(["Connection": "UPGRADE"]),
        request(["Connection": nil], adding: ["Connection: keep-alive", "connection: upgrade"]),
        request(adding: ["Content-Length: 0"]), request(["Host": "[::1]:80"]),
        request(line: "GET / HTTP/1.1"), request(line: "GET /ws? HTTP/1.1"),
        request(line: "GET /a?b?c HTTP/1.1"), request(adding: ["HOSTNAME: y"]),
        request(["Host": nil], adding: ["hOsT:x"]),
        request(adding: ["Expect: 100-continue"]), request(adding: ["expect: 100-Continue"]),
        request(["Host": "x:"]), request(["Host": "x:65535"]), request(["Host": "[2001:db8::1]"]),
        request(line: "GET http://example.com/ws HTTP/1.1"), request(line: "GET HTTPS://x:1/ws?a HTTP/1.1"),
        request(line: "GET http://[::1]:80/ws HTTP/1.1"), request(line: "GET http://x HTTP/1.1"),
        request(line: "GET http://x?a HTTP/1.1"), request(line: "GET /%77s HTTP/1.1"),
        request(line: "GET /ws?a=%C3%A9&b=%20%0a HTTP/1.1"), request(adding: ["TE: trailers"]),
        request(["Upgrade": nil], adding: ["Upgrade: h2c", "Upgrade: , WEBSOCKET"]),
        request(adding: ["Upgrade: websocket", "Connection: close"]),
        request(adding: ["X: \u{80}\u{FF}\t~"]), request(adding: ["X:"]), request(adding: ["!#$%&'*+-.^_`|~:x"]),
    ]

    @Test(arguments: good)
    func takes(_ text: String) {
        #expect(Self.refusal(text) == nil)
    }

    static let bad: [(HandshakeError, String)] = [
        (.requestLineMalformed, "\r\n" + request()),
        (.requestLineMalformed, " " + request()),
        (.requestLineMalformed, "\u{80}"), (.requestLineMalformed, "\0"), (.requestLineMalformed, "\n"),
        (.requestLineMalformed, "\r\n\r\n\r\n"), (.requestLineMalformed, "\r\n\r\n\0\r\nQUIZ"),
        (.tlsHello, "\u{16}\u{3}\u{1}\u{2}"), (.tlsHello, "\u{16}"),
        (.proxyHeaderUnexpected, "\r\n\r\n\0\r\nQUIT\n\u{21}"),
        (.proxyHeaderUnexpected, "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n" + request()),
        (.proxyHeaderUnexpected, request(line: "PROXY /ws HTTP/1.1")),
        (.requestLineMalformed, request(line: "GET  /ws HTTP/1.1")),
        (.requestLineMalformed, request(line: "GET /ws  HTTP/1.1")),
        (.requestLineMalformed, request(line: "GET /ws HTTP/1.1").dropFirst(3).description),
        (.requestLineMalformed, request(line: "GET /ws")),
        (.requestLineMalformed, request(line: "GET /ws ")),
        (.requestLineMalformed, request(line: "GET")),
        (.targetMalformed, request(line: "GET ws HTTP/1.1")),
        (.targetMalformed, request(line: "GET ?ws HTTP/1.1")),
        (.targetMalformed, request(line: "GET * HTTP/1.1")),
        (.targetMalformed, request(line: "GET x:80 HTTP/1.1")),
        (.targetMalformed, request(line: "GET http:/x/ws HTTP/1.1")),
        (.targetMalformed, request(line: "GET http:///ws HTTP/1.1")),
        (.targetMalformed, request(line: "GET http://?ws HTTP/1.1")),
        (.targetMalformed, request(line: "GET http:// HTTP/1.1")),
        (.targetMalformed, request(line: "GET http://user@x/ws HTTP/1.1")),
        (.targetMalformed, request(line: "GET http://x:y/ws HTTP/1.1")),
        (.targetMalformed, request(line: "GET http://x%2fy/ws HTTP/1.1")),
        (.targetMalformed, request(line: "GET http://x:65536/ws HTTP/1.1")),
        (.targetMalformed, request(line: "GET ws://x/ws HTTP/1.1")),
        (.targetMalformed, request(line: "GET ftp://x/ws HTTP/1.1")),
        (.targetMalformed, request(line: "GET /w#s HTTP/1.1")),
        (.targetMalformed, request(line: "GET /ws?a#b HTTP/1.1")),
        (.targetMalformed, request(line: "GET /ž HTTP/1.1")),
        (.targetMalformed, request(line: "GET /ws\t HTTP/1.1")),
        (.targetMalformed, request(line: "GET /ws% HTTP/1.1")),
        (.targetMalformed, request(line: "GET /ws%7 HTTP/1.1")),
        (.targetMalformed, request(line: "GET /ws%7g HTTP/1.1")),
        (.targetMalformed, request(line: "GET /ws?a=% HTTP/1.1")),
        (.targetMalformed, request(line: "GET /ws?a=%u0041 HTTP/1.1")),
        (.targetMalformed, request(line: "GET /ws%00 HTTP/1.1")),
        (.targetMalformed, request(line: "GET /ws?token=%00 HTTP/1.1")),
        (.targetMalformed, request(line: "GET /%c0%afws HTTP/1.1")),
        (.targetMalformed, request(line: "GET /%e0%80%af HTTP/1.1")),
        (.targetMalformed, request(line: "GET /ws?a=%C0%80 HTTP/1.1")),
        (.targetMalformed, request(line: "GET /ws?a=%ED%A0%80 HTTP/1.1")),
        (.targetMalformed, request(line: "GET /ws?a=%FF HTTP/1.1")),
        (.targetMalformed, request(line: "GET /ws?a=%C3 HTTP/1.1")),
        (.methodNotAllowed, request(line: "OPTIONS * HTTP/1.1")),
        (.methodNotAllowed, request(line: "CONNECT example.com:80 HTTP/1.1")),
        (.methodNotAllowed, request(line: "OPTIONS /ws HTTP/1.1")),
        (.methodNotAllowed, request(line: "HEAD /ws HTTP/1.1")),
        (.versionNotSupported, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        (.versionNotSupported, request(line: "GET /ws HTTP/0.9")),
        (.versionNotSupported, request(line: "OPTIONS * HTTP/1.0")),
        (.expectationFailed, request(adding: ["Expect: 200-ok"])),
        (.expectationFailed, request(adding: ["Expect: 100-continue, x"])),
        (.expectationFailed, request(adding: ["Expect: 100-continue", "Expect: x"])),
        (.expectationFailed, request(adding: ["Expect:"])),
        (.bodyNotAllowed, request(adding: ["Expect: 100-continue", "Content-Length: 5"])),
        (.requestLineMalformed, request(line: "GET\t/ws HTTP/1.1")),
        (.requestLineMalformed, request(line: "GET /ws http/1.1")),
        (.versionNotSupported, request(line: "GET /ws HTTP/1.0")),
        (.versionNotSupported, request(line: "GET /ws HTTP/2.0")),
        (.versionNotSupported, request(line: "GET /ws HTTP/1.10")),
        (.versionNotSupported, request(line: "GET /ws HTTP/1.1 ")),
        (.versionNotSupported, request(line: "GET /ws HTTP/x")),
        (.methodNotAllowed, request(line: "POST /ws HTTP/1.1")),
        (.methodNotAllowed, request(line: "get /ws HTTP/1.1")),
        (.methodNotAllowed, request(line: "POST /ws HTTP/1.1", adding: ["Content-Length: 5"])),
        (.bareLineFeed, "GET /ws HTTP/1.1\nHost: x\r\n\r\n"),
        (.bareLineFeed, "GET /ws HTTP/1.1\r\nHost: x\n\n"),
        (.bareCarriageReturn, "GET /ws HTTP/1.1\r\nHost: x\ry\r\n\r\n"),
        (.bareCarriageReturn, "GET /ws HTTP/1.1\r\r\n\r\n"),
        (.controlCharacter, request(adding: ["A: b\0c"])),
        (.controlCharacter, request(adding: ["A: b\u{7F}c0123456789"])),
        (.controlCharacter, request(adding: ["A: 0123456789\u{1F}0123456789"])),
        (.foldedHeader, request(adding: ["A: b", " c: d"])),
        (.foldedHeader, request(adding: ["\tA: b"])),
        (.headerMalformed, request(adding: ["A : b"])),
        (.headerMalformed, request(adding: [": b"])),
        (.headerMalformed, request(adding: ["no colon"])),
        (.headerMalformed, request(adding: ["A"])),
        (.headerMalformed, request(adding: ["ž: b"])),
        (.headerRepeated, request(adding: ["Host: example.com:8080"])),
        (.headerRepeated, request(adding: ["Sec-WebSocket-Key: \(key)"])),
        (.headerRepeated, request(adding: ["sec-websocket-version: 13"])),
        (.headerRepeated, request(adding: ["Origin: a", "Origin: a"])),
        (.headerRepeated, request(adding: ["Authorization: a", "Authorization: b"])),
        (.headerRepeated, request(adding: ["Content-Length: 0", "Content-Length: 0"])),
        (.hostMissing, request(["Host": nil])),
        (.hostMissing, request(["Host": " "])),
        (.hostMalformed, request(["Host": "a b"])),
        (.hostMalformed, request(["Host": "a/b"])),
        (.hostMalformed, request(["Host": "user@host"])),
        (.hostMalformed, request(["Host": "a,b"])),
        (.hostMalformed, request(["Host": "a:b"])),
        (.hostMalformed, request(["Host": "a:1:2"])),
        (.hostMalformed, request(["Host": "a:65536"])),
        (.hostMalformed, request(["Host": ":80"])),
        (.hostMalformed, request(["Host": "[::1"])),
        (.hostMalformed, request(["Host": "::1"])),
        (.hostMalformed, request(["Host": "[::1]x"])),
        (.hostMalformed, request(["Host": "[x]"])),
        (.hostMalformed, request(["Host": "a%2e"])),
        (.hostMissing, request(line: "GET http://x/ws HTTP/1.1", ["Host": nil])),
        (.headerRepeated, request(line: "GET http://x/ws HTTP/1.1", adding: ["Host: x"])),
        (.contentLengthMalformed, request(adding: ["Content-Length: x"])),
        (.contentLengthMalformed, request(adding: ["Content-Length: -1"])),
        (.contentLengthMalformed, request(adding: ["Content-Length:"])),
        (.contentLengthMalformed, request(adding: ["Content-Length: 0, 0"])),
        (.contentLengthMalformed, request(adding: ["Content-Length: 18446744073709551616"])),
        (
            .contentLengthWithTransferEncoding,
            request(adding: ["Content-Length: 0", "Transfer-Encoding: chunked"])
        ),
        (.bodyNotAllowed, request(adding: ["Content-Length: 5"])),
        (.bodyNotAllowed, request(adding: ["Transfer-Encoding: chunked"])),
        (.bodyNotAllowed, request(adding: ["Transfer-Encoding: identity"])),
        (.notAnUpgrade, request(["Upgrade": nil])),
        (.notAnUpgrade, request(["Connection": nil])),
        (.notAnUpgrade, request(["Upgrade": "h2c"])),
        (.notAnUpgrade, request(["Upgrade": "websockets"])),
        (.notAnUpgrade, request(["Connection": "keep-alive"])),
        (.webSocketVersionMissing, request(["Sec-WebSocket-Version": nil])),
        (.webSocketVersionNotSupported, request(["Sec-WebSocket-Version": "8"])),
        (.webSocketVersionNotSupported, request(["Sec-WebSocket-Version": "13, 8"])),
        (.webSocketVersionNotSupported, request(["Sec-WebSocket-Version": ""])),
        (.keyMissing, request(["Sec-WebSocket-Key": nil])),
        (.keyMalformed, request(["Sec-WebSocket-Key": ""])),
        (.keyMalformed, request(["Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ="])),
        (.keyMalformed, request(["Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==" + "="])),
        (.keyMalformed, request(["Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQAA"])),
        (.keyMalformed, request(["Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25*ZQ=="])),
        (.protocolsMalformed, request(adding: ["Sec-WebSocket-Protocol: "])),
        (.protocolsMalformed, request(adding: ["Sec-WebSocket-Protocol: chat room"])),
        (.protocolsMalformed, request(adding: ["Sec-WebSocket-Protocol: chat, b@d"])),
        (.protocolsMalformed, request(adding: ["Sec-WebSocket-Protocol: chat,, other"])),
        (.protocolsMalformed, request(adding: ["Sec-WebSocket-Protocol: chat, chat"])),
        (.protocolsMalformed, request(adding: ["Sec-WebSocket-Protocol: chat,"])),
        (.extensionsMalformed, request(adding: ["Sec-WebSocket-Extensions: "])),
        (.extensionsMalformed, request(adding: ["Sec-WebSocket-Extensions: ;"])),
        (.extensionsMalformed, request(adding: ["Sec-WebSocket-Extensions: foo; a="])),
        (.extensionsMalformed, request(adding: ["Sec-WebSocket-Extensions: foo bar"])),
        (.extensionsMalformed, request(adding: ["Sec-WebSocket-Extensions: foo; a=\"1"])),
        (.extensionsMalformed, request(adding: ["Sec-WebSocket-Extensions: foo; a=\"1 2\""])),
        (.extensionsMalformed, request(adding: ["Sec-WebSocket-Extensions: =, foo"])),
        (.extensionsMalformed, request(adding: ["Sec-WebSocket-Extensions: foo, bar; ="])),
        (.extensionsMalformed, request(adding: ["Sec-WebSocket-Extensions: permessage-deflate;"])),
    ]

    @Test(arguments: bad)
    func refuses(error: HandshakeError, text: String) {
        #expect(Self.refusal(text) == error)
    }

    @Test func answersWithTheContractsStatus() {
        let statuses: [HandshakeError: Int] = [
            .headTooLarge: 431, .tooManyHeaders: 431, .versionNotSupported: 505,
            .methodNotAllowed: 405, .notAnUpgrade: 426, .webSocketVersionMissing: 426,
            .webSocketVersionNotSupported: 426, .targetTooLong: 414, .expectationFailed: 417,
        ]
        for error in HandshakeError.allCases {
            #expect(error.status == statuses[error] ?? 400)
        }
        let elsewhere: [HandshakeError] = [
            .headTooLarge, .tooManyHeaders, .targetTooLong, .proxyHeaderMalformed,
        ]
        let tested = Set(Self.bad.map(\.0)).union(elsewhere)
        #expect(tested == Set(HandshakeError.allCases))
    }

    @Test func boundsTheHead() {
        let text = Self.request()
        let size = text.utf8.count
        let exact = HandshakeLimits(headBytesMax: size)
        guard case .request = Self.parse(text, limits: exact) else {
            Issue.record("a head of just the limit was refused")
            return
        }
        let less = HandshakeLimits(headBytesMax: size - 1)
        #expect(Self.parse(text, limits: less) == .error(.headTooLarge))
        #expect(Self.parse(string(Array(text.bytes.prefix(size - 2))), limits: less) == .more)
        let few = HandshakeLimits(headersMax: 5)
        guard case .request = Self.parse(text, limits: few) else {
            Issue.record("five headers are five")
            return
        }
        #expect(Self.parse(Self.request(adding: ["A: b"]), limits: few) == .error(.tooManyHeaders))
    }

    @Test(arguments: [
        ("GET /" + String(repeating: "x", count: 400), HandshakeError.targetTooLong),
        (request(line: "GET /" + String(repeating: "x", count: 400) + " HTTP/1.1"), .targetTooLong),
        (String(repeating: "x", count: 400), .headTooLarge),
        ("GET / " + String(repeating: "x", count: 400), .headTooLarge),
        ("GET / HTTP/1.1\r\nX:" + String(repeating: " ", count: 400), .headTooLarge),
    ])
    func saysWhatIsTooLong(text: String, error: HandshakeError) {
        let small = HandshakeLimits(headBytesMax: 300)
        var scanned = 0
        var outcome = Outcome.more
        for length in 0...text.utf8.count where outcome == .more {
            outcome = Self.parse(Array(text.bytes[0..<length]), scanned: &scanned, limits: small)
        }
        #expect(outcome == .error(error))
        #expect(Self.parse(text, limits: small) == .error(error))
    }

    @Test(arguments: [
        ("GET /ws HTTP/1.1", "example.com:8080", "/ws", nil),
        ("GET http://other:81/ws?a=b HTTP/1.1", "other:81", "/ws", "a=b"),
        ("GET https://[::1]/?x HTTP/1.1", "[::1]", "/", "x"),
        ("GET http://other HTTP/1.1", "other", "", nil),
        ("GET http://other?x/y HTTP/1.1", "other", "", "x/y"),
    ] as [(String, String, String, String?)])
    func anAbsoluteTargetNamesTheHost(line: String, host: String, path: String, query: String?) {
        let text = Self.request(line: line)
        guard case .request(let request) = Self.parse(text) else {
            Issue.record("refused: \(Self.parse(text))")
            return
        }
        #expect(text.text(request.host) == host)
        #expect(text.text(request.path) == path)
        #expect(request.query.map(text.text) == query)
    }

    @Test(arguments: [
        ("/ws", "/ws"), ("/%77%73", "/ws"), ("/ws%2F..", nil), ("/chat%2fws", nil), ("/%2577s", nil),
        ("%2Fws", nil), ("/w+s", "/w+s"), ("/%c3%a9", "/é"), ("/ws%3Fa", "/ws?a"), ("/ws%", nil),
        ("/ws%7", nil), ("", ""),
    ] as [(String, String?)])
    func decodesAPathOnce(raw: String, decoded: String?) {
        var isPath = false
        let bytes = written { isPath = PercentEncoding.decodePath(raw.bytes.span, into: &$0) }
        #expect((isPath ? string(bytes) : nil) == decoded)
    }

    @Test func everyCutGivesTheSameAnswer() {
        let small = HandshakeLimits(headBytesMax: 300)
        let long = Self.request(adding: ["A: " + String(repeating: "x", count: 300)])
        for text in Self.good + Self.bad.map(\.1) + [long] {
            let bytes = text.bytes
            var fresh = 0
            let whole = Self.parse(bytes, scanned: &fresh, limits: small)
            // One byte at a time, the way a slow client drips, going on where the last look ended.
            var scanned = 0
            var outcome = Outcome.more
            for length in 0...bytes.count where outcome == .more {
                let before = scanned
                outcome = Self.parse(Array(bytes[0..<length]), scanned: &scanned, limits: small)
                #expect(scanned >= before, "went back")
                // Never rereads more than the one byte that waits for its line feed.
                // What may yet be a PROXY header is looked at whole: it is 12 bytes.
                #expect(outcome != .more || scanned >= length - 1 || length < 12)
            }
            #expect(outcome == whole)
        }
    }

    @Test func randomBytesNeverTrap() {
        var generator = SeededGenerator(seed: 6)
        let base = Self.request(
            line: "GET http://x/%77s?a=%C3%A9 HTTP/1.1",
            adding: ["Origin: http://a", "Content-Length: 0", "X-Forwarded-For: 1.2.3.4"]
        ).bytes
        for _ in 0..<5_000 {
            var bytes = base
            for _ in 0..<Int.random(in: 1...4, using: &generator) {
                let position = Int.random(in: 0..<bytes.count, using: &generator)
                if Bool.random(using: &generator) {
                    bytes[position] = UInt8.random(in: 0...255, using: &generator)
                } else {
                    bytes.remove(at: position)
                }
            }
            var fresh = 0
            let whole = Self.parse(bytes, scanned: &fresh)
            var scanned = 0
            var outcome = Outcome.more
            var received: [UInt8] = []
            for piece in bytes.chopped(using: &generator, longest: 60) where outcome == .more {
                received += piece
                outcome = Self.parse(received, scanned: &scanned)
            }
            #expect(outcome == whole)
            if case .request(let request) = outcome { try? request.requireWebSocket() }
        }
    }
}
