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
        #expect(text.text(try #require(request.forwardedFor)) == "5.6.7.8, 9.9.9.9")
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
    ]

    @Test(arguments: good)
    func takes(_ text: String) {
        #expect(Self.refusal(text) == nil)
    }

    static let bad: [(HandshakeError, String)] = [
        (.requestLineMalformed, "\r\n" + request()),
        (.requestLineMalformed, " " + request()),
        (.requestLineMalformed, "\u{16}\u{3}\u{1}"),
        (.requestLineMalformed, request(line: "GET  /ws HTTP/1.1")),
        (.requestLineMalformed, request(line: "GET /ws  HTTP/1.1")),
        (.requestLineMalformed, request(line: "GET /ws HTTP/1.1").dropFirst(3).description),
        (.requestLineMalformed, request(line: "GET /ws")),
        (.requestLineMalformed, request(line: "GET /ws ")),
        (.requestLineMalformed, request(line: "GET")),
        (.requestLineMalformed, request(line: "GET ws HTTP/1.1")),
        (.requestLineMalformed, request(line: "GET http://x/ws HTTP/1.1")),
        (.requestLineMalformed, request(line: "OPTIONS * HTTP/1.1")),
        (.requestLineMalformed, request(line: "GET /w#s HTTP/1.1")),
        (.requestLineMalformed, request(line: "GET /ž HTTP/1.1")),
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
    ]

    @Test(arguments: bad)
    func refuses(error: HandshakeError, text: String) {
        #expect(Self.refusal(text) == error)
    }

    @Test func answersWithTheContractsStatus() {
        let statuses: [HandshakeError: Int] = [
            .headTooLarge: 431, .tooManyHeaders: 431, .versionNotSupported: 505,
            .methodNotAllowed: 405, .notAnUpgrade: 426, .webSocketVersionMissing: 426,
            .webSocketVersionNotSupported: 426,
        ]
        for error in HandshakeError.allCases {
            #expect(error.status == statuses[error] ?? 400)
        }
        let tested = Set(Self.bad.map(\.0)).union([.headTooLarge, .tooManyHeaders])
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
                #expect(outcome != .more || scanned >= length - 1)
            }
            #expect(outcome == whole)
        }
    }

    @Test func randomBytesNeverTrap() {
        var generator = SeededGenerator(seed: 6)
        let base = Self.request(adding: ["Origin: http://a", "Content-Length: 0"]).bytes
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
