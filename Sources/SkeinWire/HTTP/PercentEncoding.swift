// Percent-encoding (RFC 3986 §2.1) of targets. It is undone once, and only into text: what decodes to NUL
// or to no UTF-8 (overlong forms among it) is refused, because programs differ in what they see there.

package enum PercentEncoding {
    /// Appends `raw` decoded: at most as many bytes as it has. False, with part of it written, when
    /// a percent sign is not followed by two digits.
    static func decode(_ raw: Span<UInt8>, plusIsBlank: Bool, into writer: inout ByteWriter) -> Bool {
        var i = 0
        while i < raw.count {
            let byte = raw[i]
            if byte == 0x25 {
                guard i + 2 < raw.count,
                    let high = raw[i + 1].hexValue, let low = raw[i + 2].hexValue
                else { return false }
                writer.append(high << 4 | low)
                i += 3
            } else {
                writer.append(byte == 0x2B && plusIsBlank ? 0x20 : byte)
                i += 1
            }
        }
        return true
    }

    /// Appends a path decoded for comparing it; at most as many bytes as it has. False also where a
    /// slash or a percent sign is encoded: it is part of a name there and separates nothing.
    package static func decodePath(_ raw: Span<UInt8>, into writer: inout ByteWriter) -> Bool {
        var i = 0
        while i + 2 < raw.count {
            if raw[i] == 0x25, let high = raw[i + 1].hexValue, let low = raw[i + 2].hexValue {
                let byte = high << 4 | low
                guard byte != 0x2F && byte != 0x25 else { return false }
            }
            i += 1
        }
        return decode(raw, plusIsBlank: false, into: &writer)
    }

    /// Whether `raw` decodes to UTF-8 without NUL.
    static func isText(_ raw: Span<UInt8>) -> Bool {
        ByteWriter.withTemporary(capacity: raw.count) { writer in
            guard decode(raw, plusIsBlank: false, into: &writer) else { return false }
            return writer.withWritten { text in
                for i in 0..<text.count where text[i] == 0 { return false }
                return UTF8Validator.isValid(text)
            }
        }
    }
}
