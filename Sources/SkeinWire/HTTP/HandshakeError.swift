// What can be wrong with a handshake's request: one case per rule, each with the status that answers it
// and one sentence for the person at the other end.

package enum HandshakeError: Error, Equatable, Sendable, CaseIterable {
    /// A TLS hello on a port without TLS. Not answered: its sender could not read it.
    case tlsHello
    /// From a peer that is none of our proxies.
    case proxyHeaderUnexpected
    /// From one of our proxies, which has to send one.
    case proxyHeaderMalformed
    case headTooLarge
    case targetTooLong
    case tooManyHeaders
    case requestLineMalformed
    case targetMalformed
    case versionNotSupported
    case bareLineFeed
    case bareCarriageReturn
    case controlCharacter
    case headerMalformed
    case foldedHeader
    case headerRepeated
    case hostMissing
    case hostMalformed
    case contentLengthMalformed
    case contentLengthWithTransferEncoding
    case bodyNotAllowed
    case expectationFailed
    case methodNotAllowed
    case notAnUpgrade
    case webSocketVersionMissing
    case webSocketVersionNotSupported
    case keyMissing
    case keyMalformed
    case protocolsMalformed
    case extensionsMalformed

    package var status: Int {
        switch self {
        case .headTooLarge, .tooManyHeaders: 431
        case .targetTooLong: 414
        case .expectationFailed: 417
        case .versionNotSupported: 505
        case .methodNotAllowed: 405
        case .notAnUpgrade, .webSocketVersionMissing, .webSocketVersionNotSupported: 426
        case .tlsHello, .proxyHeaderUnexpected, .proxyHeaderMalformed, .requestLineMalformed,
            .targetMalformed, .bareLineFeed, .bareCarriageReturn, .controlCharacter,
            .headerMalformed, .foldedHeader, .headerRepeated, .hostMissing, .hostMalformed,
            .contentLengthMalformed, .contentLengthWithTransferEncoding, .bodyNotAllowed,
            .keyMissing, .keyMalformed, .protocolsMalformed, .extensionsMalformed:
            400
        }
    }

    package var reason: StaticString {
        switch self {
        case .tlsHello: "TLS is not spoken on this port."
        case .proxyHeaderUnexpected: "A PROXY header is not expected from this address."
        case .proxyHeaderMalformed: "A PROXY header is expected from this address, and this is none."
        case .headTooLarge: "The request head is too large."
        case .tooManyHeaders: "The request has too many header fields."
        case .targetTooLong: "The request target is too long."
        case .requestLineMalformed: "The request line is malformed."
        case .targetMalformed: "The request target is malformed."
        case .versionNotSupported: "Only HTTP/1.1 is spoken here."
        case .bareLineFeed: "A line feed stands without its carriage return."
        case .bareCarriageReturn: "A carriage return stands without its line feed."
        case .controlCharacter: "The request head holds a control character."
        case .headerMalformed: "A header field is malformed."
        case .foldedHeader: "Header fields must not be folded over lines."
        case .headerRepeated: "A header field that may appear once appears twice."
        case .hostMissing: "The Host header field is missing."
        case .hostMalformed: "The Host header field is malformed."
        case .contentLengthMalformed: "Content-Length is not a number."
        case .contentLengthWithTransferEncoding:
            "Content-Length and Transfer-Encoding must not appear together."
        case .bodyNotAllowed: "A WebSocket handshake has no body."
        case .expectationFailed: "No expectation but 100-continue can be met."
        case .methodNotAllowed: "A WebSocket handshake is a GET request."
        case .notAnUpgrade: "This is a WebSocket endpoint: Upgrade and Connection must say so."
        case .webSocketVersionMissing: "Sec-WebSocket-Version is missing."
        case .webSocketVersionNotSupported: "Sec-WebSocket-Version must be 13."
        case .keyMissing: "Sec-WebSocket-Key is missing."
        case .protocolsMalformed:
            "Sec-WebSocket-Protocol is not a list of different names."
        case .extensionsMalformed: "Sec-WebSocket-Extensions is malformed."
        case .keyMalformed: "Sec-WebSocket-Key is not 16 bytes in base64."
        }
    }
}

package struct HandshakeLimits: Equatable, Sendable {
    package var headBytesMax: Int
    package var headersMax: Int

    package init(headBytesMax: Int = 16_384, headersMax: Int = 100) {
        precondition(headBytesMax > 0)
        precondition(headersMax > 0)
        self.headBytesMax = headBytesMax
        self.headersMax = headersMax
    }
}
