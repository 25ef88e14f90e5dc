// Commands written straight into the caller's memory: PUBLISH and the other hot ones, whose shape is
// known beforehand. RESPWriter makes the same bytes by way of hiredis, and the tests compare them.

/// Writes commands piece by piece: an array header, then as many bulk strings. Allocates nothing.
@usableFromInline package enum RESPCommand {
    /// The beginning of a command of `count` words, its name included.
    @inlinable package static func writeArray(_ count: Int, into writer: inout ByteWriter) {
        writer.append(0x2A)
        writer.appendDecimal(count)
        writer.append("\r\n")
    }

    @inlinable package static func writeBulk(_ bytes: Span<UInt8>, into writer: inout ByteWriter) {
        beginBulk(bytes: bytes.count, into: &writer)
        writer.append(bytes)
        writer.append("\r\n")
    }

    @inlinable package static func writeBulk(
        _ string: StaticString, into writer: inout ByteWriter
    ) {
        beginBulk(bytes: string.utf8CodeUnitCount, into: &writer)
        writer.append(string)
        writer.append("\r\n")
    }

    @inlinable package static func writeBulk(decimal value: Int, into writer: inout ByteWriter) {
        let digits = ByteWriter.decimalDigits(UInt64(value.magnitude))
        beginBulk(bytes: value < 0 ? digits &+ 1 : digits, into: &writer)
        writer.appendDecimal(value)
        writer.append("\r\n")
    }

    /// For a bulk string that the caller assembles: exactly `bytes` of them follow, then `\r\n`.
    @inlinable package static func beginBulk(bytes: Int, into writer: inout ByteWriter) {
        writer.append(0x24)
        writer.appendDecimal(bytes)
        writer.append("\r\n")
    }

    @inlinable package static func writePublish(
        channel: Span<UInt8>, payload: Span<UInt8>, into writer: inout ByteWriter
    ) {
        writer.append("*3\r\n$7\r\nPUBLISH\r\n")
        writeBulk(channel, into: &writer)
        writeBulk(payload, into: &writer)
    }

    /// What ``writeBulk(_:into:)`` writes for `count` bytes.
    @inlinable package static func bulkBytes(_ count: Int) -> Int {
        5 &+ ByteWriter.decimalDigits(UInt64(count)) &+ count
    }

    /// What ``writeArray(_:into:)`` writes.
    @inlinable package static func arrayBytes(_ count: Int) -> Int {
        3 &+ ByteWriter.decimalDigits(UInt64(count))
    }

    /// What ``writePublish(channel:payload:into:)`` writes.
    @inlinable package static func publishBytes(channelBytes: Int, payloadBytes: Int) -> Int {
        17 &+ bulkBytes(channelBytes) &+ bulkBytes(payloadBytes)
    }
}
