// The quick way through a subscribed connection's stream: the few shapes Redis sends there are told apart
// and handed out as places in the receive buffer, some ten nanoseconds each. Anything else is left to
// RESPReader, which is also what the tests hold this against.

@frozen @usableFromInline package struct Push: Equatable, Sendable {
    @frozen @usableFromInline package enum Kind: Equatable, Sendable {
        case message
        case subscribe
        case unsubscribe
        /// The answer to PING, before or after the first subscription.
        case pong
        /// A simple error; its text is the payload.
        case error
        /// None of these: give the bytes from here on to a RESPReader. Nothing is consumed.
        case other
    }

    @usableFromInline package let kind: Kind
    /// Of a message, or of a (un)subscription; empty when an unsubscription names none.
    @usableFromInline package let channel: ByteRange
    /// Of a message, pong or error.
    @usableFromInline package let payload: ByteRange
    /// What is still subscribed to, after a subscription or unsubscription.
    @usableFromInline package let subscriptions: Int
    /// How far to move on in the stream.
    @usableFromInline package let consumed: Int

    @inlinable init(
        _ kind: Kind, channel: ByteRange = .empty, payload: ByteRange = .empty,
        subscriptions: Int = 0, consumed: Int
    ) {
        self.kind = kind
        self.channel = channel
        self.payload = payload
        self.subscriptions = subscriptions
        self.consumed = consumed
    }
}

@frozen @usableFromInline package struct PushScanner: Sendable {
    /// A longer channel or payload is refused by its header, before it is waited for.
    @usableFromInline package let bulkBytesMax: Int
    /// Errors, and the line of any header, are at most this long.
    package static let lineBytesMax = 1_024

    @inlinable package init(bulkBytesMax: Int) {
        precondition(bulkBytesMax > 0 && bulkBytesMax <= Int(Int32.max))
        self.bulkBytesMax = bulkBytesMax
    }

    /// The push that begins at `offset`, or nil when it has not all come. An error is final: nobody
    /// can tell where the next reply begins.
    package func next(in bytes: Span<UInt8>, at offset: Int = 0) throws(RESPError) -> Push? {
        precondition(offset >= 0 && offset <= bytes.count)
        guard offset < bytes.count else { return nil }
        switch bytes[offset] {
        case 0x2A: return try array(bytes, offset)
        case 0x2B: return try simple(bytes, offset, isError: false)
        case 0x2D: return try simple(bytes, offset, isError: true)
        default: return other
        }
    }
}

extension PushScanner {
    private var other: Push { Push(.other, consumed: 0) }

    private enum Match {
        case yes
        case no
        case more
    }

    /// Whether `literal` stands at `offset`, as far as the bytes go.
    @inline(__always)
    private func match(_ bytes: Span<UInt8>, _ offset: Int, _ literal: StaticString) -> Match {
        let end = offset &+ literal.utf8CodeUnitCount
        if end <= bytes.count {
            return bytes.extracting(offset..<end).equals(literal) ? .yes : .no
        }
        for i in offset..<bytes.count {
            // Below the literal's length: the range ends before `end`.
            let expected = unsafe literal.utf8Start[i &- offset]
            if bytes[i] != expected { return .no }
        }
        return .more
    }

    @inline(__always)
    private func array(_ bytes: Span<UInt8>, _ offset: Int) throws(RESPError) -> Push? {
        let message = match(bytes, offset, "*3\r\n$7\r\nmessage\r\n")
        if message == .yes { return try takeMessage(bytes, offset, from: offset &+ 17) }
        let subscribe = match(bytes, offset, "*3\r\n$9\r\nsubscribe\r\n")
        if subscribe == .yes {
            return try subscription(.subscribe, bytes, offset, from: offset &+ 19)
        }
        let unsubscribe = match(bytes, offset, "*3\r\n$11\r\nunsubscribe\r\n")
        if unsubscribe == .yes {
            return try subscription(.unsubscribe, bytes, offset, from: offset &+ 22)
        }
        let pong = match(bytes, offset, "*2\r\n$4\r\npong\r\n")
        if pong == .yes { return try takePong(bytes, offset, from: offset &+ 14) }
        if message == .more || subscribe == .more || unsubscribe == .more || pong == .more {
            return nil
        }
        return other
    }

    @inline(__always)
    private func takeMessage(
        _ bytes: Span<UInt8>, _ offset: Int, from start: Int
    ) throws(RESPError) -> Push? {
        guard let channel = try bulk(bytes, start) else { return nil }
        guard let payload = try bulk(bytes, channel.end &+ 2) else { return nil }
        return Push(
            .message, channel: channel, payload: payload,
            consumed: payload.end &+ 2 &- offset)
    }

    private func subscription(
        _ kind: Push.Kind, _ bytes: Span<UInt8>, _ offset: Int, from start: Int
    ) throws(RESPError) -> Push? {
        var channel = ByteRange.empty
        var next: Int
        // Unsubscribing from all of nothing names no channel.
        switch match(bytes, start, "$-1\r\n") {
        case .yes: next = start &+ 5
        case .more: return nil
        case .no:
            guard let named = try bulk(bytes, start) else { return nil }
            channel = named
            next = named.end &+ 2
        }
        guard next < bytes.count else { return nil }
        guard bytes[next] == 0x3A else { throw .malformed }
        guard let count = try number(bytes, from: &next, max: Int(Int32.max)) else { return nil }
        return Push(kind, channel: channel, subscriptions: count, consumed: next &- offset)
    }

    private func takePong(
        _ bytes: Span<UInt8>, _ offset: Int, from start: Int
    ) throws(RESPError) -> Push? {
        guard let payload = try bulk(bytes, start) else { return nil }
        return Push(.pong, payload: payload, consumed: payload.end &+ 2 &- offset)
    }

    private func simple(
        _ bytes: Span<UInt8>, _ offset: Int, isError: Bool
    ) throws(RESPError) -> Push? {
        if !isError {
            return switch match(bytes, offset, "+PONG\r\n") {
            case .yes: Push(.pong, consumed: 7)
            case .more: nil
            case .no: other
            }
        }
        var i = offset &+ 1
        while i < bytes.count && bytes[i] != 0x0D && i &- offset < Self.lineBytesMax { i &+= 1 }
        guard i &- offset < Self.lineBytesMax else { throw .tooLarge }
        guard i &+ 1 < bytes.count else { return nil }
        guard bytes[i &+ 1] == 0x0A else { throw .malformed }
        return Push(
            .error, payload: ByteRange(offset &+ 1, i), consumed: i &+ 2 &- offset)
    }

    /// The content of the bulk string whose header is at `start`; its own `\r\n` comes after.
    @inline(__always)
    private func bulk(_ bytes: Span<UInt8>, _ start: Int) throws(RESPError) -> ByteRange? {
        guard start < bytes.count else { return nil }
        guard bytes[start] == 0x24 else { throw .malformed }
        var position = start
        guard let length = try number(bytes, from: &position, max: bulkBytesMax) else { return nil }
        let end = position &+ length
        if end < bytes.count && bytes[end] != 0x0D { throw .malformed }
        guard end &+ 1 < bytes.count else { return nil }
        guard bytes[end &+ 1] == 0x0A else { throw .malformed }
        return ByteRange(position, end)
    }

    /// The digits behind the type byte at `position`, which moves past their `\r\n`. More than `max` is
    /// refused at the digit that shows it.
    @inline(__always)
    private func number(
        _ bytes: Span<UInt8>, from position: inout Int, max: Int
    ) throws(RESPError) -> Int? {
        var i = position &+ 1
        var value = 0
        while i < bytes.count && bytes[i].isASCIIDigit {
            // No zero in front of others, as the reader has it: the value alone would not end those.
            guard value > 0 || i == position &+ 1 else { throw .malformed }
            value = value &* 10 &+ Int(bytes[i] &- 0x30)
            guard value <= max else { throw .tooLarge }
            i &+= 1
        }
        guard i < bytes.count else { return nil }
        guard bytes[i] == 0x0D && i > position &+ 1 else { throw .malformed }
        guard i &+ 1 < bytes.count else { return nil }
        guard bytes[i &+ 1] == 0x0A else { throw .malformed }
        position = i &+ 2
        return value
    }
}
