// An event on its way between threads: a fixed head, then its parts as bytes. `EventView` is the
// same event in hand, as slices; every dialect's frame is spliced from these slices.

internal import SkeinWire

@safe
struct EventView {
    /// Who it is for; empty for everyone.
    var user = Bytes.empty
    var userHash: UInt64 = 0
    /// The name, as the inside of a JSON string.
    var type: Bytes
    /// One JSON value, checked where it came from.
    var data: Bytes
    /// RFC 3339, without quotes.
    var timestamp: Bytes
    /// A JSON value that goes to the connection `origin` alone, or to all when there is no origin.
    var requestID = Bytes.empty
    /// A publisher's `targetUserId`, the inside of a JSON string; passed on as given.
    var target = Bytes.empty
    /// The connection that caused it, where it lives on this node.
    var origin = ConnectionReference.none
    /// Where it stands in its user's history; `none` where it is not kept.
    var offset = Offset.none
    var flags: Flags = []

    struct Flags: OptionSet {
        let rawValue: UInt8
        /// To the user's other devices, not to `origin`.
        static let exceptOrigin = Flags(rawValue: 1)
        /// Of the moment, such as typing: no history keeps it.
        static let transient = Flags(rawValue: 2)
    }
}

/// A connection of this node from any thread: shard, slot and generation, in 64 bits.
struct ConnectionReference: Equatable, Hashable, BitwiseCopyable {
    let rawValue: UInt64

    static let none = ConnectionReference(rawValue: .max)

    init(rawValue: UInt64) { self.rawValue = rawValue }

    init(shard: Int, slot: UInt32, generation: UInt32) {
        rawValue = UInt64(shard & 0xFF) << 56 | UInt64(generation & 0xFF_FFFF) << 32 | UInt64(slot)
    }

    var shard: Int { Int(rawValue >> 56) }
    var generation: UInt32 { UInt32(truncatingIfNeeded: rawValue >> 32) & 0xFF_FFFF }
    var slot: UInt32 { UInt32(truncatingIfNeeded: rawValue) }
}

private struct EventHead: BitwiseCopyable {
    var userHash: UInt64
    var origin: UInt64
    var offset: Offset
    var dataBytes: UInt32
    var typeBytes: UInt16
    var requestBytes: UInt16
    var targetBytes: UInt16
    var userBytes: UInt8
    var timestampBytes: UInt8
    var flags: UInt8
}

extension EventView {
    @inline(__always)
    var recordBytes: Int {
        MemoryLayout<EventHead>.size + user.count + type.count + timestamp.count + requestID.count
            + target.count + data.count
    }

    /// - Parameter memory: `recordBytes` of it, aligned to 8.
    @unsafe
    func store(to memory: UnsafeMutablePointer<UInt8>) {
        let head = EventHead(
            userHash: userHash, origin: origin.rawValue, offset: offset, dataBytes: UInt32(data.count),
            typeBytes: UInt16(type.count), requestBytes: UInt16(requestID.count),
            targetBytes: UInt16(target.count), userBytes: UInt8(user.count),
            timestampBytes: UInt8(timestamp.count), flags: flags.rawValue)
        unsafe UnsafeMutableRawPointer(memory).storeBytes(of: head, as: EventHead.self)
        var end = unsafe memory + MemoryLayout<EventHead>.size
        func put(_ part: Bytes) {
            unsafe part.copy(to: end)
            unsafe end += part.count
        }
        put(user)
        put(type)
        put(timestamp)
        put(requestID)
        put(target)
        put(data)
    }

    /// - Parameter record: what `store` wrote.
    init(record: Bytes) {
        let head = unsafe UnsafeRawPointer(record.base).loadUnaligned(as: EventHead.self)
        var end = MemoryLayout<EventHead>.size
        func next(_ count: Int) -> Bytes {
            defer { end += count }
            return record.slice(from: end, count: count)
        }
        user = next(Int(head.userBytes))
        type = next(Int(head.typeBytes))
        timestamp = next(Int(head.timestampBytes))
        requestID = next(Int(head.requestBytes))
        target = next(Int(head.targetBytes))
        data = next(Int(head.dataBytes))
        userHash = head.userHash
        origin = ConnectionReference(rawValue: head.origin)
        offset = head.offset
        flags = Flags(rawValue: head.flags)
    }
}
