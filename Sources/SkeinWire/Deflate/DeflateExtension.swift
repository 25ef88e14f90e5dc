// One element of Sec-WebSocket-Extensions (RFC 6455 §9.1) that names permessage-deflate, as it stands
// there: well-formed, each parameter known, at most once and within RFC 7692 §7.1, and nothing weighed
// yet. Names are compared as they are written: a peer that writes them otherwise gets plain frames.

struct DeflateExtension: Equatable {
    var serverNoContextTakeover = false
    var clientNoContextTakeover = false
    var serverWindowBits: UInt8?
    var clientWindowBits = ClientWindowBits.absent

    enum ClientWindowBits: Equatable {
        case absent
        /// In an offer: name any.
        case open
        case value(UInt8)
    }

    /// nil when `text` is another extension, or anything is wrong with it.
    init?(_ text: Span<UInt8>) {
        var i = 0
        guard let name = Self.takeToken(of: text, at: &i),
            text.extracting(name).equals("permessage-deflate")
        else { return nil }
        while true {
            Self.skipBlanks(of: text, at: &i)
            if i == text.count { return }
            guard text[i] == Self.semicolon else { return nil }
            i += 1
            Self.skipBlanks(of: text, at: &i)
            guard takeParameter(of: text, at: &i) else { return nil }
        }
    }

    /// The next element of `list` that is not empty, without blanks around it; nil after the last. A comma
    /// within quotes ends nothing.
    static func nextElement(of list: Span<UInt8>, at position: inout Int) -> Range<Int>? {
        while position < list.count {
            let start = position
            var isQuoted = false
            while position < list.count && (isQuoted || list[position] != comma) {
                if list[position] == quote { isQuoted.toggle() }
                if isQuoted && list[position] == backslash { position += 1 }
                position += 1
            }
            let end = min(position, list.count)
            position = end + 1
            let element = HeadReader.trim(list, ByteRange(start, end))
            if !element.isEmpty { return element.range }
        }
        return nil
    }
}

extension DeflateExtension {
    private static let comma = UInt8(ascii: ",")
    private static let semicolon = UInt8(ascii: ";")
    private static let equalsSign = UInt8(ascii: "=")
    private static let quote = UInt8(ascii: "\"")
    private static let backslash = UInt8(ascii: "\\")

    private mutating func takeParameter(of text: Span<UInt8>, at i: inout Int) -> Bool {
        guard let range = Self.takeToken(of: text, at: &i) else { return false }
        Self.skipBlanks(of: text, at: &i)
        var hasValue = false
        if i < text.count && text[i] == Self.equalsSign {
            hasValue = true
            i += 1
            Self.skipBlanks(of: text, at: &i)
        }
        let name = text.extracting(range)
        if name.equals("server_no_context_takeover") {
            guard !serverNoContextTakeover && !hasValue else { return false }
            serverNoContextTakeover = true
        } else if name.equals("client_no_context_takeover") {
            guard !clientNoContextTakeover && !hasValue else { return false }
            clientNoContextTakeover = true
        } else if name.equals("server_max_window_bits") {
            guard serverWindowBits == nil && hasValue else { return false }
            serverWindowBits = Self.takeWindowBits(of: text, at: &i)
            return serverWindowBits != nil
        } else if name.equals("client_max_window_bits") {
            guard clientWindowBits == .absent else { return false }
            guard hasValue else {
                clientWindowBits = .open
                return true
            }
            guard let bits = Self.takeWindowBits(of: text, at: &i) else { return false }
            clientWindowBits = .value(bits)
        } else {
            return false
        }
        return true
    }

    private static func skipBlanks(of text: Span<UInt8>, at i: inout Int) {
        while i < text.count && HeadReader.isBlank(text[i]) { i += 1 }
    }

    private static func takeToken(of text: Span<UInt8>, at i: inout Int) -> Range<Int>? {
        let start = i
        while i < text.count && HeadReader.isTokenCharacter(text[i]) { i += 1 }
        return i > start ? start..<i : nil
    }

    /// A number from 8 to 15 in its shortest form, as a token or a quoted string.
    private static func takeWindowBits(of text: Span<UInt8>, at i: inout Int) -> UInt8? {
        let isQuoted = i < text.count && text[i] == quote
        if isQuoted { i += 1 }
        var bits: UInt8 = 0
        var digits = 0
        while i < text.count {
            if isQuoted && text[i] == backslash { i += 1 }
            guard i < text.count && text[i].isASCIIDigit else { break }
            // Before the digit is added: a third could overflow.
            guard digits < 2 else { return nil }
            bits = bits * 10 + (text[i] - 0x30)
            guard bits > 0 else { return nil }
            digits += 1
            i += 1
        }
        if isQuoted {
            guard i < text.count && text[i] == quote else { return nil }
            i += 1
        }
        return DeflateSettings.windowBits.contains(bits) ? bits : nil
    }
}
