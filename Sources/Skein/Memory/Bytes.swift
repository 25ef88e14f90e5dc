// Bytes that somebody else owns for now: a receive buffer, a record in a parcel, a turn's arena.
// A view is made for the length of one call and never kept; that is the whole of its safety, and
// why only the broker's inside can make one.

internal import SkeinWire

@safe
struct Bytes {
    let base: UnsafePointer<UInt8>
    let count: Int

    @inline(__always)
    init(_ base: UnsafePointer<UInt8>, count: Int) {
        unsafe self.base = base
        self.count = count
    }

    @inline(__always)
    init(_ base: UnsafeMutablePointer<UInt8>, count: Int) {
        unsafe self.base = UnsafePointer(base)
        self.count = count
    }

    /// Text of the program itself, which lives as long as it does.
    @inline(__always)
    init(_ text: StaticString) {
        unsafe self.base = text.utf8Start
        count = text.utf8CodeUnitCount
    }

    static var empty: Bytes { Bytes("") }

    @inline(__always) var isEmpty: Bool { count == 0 }
    @inline(__always) var buffer: UnsafeBufferPointer<UInt8> {
        unsafe UnsafeBufferPointer(start: base, count: count)
    }

    @inline(__always)
    func slice(_ range: ByteRange) -> Bytes {
        precondition(range.end <= count, "a slice outside its bytes")
        return unsafe Bytes(base + range.start, count: range.end - range.start)
    }

    @inline(__always)
    func slice(from start: Int, count length: Int) -> Bytes {
        precondition(start >= 0 && length >= 0 && start + length <= count, "a slice outside its bytes")
        return unsafe Bytes(base + start, count: length)
    }

    /// Copies to memory of at least `count` bytes.
    @inline(__always)
    @unsafe
    func copy(to target: UnsafeMutablePointer<UInt8>) {
        unsafe target.update(from: base, count: count)
    }

    @inline(__always)
    func equals(_ text: StaticString) -> Bool {
        guard count == text.utf8CodeUnitCount else { return false }
        return unsafe equalBytes(base, text.utf8Start, count)
    }

    @inline(__always)
    func equals(_ other: Bytes) -> Bool {
        guard count == other.count else { return false }
        return unsafe equalBytes(base, other.base, count)
    }

    var text: String { unsafe String(decoding: unsafe buffer, as: UTF8.self) }
    var array: [UInt8] { unsafe Array(buffer) }
}

extension ByteWriter {
    @inline(__always)
    mutating func append(_ bytes: Bytes) {
        unsafe append(unsafe: bytes.base, count: bytes.count)
    }
}

/// Eight bytes at a step, never past the end.
@inline(__always)
@unsafe
private func equalBytes(_ a: UnsafePointer<UInt8>, _ b: UnsafePointer<UInt8>, _ count: Int) -> Bool {
    var index = 0
    while index &+ 8 <= count {
        let left = unsafe UnsafeRawPointer(a + index).loadUnaligned(as: UInt64.self)
        let right = unsafe UnsafeRawPointer(b + index).loadUnaligned(as: UInt64.self)
        guard left == right else { return false }
        index &+= 8
    }
    while index < count {
        guard unsafe a[index] == b[index] else { return false }
        index &+= 1
    }
    return true
}
