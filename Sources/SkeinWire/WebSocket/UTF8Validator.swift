// Checks that text is UTF-8 (RFC 3629) while it arrives, however it is cut, and fails at the first byte
// that no valid text could have there: overlong forms, surrogates, beyond U+10FFFF, stray
// continuations. ASCII, nearly all of our traffic, is skipped 32 bytes at a time.

@frozen @usableFromInline package struct UTF8Validator: Equatable, Sendable {
    /// Continuation bytes still due. Negative: failed, for good.
    @usableFromInline var due: Int8
    /// Bounds of the next byte when it is the second of its character; that is where overlong forms,
    /// surrogates and too large values show.
    @usableFromInline var lowest: UInt8
    @usableFromInline var highest: UInt8

    @inlinable package init() {
        due = 0
        lowest = 0x80
        highest = 0xBF
    }

    /// No character is left half said, and none was wrong.
    @inlinable package var isComplete: Bool { due == 0 }

    /// Takes the next bytes of the text; false as soon as it cannot become valid any more.
    @inlinable package mutating func validate(_ bytes: Span<UInt8>) -> Bool {
        guard due >= 0 else { return false }
        let count = bytes.count
        var i = 0
        if due == 0 { i = Self.asciiPrefix(of: bytes, from: 0) }
        return i == count || validateSlowly(bytes, from: i)
    }

    /// Whether all of `bytes` is UTF-8: the way in for a message that came whole.
    @inlinable package static func isValid(_ bytes: Span<UInt8>) -> Bool {
        let i = asciiPrefix(of: bytes, from: 0)
        if i == bytes.count { return true }
        var validator = UTF8Validator()
        return validator.validateSlowly(bytes, from: i) && validator.isComplete
    }

    /// The end of the ASCII that begins at `start`.
    @inlinable static func asciiPrefix(of bytes: Span<UInt8>, from start: Int) -> Int {
        let high: UInt64 = 0x8080_8080_8080_8080
        let count = bytes.count
        var i = start
        while i &+ 32 <= count {
            let all =
                bytes.word(at: i) | bytes.word(at: i &+ 8)
                | bytes.word(at: i &+ 16) | bytes.word(at: i &+ 24)
            if all & high != 0 { break }
            i &+= 32
        }
        while i &+ 8 <= count {
            let marks = bytes.word(at: i) & high
            if marks != 0 { return i &+ marks.trailingZeroBitCount &>> 3 }
            i &+= 8
        }
        // The rest in one look, together with bytes seen before, where there are as many.
        if count &- start >= 8 && bytes.word(at: count &- 8) & high == 0 { return count }
        while i < count && bytes[i] < 0x80 { i &+= 1 }
        return i
    }

    @usableFromInline mutating func validateSlowly(_ bytes: Span<UInt8>, from start: Int) -> Bool {
        let count = bytes.count
        var i = start
        while i < count {
            if due == 0 {
                i = Self.skipWhole(bytes, from: i)
                guard i < count else { return true }
            }
            // A character that is wrong, or cut: byte by byte until it is whole.
            let byte = bytes[i]
            i &+= 1
            if due > 0 {
                guard byte >= lowest && byte <= highest else { return fail() }
                due &-= 1
                lowest = 0x80
                highest = 0xBF
            } else {
                guard lead(byte) else { return fail() }
            }
        }
        return true
    }

    /// Goes over whole, valid characters; ends at the first that is neither, or at the end. What is
    /// wrong with that one is for others to say.
    private static func skipWhole(_ bytes: Span<UInt8>, from start: Int) -> Int {
        let count = bytes.count
        var i = start
        while i < count {
            let lead = bytes[i]
            if lead < 0x80 {
                i &+= 1
                // Between two accents there is often just a letter or two: only runs are worth more.
                if i &+ 8 <= count && bytes.word(at: i) & 0x8080_8080_8080_8080 == 0 {
                    i = asciiPrefix(of: bytes, from: i &+ 8)
                }
            } else if lead < 0xE0 {
                guard lead >= 0xC2 && i &+ 2 <= count, bytes[i &+ 1] & 0xC0 == 0x80 else { break }
                i &+= 2
            } else if lead < 0xF0 {
                guard i &+ 3 <= count else { break }
                let (second, third) = (bytes[i &+ 1] ^ 0x80, bytes[i &+ 2] ^ 0x80)
                let top = UInt32(lead & 0x0F) << 6 | UInt32(second)
                // Shortest form, and no surrogate: decided by the upper ten bits.
                guard second | third < 0x40 && top >= 0x20 && top >> 5 != 0x1B else { break }
                i &+= 3
            } else {
                guard i &+ 4 <= count && lead <= 0xF4 else { break }
                let second = bytes[i &+ 1] ^ 0x80
                let rest = (bytes[i &+ 2] ^ 0x80) | (bytes[i &+ 3] ^ 0x80)
                let top = UInt32(lead & 0x07) << 6 | UInt32(second)
                // From U+10000 to U+10FFFF: decided by the upper nine bits.
                guard second | rest < 0x40 && top >= 0x10 && top < 0x110 else { break }
                i &+= 4
            }
        }
        return i
    }

    /// Table 3-7 of the Unicode Standard.
    @inline(__always) private mutating func lead(_ byte: UInt8) -> Bool {
        switch byte {
        case 0xC2...0xDF: due = 1
        case 0xE0: (due, lowest) = (2, 0xA0)
        case 0xED: (due, highest) = (2, 0x9F)
        case 0xE1...0xEF: due = 2
        case 0xF0: (due, lowest) = (3, 0x90)
        case 0xF1...0xF3: due = 3
        case 0xF4: (due, highest) = (3, 0x8F)
        default: return false
        }
        return true
    }

    private mutating func fail() -> Bool {
        due = -1
        return false
    }
}
