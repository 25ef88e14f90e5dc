// A fixed block that one owner writes into again and again, and reads back as bytes.

internal import SkeinWire

@safe
struct Scratch: ~Copyable {
    private let base: UnsafeMutablePointer<UInt8>
    let capacity: Int
    var writer: ByteWriter

    init(capacity: Int) {
        self.capacity = capacity
        unsafe base = .allocate(capacity: capacity)
        writer = unsafe ByteWriter(unsafe: base, capacity: capacity)
    }

    deinit { unsafe base.deallocate() }

    /// What was written since the last `clear`; good until the next write.
    @inline(__always) var bytes: Bytes { unsafe Bytes(base, count: writer.count) }
    @inline(__always) mutating func clear() { writer.truncate(to: 0) }
}

/// A fixed table for the members of a JSON object.
@safe
struct MemberTable: ~Copyable {
    private let base: UnsafeMutablePointer<ObjectIndex.Member>
    var index: ObjectIndex

    static let membersMax = 1_024

    init() {
        unsafe base = .allocate(capacity: Self.membersMax)
        index = unsafe ObjectIndex(unsafe: base, capacity: Self.membersMax)
    }

    deinit { unsafe base.deallocate() }
}
