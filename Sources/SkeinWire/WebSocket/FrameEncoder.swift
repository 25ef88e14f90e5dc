// Writes frame headers and whole control frames. A broadcast is encoded once and its bytes are shared by
// all receivers, so server frames are never masked; the masked forms are for our own client commands.

@usableFromInline package enum FrameEncoder {
    /// Of a server frame; a client's has four more.
    @inlinable package static var maxHeaderBytes: Int { 10 }
    @inlinable package static var maxClientHeaderBytes: Int { 14 }
    @inlinable package static var maxControlPayloadBytes: Int { 125 }

    /// Of a whole server frame that this encoder wrote.
    @inlinable package static func headerBytes(ofFrame frame: Span<UInt8>) -> Int {
        switch frame[1] & 0x7F {
        case 126: 4
        case 127: 10
        default: 2
        }
    }

    /// Of a server frame with such a payload.
    @inlinable @inline(__always)
    package static func headerBytes(forPayload payloadBytes: Int) -> Int {
        payloadBytes <= 125 ? 2 : payloadBytes <= 0xFFFF ? 4 : 10
    }

    @inlinable @inline(__always) package static func writeHeader(
        _ opcode: Opcode, payloadBytes: Int, fin: Bool = true, rsv1: Bool = false,
        into writer: inout ByteWriter
    ) {
        writeLead(
            opcode, payloadBytes: payloadBytes, fin: fin, rsv1: rsv1, mask: 0, into: &writer)
    }

    /// `key` in memory order; the payload that follows must go through ``unmask(_:key:phase:)``.
    @inlinable package static func writeClientHeader(
        _ opcode: Opcode, payloadBytes: Int, key: UInt32, fin: Bool = true, rsv1: Bool = false,
        into writer: inout ByteWriter
    ) {
        writeLead(
            opcode, payloadBytes: payloadBytes, fin: fin, rsv1: rsv1, mask: 0x80, into: &writer)
        writer.store(key.littleEndian)
    }

    @inlinable @inline(__always) static func writeLead(
        _ opcode: Opcode, payloadBytes: Int, fin: Bool, rsv1: Bool, mask: UInt8,
        into writer: inout ByteWriter
    ) {
        precondition(payloadBytes >= 0)
        precondition(!opcode.isControl || (payloadBytes <= maxControlPayloadBytes && fin))
        writer.append(opcode.rawValue | (fin ? 0x80 : 0) | (rsv1 ? 0x40 : 0))
        if payloadBytes <= 125 {
            writer.append(UInt8(payloadBytes) | mask)
        } else if payloadBytes <= 0xFFFF {
            writer.append(126 | mask)
            writer.append(bigEndian: UInt16(payloadBytes))
        } else {
            writer.append(127 | mask)
            writer.append(bigEndian: UInt64(payloadBytes))
        }
    }

    /// A whole control frame of at most 125 bytes of payload.
    @inlinable package static func writeControl(
        _ opcode: Opcode, payload: Span<UInt8>, into writer: inout ByteWriter
    ) {
        precondition(opcode.isControl)
        writeHeader(opcode, payloadBytes: payload.count, into: &writer)
        writer.append(payload)
    }
}

extension FrameEncoder {
    /// A whole close frame. `reason` is at most 123 bytes.
    package static func writeClose(
        _ code: CloseCode, reason: StaticString = "", into writer: inout ByteWriter
    ) {
        writeHeader(.close, payloadBytes: 2 + reason.utf8CodeUnitCount, into: &writer)
        writer.append(bigEndian: code.rawValue)
        writer.append(reason)
    }

    /// A whole close frame. A `reason` of more than 123 bytes is cut, between two characters.
    package static func writeClose(
        code: UInt16, reason: Span<UInt8>, into writer: inout ByteWriter
    ) {
        var end = min(reason.count, maxControlPayloadBytes - 2)
        if end < reason.count {
            while end > 0 && reason[end] & 0xC0 == 0x80 { end -= 1 }
        }
        writeHeader(.close, payloadBytes: 2 + end, into: &writer)
        writer.append(bigEndian: code)
        writer.append(reason.extracting(0..<end))
    }
}

extension FrameEncoder {
    /// Makes room for the header of a frame whose payload is yet to be written; the answer goes to
    /// ``seal(_:reservedAt:fin:rsv1:in:)``.
    @inlinable package static func reserve(in writer: inout ByteWriter) -> Int {
        let mark = writer.count
        writer.skip(maxHeaderBytes)
        return mark
    }

    /// Writes the header right before the payload, which is all that was written since `reserve`. The
    /// frame is the writer's bytes from the answer on; up to eight bytes before it are not used.
    @inlinable package static func seal(
        _ opcode: Opcode, reservedAt mark: Int, fin: Bool = true, rsv1: Bool = false,
        in writer: inout ByteWriter
    ) -> Int {
        let end = writer.count
        let payloadBytes = end &- mark &- maxHeaderBytes
        precondition(payloadBytes >= 0, "sealed before its reservation")
        let start = mark &+ maxHeaderBytes &- headerBytes(forPayload: payloadBytes)
        writer.truncate(to: start)
        writeHeader(opcode, payloadBytes: payloadBytes, fin: fin, rsv1: rsv1, into: &writer)
        precondition(writer.count == mark &+ maxHeaderBytes)
        // The payload is still where it was: only the cursor had gone back.
        writer.restore(to: end)
        return start
    }
}
