// Who asks, as a handshake's headers say it: the bearer token, and the page that opened the socket.

package enum Bearer {
    /// The token of `Authorization: Bearer <token>`, within `value`.
    package static func token(inAuthorization value: Span<UInt8>) -> ByteRange? {
        guard value.count > 7, HeadReader.isBlank(value[6]),
            value.extracting(0..<6).equalsIgnoringCase("bearer")
        else { return nil }
        let token = HeadReader.trim(value, ByteRange(7, value.count))
        for i in token.range where HeadReader.isBlank(value[i]) { return nil }
        return token.isEmpty ? nil : token
    }

    /// The token of `Sec-WebSocket-Protocol: bearer, <token>`, within `value`. The handshake is then
    /// answered with the subprotocol `bearer`.
    package static func token(inProtocols value: Span<UInt8>) -> ByteRange? {
        var position = 0
        while let element = HeadReader.nextElement(of: value, at: &position) {
            guard value.extracting(element.range).equals("bearer") else { continue }
            guard let token = HeadReader.nextElement(of: value, at: &position) else { return nil }
            return token.isEmpty ? nil : token
        }
        return nil
    }
}

package enum Origin {
    /// Whether a page of `origin` was served by the very `host` (and port) that it now calls. A port
    /// that either leaves out is the default one of the origin's scheme: behind a TLS proxy we could
    /// not tell our own.
    package static func isSameHost(origin: Span<UInt8>, host: Span<UInt8>) -> Bool {
        let isSecure: Bool
        let prefix: Int
        if origin.count > 8 && origin.extracting(0..<8).equalsIgnoringCase("https://") {
            (isSecure, prefix) = (true, 8)
        } else if origin.count > 7 && origin.extracting(0..<7).equalsIgnoringCase("http://") {
            (isSecure, prefix) = (false, 7)
        } else {
            return false
        }
        let authority = origin.extracting(prefix..<origin.count)
        let (ours, theirs) = (portStart(of: host), portStart(of: authority))
        guard ours == theirs else { return false }
        for i in 0..<ours where host[i].asciiLowercased != authority[i].asciiLowercased {
            return false
        }
        let defaultPort = isSecure ? 443 : 80
        guard let our = port(of: host, from: ours, default: defaultPort),
            let their = port(of: authority, from: theirs, default: defaultPort)
        else { return false }
        return our == their
    }

    /// Where the name ends: at the last colon outside the brackets of an IPv6 address.
    private static func portStart(of authority: Span<UInt8>) -> Int {
        var i = authority.count
        while i > 0 && authority[i - 1] != 0x3A && authority[i - 1] != 0x5D { i -= 1 }
        return i > 0 && authority[i - 1] == 0x3A ? i - 1 : authority.count
    }

    private static func port(
        of authority: Span<UInt8>, from start: Int, default defaultPort: Int
    ) -> Int? {
        guard start + 1 < authority.count else { return defaultPort }
        guard authority.count - start <= 6 else { return nil }
        var port = 0
        for i in (start + 1)..<authority.count {
            guard authority[i].isASCIIDigit else { return nil }
            port = port * 10 + Int(authority[i] - 0x30)
        }
        return port
    }
}
