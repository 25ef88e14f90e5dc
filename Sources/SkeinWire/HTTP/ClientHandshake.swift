// The other end of a handshake, for our own command-line clients: the request they send and the response
// they get. They also measure servers that are not ours, so the response is read for its status and its
// accept value, and judged by the caller.

package enum ClientHandshake {
    /// An upper bound on what ``writeRequest`` writes.
    package static func requestBytes(
        targetBytes: Int, hostBytes: Int, tokenBytes: Int, protocolsBytes: Int,
        extensionsBytes: Int, fieldsBytes: Int = 0
    ) -> Int {
        320 + targetBytes + hostBytes + tokenBytes + protocolsBytes + extensionsBytes + fieldsBytes
    }

    /// Appends the whole request. Empty fields are left out.
    ///
    /// - Parameter fields: more header lines, each with its line end.
    package static func writeRequest(
        target: Span<UInt8>, host: Span<UInt8>, key: Span<UInt8>, token: Span<UInt8>,
        protocols: Span<UInt8>, extensions: Span<UInt8>, fields: Span<UInt8> = Span(),
        into writer: inout ByteWriter
    ) {
        precondition(target.count > 0)
        writer.append("GET ")
        writer.append(target)
        writer.append(" HTTP/1.1\r\nHost: ")
        writer.append(host)
        writer.append("\r\nUpgrade: websocket\r\nConnection: Upgrade")
        writer.append("\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ")
        writer.append(key)
        if token.count > 0 {
            writer.append("\r\nAuthorization: Bearer ")
            writer.append(token)
        }
        if protocols.count > 0 {
            writer.append("\r\nSec-WebSocket-Protocol: ")
            writer.append(protocols)
        }
        if extensions.count > 0 {
            writer.append("\r\nSec-WebSocket-Extensions: ")
            writer.append(extensions)
        }
        writer.append("\r\n")
        writer.append(fields)
        writer.append("\r\n")
    }
}

package struct ResponseHead: Equatable, Sendable {
    package var headBytes = 0
    package var status = 0
    package var accept: ByteRange?
    package var `protocol`: ByteRange?
    package var extensions: ByteRange?
    package var retryAfter: ByteRange?
    package var contentLength: Int?
    package var isUpgrade: Bool { upgradesToWebSocket && connectionUpgrades }

    var upgradesToWebSocket = false
    var connectionUpgrades = false

    /// Reads the head at the front of `bytes`, or nil when it has not all come; `scanned` as in
    /// ``UpgradeRequest/parse(_:scanned:limits:)``.
    package static func parse(
        _ bytes: Span<UInt8>, scanned: inout Int, limits: HandshakeLimits = HandshakeLimits()
    ) throws(HandshakeError) -> ResponseHead? {
        let headBytes = try HeadReader.headBytes(
            of: bytes, scanned: &scanned, headBytesMax: limits.headBytesMax)
        guard let headBytes else { return nil }
        var response = ResponseHead()
        response.headBytes = headBytes
        let lineEnd = HeadReader.lineEnd(in: bytes, from: 0)
        response.status = try status(bytes.extracting(0..<lineEnd))
        var position = lineEnd + 2
        var headerCount = 0
        while let header = try HeadReader.nextHeader(in: bytes, at: &position) {
            headerCount += 1
            guard headerCount <= limits.headersMax else { throw .tooManyHeaders }
            try response.take(header.name, header.value, of: bytes)
        }
        return response
    }

    /// Whether the server switched to WebSocket and proved that it read our `key`.
    package func isAccepted(key: Span<UInt8>, in bytes: Span<UInt8>) -> Bool {
        guard status == 101, isUpgrade, let accept, WebSocketKey.isValid(key),
            Int(accept.count) == WebSocketKey.acceptBytes
        else { return false }
        return ByteWriter.withTemporary(capacity: WebSocketKey.acceptBytes) { expected in
            WebSocketKey.writeAccept(for: key, into: &expected)
            return expected.withWritten { expected in
                for i in 0..<expected.count where expected[i] != bytes[accept.start + i] {
                    return false
                }
                return true
            }
        }
    }

    private static func status(_ line: Span<UInt8>) throws(HandshakeError) -> Int {
        guard line.count >= 12, line.extracting(0..<7).equals("HTTP/1."), line[8] == 0x20,
            line.count == 12 || line[12] == 0x20
        else { throw .requestLineMalformed }
        var status = 0
        for i in 9..<12 {
            guard line[i].isASCIIDigit else { throw .requestLineMalformed }
            status = status * 10 + Int(line[i] - 0x30)
        }
        return status
    }

    private mutating func take(
        _ name: ByteRange, _ value: ByteRange, of bytes: Span<UInt8>
    ) throws(HandshakeError) {
        let field = bytes.extracting(name.range)
        let text = bytes.extracting(value.range)
        if field.equalsIgnoringCase("upgrade") {
            if HeadReader.list(text, contains: "websocket") { upgradesToWebSocket = true }
        } else if field.equalsIgnoringCase("connection") {
            if HeadReader.list(text, contains: "upgrade") { connectionUpgrades = true }
        } else if field.equalsIgnoringCase("sec-websocket-accept") {
            guard accept == nil else { throw .headerRepeated }
            accept = value
        } else if field.equalsIgnoringCase("sec-websocket-protocol") {
            `protocol` = value
        } else if field.equalsIgnoringCase("sec-websocket-extensions") {
            extensions = value
        } else if field.equalsIgnoringCase("retry-after") {
            retryAfter = value
        } else if field.equalsIgnoringCase("content-length") {
            contentLength = try HeadReader.contentLength(text)
        }
    }
}
