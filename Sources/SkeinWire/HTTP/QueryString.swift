// The query of a handshake's target: `token`, `resume` and whatever a service's middleware asks for.

package enum QueryString {
    /// The value of the first parameter called `name`, still percent-encoded, within `query`.
    package static func value(of name: StaticString, in query: Span<UInt8>) -> ByteRange? {
        var start = 0
        while start <= query.count {
            var end = start
            var equals: Int?
            while end < query.count && query[end] != 0x26 {
                if query[end] == 0x3D && equals == nil { equals = end }
                end += 1
            }
            if let equals, query.extracting(start..<equals).equals(name) {
                return ByteRange(equals + 1, end)
            }
            if equals == nil, query.extracting(start..<end).equals(name) {
                return ByteRange(end, end)
            }
            start = end + 1
        }
        return nil
    }

    /// Appends `raw` with percent-encoding and `+` undone: at most as many bytes as it has.
    /// False, with part of it written, when a percent sign is not followed by two digits.
    package static func decode(_ raw: Span<UInt8>, into writer: inout ByteWriter) -> Bool {
        PercentEncoding.decode(raw, plusIsBlank: true, into: &writer)
    }
}
