// The kept events of one user in one block of memory, oldest first: each behind a head that says when
// it came and how long it is, none of them wrapped around the end. The block grows by doubling, so a
// user who is sent events all the time costs no allocation.

internal import Glibc
internal import SkeinIO

/// A plain value that its record owns, as records hold everything: whoever drops it frees it first.
@safe
struct HistoryRing: BitwiseCopyable {
    private struct Head: BitwiseCopyable {
        var at: Int64
        /// Of the record; `filler`: nothing more until the end of the block.
        var bytes: UInt32
        var reserved: UInt32 = 0
    }

    private static let filler = UInt32.max
    static let bytesMin = 512

    private var address: UInt = 0
    /// A power of two, or 0.
    private(set) var capacity: UInt32 = 0
    // Places that only grow; the block's size divides 2³², so they may overflow.
    private var head: UInt32 = 0
    private var tail: UInt32 = 0
    private(set) var count: UInt32 = 0

    /// What a record of so many bytes takes: with its head, in steps of 16.
    static func bytes(record: Int) -> Int { (MemoryLayout<Head>.size + record + 15) & ~15 }

    var exists: Bool { address != 0 }

    /// When the oldest event came.
    var oldestAt: Instant {
        precondition(count > 0, "an empty history has no oldest event")
        return unsafe Instant(nanoseconds: head(at: start(head)).at)
    }

    func fits(record: Int) -> Bool { place(Self.bytes(record: record)) != nil }

    /// Appends an event for which there is room.
    mutating func append(_ event: EventView, at now: Instant) {
        let recordBytes = event.recordBytes
        let wanted = Self.bytes(record: recordBytes)
        guard let place = place(wanted) else { preconditionFailure("no room for a kept event") }
        if place != tail {
            unsafe (block + offset(tail)).storeBytes(of: Head(at: 0, bytes: Self.filler), as: Head.self)
        }
        let entry = unsafe block + offset(place)
        unsafe entry.storeBytes(of: Head(at: now.nanoseconds, bytes: UInt32(recordBytes)), as: Head.self)
        unsafe event.store(
            to: (entry + MemoryLayout<Head>.size).assumingMemoryBound(to: UInt8.self))
        tail = place &+ UInt32(wanted)
        count += 1
    }

    mutating func removeFirst() {
        precondition(count > 0, "an empty history has nothing to drop")
        let first = start(head)
        head = unsafe first &+ UInt32(Self.bytes(record: Int(head(at: first).bytes)))
        count -= 1
        if count == 0 { removeAll() }
    }

    /// The newest `last` events, in order.
    func visit(last: Int, _ body: (Bytes) -> Void) {
        precondition(last <= Int(count), "more events than are kept")
        var place = head
        for index in 0..<Int(count) {
            place = start(place)
            let bytes = Int(unsafe head(at: place).bytes)
            if index >= Int(count) - last {
                let record = unsafe block + offset(place) + MemoryLayout<Head>.size
                body(unsafe Bytes(record.assumingMemoryBound(to: UInt8.self), count: bytes))
            }
            place &+= UInt32(Self.bytes(record: bytes))
        }
    }

    /// Moves to a larger block. - Parameter size: a power of two.
    mutating func grow(to size: Int) {
        precondition(size > Int(capacity) && size.nonzeroBitCount == 1, "not a larger block")
        // Until the first time around, every place stays what it was: the kernel moves the pages of a large
        // block, and nothing is copied, which is what keeps other connections waiting.
        if tail <= capacity, let same = unsafe realloc(exists ? block : nil, size) {
            address = UInt(bitPattern: same)
            capacity = UInt32(size)
            return
        }
        guard let larger = unsafe malloc(size) else { fatalError("out of memory") }
        var end = 0
        var place = head
        for _ in 0..<count {
            place = start(place)
            let bytes = Self.bytes(record: Int(unsafe head(at: place).bytes))
            unsafe (larger + end).copyMemory(from: block + offset(place), byteCount: bytes)
            end += bytes
            place &+= UInt32(bytes)
        }
        unsafe Glibc.free(block)
        address = UInt(bitPattern: larger)
        capacity = UInt32(size)
        head = 0
        tail = UInt32(end)
    }

    mutating func removeAll() {
        head = 0
        tail = 0
        count = 0
    }

    mutating func free() {
        if exists { unsafe Glibc.free(block) }
        self = HistoryRing()
    }

    // MARK: Places

    @unsafe
    private var block: UnsafeMutableRawPointer { unsafe UnsafeMutableRawPointer(bitPattern: address)! }

    private func offset(_ place: UInt32) -> Int { Int(place & (capacity &- 1)) }

    @unsafe
    private func head(at place: UInt32) -> Head {
        unsafe (block + offset(place)).load(as: Head.self)
    }

    /// Where the entry at `place` really begins: behind a filler, at the block's start again.
    private func start(_ place: UInt32) -> UInt32 {
        guard unsafe head(at: place).bytes == Self.filler else { return place }
        return place &+ capacity &- UInt32(offset(place))
    }

    /// Where `wanted` neighbouring bytes are free.
    private func place(_ wanted: Int) -> UInt32? {
        guard exists else { return nil }
        let left = Int(capacity) - offset(tail)
        let skipped = wanted > left ? left : 0
        guard Int(tail &- head) + skipped + wanted <= Int(capacity) else { return nil }
        return tail &+ UInt32(skipped)
    }
}
