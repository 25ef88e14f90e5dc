// The members of one JSON object, found in one pass and kept as places in the text: used for the
// envelope first and then for its `data`. The table is the caller's memory, so an index costs nothing
// to make; members past its end are validated all the same.

// Safe: whoever calls init(unsafe:) vouches for `capacity` slots for the index's lifetime; `count` never
// passes `capacity`, and only slots below `count` are read.
@safe @frozen @usableFromInline package struct ObjectIndex: ~Copyable {
    @frozen @usableFromInline package struct Member: Equatable, Sendable {
        /// Without its quotes, still escaped.
        @usableFromInline package var key: ByteRange
        /// As it stands in the text, strings with their quotes: ready to be spliced.
        @usableFromInline package var value: ByteRange
        @usableFromInline package var kind: JSONKind
        @usableFromInline var keyHasEscapes: Bool
        /// The value is a string that must be unescaped to be read.
        @usableFromInline package var hasEscapes: Bool

        @inlinable init(
            key: ByteRange, value: ByteRange, kind: JSONKind, keyHasEscapes: Bool,
            hasEscapes: Bool
        ) {
            self.key = key
            self.value = value
            self.kind = kind
            self.keyHasEscapes = keyHasEscapes
            self.hasEscapes = hasEscapes
        }

        /// What is between the quotes; empty when the value is no string.
        @inlinable package var string: ByteRange {
            kind == .string ? ByteRange(value.start &+ 1, value.end &- 1) : .empty
        }
    }

    @usableFromInline let table: UnsafeMutablePointer<Member>
    @usableFromInline let capacity: Int
    @usableFromInline var used: Int
    /// There were more members than slots: those past the table cannot be found.
    @usableFromInline package var overflowed: Bool

    @inlinable package init(unsafe table: UnsafeMutablePointer<Member>, capacity: Int) {
        precondition(capacity >= 0)
        unsafe self.table = table
        self.capacity = capacity
        used = 0
        overflowed = false
    }

    @inlinable package var count: Int { used }

    @inlinable package subscript(position: Int) -> Member {
        precondition(position >= 0 && position < used)
        return unsafe table[position]
    }

    /// Runs `body` with an empty index on the stack.
    @inlinable package static func withTemporary<R: ~Copyable, E: Error>(
        capacity: Int = 32, _ body: (inout ObjectIndex) throws(E) -> R
    ) throws(E) -> R {
        try unsafe withUnsafeTemporaryAllocation(of: Member.self, capacity: max(capacity, 1)) {
            slots throws(E) in
            // At least one slot was asked for, so there is an address.
            var index = unsafe ObjectIndex(unsafe: slots.baseAddress!, capacity: capacity)
            return try body(&index)
        }
    }
}

extension ObjectIndex {
    /// Indexes `text`, which is known to be UTF-8. False, and an empty index, when it is not one valid
    /// JSON object and nothing else.
    package mutating func index(_ text: Span<UInt8>) -> Bool {
        let start = JSONScanner.skipBlanks(text, from: 0)
        let end = indexMembers(of: text, at: start, isTrusted: false)
        guard end >= 0, JSONScanner.skipBlanks(text, from: end) == text.count else {
            used = 0
            return false
        }
        return true
    }

    /// Indexes the object at `place`, which was validated with the text around it; places in the
    /// answers are of all of `text`. False when it is no object.
    package mutating func indexTrusted(_ text: Span<UInt8>, object place: ByteRange) -> Bool {
        guard place.end <= text.count else {
            used = 0
            return false
        }
        guard indexMembers(of: text, at: place.start, isTrusted: true) >= 0 else {
            used = 0
            return false
        }
        return true
    }

    /// As the index of an object without members.
    package mutating func removeAll() { used = 0 }

    /// The member called `key`; of several, the last.
    // Inlined whole, so that a literal key becomes one comparison of words per member.
    @inlinable @inline(__always)
    package func find(_ key: StaticString, in text: Span<UInt8>) -> Member? {
        var position = used
        while position > 0 {
            position &-= 1
            let place = unsafe table[position].key
            if Int(place.count) == key.utf8CodeUnitCount {
                if text.extracting(place.range).equals(key) { return unsafe table[position] }
            }
            if unsafe table[position].keyHasEscapes {
                if JSONString.equals(text.extracting(place.range), key) {
                    return unsafe table[position]
                }
            }
        }
        return nil
    }

    /// Whether two of the members that were found have one name, however it is escaped.
    package func hasDuplicates(in text: Span<UInt8>) -> Bool {
        for later in 1..<max(used, 1) {
            for earlier in 0..<later where haveOneName(later, earlier, text) { return true }
        }
        return false
    }

    private func haveOneName(_ one: Int, _ other: Int, _ text: Span<UInt8>) -> Bool {
        let (one, other) = unsafe (table[one], table[other])
        guard one.keyHasEscapes || other.keyHasEscapes else {
            return one.key.count == other.key.count
                && Self.areEqual(text.extracting(one.key.range), text.extracting(other.key.range))
        }
        return ByteWriter.withTemporary(capacity: Int(one.key.count)) { first in
            JSONString.unescape(text.extracting(one.key.range), into: &first)
            return ByteWriter.withTemporary(capacity: Int(other.key.count)) { second in
                JSONString.unescape(text.extracting(other.key.range), into: &second)
                return first.withWritten { first in second.withWritten { Self.areEqual(first, $0) } }
            }
        }
    }

    private static func areEqual(_ one: Span<UInt8>, _ other: Span<UInt8>) -> Bool {
        one.count == other.count && one.indices.allSatisfy { one[$0] == other[$0] }
    }

    @inline(__always) private mutating func indexMembers(
        of text: Span<UInt8>, at start: Int, isTrusted: Bool
    ) -> Int {
        used = 0
        overflowed = false
        guard start < text.count && text[start] == 0x7B else { return -1 }
        var i = JSONScanner.skipBlanks(text, from: start &+ 1)
        guard i < text.count else { return -1 }
        if text[i] == 0x7D { return i &+ 1 }
        while true {
            guard i < text.count && text[i] == 0x22 else { return -1 }
            var keyHasEscapes = false
            let keyEnd = JSONScanner.scanString(text, from: i &+ 1, escaped: &keyHasEscapes)
            guard keyEnd >= 0 else { return -1 }
            let key = ByteRange(i &+ 1, keyEnd &- 1)
            i = JSONScanner.skipBlanks(text, from: keyEnd)
            guard i < text.count && text[i] == 0x3A else { return -1 }

            let valueStart = JSONScanner.skipBlanks(text, from: i &+ 1)
            guard valueStart < text.count,
                let kind = JSONScanner.kind(ofFirst: text[valueStart])
            else { return -1 }
            var hasEscapes = false
            if kind == .string {
                i = JSONScanner.scanString(text, from: valueStart &+ 1, escaped: &hasEscapes)
            } else if isTrusted && (kind == .object || kind == .array) {
                i = JSONScanner.skipTrusted(text, container: valueStart)
            } else {
                i = JSONScanner.scan(text, at: valueStart, depth: 1)
            }
            guard i >= 0 else { return -1 }
            add(
                Member(
                    key: key, value: ByteRange(valueStart, i), kind: kind,
                    keyHasEscapes: keyHasEscapes, hasEscapes: hasEscapes))

            i = JSONScanner.skipBlanks(text, from: i)
            guard i < text.count else { return -1 }
            if text[i] == 0x7D { return i &+ 1 }
            guard text[i] == 0x2C else { return -1 }
            i = JSONScanner.skipBlanks(text, from: i &+ 1)
        }
    }

    @inline(__always) private mutating func add(_ member: Member) {
        guard used < capacity else {
            overflowed = true
            return
        }
        unsafe (table + used).initialize(to: member)
        used &+= 1
    }
}

extension JSONScanner {
    /// The end of a container that was validated before: brackets are counted, strings are stepped
    /// over. On a text that was not validated it may stop anywhere, but inside the text.
    static func skipTrusted(_ text: Span<UInt8>, container start: Int) -> Int {
        var open = 0
        var i = start
        while i < text.count {
            switch text[i] {
            case 0x22:
                var escaped = false
                i = scanString(text, from: i &+ 1, escaped: &escaped)
                guard i >= 0 else { return -1 }
                continue
            case 0x7B, 0x5B:
                open &+= 1
            case 0x7D, 0x5D:
                open &-= 1
                if open == 0 { return i &+ 1 }
            default:
                break
            }
            i &+= 1
        }
        return -1
    }
}
