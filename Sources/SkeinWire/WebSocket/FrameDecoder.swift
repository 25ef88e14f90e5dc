// Reads one frame header (RFC 6455 §5.2) from the front of what has arrived. Everything that can be
// refused is refused from the header alone, before a byte of payload is waited for or stored.

@frozen @usableFromInline package struct FrameDecoder: Sendable {
    @usableFromInline package let payloadBytesMax: Int
    @usableFromInline package let role: Role
    /// permessage-deflate was agreed: RSV1 may be set on the first frame of a message.
    @usableFromInline package let allowsCompression: Bool

    @inlinable package init(role: Role, payloadBytesMax: Int, allowsCompression: Bool = false) {
        precondition(payloadBytesMax >= 0)
        self.role = role
        self.payloadBytesMax = payloadBytesMax
        self.allowsCompression = allowsCompression
    }

    /// The header that begins at `offset`, or nil when more bytes are needed to tell.
    @inlinable package func header(
        in bytes: Span<UInt8>, at offset: Int = 0
    ) throws(WebSocketError) -> FrameHeader? {
        precondition(offset >= 0 && offset <= bytes.count)
        let available = bytes.count &- offset
        guard available >= 1 else { return nil }
        let first = bytes[offset]
        let opcode = try opcode(ofFirst: first)

        guard available >= 2 else { return nil }
        let second = bytes[offset &+ 1]
        let short = Int(second & 0x7F)
        let isMasked = second & 0x80 != 0
        guard isMasked == (role == .server) else {
            throw isMasked ? .frameMasked : .frameNotMasked
        }
        if opcode.isControl && short > 125 { throw .controlFrameTooLong }

        var headerBytes = 2
        var payloadBytes = short
        if short == 126 {
            guard available >= 4 else { return nil }
            payloadBytes = Int(bytes[offset &+ 2]) << 8 | Int(bytes[offset &+ 3])
            guard payloadBytes > 125 else { throw .lengthNotMinimal }
            headerBytes = 4
        } else if short == 127 {
            guard available >= 10 else { return nil }
            let length = bytes.word(at: offset &+ 2).byteSwapped
            guard length >> 63 == 0 else { throw .lengthOverflow }
            guard length > 0xFFFF else { throw .lengthNotMinimal }
            payloadBytes = Int(length)
            headerBytes = 10
        }
        guard payloadBytes <= payloadBytesMax || opcode.isControl else { throw .messageTooBig }

        var maskKey: UInt32 = 0
        if isMasked {
            guard available >= headerBytes &+ 4 else { return nil }
            maskKey = bytes.halfWord(at: offset &+ headerBytes)
            headerBytes &+= 4
        }
        return FrameHeader(
            payloadBytes: payloadBytes, maskKey: maskKey, headerBytes: headerBytes,
            opcode: opcode, fin: first & 0x80 != 0, rsv1: first & 0x40 != 0)
    }

    /// All that the first byte alone can be refused for.
    @inlinable @inline(__always)
    func opcode(ofFirst first: UInt8) throws(WebSocketError) -> Opcode {
        guard first & (allowsCompression ? 0x30 : 0x70) == 0 else { throw .reservedBitSet }
        guard let opcode = Opcode(rawValue: first & 0x0F) else { throw .reservedOpcode }
        // RSV1 marks a compressed message: on its first frame only, never on a control frame.
        if first & 0x40 != 0 && opcode != .text && opcode != .binary { throw .reservedBitSet }
        if opcode.isControl && first & 0x80 == 0 { throw .controlFrameFragmented }
        return opcode
    }
}
