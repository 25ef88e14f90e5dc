// The members of one JSON object, as places in its bytes: nothing is copied and nothing is recursive, so no
// depth of nesting does harm. It looks for members, not for mistakes: what is no JSON at all is told, what is
// odd inside a value is passed over.

enum JSONMembers {
    /// Calls `body` for each member of the object in `range`: its name, its value (strings without their
    /// quotes, escapes untouched), and whether that is a string.
    /// - Returns: false where there is no whole object.
    static func forEach(
        in bytes: Span<UInt8>, _ range: Range<Int>,
        _ body: (_ name: Range<Int>, _ value: Range<Int>, _ isString: Bool) -> Void
    ) -> Bool {
        var at = range.lowerBound
        let end = range.upperBound
        guard take(0x7B, bytes, &at, end) else { return false }
        if take(0x7D, bytes, &at, end) { return true }
        while true {
            skipBlanks(bytes, &at, end)
            guard let name = string(bytes, &at, end), take(0x3A, bytes, &at, end) else { return false }
            skipBlanks(bytes, &at, end)
            guard at < end else { return false }
            if bytes[at] == 0x22 {
                guard let value = string(bytes, &at, end) else { return false }
                body(name, value, true)
            } else {
                guard let value = value(bytes, &at, end) else { return false }
                body(name, value, false)
            }
            if take(0x2C, bytes, &at, end) { continue }
            return take(0x7D, bytes, &at, end)
        }
    }

    private static func skipBlanks(_ bytes: Span<UInt8>, _ at: inout Int, _ end: Int) {
        while at < end, bytes[at] <= 0x20 { at += 1 }
    }

    private static func take(_ byte: UInt8, _ bytes: Span<UInt8>, _ at: inout Int, _ end: Int) -> Bool {
        skipBlanks(bytes, &at, end)
        guard at < end, bytes[at] == byte else { return false }
        at += 1
        return true
    }

    private static func string(_ bytes: Span<UInt8>, _ at: inout Int, _ end: Int) -> Range<Int>? {
        guard at < end, bytes[at] == 0x22 else { return nil }
        let start = at + 1
        at = start
        while at < end {
            switch bytes[at] {
            case 0x22:
                at += 1
                return start..<(at - 1)
            case 0x5C: at += 2
            default: at += 1
            }
        }
        return nil
    }

    /// An object or array with its braces, a number or a word.
    private static func value(_ bytes: Span<UInt8>, _ at: inout Int, _ end: Int) -> Range<Int>? {
        let start = at
        var depth = 0
        while at < end {
            switch bytes[at] {
            case 0x22:
                guard string(bytes, &at, end) != nil else { return nil }
                continue
            case 0x7B, 0x5B: depth += 1
            case 0x7D, 0x5D:
                if depth == 0 { return trimmed(bytes, start, at) }
                depth -= 1
                if depth == 0 {
                    at += 1
                    return start..<at
                }
            case 0x2C where depth == 0: return trimmed(bytes, start, at)
            default: break
            }
            at += 1
        }
        return nil
    }

    private static func trimmed(_ bytes: Span<UInt8>, _ start: Int, _ end: Int) -> Range<Int>? {
        var end = end
        while end > start, bytes[end - 1] <= 0x20 { end -= 1 }
        return end > start ? start..<end : nil
    }
}

extension Range<Int> {
    func equals(_ text: StaticString, in bytes: Span<UInt8>) -> Bool {
        guard count == text.utf8CodeUnitCount else { return false }
        // Safe: a literal vouches for as many bytes as it counts.
        for index in 0..<count where unsafe text.utf8Start[index] != bytes[lowerBound + index] { return false }
        return true
    }

    func text(in bytes: Span<UInt8>) -> String {
        String(decoding: map { bytes[$0] }, as: UTF8.self)
    }

    /// A whole number, not below 0.
    func number(in bytes: Span<UInt8>) -> Int? {
        var value = 0
        for index in self {
            let digit = bytes[index] &- 0x30
            guard digit < 10, value <= 1_000_000_000_000 else { return nil }
            value = value * 10 + Int(digit)
        }
        return isEmpty ? nil : value
    }
}
