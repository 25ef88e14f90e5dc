// The parts of HTTP/1.1 heads (RFC 9112) that requests and responses share: where the head ends, and its
// header fields one by one. Strict: what two parsers could read differently is refused, because a proxy
// in front of us may be the other one.

enum HeadReader {
    static let carriageReturn: UInt8 = 0x0D
    static let lineFeed: UInt8 = 0x0A

    /// The head's length with its empty line, or nil when it has not all come. `scanned` keeps how far
    /// the search got, so that a head that drips in byte by byte is looked at once.
    static func headBytes(
        of bytes: Span<UInt8>, scanned: inout Int, headBytesMax: Int
    ) throws(HandshakeError) -> Int? {
        let end = min(bytes.count, headBytesMax)
        guard end > 0 else { return nil }
        // Lets go of port scanners and TLS hellos at their first byte.
        guard isTokenCharacter(bytes[0]) else {
            guard try isPerhapsProxyHeader(bytes) else { throw .requestLineMalformed }
            return nil
        }
        var i = max(0, min(scanned, end))
        while i < end {
            i = skipPrintable(in: bytes, from: i, to: end)
            guard i < end else { break }
            let byte = bytes[i]
            if byte == carriageReturn {
                // Its line feed decides: wait for it, here.
                guard i + 1 < end else { break }
                guard bytes[i + 1] == lineFeed else { throw .bareCarriageReturn }
                let lineIsEmpty = i >= 2 && bytes[i - 1] == lineFeed
                i += 2
                if lineIsEmpty {
                    scanned = i
                    return i
                }
            } else if byte == lineFeed {
                throw .bareLineFeed
            } else if byte == 0x09 {
                i += 1
            } else {
                throw .controlCharacter
            }
        }
        scanned = i
        if end == headBytesMax { throw tooLarge(bytes.extracting(0..<end)) }
        return nil
    }

    /// Of bytes that begin no line of HTTP, says what they are instead where that is known.
    /// - Returns: whether they are still too few to tell.
    private static func isPerhapsProxyHeader(_ bytes: Span<UInt8>) throws(HandshakeError) -> Bool {
        if bytes[0] == 0x16 { throw .tlsHello }
        guard let isProxyHeader = ProxyHeader.isBinarySignature(bytes) else { return true }
        if isProxyHeader { throw .proxyHeaderUnexpected }
        return false
    }

    /// A head that is not even past its target has that for its fault.
    private static func tooLarge(_ head: Span<UInt8>) -> HandshakeError {
        var blanks = 0
        for i in 0..<head.count {
            if head[i] == carriageReturn || blanks == 2 { return .headTooLarge }
            if head[i] == 0x20 { blanks += 1 }
        }
        return blanks == 1 ? .targetTooLong : .headTooLarge
    }

    /// The first control character from `start` on, or `end`.
    private static func skipPrintable(in bytes: Span<UInt8>, from start: Int, to end: Int) -> Int {
        let ones: UInt64 = 0x0101_0101_0101_0101
        var i = start
        while i + 8 <= end {
            let word = bytes.word(at: i)
            let delete = word ^ (ones &* 0x7F)
            let below = (word &- ones &* 0x20) & ~word
            let marks = (below | ((delete &- ones) & ~delete)) & (ones &* 0x80)
            if marks != 0 { return i + marks.trailingZeroBitCount >> 3 }
            i += 8
        }
        while i < end && bytes[i] >= 0x20 && bytes[i] != 0x7F { i += 1 }
        return i
    }

    /// The end of the line that begins at `start`. Only for heads that ``headBytes`` has passed: there,
    /// every carriage return ends a line.
    static func lineEnd(in bytes: Span<UInt8>, from start: Int) -> Int {
        var i = start
        while i < bytes.count && bytes[i] != carriageReturn { i += 1 }
        return i
    }

    /// The header field at `position`, which moves past it; nil at the empty line.
    static func nextHeader(
        in bytes: Span<UInt8>, at position: inout Int
    ) throws(HandshakeError) -> (name: ByteRange, value: ByteRange)? {
        let start = position
        let end = lineEnd(in: bytes, from: start)
        position = end + 2
        guard end > start else { return nil }
        guard !isBlank(bytes[start]) else { throw .foldedHeader }
        var colon = start
        while colon < end && isTokenCharacter(bytes[colon]) { colon += 1 }
        guard colon > start && colon < end && bytes[colon] == 0x3A else { throw .headerMalformed }
        let value = trim(bytes, ByteRange(colon + 1, end))
        return (ByteRange(start, colon), value)
    }

    static func trim(_ bytes: Span<UInt8>, _ range: ByteRange) -> ByteRange {
        var (start, end) = (range.start, range.end)
        while start < end && isBlank(bytes[start]) { start += 1 }
        while start < end && isBlank(bytes[end - 1]) { end -= 1 }
        return ByteRange(start, end)
    }

    /// The next element of a comma-separated list, trimmed, possibly empty; nil after the last.
    static func nextElement(
        of list: Span<UInt8>, at position: inout Int
    ) -> ByteRange? {
        guard position <= list.count else { return nil }
        var end = position
        while end < list.count && list[end] != 0x2C { end += 1 }
        let element = trim(list, ByteRange(position, end))
        position = end + 1
        return element
    }

    static func list(_ list: Span<UInt8>, contains token: StaticString) -> Bool {
        var position = 0
        while let element = nextElement(of: list, at: &position) {
            if list.extracting(element.range).equalsIgnoringCase(token) { return true }
        }
        return false
    }

    static func isBlank(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 }

    /// RFC 9110 §5.6.2.
    static func isTokenCharacter(_ byte: UInt8) -> Bool {
        switch byte {
        case 0x61...0x7A, 0x41...0x5A, 0x30...0x39: true
        case 0x21, 0x23...0x27, 0x2A, 0x2B, 0x2D, 0x2E, 0x5E, 0x5F, 0x60, 0x7C, 0x7E: true
        default: false
        }
    }

    /// Content-Length as a number; bounded so that it cannot overflow.
    static func contentLength(_ value: Span<UInt8>) throws(HandshakeError) -> Int {
        guard value.count > 0 && value.count <= 18 else { throw .contentLengthMalformed }
        var length = 0
        for i in 0..<value.count {
            guard value[i].isASCIIDigit else { throw .contentLengthMalformed }
            length = length * 10 + Int(value[i] - 0x30)
        }
        return length
    }
}
