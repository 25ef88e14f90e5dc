// Base64 (RFC 4648 §4) as far as the handshake needs it. Once per connection, so plain code will do.

package enum Base64 {
    package static func encodedBytes(_ count: Int) -> Int { (count + 2) / 3 * 4 }

    /// With padding.
    package static func encode(_ bytes: Span<UInt8>, into writer: inout ByteWriter) {
        var i = 0
        while i < bytes.count {
            let left = bytes.count - i
            let second = left > 1 ? bytes[i + 1] : 0
            let third = left > 2 ? bytes[i + 2] : 0
            let group = UInt32(bytes[i]) << 16 | UInt32(second) << 8 | UInt32(third)
            writer.append(digit(group >> 18))
            writer.append(digit(group >> 12))
            writer.append(left > 1 ? digit(group >> 6) : 0x3D)
            writer.append(left > 2 ? digit(group) : 0x3D)
            i += 3
        }
    }

    static func isDigit(_ byte: UInt8) -> Bool {
        switch byte {
        case 0x41...0x5A, 0x61...0x7A, 0x30...0x39, 0x2B, 0x2F: true
        default: false
        }
    }

    private static func digit(_ value: UInt32) -> UInt8 {
        let value = UInt8(truncatingIfNeeded: value & 63)
        return switch value {
        case 0..<26: 0x41 + value
        case 26..<52: 0x61 + (value - 26)
        case 52..<62: 0x30 + (value - 52)
        case 62: 0x2B
        default: 0x2F
        }
    }
}
