// Every event that this node has given to Redis or still will: kept until Redis has acknowledged it,
// and, where its user is here too, until it has come back. It is what is sent again after a
// reconnect, and what is delivered locally when Redis falls silent. Bounded in number and bytes.

@safe
struct Journal: ~Copyable {
    struct Entry: BitwiseCopyable {
        var offset: UInt64
        var bytes: UInt32
        /// The event's user has a device on this node.
        var isLocal: Bool
        /// It came back from Redis.
        var isHeard = false
        /// It was not sent again, since it had come back.
        var isSkipped = false
        var acceptedAt: Int64
    }

    private var entries = RawQueue<Entry>(capacity: 1_024)
    private var storage: UnsafeMutablePointer<UInt8>
    private var capacity: Int
    private var head: UInt64 = 0
    private var tail: UInt64 = 0
    private let bytesMax: Int
    private let countMax: Int
    /// The number of the first entry that is still kept. Numbers start at 1.
    private(set) var firstSequence: UInt64 = 1

    var count: Int { entries.count }
    var bytes: Int { Int(tail - head) }
    /// The number that the next event will have.
    var nextSequence: UInt64 { firstSequence + UInt64(entries.count) }

    init(countMax: Int, bytesMax: Int) {
        self.countMax = countMax
        self.bytesMax = bytesMax
        capacity = 1 << 16
        unsafe storage = .allocate(capacity: capacity)
    }

    deinit { unsafe storage.deallocate() }

    /// - Returns: the event's number; `nil` when the journal is full.
    @inline(__always)
    mutating func append(_ record: Bytes, isLocal: Bool, at now: Int64) -> UInt64? {
        guard entries.count < countMax, let place = reserve(record.count) else { return nil }
        unsafe record.copy(to: storage + Int(place & UInt64(capacity - 1)))
        let sequence = nextSequence
        entries.append(
            Entry(offset: place, bytes: UInt32(record.count), isLocal: isLocal, acceptedAt: now))
        tail = place + UInt64(record.count)
        return sequence
    }

    @inline(__always)
    func entry(_ sequence: UInt64) -> Entry { entries[Int(sequence - firstSequence)] }

    /// The event's record; good until the next `append`.
    @inline(__always)
    func record(_ sequence: UInt64) -> Bytes {
        let entry = entry(sequence)
        return unsafe Bytes(storage + Int(entry.offset & UInt64(capacity - 1)), count: Int(entry.bytes))
    }

    mutating func markHeard(_ sequence: UInt64) { entries[Int(sequence - firstSequence)].isHeard = true }

    mutating func markSkipped(_ sequence: UInt64) {
        entries[Int(sequence - firstSequence)].isSkipped = true
    }

    mutating func removeFirst() {
        _ = entries.popFirst()
        firstSequence += 1
        head = entries.isEmpty ? tail : entries[0].offset
    }

    /// A place for `count` neighbouring bytes; a record does not wrap around the end.
    private mutating func reserve(_ count: Int) -> UInt64? {
        if let place = fit(count) { return place }
        var size = capacity
        repeat {
            size *= 2
            guard size <= max(bytesMax, 1 << 16) * 2, bytes + count <= bytesMax else { return nil }
        } while size < bytes + count
        grow(to: size)
        return fit(count)
    }

    private func fit(_ count: Int) -> UInt64? {
        let offset = Int(tail & UInt64(capacity - 1))
        let place = offset + count > capacity ? tail + UInt64(capacity - offset) : tail
        return Int(place + UInt64(count) - head) <= capacity ? place : nil
    }

    private mutating func grow(to size: Int) {
        let larger = UnsafeMutablePointer<UInt8>.allocate(capacity: size)
        var place = 0
        for index in 0..<entries.count {
            let entry = entries[index]
            unsafe (larger + place).update(
                from: storage + Int(entry.offset & UInt64(capacity - 1)), count: Int(entry.bytes))
            entries[index].offset = UInt64(place)
            place += Int(entry.bytes)
        }
        unsafe storage.deallocate()
        unsafe storage = larger
        capacity = size
        head = 0
        tail = UInt64(place)
    }
}
