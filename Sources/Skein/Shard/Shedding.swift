// Memory for connections has a limit of the whole node. Near it newcomers are refused; at it, those
// who hold the most (what waits for them, or what they sent of a message that never ends) are reset
// until there is room again. Never the process: what no limit of a single connection catches is
// caught here.

internal import SkeinIO
internal import SkeinWire

extension ShardCore {
    /// Looks again at what a connection's buffers hold.
    func account(_ slot: UInt32) {
        let record = unsafe state.connections.pointer(to: slot)
        var held = 0
        if unsafe record.pointee.backlog.exists { held += unsafe record.pointee.backlog.value.bytesHeld }
        if unsafe record.pointee.input.exists { held += unsafe record.pointee.input.value.bytesHeld }
        if unsafe record.pointee.handshake.exists {
            held += unsafe record.pointee.handshake.value.bytesHeld
        }
        state.bytesHeld += held - Int(unsafe record.pointee.bytesHeld)
        unsafe record.pointee.bytesHeld = UInt32(clamping: held)
    }

    /// Tells the node what this shard holds, and sheds where all shards together hold too much.
    func balanceMemory() {
        let (total, held) = tellMemory()
        guard total >= state.shared.memory.bytesMax, state.now >= state.nextShed else { return }
        let share = Double(max(0, held)) / Double(max(1, total))
        shed(Int(Double(total - state.shared.memory.bytesFine) * share))
    }

    /// - Returns: what all shards hold, and what this one does.
    @discardableResult
    func tellMemory() -> (total: Int, held: Int) {
        let held =
            state.bytesHeld + state.connections.count * Self.connectionBytes + state.arena.burstBytes
            + state.compression.contextBytes + Int(metrics.tlsSessions.count) * TLSDoor.sessionBytes
        // Asked for each time: a name for it would be counted, once a turn.
        let total = state.shared.memory.change(by: held - state.bytesTold)
        state.bytesTold = held
        metrics.memoryBytes.set(UInt64(max(0, held)))
        return (total, held)
    }

    /// A connection's record, its user's and its timer.
    static var connectionBytes: Int {
        MemoryLayout<ConnectionRecord>.stride + MemoryLayout<UserRecord>.stride + 64
    }

    /// Whoever holds less is not worth a reset.
    private var holderBytesMin: Int { min(4_096, state.shared.memory.bytesMax / 1_024) }

    /// What a reset of a connection gives back: its buffers, its TLS session, what compression keeps.
    private func weight(of slot: UInt32) -> Int {
        let record = state.connections[slot]
        return Int(record.bytesHeld) + (record.tls.isNone ? 0 : TLSDoor.sessionBytes)
            + (record.context.exists ? record.context.value.bytes : 0)
    }

    /// Resets those that hold the most, as far as this shard's share of the excess goes.
    private func shed(_ excess: Int) {
        // The others shed too; what is left after a moment is looked at again.
        state.nextShed = state.now.advanced(byMilliseconds: 10)
        var holders: [(bytes: Int, slot: UInt32)] = []
        for slot in 0..<UInt32(state.connections.highWater) where state.connections.isLive(slot) {
            guard state.connections[slot].state != .dead else { continue }
            let bytes = weight(of: slot)
            if bytes >= holderBytesMin { holders.append((bytes, slot)) }
        }
        holders.sort { $0.bytes > $1.bytes }
        // What is held by records and the like no reset of these gives back.
        var left = min(excess, holders.reduce(0) { $0 + $1.bytes })
        var count = 0
        for holder in holders where left > 0 {
            left -= holder.bytes
            count += 1
            metrics.countDropped(.memory)
            reset(holder.slot, code: 1006)
        }
        guard count > 0 else { return }
        log(
            .error, "out of memory for connections: those that held the most were reset",
            [("reset", "\(count)"), ("limit", "\(state.shared.memory.bytesMax)")])
    }
}
