// What a request asks for (RFC 9112 §3.2): `/ws?token=…`, or the same behind `http://host`, as clients
// write it to a proxy. Percent-encoding is checked here, once and for the whole target, so that nobody
// behind us decodes what is no text.

struct RequestTarget {
    var authority: ByteRange?
    var path = ByteRange.empty
    var query: ByteRange?

    /// - Parameter range: the target within `bytes`; no blank is in it.
    static func read(
        _ bytes: Span<UInt8>, _ range: ByteRange, method: Span<UInt8>
    ) throws(HandshakeError) -> RequestTarget {
        let text = bytes.extracting(range.range)
        guard text.count > 0 else { throw .requestLineMalformed }
        var isEscaped = false
        for i in 0..<text.count {
            // Visible ASCII, and no fragment: that is the client's own business.
            guard text[i] > 0x20 && text[i] < 0x7F && text[i] != 0x23 else { throw .targetMalformed }
            if text[i] == 0x25 { isEscaped = true }
        }
        // The forms of methods that are not for us are well-formed all the same.
        if method.equals("OPTIONS") && text.equals("*") || method.equals("CONNECT") {
            throw .methodNotAllowed
        }
        var target = RequestTarget()
        var start = range.start
        if text[0] != 0x2F {
            let authority = try absoluteAuthority(text)
            target.authority = authority.shifted(by: range.start)
            start += authority.end
        }
        if isEscaped {
            guard PercentEncoding.isText(text) else { throw .targetMalformed }
        }
        var question = start
        while question < range.end && bytes[question] != 0x3F { question += 1 }
        target.path = ByteRange(start, question)
        if question < range.end { target.query = ByteRange(question + 1, range.end) }
        return target
    }

    private static func absoluteAuthority(_ text: Span<UInt8>) throws(HandshakeError) -> ByteRange {
        let start: Int
        if text.count > 7 && text.extracting(0..<7).equalsIgnoringCase("http://") {
            start = 7
        } else if text.count > 8 && text.extracting(0..<8).equalsIgnoringCase("https://") {
            start = 8
        } else {
            throw .targetMalformed
        }
        var end = start
        while end < text.count && text[end] != 0x2F && text[end] != 0x3F { end += 1 }
        guard end > start, Authority.isValid(text.extracting(start..<end)) else { throw .targetMalformed }
        return ByteRange(start, end)
    }
}

/// `host[:port]` of a Host field or a target (RFC 3986 §3.2), without user information.
enum Authority {
    static func isValid(_ text: Span<UInt8>) -> Bool {
        var end = 0
        if text.count > 0 && text[0] == 0x5B {
            while end < text.count && text[end] != 0x5D { end += 1 }
            guard end < text.count, EndpointAddress.readV6(text.extracting(1..<end)) != nil else {
                return false
            }
            end += 1
        } else {
            while end < text.count && isNameCharacter(text[end]) { end += 1 }
        }
        guard end > 0 else { return false }
        guard end < text.count else { return true }
        guard text[end] == 0x3A, text.count - end <= 6 else { return false }
        var port = 0
        for i in (end + 1)..<text.count {
            guard text[i].isASCIIDigit else { return false }
            port = port * 10 + Int(text[i] &- 0x30)
        }
        return port <= 65_535
    }

    /// Of a registered name: unreserved and sub-delimiters but the comma, by which careless proxies
    /// join two Host fields. Nobody percent-encodes hosts.
    private static func isNameCharacter(_ byte: UInt8) -> Bool {
        switch byte {
        case 0x61...0x7A, 0x41...0x5A, 0x30...0x39: true
        case 0x21, 0x24, 0x26...0x2B, 0x2D, 0x2E, 0x3B, 0x3D, 0x5F, 0x7E: true
        default: false
        }
    }
}
