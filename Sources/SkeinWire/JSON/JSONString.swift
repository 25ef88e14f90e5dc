// JSON strings in both directions: reading one whose escapes are in the way, and writing one.

@usableFromInline package enum JSONString {
    /// The most that ``ByteWriter/appendJSONString(_:)`` writes for `count` bytes.
    @inlinable package static func escapedBytesMax(_ count: Int) -> Int { count &* 6 &+ 2 }

    /// Appends `content`, a validated string without its quotes, with escapes undone: never more bytes
    /// than it has.
    package static func unescape(_ content: Span<UInt8>, into writer: inout ByteWriter) {
        var i = 0
        while i < content.count {
            let run = JSONScanner.skipPlain(content, from: i)
            writer.append(content.extracting(i..<run))
            i = run
            guard i < content.count else { return }
            let end = content[i] == 0x5C ? JSONScanner.scanEscape(content, at: i) : -1
            guard end >= 0 else {
                // Not a validated string, against the agreement; any byte for it is as good.
                writer.append(0x3F)
                i += 1
                continue
            }
            writeEscape(content, at: i, into: &writer)
            i = end
        }
    }

    /// Whether `content`, without its quotes, reads `other` once unescaped.
    @usableFromInline package static func equals(
        _ content: Span<UInt8>, _ other: StaticString
    ) -> Bool {
        // An escape takes up to six bytes for one: longer content cannot be equal, and short content
        // stays on the stack.
        guard content.count <= other.utf8CodeUnitCount * 6 else { return false }
        return ByteWriter.withTemporary(capacity: content.count) { plain in
            unescape(content, into: &plain)
            return plain.withWritten { $0.equals(other) }
        }
    }

    private static func writeEscape(
        _ content: Span<UInt8>, at start: Int, into writer: inout ByteWriter
    ) {
        switch content[start + 1] {
        case 0x62: writer.append(0x08)
        case 0x66: writer.append(0x0C)
        case 0x6E: writer.append(0x0A)
        case 0x72: writer.append(0x0D)
        case 0x74: writer.append(0x09)
        case 0x75:
            guard let unit = JSONScanner.codeUnit(content, at: start) else { return }
            var scalar = UInt32(unit)
            if unit >= 0xD800 && unit < 0xDC00,
                let low = JSONScanner.codeUnit(content, at: start + 6)
            {
                scalar = 0x10000 + (scalar - 0xD800) << 10 + (UInt32(low) & 0x3FF)
            }
            writer.appendUTF8(scalar)
        case let byte: writer.append(byte)
        }
    }
}

extension ByteWriter {
    /// Appends `content`, which is UTF-8, as a JSON string with quotes. Needs room for
    /// ``JSONString/escapedBytesMax(_:)`` at worst, for two bytes more than it has at best.
    package mutating func appendJSONString(_ content: Span<UInt8>) {
        append(0x22)
        var i = 0
        while true {
            let run = JSONScanner.skipPlain(content, from: i)
            append(content.extracting(i..<run))
            guard run < content.count else { break }
            appendEscaped(content[run])
            i = run &+ 1
        }
        append(0x22)
    }

    private mutating func appendEscaped(_ byte: UInt8) {
        append(0x5C)
        switch byte {
        case 0x22, 0x5C: append(byte)
        case 0x08: append(0x62)
        case 0x0C: append(0x66)
        case 0x0A: append(0x6E)
        case 0x0D: append(0x72)
        case 0x09: append(0x74)
        default:
            append("u00")
            appendHex(byte: byte)
        }
    }

    /// `scalar` is no surrogate and at most U+10FFFF.
    fileprivate mutating func appendUTF8(_ scalar: UInt32) {
        let tail = { (shift: UInt32) in UInt8(truncatingIfNeeded: scalar >> shift) & 0x3F | 0x80 }
        switch scalar {
        case 0..<0x80:
            append(UInt8(scalar))
        case 0x80..<0x800:
            append(UInt8(0xC0 | scalar >> 6))
            append(tail(0))
        case 0x800..<0x10000:
            append(UInt8(0xE0 | scalar >> 12))
            append(tail(6))
            append(tail(0))
        default:
            append(UInt8(0xF0 | scalar >> 18 & 7))
            append(tail(12))
            append(tail(6))
            append(tail(0))
        }
    }
}
