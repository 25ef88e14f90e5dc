// An internet address and port as proxies spell them, in bytes or in text. Text is read strictly: what
// two programs could read as different addresses (`010.0.0.1`, `1.2.3`) is no address.

package struct EndpointAddress: Equatable, Sendable, BitwiseCopyable {
    /// IPv6 in network order; IPv4 as `::ffff:a.b.c.d`.
    package let high: UInt64
    package let low: UInt64
    /// 0 where none was told.
    package let port: UInt16

    init(high: UInt64, low: UInt64, port: UInt16) {
        self.high = high
        self.low = low
        self.port = port
    }

    init(v4: UInt32, port: UInt16) {
        self.init(high: 0, low: 0xFFFF_0000_0000 | UInt64(v4), port: port)
    }

    /// `192.0.2.1`, `2001:db8::1` or `[2001:db8::1]`, and `192.0.2.1:80` or `[2001:db8::1]:80`.
    package init?(parsing text: Span<UInt8>) {
        // Longer than any address with its port.
        guard text.count > 0, text.count <= 53 else { return nil }
        if text[0] == 0x5B {
            var end = 1
            while end < text.count && text[end] != 0x5D { end += 1 }
            guard end < text.count, let v6 = Self.readV6(text.extracting(1..<end)) else { return nil }
            var port: UInt16 = 0
            if end + 1 < text.count {
                guard text[end + 1] == 0x3A,
                    let read = Self.readPort(text.extracting((end + 2)..<text.count))
                else { return nil }
                port = read
            }
            self.init(high: v6.high, low: v6.low, port: port)
            return
        }
        if let v4 = Self.readV4(text) {
            self.init(v4: v4, port: 0)
            return
        }
        if let v6 = Self.readV6(text) {
            self.init(high: v6.high, low: v6.low, port: 0)
            return
        }
        var colon = 0
        while colon < text.count && text[colon] != 0x3A { colon += 1 }
        guard colon < text.count, let v4 = Self.readV4(text.extracting(0..<colon)),
            let port = Self.readPort(text.extracting((colon + 1)..<text.count))
        else { return nil }
        self.init(v4: v4, port: port)
    }
}

extension EndpointAddress {
    /// A number without leading zeros.
    static func readPort(_ text: Span<UInt8>) -> UInt16? {
        guard text.count > 0, text.count <= 5, text.count == 1 || text[0] != 0x30 else { return nil }
        var port = 0
        for i in 0..<text.count {
            guard text[i].isASCIIDigit else { return nil }
            port = port * 10 + Int(text[i] &- 0x30)
        }
        return UInt16(exactly: port)
    }

    /// Four numbers without leading zeros.
    static func readV4(_ text: Span<UInt8>) -> UInt32? {
        guard text.count >= 7, text.count <= 15 else { return nil }
        var address: UInt32 = 0
        var numbers = 0
        var start = 0
        while start <= text.count {
            var end = start
            var number: UInt32 = 0
            while end < text.count && text[end] != 0x2E {
                guard text[end].isASCIIDigit, end - start < 3 else { return nil }
                number = number * 10 + UInt32(text[end] &- 0x30)
                end += 1
            }
            guard end > start, number <= 255, end - start == 1 || text[start] != 0x30 else { return nil }
            numbers += 1
            guard numbers <= 4 else { return nil }
            address = address << 8 | number
            start = end + 1
        }
        return numbers == 4 ? address : nil
    }

    /// RFC 4291 §2.2, the last 32 bits perhaps as IPv4; no zone.
    static func readV6(_ text: Span<UInt8>) -> (high: UInt64, low: UInt64)? {
        guard text.count >= 2, text.count <= 45 else { return nil }
        var groups = InlineArray<8, UInt16>(repeating: 0)
        var count = 0
        /// How many groups stand before the `::`.
        var gap: Int?
        var i = 0
        if text[0] == 0x3A {
            guard text[1] == 0x3A else { return nil }
            gap = 0
            i = 2
        }
        while i < text.count {
            var end = i
            var isV4 = false
            while end < text.count && text[end] != 0x3A {
                if text[end] == 0x2E { isV4 = true }
                end += 1
            }
            let piece = text.extracting(i..<end)
            if isV4 {
                guard end == text.count, count <= 6, let v4 = readV4(piece) else { return nil }
                groups[count] = UInt16(truncatingIfNeeded: v4 >> 16)
                groups[count + 1] = UInt16(truncatingIfNeeded: v4)
                count += 2
                break
            }
            guard count < 8, let group = readGroup(piece) else { return nil }
            groups[count] = group
            count += 1
            guard end < text.count else { break }
            i = end + 1
            guard i < text.count else { return nil }
            if text[i] == 0x3A {
                guard gap == nil else { return nil }
                gap = count
                i += 1
            }
        }
        guard gap == nil ? count == 8 : count < 8 else { return nil }
        let before = gap ?? count
        var halves: (high: UInt64, low: UInt64) = (0, 0)
        for place in 0..<8 {
            let fromEnd = place - (8 - count)
            let group = place < before ? groups[place] : fromEnd >= before ? groups[fromEnd] : 0
            if place < 4 {
                halves.high = halves.high << 16 | UInt64(group)
            } else {
                halves.low = halves.low << 16 | UInt64(group)
            }
        }
        return halves
    }

    private static func readGroup(_ text: Span<UInt8>) -> UInt16? {
        guard text.count > 0, text.count <= 4 else { return nil }
        var group: UInt16 = 0
        for i in 0..<text.count {
            guard let digit = text[i].hexValue else { return nil }
            group = group << 4 | UInt16(digit)
        }
        return group
    }
}
