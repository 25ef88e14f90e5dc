// What a handshake is answered with: the switch to WebSocket, or a small JSON response after which the
// connection closes. Also answers the plain GETs that load balancers send to this port.

package enum HandshakeResponse {
    /// An upper bound on what ``writeAccept`` writes.
    package static func acceptBytes(protocolBytes: Int, extensionsBytes: Int) -> Int {
        256 + protocolBytes + extensionsBytes
    }

    /// An upper bound on what ``write`` writes.
    package static func responseBytes(bodyBytes: Int) -> Int { 384 + bodyBytes }

    /// An upper bound on what writing a ``HandshakeError`` takes.
    package static let errorBytesMax = 512

    /// Appends the 101 response. `key` was validated; an empty `protocol` or `extensions` is left out.
    package static func writeAccept(
        key: Span<UInt8>, protocol: Span<UInt8>, extensions: Span<UInt8>,
        into writer: inout ByteWriter
    ) {
        writer.append("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n")
        writer.append("Connection: Upgrade\r\nSec-WebSocket-Accept: ")
        WebSocketKey.writeAccept(for: key, into: &writer)
        if `protocol`.count > 0 {
            writer.append("\r\nSec-WebSocket-Protocol: ")
            writer.append(`protocol`)
        }
        if extensions.count > 0 {
            writer.append("\r\nSec-WebSocket-Extensions: ")
            writer.append(extensions)
        }
        writer.append("\r\n\r\n")
    }

    /// Appends a whole response with a JSON `body`; the connection closes after it. To HEAD the body
    /// is announced and not sent.
    package static func write(
        status: Int, body: Span<UInt8>, retryAfterSeconds: Int? = nil, toHead: Bool = false,
        into writer: inout ByteWriter
    ) {
        writer.append("HTTP/1.1 ")
        writer.appendDecimal(status, digits: 3)
        writer.append(0x20)
        writer.append(phrase(status))
        writer.append("\r\nContent-Type: application/json\r\nContent-Length: ")
        writer.appendDecimal(body.count)
        if status == 426 {
            // RFC 9110 §15.5.22 wants the protocol named, and names in Upgrade listed in Connection.
            writer.append("\r\nSec-WebSocket-Version: 13\r\nUpgrade: websocket")
            writer.append("\r\nConnection: Upgrade, close")
        } else {
            writer.append("\r\nConnection: close")
        }
        if status == 405 { writer.append("\r\nAllow: GET") }
        if let retryAfterSeconds {
            writer.append("\r\nRetry-After: ")
            writer.appendDecimal(max(0, retryAfterSeconds))
        }
        writer.append("\r\n\r\n")
        if !toHead { writer.append(body) }
    }

    /// Appends the response to `error`, its sentence as JSON.
    package static func write(
        _ error: HandshakeError, toHead: Bool = false, into writer: inout ByteWriter
    ) {
        ByteWriter.withTemporary(capacity: 128) { body in
            body.append("{\"error\":\"")
            // Our own sentences: nothing in them needs escaping.
            body.append(error.reason)
            body.append("\"}")
            body.withWritten { write(status: error.status, body: $0, toHead: toHead, into: &writer) }
        }
    }

    private static func phrase(_ status: Int) -> StaticString {
        switch status {
        case 200: "OK"
        case 400: "Bad Request"
        case 401: "Unauthorized"
        case 403: "Forbidden"
        case 404: "Not Found"
        case 405: "Method Not Allowed"
        case 408: "Request Timeout"
        case 414: "URI Too Long"
        case 417: "Expectation Failed"
        case 426: "Upgrade Required"
        case 429: "Too Many Requests"
        case 431: "Request Header Fields Too Large"
        case 500: "Internal Server Error"
        case 503: "Service Unavailable"
        case 505: "HTTP Version Not Supported"
        default: "Status"
        }
    }
}
