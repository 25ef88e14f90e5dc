// Who is behind the proxies of a request, by X-Forwarded-For or by Forwarded (RFC 7239). Each proxy adds
// its peer on the right, so only that end can be believed: the client is the last address that is not
// a proxy of ours, and whatever stands left of it anybody may have written.

/// Which header our proxies write. Only one is ever believed: the other passes through them as the
/// client wrote it.
package enum ForwardedHeader: Sendable, Equatable {
    case xForwardedFor, forwarded
}

package enum ForwardedClient: Equatable, Sendable {
    /// The header is not there, or empty.
    case none
    case address(EndpointAddress)
    /// What a trusted proxy told is no address, so nobody knows the client's.
    case malformed

    /// - Parameters:
    ///   - lines: the header's lines within `head`, from the first to the last, others between them.
    ///   - isProxy: whether an address is one of our own proxies. When all are, it is the first.
    package static func find(
        _ header: ForwardedHeader, lines: ByteRange, in head: Span<UInt8>,
        isProxy: (EndpointAddress) -> Bool
    ) -> ForwardedClient {
        var found = ForwardedClient.none
        let lines = head.extracting(lines.range)
        var position = 0
        while position < lines.count {
            guard let field = try? HeadReader.nextHeader(in: lines, at: &position) else { break }
            guard header.isName(lines.extracting(field.name.range)) else { continue }
            let value = lines.extracting(field.value.range)
            var start = 0
            while let element = header.nextElement(of: value, at: &start) {
                guard !element.isEmpty else { continue }
                guard let address = header.address(value.extracting(element.range)) else {
                    found = .malformed
                    continue
                }
                if found == .none || !isProxy(address) { found = .address(address) }
            }
        }
        return found
    }
}

extension ForwardedHeader {
    func isName(_ name: Span<UInt8>) -> Bool {
        switch self {
        case .xForwardedFor: name.equalsIgnoringCase("x-forwarded-for")
        case .forwarded: name.equalsIgnoringCase("forwarded")
        }
    }

    func nextElement(of value: Span<UInt8>, at position: inout Int) -> ByteRange? {
        switch self {
        case .xForwardedFor: HeadReader.nextElement(of: value, at: &position)
        case .forwarded: Self.nextPart(of: value, at: &position, separator: 0x2C)
        }
    }

    func address(_ element: Span<UInt8>) -> EndpointAddress? {
        switch self {
        case .xForwardedFor: EndpointAddress(parsing: element)
        case .forwarded: Self.forAddress(element)
        }
    }

    /// As ``HeadReader/nextElement(of:at:)``, but a separator within quotes is none.
    private static func nextPart(
        of text: Span<UInt8>, at position: inout Int, separator: UInt8
    ) -> ByteRange? {
        guard position <= text.count else { return nil }
        var end = position
        var isQuoted = false
        while end < text.count && (isQuoted || text[end] != separator) {
            if text[end] == 0x22 { isQuoted.toggle() }
            end += 1
        }
        let part = HeadReader.trim(text, ByteRange(position, end))
        position = end + 1
        return part
    }

    /// The address of the one `for=` among an element's parameters. Names that hide it
    /// (`unknown`, `_gateway`) are none.
    private static func forAddress(_ element: Span<UInt8>) -> EndpointAddress? {
        var address: EndpointAddress?
        var position = 0
        while let part = nextPart(of: element, at: &position, separator: 0x3B) {
            let text = element.extracting(part.range)
            guard text.count > 4, text.extracting(0..<4).equalsIgnoringCase("for=") else { continue }
            guard address == nil else { return nil }
            // RFC 7239 wants quotes around colons and brackets. Not all write them, and there is no
            // second way to read it.
            var value = text.extracting(4..<text.count)
            if value[0] == 0x22 {
                guard value.count > 2, value[value.count - 1] == 0x22 else { return nil }
                value = value.extracting(1..<(value.count - 1))
            }
            address = EndpointAddress(parsing: value)
            guard address != nil else { return nil }
        }
        return address
    }
}
