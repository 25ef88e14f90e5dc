// An event for everyone costs bytes for each where nobody can share them: under TLS, and where
// compression keeps its context. Then a turn makes so many, and the next one goes on; whatever came
// behind the event waits, in its order, and the loop hands on nothing more until everyone has it.

internal import SkeinIO

/// Safe: records are copied in and read back by their own lengths.
@safe
struct FanOut: ~Copyable {
    /// The event's record and where it goes on.
    private(set) var event = ByteBlock()
    var next: UInt32?
    /// The rest of the parcel that the event came in, or the oversized record behind it; and what was sent
    /// here meanwhile, up to as much as a turn may make.
    private var held = ByteBlock()
    /// Held before, and being handed on: to handle it may hold more.
    private var leaving = ByteBlock()
    private var leavingOffset = 0
    /// This turn's, of all events.
    var bytesMade = 0

    var heldBytes: Int { held.count + leaving.count }

    var isUnderWay: Bool { next != nil || held.count > 0 || leavingOffset < leaving.count }

    mutating func begin(_ record: Bytes, at slot: UInt32) {
        event.removeAll()
        event.append(record)
        next = slot
    }

    mutating func hold(_ record: ParcelRecord) {
        var header = RecordHeader(
            kind: record.kind, flags: record.flags, payloadBytes: UInt32(record.count),
            argument: record.argument)
        unsafe withUnsafeBytes(of: &header) { bytes in
            let base = unsafe bytes.baseAddress!.assumingMemoryBound(to: UInt8.self)
            held.append(unsafe Bytes(base, count: bytes.count))
        }
        held.append(unsafe Bytes(record.bytes, count: record.count))
        // Records begin at multiples of 16, here as in a parcel.
        let whole = RecordHeader.bytes(payload: record.count)
        let padding = whole - MemoryLayout<RecordHeader>.size - record.count
        held.append(Bytes("0123456789abcdef").slice(from: 0, count: padding))
    }

    /// The first that was held; good until the next call.
    mutating func takeHeld() -> ParcelRecord? {
        if leavingOffset == leaving.count {
            leaving = ByteBlock()
            leavingOffset = 0
            swap(&leaving, &held)
        }
        guard leavingOffset < leaving.count else { return nil }
        let headerBytes = MemoryLayout<RecordHeader>.size
        let base = unsafe leaving.bytes.base + leavingOffset
        let header = unsafe UnsafeRawPointer(base).loadUnaligned(as: RecordHeader.self)
        leavingOffset += RecordHeader.bytes(payload: Int(header.payloadBytes))
        return unsafe ParcelRecord(
            kind: header.kind, flags: header.flags, argument: header.argument,
            bytes: UnsafeMutablePointer(mutating: base + headerBytes), count: Int(header.payloadBytes))
    }
}

extension ShardCore {
    /// Begins to give an event to everyone; as a rule that is all there is to do.
    @inline(__always)
    func fanOut(_ record: Bytes) {
        guard let slot = broadcast(EventView(record: record), from: 0) else { return }
        state.fanOut.begin(record, at: slot)
        metrics.slicedBroadcasts.add()
    }

    /// Goes on where the last turn stopped, and then with what waited behind.
    func continueFanOut() {
        guard state.fanOut.isUnderWay else { return }
        if let next = state.fanOut.next {
            state.fanOut.next = broadcast(EventView(record: state.fanOut.event.bytes), from: next)
        }
        while state.fanOut.next == nil, let record = state.fanOut.takeHeld() { handle(record) }
    }
}
