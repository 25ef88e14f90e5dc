// A place inside the caller's bytes, small enough to be kept by the dozen. Every codec of this target
// answers in these, so nothing is copied and nothing has to outlive the buffer it came from.

@frozen @usableFromInline package struct ByteRange: Equatable, Sendable {
    @usableFromInline package var offset: UInt32
    @usableFromInline package var count: UInt32

    /// Bytes `start` up to, not including, `end`.
    @inlinable package init(_ start: Int, _ end: Int) {
        precondition(start >= 0 && start <= end)
        offset = UInt32(start)
        count = UInt32(end &- start)
    }

    @inlinable package init(_ range: Range<Int>) {
        self.init(range.lowerBound, range.upperBound)
    }

    @inlinable package static var empty: ByteRange { ByteRange(0, 0) }

    @inlinable package var start: Int { Int(offset) }
    @inlinable package var end: Int { Int(offset) &+ Int(count) }
    @inlinable package var range: Range<Int> { start..<end }
    @inlinable package var isEmpty: Bool { count == 0 }

    /// The same bytes, seen from `base` bytes further out.
    @inlinable package func shifted(by base: Int) -> ByteRange {
        ByteRange(start &+ base, end &+ base)
    }
}

extension Span where Element == UInt8 {
    /// Eight bytes as they lie in memory, first byte lowest on every machine.
    // Safe: the load is bounds-checked by RawSpan, and every bit pattern is a UInt64.
    @inlinable @inline(__always) package func word(at offset: Int) -> UInt64 {
        let raw = unsafe bytes.unsafeLoadUnaligned(fromByteOffset: offset, as: UInt64.self)
        return UInt64(littleEndian: raw)
    }

    @inlinable @inline(__always) package func halfWord(at offset: Int) -> UInt32 {
        let raw = unsafe bytes.unsafeLoadUnaligned(fromByteOffset: offset, as: UInt32.self)
        return UInt32(littleEndian: raw)
    }

    /// Whether these are exactly the bytes of `other`. With a literal this folds to a length test and
    /// one or two comparisons of words.
    // Safe: StaticString vouches for utf8CodeUnitCount bytes at utf8Start; every load ends within both.
    @inlinable @inline(__always) package func equals(_ other: StaticString) -> Bool {
        let length = other.utf8CodeUnitCount
        guard length == count else { return false }
        let start = unsafe UnsafeRawPointer(other.utf8Start)
        if length >= 8 {
            var i = 0
            while i &+ 8 <= length {
                let theirs = unsafe start.loadUnaligned(fromByteOffset: i, as: UInt64.self)
                if word(at: i) != UInt64(littleEndian: theirs) { return false }
                i &+= 8
            }
            let last = length &- 8
            let theirs = unsafe start.loadUnaligned(fromByteOffset: last, as: UInt64.self)
            return word(at: last) == UInt64(littleEndian: theirs)
        }
        if length >= 4 {
            let last = length &- 4
            let head = unsafe start.loadUnaligned(fromByteOffset: 0, as: UInt32.self)
            let tail = unsafe start.loadUnaligned(fromByteOffset: last, as: UInt32.self)
            return halfWord(at: 0) == UInt32(littleEndian: head)
                && halfWord(at: last) == UInt32(littleEndian: tail)
        }
        for i in 0..<length {
            let theirs = unsafe start.load(fromByteOffset: i, as: UInt8.self)
            if self[i] != theirs { return false }
        }
        return true
    }

    /// Whether these bytes are `other`, which must be lower case, in any case of the ASCII letters.
    @inlinable package func equalsIgnoringCase(_ other: StaticString) -> Bool {
        guard other.utf8CodeUnitCount == count else { return false }
        for i in 0..<count {
            let theirs = unsafe other.utf8Start[i]
            if self[i].asciiLowercased != theirs { return false }
        }
        return true
    }
}

extension UInt8 {
    @inlinable @inline(__always) package var asciiLowercased: UInt8 {
        self &- 0x41 < 26 ? self | 0x20 : self
    }

    @inlinable @inline(__always) package var isASCIIDigit: Bool { self &- 0x30 < 10 }

    /// The value of a hexadecimal digit, or nil.
    @inlinable @inline(__always) package var hexValue: UInt8? {
        if isASCIIDigit { return self &- 0x30 }
        let letter = (self | 0x20) &- 0x61
        return letter < 6 ? letter &+ 10 : nil
    }
}
