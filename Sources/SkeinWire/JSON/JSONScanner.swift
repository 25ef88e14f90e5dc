// Strict RFC 8259 validation in one pass. What is spliced into an envelope unread must be valid JSON, so
// every inbound message and every publisher's payload passes here once. The input is known to be UTF-8;
// depth is bounded by a 64-bit stack, so no text can make it recurse or allocate.

@frozen @usableFromInline package enum JSONKind: UInt8, Sendable {
    case string
    case number
    case object
    case array
    case `true`
    case `false`
    case null
}

package enum JSONScanner {
    /// Objects and arrays inside one another; also what the bit stack below can hold.
    package static let depthMax = 64

    /// Whether `text` is one JSON value with nothing but white space around it.
    package static func isValid(_ text: Span<UInt8>) -> Bool {
        let end = scan(text, at: skipBlanks(text, from: 0), depth: 0)
        return end >= 0 && skipBlanks(text, from: end) == text.count
    }

    /// The end of the value that begins right at `start`, or nil when there is no valid one.
    /// - Parameter depth: how many containers are around it already.
    package static func scanValue(in text: Span<UInt8>, at start: Int, depth: Int = 0) -> Int? {
        precondition(start >= 0 && depth >= 0 && depth <= depthMax)
        let end = scan(text, at: start, depth: depth)
        return end >= 0 ? end : nil
    }

    /// What a value that begins with `byte` must be.
    @inline(__always) static func kind(ofFirst byte: UInt8) -> JSONKind? {
        switch byte {
        case 0x22: .string
        case 0x7B: .object
        case 0x5B: .array
        case 0x2D, 0x30...0x39: .number
        case 0x74: .true
        case 0x66: .false
        case 0x6E: .null
        default: nil
        }
    }

    /// Like ``scanValue``, with -1 for nil: one register, and no branch for the unwrapping.
    static func scan(_ text: Span<UInt8>, at start: Int, depth: Int) -> Int {
        // Innermost container lowest; 1 is an object.
        var stack: UInt64 = 0
        var level = depth
        var i = start
        value: while true {
            guard i < text.count else { return -1 }
            let byte = text[i]
            if byte == 0x7B || byte == 0x5B {
                guard level < depthMax else { return -1 }
                level &+= 1
                stack = stack << 1 | (byte == 0x7B ? 1 : 0)
                i = skipBlanks(text, from: i &+ 1)
                guard i < text.count else { return -1 }
                // Both closing brackets are two past their opening ones.
                if text[i] != byte &+ 2 {
                    if byte == 0x7B {
                        i = scanName(text, at: i)
                        guard i >= 0 else { return -1 }
                    }
                    continue value
                }
            } else {
                i = scanScalar(text, at: i, first: byte)
                guard i >= 0 else { return -1 }
            }
            while level > depth {
                i = skipBlanks(text, from: i)
                guard i < text.count else { return -1 }
                let isObject = stack & 1 != 0
                if text[i] == 0x2C {
                    i = skipBlanks(text, from: i &+ 1)
                    if isObject {
                        i = scanName(text, at: i)
                        guard i >= 0 else { return -1 }
                    }
                    continue value
                }
                guard text[i] == (isObject ? 0x7D : 0x5D) else { return -1 }
                i &+= 1
                level &-= 1
                stack >>= 1
            }
            return i
        }
    }

    /// A member's name and colon; the answer is where its value begins.
    private static func scanName(_ text: Span<UInt8>, at start: Int) -> Int {
        guard start < text.count && text[start] == 0x22 else { return -1 }
        var escaped = false
        let end = scanString(text, from: start &+ 1, escaped: &escaped)
        guard end >= 0 else { return -1 }
        let colon = skipBlanks(text, from: end)
        guard colon < text.count && text[colon] == 0x3A else { return -1 }
        return skipBlanks(text, from: colon &+ 1)
    }

    @inline(__always)
    private static func scanScalar(_ text: Span<UInt8>, at start: Int, first: UInt8) -> Int {
        switch first {
        case 0x22:
            var escaped = false
            return scanString(text, from: start &+ 1, escaped: &escaped)
        case 0x2D, 0x30...0x39: return scanNumber(text, at: start)
        case 0x74: return scanLiteral(text, at: start, "true")
        case 0x66: return scanLiteral(text, at: start, "false")
        case 0x6E: return scanLiteral(text, at: start, "null")
        default: return -1
        }
    }

    @inline(__always)
    private static func scanLiteral(
        _ text: Span<UInt8>, at start: Int, _ literal: StaticString
    ) -> Int {
        let end = start &+ literal.utf8CodeUnitCount
        guard end <= text.count, text.extracting(start..<end).equals(literal) else { return -1 }
        return end
    }

    private static func scanNumber(_ text: Span<UInt8>, at start: Int) -> Int {
        var i = start
        if text[i] == 0x2D { i &+= 1 }
        let integer = i
        i = skipDigits(text, from: i)
        // At least one digit, and no zero in front of others.
        guard i > integer, text[integer] != 0x30 || i == integer &+ 1 else { return -1 }
        if i < text.count && text[i] == 0x2E {
            let fraction = i &+ 1
            i = skipDigits(text, from: fraction)
            guard i > fraction else { return -1 }
        }
        if i < text.count && text[i] | 0x20 == 0x65 {
            i &+= 1
            if i < text.count && (text[i] == 0x2B || text[i] == 0x2D) { i &+= 1 }
            let exponent = i
            i = skipDigits(text, from: exponent)
            guard i > exponent else { return -1 }
        }
        return i
    }

    @inline(__always)
    private static func skipDigits(_ text: Span<UInt8>, from start: Int) -> Int {
        var i = start
        while i < text.count && text[i].isASCIIDigit { i &+= 1 }
        return i
    }
}

// Strings, and the space between tokens.
extension JSONScanner {
    /// From behind the opening quote to behind the closing one, or -1.
    @inline(__always) static func scanString(
        _ text: Span<UInt8>, from start: Int, escaped: inout Bool
    ) -> Int {
        var i = start
        while true {
            i = skipPlain(text, from: i)
            guard i < text.count else { return -1 }
            if text[i] == 0x22 { return i &+ 1 }
            // Neither quote nor backslash: a control character.
            guard text[i] == 0x5C else { return -1 }
            escaped = true
            i = scanEscape(text, at: i)
            guard i >= 0 else { return -1 }
        }
    }

    /// The first quote, backslash or control character from `start` on, or the end.
    @inline(__always) static func skipPlain(_ text: Span<UInt8>, from start: Int) -> Int {
        let count = text.count
        var i = start
        while i &+ 8 <= count {
            let marks = specials(text.word(at: i))
            if marks != 0 { return i &+ marks.trailingZeroBitCount &>> 3 }
            i &+= 8
            // Most strings end in their first words; those that do not are long.
            if i &- start == 16 { i = skipPlainBlocks(text, from: i) }
        }
        while i < count && text[i] >= 0x20 && text[i] != 0x22 && text[i] != 0x5C { i &+= 1 }
        return i
    }

    private static func skipPlainBlocks(_ text: Span<UInt8>, from start: Int) -> Int {
        var i = start
        while i &+ 32 <= text.count {
            let words = SIMD4(
                text.word(at: i), text.word(at: i &+ 8),
                text.word(at: i &+ 16), text.word(at: i &+ 24))
            let marks = specials(words)
            if (marks[0] | marks[1]) | (marks[2] | marks[3]) != 0 { break }
            i &+= 32
        }
        return i
    }

    /// The high bit of each byte that ends a run of plain ones; above the lowest set bit there may be
    /// more than there should, which is why only that one is used.
    // A byte with its high bit set keeps it under both XORs, so one mask at the end clears all such.
    @inline(__always) private static func specials(_ word: UInt64) -> UInt64 {
        let ones: UInt64 = 0x0101_0101_0101_0101
        let quote = (word ^ (ones &* 0x22)) &- ones
        let backslash = (word ^ (ones &* 0x5C)) &- ones
        let control = word &- ones &* 0x20
        return (quote | backslash | control) & ~word & (ones &* 0x80)
    }

    @inline(__always) private static func specials(_ words: SIMD4<UInt64>) -> SIMD4<UInt64> {
        let ones = SIMD4<UInt64>(repeating: 0x0101_0101_0101_0101)
        let quote = (words ^ (ones &* 0x22)) &- ones
        let backslash = (words ^ (ones &* 0x5C)) &- ones
        let control = words &- ones &* 0x20
        return (quote | backslash | control) & ~words & (ones &* 0x80)
    }

    /// From the backslash at `start` to behind its escape, or -1. Surrogates must come in pairs.
    static func scanEscape(_ text: Span<UInt8>, at start: Int) -> Int {
        guard start &+ 1 < text.count else { return -1 }
        switch text[start &+ 1] {
        case 0x22, 0x5C, 0x2F, 0x62, 0x66, 0x6E, 0x72, 0x74:
            return start &+ 2
        case 0x75:
            guard let unit = codeUnit(text, at: start) else { return -1 }
            if unit &- 0xD800 >= 0x800 { return start &+ 6 }
            guard unit < 0xDC00, let low = codeUnit(text, at: start &+ 6),
                low >= 0xDC00 && low <= 0xDFFF
            else { return -1 }
            return start &+ 12
        default:
            return -1
        }
    }

    /// The UTF-16 unit of the `\uXXXX` at `start`.
    static func codeUnit(_ text: Span<UInt8>, at start: Int) -> UInt16? {
        guard start &+ 6 <= text.count, text[start] == 0x5C, text[start &+ 1] == 0x75 else {
            return nil
        }
        var unit: UInt16 = 0
        for i in (start &+ 2)..<(start &+ 6) {
            guard let digit = text[i].hexValue else { return nil }
            unit = unit << 4 | UInt16(digit)
        }
        return unit
    }

    @inline(__always) static func skipBlanks(_ text: Span<UInt8>, from start: Int) -> Int {
        var i = start
        while i < text.count {
            let byte = text[i]
            guard byte <= 0x20, byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 else {
                break
            }
            i &+= 1
        }
        return i
    }
}
