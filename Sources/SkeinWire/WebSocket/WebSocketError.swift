// What a peer can do wrong on an open WebSocket: one case per violation, each with the close code that
// answers it. These are the peer's fault only; our own mistakes are preconditions.

@frozen @usableFromInline package enum WebSocketError: Error, Equatable, Sendable, CaseIterable {
    case reservedBitSet
    case reservedOpcode
    case frameNotMasked
    case frameMasked
    case controlFrameFragmented
    case controlFrameTooLong
    case lengthNotMinimal
    case lengthOverflow
    case messageTooBig
    case continuationWithoutStart
    case messageInsideMessage
    case textNotUTF8
    case closePayloadTruncated
    case closeCodeInvalid
    case closeReasonNotUTF8
    case deflateCorrupt

    package var closeCode: CloseCode {
        switch self {
        case .messageTooBig: .messageTooBig
        case .textNotUTF8, .deflateCorrupt: .invalidPayload
        // The contract answers a bad code and a bad reason alike.
        case .reservedBitSet, .reservedOpcode, .frameNotMasked, .frameMasked,
            .controlFrameFragmented, .controlFrameTooLong, .lengthNotMinimal, .lengthOverflow,
            .continuationWithoutStart, .messageInsideMessage, .closePayloadTruncated,
            .closeCodeInvalid, .closeReasonNotUTF8:
            .protocolError
        }
    }

    /// Fits a close frame.
    package var reason: StaticString {
        switch self {
        case .reservedBitSet: "reserved bit set"
        case .reservedOpcode: "reserved opcode"
        case .frameNotMasked: "client frames must be masked"
        case .frameMasked: "server frames must not be masked"
        case .controlFrameFragmented: "control frames must not be fragmented"
        case .controlFrameTooLong: "control frames hold at most 125 bytes"
        case .lengthNotMinimal: "length not in its shortest form"
        case .lengthOverflow: "length has its top bit set"
        case .messageTooBig: "message too big"
        case .continuationWithoutStart: "continuation of no message"
        case .messageInsideMessage: "new message inside a fragmented one"
        case .textNotUTF8: "text is not UTF-8"
        case .closePayloadTruncated: "close code of one byte"
        case .closeCodeInvalid: "invalid close code"
        case .closeReasonNotUTF8: "close reason is not UTF-8"
        case .deflateCorrupt: "corrupt compressed message"
        }
    }
}
