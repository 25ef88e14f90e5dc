// Where an event stands in its user's history, and where a client says that it left off. The text is
// opaque to clients; what is in it, and why, is one of the decisions in `Ops/Decisions`.

internal import SkeinWire

/// A place in one user's history, within one epoch.
///
/// `number` counts a user's kept events without a gap, so whoever knows two neighbours knows whether
/// anything is missing between them. `first` never goes back and tells the lives of a user apart whose
/// count began again: milliseconds in Redis, a count of all appends of a shard in memory.
struct Offset: Equatable, Comparable, BitwiseCopyable, Sendable {
    var first: UInt64
    var number: UInt64

    /// Of an event that is not kept; before anything ever happened.
    static let none = Offset(first: 0, number: 0)

    /// An event stands here. Without one it is where a user stood to whom nothing had happened.
    @inline(__always) var hasEvent: Bool { number != 0 }

    static func < (a: Offset, b: Offset) -> Bool { (a.first, a.number) < (b.first, b.number) }

    /// Whether an event here is the very next one after `other`.
    @inline(__always)
    func follows(_ other: Offset) -> Bool { number == other.number &+ 1 && first >= other.first }
}

extension Offset {
    /// Two numbers of up to 19 digits and what is between them.
    static var textBytesMax: Int { 41 }

    /// `<first>-<number>`, in decimal digits and nothing else.
    init?(parsing text: Bytes) {
        var place = 0
        guard let first = Self.number(in: text, at: &place), place < text.count,
            unsafe text.base[place] == UInt8(ascii: "-")
        else { return nil }
        place += 1
        guard let number = Self.number(in: text, at: &place), place == text.count else { return nil }
        self.init(first: first, number: number)
    }

    private static func number(in text: Bytes, at place: inout Int) -> UInt64? {
        let start = place
        var value: UInt64 = 0
        while place < text.count {
            let digit = unsafe text.base[place] &- 0x30
            guard digit < 10 else { break }
            // 19 digits always fit 64 bits.
            guard place - start < 19 else { return nil }
            value = value * 10 + UInt64(digit)
            place += 1
        }
        return place > start ? value : nil
    }
}

extension ByteWriter {
    @inline(__always)
    mutating func append(_ offset: Offset) {
        appendDecimal(offset.first)
        append(UInt8(ascii: "-"))
        appendDecimal(offset.number)
    }
}

/// `<epoch>:<offset>`, as in `?resume=`.
struct ResumePoint: Equatable, BitwiseCopyable, Sendable {
    var epoch: UInt64
    var offset: Offset

    static var textBytesMax: Int { 16 + 1 + Offset.textBytesMax }
}

extension ResumePoint {
    init?(parsing text: Bytes) {
        guard text.count > 17, text.count <= Self.textBytesMax, let epoch = text.hex(at: 0),
            unsafe text.base[16] == UInt8(ascii: ":"),
            let offset = Offset(parsing: text.slice(from: 17, count: text.count - 17))
        else { return nil }
        self.init(epoch: epoch, offset: offset)
    }
}

/// What a client's handshake says of resuming.
enum ResumeRequest: Equatable {
    /// It is a new client, or one that has nothing to come back to.
    case none
    /// It says something that no node ever gave it.
    case malformed
    case point(ResumePoint)

    init(query: Bytes) {
        guard let range = unsafe QueryString.value(of: "resume", in: query.buffer.span) else {
            self = .none
            return
        }
        let raw = query.slice(range)
        // Each byte may have been written as three.
        guard raw.count <= 3 * ResumePoint.textBytesMax else {
            self = .malformed
            return
        }
        self = ByteWriter.withTemporary(capacity: raw.count + 1) { writer in
            guard unsafe QueryString.decode(raw.buffer.span, into: &writer) else { return .malformed }
            return writer.withWritten { text in
                unsafe text.withUnsafeBufferPointer { text in
                    guard let base = text.baseAddress,
                        let point = ResumePoint(parsing: unsafe Bytes(base, count: text.count))
                    else { return .malformed }
                    return .point(point)
                }
            }
        }
    }
}

/// What a client is told of its history when it is connected.
struct Welcome: BitwiseCopyable {
    var epoch: UInt64
    /// Where its user stands: all that is delivered to it later comes after.
    var position: Offset
}
