// The request head of a WebSocket handshake (RFC 6455 §4.2.1, RFC 9112), as places in the caller's
// bytes. Parsing checks what holds for every request; whether it is a proper handshake is asked
// afterwards, so that the caller can answer a plain `GET /health` or an unknown path first.

package struct UpgradeRequest: Equatable, Sendable {
    /// What was read of the head; pipelined frames begin here.
    package var headBytes = 0
    package var method = ByteRange.empty
    /// As sent, not percent-decoded, from its slash to the question mark.
    package var path = ByteRange.empty
    package var query: ByteRange?
    package var host = ByteRange.empty
    package var origin: ByteRange?
    package var authorization: ByteRange?
    package var key: ByteRange?
    /// The first line of each when there are several; offers after it count as not made.
    package var protocols: ByteRange?
    /// A second line of subprotocols: a list may be spread over lines (RFC 9110 §5.3).
    package var moreProtocols: ByteRange?
    package var extensions: ByteRange?
    package var userAgent: ByteRange?
    /// The last line when there are several: the one nearest to us, so the one to trust.
    package var forwardedFor: ByteRange?
    package var isGet = false
    /// Content-Length above 0, or any Transfer-Encoding.
    package var hasBody = false

    var upgradesToWebSocket = false
    var connectionUpgrades = false
    var keyIsValid = false
    var version: Version = .missing
    var hasHost = false
    var hasContentLength = false
    var hasTransferEncoding = false

    enum Version: Equatable, Sendable {
        case missing
        case thirteen
        case other
    }

    /// Both `Upgrade: websocket` and `Connection: Upgrade` were there.
    package var isUpgrade: Bool { upgradesToWebSocket && connectionUpgrades }

    /// Reads the head at the front of `bytes`, or nil when it has not all come.
    /// - Parameter scanned: 0 at first; keep it as long as `bytes` only grows.
    package static func parse(
        _ bytes: Span<UInt8>, scanned: inout Int, limits: HandshakeLimits = HandshakeLimits()
    ) throws(HandshakeError) -> UpgradeRequest? {
        let headBytes = try HeadReader.headBytes(
            of: bytes, scanned: &scanned, headBytesMax: limits.headBytesMax)
        guard let headBytes else { return nil }
        var request = UpgradeRequest()
        request.headBytes = headBytes
        var position = try request.readRequestLine(of: bytes)
        var headerCount = 0
        while let header = try HeadReader.nextHeader(in: bytes, at: &position) {
            headerCount += 1
            guard headerCount <= limits.headersMax else { throw .tooManyHeaders }
            try request.take(header.name, header.value, of: bytes)
        }
        guard request.hasHost else { throw .hostMissing }
        guard !(request.hasContentLength && request.hasTransferEncoding) else {
            throw .contentLengthWithTransferEncoding
        }
        return request
    }

    /// Throws what keeps this request from being a handshake, most basic first.
    package func requireWebSocket() throws(HandshakeError) {
        guard isGet else { throw .methodNotAllowed }
        guard !hasBody else { throw .bodyNotAllowed }
        guard isUpgrade else { throw .notAnUpgrade }
        switch version {
        case .missing: throw .webSocketVersionMissing
        case .other: throw .webSocketVersionNotSupported
        case .thirteen: break
        }
        guard key != nil else { throw .keyMissing }
        guard keyIsValid else { throw .keyMalformed }
    }
}

extension UpgradeRequest {
    /// Returns where the header fields begin.
    private mutating func readRequestLine(of bytes: Span<UInt8>) throws(HandshakeError) -> Int {
        let end = HeadReader.lineEnd(in: bytes, from: 0)
        var i = 0
        while i < end && HeadReader.isTokenCharacter(bytes[i]) { i += 1 }
        guard i < end && bytes[i] == 0x20 else { throw .requestLineMalformed }
        method = ByteRange(0, i)
        isGet = bytes.extracting(0..<i).equals("GET")

        let target = i + 1
        i = target
        var question: Int?
        while i < end && bytes[i] != 0x20 {
            // Visible ASCII and no fragment: all that origin-form knows.
            guard bytes[i] > 0x20 && bytes[i] < 0x7F && bytes[i] != 0x23 else {
                throw .requestLineMalformed
            }
            if bytes[i] == 0x3F && question == nil { question = i }
            i += 1
        }
        let version = bytes.extracting(min(i + 1, end)..<end)
        guard version.count > 5 && version.extracting(0..<5).equals("HTTP/") else {
            throw .requestLineMalformed
        }
        guard version.equals("HTTP/1.1") else { throw .versionNotSupported }
        guard i > target && bytes[target] == 0x2F else { throw .requestLineMalformed }
        path = ByteRange(target, question ?? i)
        if let question { query = ByteRange(question + 1, i) }
        return end + 2
    }

    private mutating func take(
        _ name: ByteRange, _ value: ByteRange, of bytes: Span<UInt8>
    ) throws(HandshakeError) {
        let field = bytes.extracting(name.range)
        let text = bytes.extracting(value.range)
        // Told apart by length first: most names then cost one comparison, and unknown ones none.
        switch field.count {
        case 4 where field.equalsIgnoringCase("host"):
            guard !hasHost else { throw .headerRepeated }
            try takeHost(value, text)
        case 6 where field.equalsIgnoringCase("origin"):
            try Self.once(&origin, value)
        case 7 where field.equalsIgnoringCase("upgrade"):
            if HeadReader.list(text, contains: "websocket") { upgradesToWebSocket = true }
        case 10 where field.equalsIgnoringCase("connection"):
            if HeadReader.list(text, contains: "upgrade") { connectionUpgrades = true }
        case 10 where field.equalsIgnoringCase("user-agent"):
            userAgent = value
        case 13 where field.equalsIgnoringCase("authorization"):
            try Self.once(&authorization, value)
        case 14 where field.equalsIgnoringCase("content-length"):
            guard !hasContentLength else { throw .headerRepeated }
            hasContentLength = true
            if try HeadReader.contentLength(text) > 0 { hasBody = true }
        case 15 where field.equalsIgnoringCase("x-forwarded-for"):
            forwardedFor = value
        case 17 where field.equalsIgnoringCase("sec-websocket-key"):
            try Self.once(&key, value)
            keyIsValid = WebSocketKey.isValid(text)
        case 17 where field.equalsIgnoringCase("transfer-encoding"):
            hasTransferEncoding = true
            hasBody = true
        case 21 where field.equalsIgnoringCase("sec-websocket-version"):
            guard version == .missing else { throw .headerRepeated }
            version = text.equals("13") ? .thirteen : .other
        case 22 where field.equalsIgnoringCase("sec-websocket-protocol"):
            if protocols == nil { protocols = value } else if moreProtocols == nil { moreProtocols = value }
        case 24 where field.equalsIgnoringCase("sec-websocket-extensions"):
            if extensions == nil { extensions = value }
        default:
            break
        }
    }

    private mutating func takeHost(
        _ value: ByteRange, _ text: Span<UInt8>
    ) throws(HandshakeError) {
        guard !value.isEmpty else { throw .hostMissing }
        for i in 0..<text.count {
            switch text[i] {
            case 0x21, 0x24...0x2B, 0x2D, 0x2E, 0x30...0x3B, 0x3D, 0x41...0x5B, 0x5D, 0x5F,
                0x61...0x7A, 0x7E:
                break
            default: throw .hostMalformed
            }
        }
        hasHost = true
        host = value
    }

    private static func once(
        _ field: inout ByteRange?, _ value: ByteRange
    ) throws(HandshakeError) {
        guard field == nil else { throw .headerRepeated }
        field = value
    }
}
