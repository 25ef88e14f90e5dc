// The lists of names in a WebSocket handshake, by their grammar: what is malformed fails the
// handshake (RFC 6455 §4.2.1, §9.1), so that nobody builds on half of what was meant.

enum TokenList {
    /// `Sec-WebSocket-Protocol`: tokens, none of them twice.
    static func isProtocols(_ text: Span<UInt8>) -> Bool {
        var place = 0
        while place <= text.count {
            let name = element(text, at: &place)
            guard isToken(text.extracting(name.range)), isFirst(name, in: text) else { return false }
        }
        return true
    }

    /// Whether no element before `name` is the same. Lists are short: they are read again.
    private static func isFirst(_ name: ByteRange, in text: Span<UInt8>) -> Bool {
        var place = 0
        while place < name.start {
            let other = element(text, at: &place)
            guard other.start < name.start else { break }
            guard other.count == name.count else { continue }
            var same = 0
            while same < name.range.count && text[other.start + same] == text[name.start + same] { same += 1 }
            if same == name.range.count { return false }
        }
        return true
    }

    /// The element at `place`, without the blanks around it; moves on behind its comma.
    private static func element(_ text: Span<UInt8>, at place: inout Int) -> ByteRange {
        var end = place
        while end < text.count && text[end] != comma { end += 1 }
        defer { place = end + 1 }
        return HeadReader.trim(text, ByteRange(place, end))
    }

    /// `Sec-WebSocket-Extensions`: names, each with parameters, whose values are tokens, quoted or not.
    static func isExtensions(_ text: Span<UInt8>) -> Bool {
        var place = 0
        var count = 0
        while true {
            skipBlanks(text, &place)
            // An empty element of a list is passed over (RFC 9110 §5.6.1).
            if place < text.count && text[place] == comma {
                place += 1
                continue
            }
            if place == text.count { return count > 0 }
            guard takeExtension(text, &place) else { return false }
            count += 1
            guard place == text.count || text[place] == comma else { return false }
        }
    }

    private static func takeExtension(_ text: Span<UInt8>, _ place: inout Int) -> Bool {
        guard takeToken(text, &place) else { return false }
        while true {
            skipBlanks(text, &place)
            guard place < text.count, text[place] == UInt8(ascii: ";") else { return true }
            place += 1
            skipBlanks(text, &place)
            guard takeToken(text, &place) else { return false }
            // RFC 2616, whose grammar this is, implies blanks between any two words.
            skipBlanks(text, &place)
            guard place < text.count, text[place] == UInt8(ascii: "=") else { continue }
            place += 1
            skipBlanks(text, &place)
            guard place < text.count, text[place] == quote else {
                guard takeToken(text, &place) else { return false }
                continue
            }
            place += 1
            guard takeToken(text, &place), place < text.count, text[place] == quote else { return false }
            place += 1
        }
    }

    private static func takeToken(_ text: Span<UInt8>, _ place: inout Int) -> Bool {
        let start = place
        while place < text.count && HeadReader.isTokenCharacter(text[place]) { place += 1 }
        return place > start
    }

    private static func skipBlanks(_ text: Span<UInt8>, _ place: inout Int) {
        while place < text.count && (text[place] == 0x20 || text[place] == 0x09) { place += 1 }
    }

    private static func isToken(_ text: Span<UInt8>) -> Bool {
        var place = 0
        return takeToken(text, &place) && place == text.count
    }

    private static let comma = UInt8(ascii: ",")
    private static let quote = UInt8(ascii: "\"")
}
