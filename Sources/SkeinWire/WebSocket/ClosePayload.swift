// What a close frame says, checked: RFC 6455 §5.5.1 and §7.4.

@frozen @usableFromInline package struct ClosePayload: Equatable, Sendable {
    /// Nil when the peer gave none.
    @usableFromInline package let code: UInt16?
    /// UTF-8, within the payload.
    @usableFromInline package let reason: ByteRange

    package static func decode(_ payload: Span<UInt8>) throws(WebSocketError) -> ClosePayload {
        guard payload.count > 0 else { return ClosePayload(code: nil, reason: .empty) }
        guard payload.count >= 2 else { throw .closePayloadTruncated }
        let code = UInt16(payload[0]) << 8 | UInt16(payload[1])
        guard CloseCode.isReceivable(code) else { throw .closeCodeInvalid }
        let reason = 2..<payload.count
        guard UTF8Validator.isValid(payload.extracting(reason)) else { throw .closeReasonNotUTF8 }
        return ClosePayload(code: code, reason: ByteRange(reason))
    }
}
