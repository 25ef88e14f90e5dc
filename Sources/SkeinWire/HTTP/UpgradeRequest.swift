// The request head of a WebSocket handshake (RFC 6455 §4.2.1, RFC 9112), as places in the caller's
// bytes. Parsing checks what holds for every request; whether it is a proper handshake is asked
// afterwards, so that the caller can answer a plain `GET /health` or an unknown path first.

package struct UpgradeRequest: Equatable, Sendable {
    /// What was read of the head; pipelined frames begin here.
    package var headBytes = 0
    package var method = ByteRange.empty
    /// As sent, not percent-decoded, from its slash to the question mark; empty in `http://host`.
    package var path = ByteRange.empty
    package var query: ByteRange?
    /// Of the target where that is absolute, else of the Host field (RFC 9112 §3.2.2).
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
    /// From the first line of X-Forwarded-For to the last; see ``ForwardedClient``.
    package var forwardedForLines: ByteRange?
    /// The same of Forwarded (RFC 7239).
    package var forwardedLines: ByteRange?
    package var isGet = false
    package var isHead = false
    /// Content-Length above 0, or any Transfer-Encoding.
    package var hasBody = false

    var upgradesToWebSocket = false
    var connectionUpgrades = false
    var keyIsValid = false
    var version: Version = .missing
    var authority: ByteRange?
    var hasHost = false
    var expectsOther = false
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
        if let authority = request.authority { request.host = authority }
        guard !(request.hasContentLength && request.hasTransferEncoding) else {
            throw .contentLengthWithTransferEncoding
        }
        return request
    }

    /// Throws what keeps this request from being a handshake, most basic first.
    package func requireWebSocket() throws(HandshakeError) {
        guard isGet else { throw .methodNotAllowed }
        guard !hasBody else { throw .bodyNotAllowed }
        // 100-continue asks about a body, and there is none: it is passed over (RFC 9110 §10.1.1).
        guard !expectsOther else { throw .expectationFailed }
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
        isHead = bytes.extracting(0..<i).equals("HEAD")
        guard !bytes.extracting(0..<i).equals("PROXY") else { throw .proxyHeaderUnexpected }

        let start = i + 1
        i = start
        while i < end && bytes[i] != 0x20 { i += 1 }
        let version = bytes.extracting(min(i + 1, end)..<end)
        guard version.count > 5 && version.extracting(0..<5).equals("HTTP/") else {
            throw .requestLineMalformed
        }
        guard version.equals("HTTP/1.1") else { throw .versionNotSupported }
        let target = try RequestTarget.read(
            bytes, ByteRange(start, i), method: bytes.extracting(method.range))
        (authority, path, query) = (target.authority, target.path, target.query)
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
        case 6 where field.equalsIgnoringCase("expect"):
            if !text.equalsIgnoringCase("100-continue") { expectsOther = true }
        case 7 where field.equalsIgnoringCase("upgrade"):
            if HeadReader.list(text, contains: "websocket") { upgradesToWebSocket = true }
        case 9 where field.equalsIgnoringCase("forwarded"):
            Self.extend(&forwardedLines, from: name, to: value)
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
            Self.extend(&forwardedForLines, from: name, to: value)
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
            guard TokenList.isProtocols(text) else { throw .protocolsMalformed }
            if protocols == nil { protocols = value } else if moreProtocols == nil { moreProtocols = value }
        case 24 where field.equalsIgnoringCase("sec-websocket-extensions"):
            guard TokenList.isExtensions(text) else { throw .extensionsMalformed }
            if extensions == nil { extensions = value }
        default:
            break
        }
    }

    private mutating func takeHost(
        _ value: ByteRange, _ text: Span<UInt8>
    ) throws(HandshakeError) {
        guard !value.isEmpty else { throw .hostMissing }
        guard Authority.isValid(text) else { throw .hostMalformed }
        hasHost = true
        host = value
    }

    private static func extend(_ lines: inout ByteRange?, from name: ByteRange, to value: ByteRange) {
        // With the line's end, as of its name: blanks behind the value matter to nobody.
        lines = ByteRange(lines?.start ?? name.start, value.end)
    }

    private static func once(
        _ field: inout ByteRange?, _ value: ByteRange
    ) throws(HandshakeError) {
        guard field == nil else { throw .headerRepeated }
        field = value
    }
}
