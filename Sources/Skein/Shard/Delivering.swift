// An event at the shard where its user lives, to each of the user's devices: spliced into a frame
// once for each dialect that is there, however many devices speak it.

internal import SkeinIO
internal import SkeinWire

/// The frames of one event, by dialect; empty until the first device that wants it.
private struct FrameCache {
    private var addresses: InlineArray<8, UInt> = InlineArray(repeating: 0)
    private var counts: InlineArray<8, UInt32> = InlineArray(repeating: 0)
    /// The same frames compressed, made of those when the first connection wants one.
    private var compressed: InlineArray<8, UInt> = InlineArray(repeating: 0)
    private var compressedCounts: InlineArray<8, UInt32> = InlineArray(repeating: 0)

    @inline(__always)
    subscript(dialect: UInt8) -> Bytes? {
        get {
            guard let base = unsafe UnsafePointer<UInt8>(bitPattern: addresses[Int(dialect)]) else {
                return nil
            }
            return unsafe Bytes(base, count: Int(counts[Int(dialect)]))
        }
        set {
            addresses[Int(dialect)] = unsafe UInt(bitPattern: newValue?.base)
            counts[Int(dialect)] = UInt32(newValue?.count ?? 0)
        }
    }

    mutating func compressed(_ dialect: UInt8, _ make: () -> Bytes) -> Bytes {
        if let base = unsafe UnsafePointer<UInt8>(bitPattern: compressed[Int(dialect)]) {
            return unsafe Bytes(base, count: Int(compressedCounts[Int(dialect)]))
        }
        let frame = make()
        compressed[Int(dialect)] = unsafe UInt(bitPattern: frame.base)
        compressedCounts[Int(dialect)] = UInt32(frame.count)
        return frame
    }
}

extension ShardCore {
    /// To every device of one user, in the order of acceptance. On the memory backplane the user's
    /// history is here too: what is kept gets its offset first, whether or not anyone is there.
    @inline(__always)
    func deliver(_ event: EventView) {
        if state.history.exists, !event.flags.contains(.transient) {
            keepAndDeliver(event)
        } else {
            deliverNow(event)
        }
    }

    func deliverNow(_ event: EventView) {
        guard let user = state.users.find(event.user, hash: event.userHash) else { return }
        var frames = FrameCache()
        var slot = state.users[user].firstDevice
        while slot != ConnectionRecord.none {
            let next = state.connections[slot].nextDevice
            deliver(event, to: slot, &frames)
            slot = next
        }
    }

    /// To every open connection from `first` on, as far as this turn's bytes go.
    /// - Returns: where the next turn goes on; `nil` when everyone has it.
    func broadcast(_ event: EventView, from first: UInt32) -> UInt32? {
        var frames = FrameCache()
        let end = UInt32(truncatingIfNeeded: state.connections.highWater)
        var slot = first
        while slot < end {
            defer { slot &+= 1 }
            guard state.connections.isLive(slot) else { continue }
            let record = unsafe state.connections.pointer(to: slot)
            // A connection without a user takes no events: it is there for its own echo.
            guard unsafe record.pointee.user != ConnectionRecord.none else { continue }
            if unsafe !record.pointee.tls.isNone || record.pointee.context.exists {
                guard state.fanOut.bytesMade < state.limits.fanOutTurnBytesMax else { return slot }
                state.fanOut.bytesMade &+= event.recordBytes
            }
            deliver(event, to: slot, &frames)
        }
        return nil
    }

    @inline(__always)
    private func deliver(_ event: EventView, to slot: UInt32, _ frames: inout FrameCache) {
        let record = unsafe state.connections.pointer(to: slot)
        guard unsafe record.pointee.state == .open else { return }
        let dialect = unsafe record.pointee.dialect
        let isOrigin = event.origin != .none && event.origin == reference(slot)
        guard !isOrigin || !event.flags.contains(.exceptOrigin) else { return }
        metrics.deliveries.add()
        metrics.messagesSent.add()
        if isOrigin {
            // Only the connection that asked gets its request's ID back.
            if !event.requestID.isEmpty {
                enqueueData(slot, frame(event, dialect, requestID: true))
                return
            }
        }
        let plain: Bytes
        if let frame = frames[dialect] {
            plain = frame
        } else {
            plain = frame(event, dialect, requestID: event.origin == .none)
            frames[dialect] = plain
        }
        guard unsafe record.pointee.flags.contains(.compresses) else {
            enqueue(slot, plain)
            return
        }
        guard sharesFrames(slot) else {
            enqueue(slot, compressed(slot, plain))
            return
        }
        enqueue(slot, frames.compressed(dialect) { compressed(slot, plain) })
    }

    /// Encodes an event for a dialect into this turn's arena.
    @inline(__always)
    func frame(_ event: EventView, _ dialect: UInt8, requestID: Bool) -> Bytes {
        let shape = state.dialects.shape(dialect)
        let room = FrameEncoder.maxHeaderBytes + shape.bytesMax(for: event)
        let memory = unsafe state.arena.allocate(room)
        var writer = unsafe ByteWriter(unsafe: memory, capacity: room)
        let mark = FrameEncoder.reserve(in: &writer)
        shape.write(event, requestID: requestID, into: &writer)
        let start = FrameEncoder.seal(.text, reservedAt: mark, in: &writer)
        state.arena.trim(room - writer.count)
        return unsafe Bytes(memory + start, count: writer.count - start)
    }

    /// Sends an event to where its user is: here, to another shard, or into the one order that the
    /// backplane gives to all nodes.
    ///
    /// - Returns: false when there is no room on the way: nothing was accepted.
    @inline(__always)
    func publish(_ event: EventView) -> Bool {
        if state.usesBackplane {
            return forward(event, to: state.routerIndex, RouterRecord.publish.rawValue)
        }
        let home = state.home(of: event.userHash)
        if home == state.index {
            guard state.fanOut.isUnderWay else {
                deliver(event)
                return true
            }
            return hold(event)
        }
        return forward(event, to: home, ShardRecord.deliver.rawValue)
    }

    /// Behind an event that has not reached everyone: some would get them in another order.
    private func hold(_ event: EventView) -> Bool {
        let count = event.recordBytes
        guard state.fanOut.heldBytes + count <= state.limits.fanOutTurnBytesMax else {
            metrics.countDropped(.overload)
            return false
        }
        let room = unsafe UnsafeMutableRawPointer(state.arena.allocate(count + 16))
        let memory = unsafe room.alignedUp(for: UInt64.self).assumingMemoryBound(to: UInt8.self)
        unsafe event.store(to: memory)
        state.fanOut.hold(
            unsafe ParcelRecord(
                kind: ShardRecord.deliver.rawValue, flags: 0, argument: 0, bytes: memory, count: count))
        return true
    }

    private func forward(_ event: EventView, to target: Int, _ kind: UInt16) -> Bool {
        guard let memory = unsafe state.outbox.append(
            to: target, kind: kind, payloadBytes: event.recordBytes)
        else {
            metrics.countDropped(.overload)
            return false
        }
        unsafe event.store(to: memory)
        return true
    }

    /// Closes every connection of a user, here.
    func disconnectUser(_ bytes: Bytes) {
        var reader = RecordReader(bytes)
        let code = reader.number(UInt16.self)
        let id = reader.text()
        let reason = reader.text()
        disconnectUser(id, code: code, reason: reason)
    }

    @discardableResult
    func disconnectUser(_ id: Bytes, code: UInt16, reason: Bytes) -> Int {
        guard let user = state.users.find(id, hash: UserHash.of(id)) else { return 0 }
        var closed = 0
        var slot = state.users[user].firstDevice
        while slot != ConnectionRecord.none {
            let next = state.connections[slot].nextDevice
            if state.connections[slot].state == .open {
                close(slot, code: code, reason: reason)
                closed += 1
            }
            slot = next
        }
        return closed
    }
}
