// What travels between threads: one block of memory holding all records that one loop has for
// another in one turn, so that handing over costs one compare-exchange a turn, however many
// records. A parcel is owned by whoever holds the value; dropping it sends the block home.

private import Synchronization

/// One record, as seen by the receiver. Its bytes are valid while its parcel is.
@safe
@usableFromInline
package struct ParcelRecord {
    @usableFromInline package let kind: UInt16
    @usableFromInline package let flags: UInt16
    @usableFromInline package let argument: UInt64
    /// May be changed in place; 16-byte aligned.
    @usableFromInline package let bytes: UnsafeMutablePointer<UInt8>
    @usableFromInline package let count: Int

    @inlinable
    package init(
        kind: UInt16, flags: UInt16, argument: UInt64, bytes: UnsafeMutablePointer<UInt8>,
        count: Int
    ) {
        self.kind = kind
        self.flags = flags
        self.argument = argument
        unsafe self.bytes = bytes
        self.count = count
    }

    @inlinable package var buffer: UnsafeBufferPointer<UInt8> {
        unsafe UnsafeBufferPointer(start: bytes, count: count)
    }
}

/// In front of every record's bytes.
@frozen
@usableFromInline
package struct RecordHeader {
    @usableFromInline package var kind: UInt16
    @usableFromInline package var flags: UInt16
    @usableFromInline package var payloadBytes: UInt32
    @usableFromInline package var argument: UInt64

    @inlinable
    package init(kind: UInt16, flags: UInt16, payloadBytes: UInt32, argument: UInt64) {
        self.kind = kind
        self.flags = flags
        self.payloadBytes = payloadBytes
        self.argument = argument
    }

    /// With its header, and rounded up so that the next one is aligned.
    @inlinable
    package static func bytes(payload: Int) -> Int { 16 &+ ((payload &+ 15) & ~15) }
}

/// In front of every parcel's records.
@unsafe
@usableFromInline
package struct ParcelHeader {
    /// Address of the next parcel in whatever list this one is in, or 0.
    @usableFromInline package var next: UInt
    @usableFromInline package var capacity: Int
    @usableFromInline package var usedBytes: Int
    @usableFromInline package var recordCount: Int
    /// Where the block goes home to: a pool, or the count of posts in an inbox.
    var pool: UnsafeMutablePointer<ParcelPool.Shared>?
    var inbox: UnsafeMutablePointer<Inbox.Header>?
    /// Whose share of the pool it is.
    var receiver = 0

    @inlinable package static var bytes: Int { 64 }

    /// A block for `capacity` bytes of records, its own header filled in.
    static func make(
        capacity: Int, pool: UnsafeMutablePointer<ParcelPool.Shared>?,
        inbox: UnsafeMutablePointer<Inbox.Header>?
    ) -> UnsafeMutablePointer<ParcelHeader> {
        // A line of its own: sender and receiver write to different parcels at the same time.
        let memory = UnsafeMutableRawPointer.allocate(
            byteCount: unsafe bytes + capacity, alignment: 64)
        let header = unsafe memory.bindMemory(to: ParcelHeader.self, capacity: 1)
        unsafe header.initialize(
            to: ParcelHeader(
                next: 0, capacity: capacity, usedBytes: 0, recordCount: 0, pool: pool,
                inbox: inbox))
        return unsafe header
    }
}

/// Safe: the block is this value's alone until it is pushed or dropped, and records are written and
/// read only inside `usedBytes` ≤ `capacity`.
@safe
@frozen
@usableFromInline
package struct Parcel: ~Copyable {
    @usableFromInline package let header: UnsafeMutablePointer<ParcelHeader>

    @inlinable
    package init(header: UnsafeMutablePointer<ParcelHeader>) { unsafe self.header = header }

    @inlinable
    deinit { unsafe Self.sendHome(header) }

    @inlinable package var recordCount: Int { unsafe header.pointee.recordCount }
    @inlinable package var usedBytes: Int { unsafe header.pointee.usedBytes }
    @inlinable package var isEmpty: Bool { recordCount == 0 }

    /// Room for `payloadBytes` behind a new record's header, to be filled in before the parcel is
    /// pushed; `nil` when there is no such room.
    @inlinable
    package mutating func append(
        kind: UInt16, flags: UInt16 = 0, argument: UInt64 = 0, payloadBytes: Int = 0
    ) -> UnsafeMutablePointer<UInt8>? {
        unsafe Self.append(
            to: header, kind: kind, flags: flags, argument: argument, payloadBytes: payloadBytes)
    }

    /// In the order they were appended. A record is good during the call only.
    @inlinable
    package func forEachRecord<Failure: Error>(
        _ body: (ParcelRecord) throws(Failure) -> Void
    ) throws(Failure) {
        var records = self.records
        while let record = records.next() { try body(record) }
    }

    /// For `for … in`, and for leaving early. Good while the parcel is.
    @inlinable package var records: ParcelRecords { unsafe ParcelRecords(header: header) }

    /// Gives the block out of this value's care.
    @inlinable
    package consuming func release() -> UnsafeMutablePointer<ParcelHeader> {
        let header = unsafe self.header
        discard self
        return unsafe header
    }
}

extension Parcel {
    @inlinable
    package static func append(
        to header: UnsafeMutablePointer<ParcelHeader>, kind: UInt16, flags: UInt16,
        argument: UInt64, payloadBytes: Int
    ) -> UnsafeMutablePointer<UInt8>? {
        precondition(payloadBytes >= 0 && payloadBytes <= Int(UInt32.max), "record size")
        let used = unsafe header.pointee.usedBytes
        let needed = RecordHeader.bytes(payload: payloadBytes)
        guard unsafe used &+ needed <= header.pointee.capacity else { return nil }
        let record = unsafe UnsafeMutableRawPointer(header) + (ParcelHeader.bytes &+ used)
        unsafe record.storeBytes(
            of: RecordHeader(
                kind: kind, flags: flags, payloadBytes: UInt32(truncatingIfNeeded: payloadBytes),
                argument: argument),
            as: RecordHeader.self)
        unsafe header.pointee.usedBytes = used &+ needed
        unsafe header.pointee.recordCount &+= 1
        return unsafe (record + 16).assumingMemoryBound(to: UInt8.self)
    }

    /// To the pool it came from, or to free memory.
    @usableFromInline
    package static func sendHome(_ header: UnsafeMutablePointer<ParcelHeader>) {
        if let pool = unsafe header.pointee.pool {
            unsafe ParcelPool.giveBack(header, to: pool)
        } else {
            unsafe freePosted(header)
        }
    }

    @inline(never)
    static func freePosted(_ header: UnsafeMutablePointer<ParcelHeader>) {
        if let inbox = unsafe header.pointee.inbox {
            unsafe inbox.pointee.postsOutstanding.subtract(1, ordering: .relaxed)
        }
        unsafe header.deallocate()
    }
}

/// Safe: it stays inside the `usedBytes` its parcel had when it was made.
@safe
@usableFromInline
package struct ParcelRecords: Sequence, IteratorProtocol {
    @usableFromInline package var at: UnsafeMutableRawPointer
    @usableFromInline package let end: UnsafeMutableRawPointer

    @inlinable
    package init(header: UnsafeMutablePointer<ParcelHeader>) {
        unsafe at = UnsafeMutableRawPointer(header) + ParcelHeader.bytes
        unsafe end = at + header.pointee.usedBytes
    }

    @inlinable
    package mutating func next() -> ParcelRecord? {
        guard unsafe at < end else { return nil }
        let header = unsafe at.load(as: RecordHeader.self)
        let count = Int(header.payloadBytes)
        let bytes = unsafe (at + 16).assumingMemoryBound(to: UInt8.self)
        unsafe at += RecordHeader.bytes(payload: count)
        return unsafe ParcelRecord(
            kind: header.kind, flags: header.flags, argument: header.argument, bytes: bytes,
            count: count)
    }
}
