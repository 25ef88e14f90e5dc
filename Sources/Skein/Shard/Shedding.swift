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
        let held =
            state.bytesHeld + state.connections.count * Self.connectionBytes + state.arena.burstBytes
            + state.compression.contextBytes + Int(metrics.tlsSessions.count) * TLSDoor.sessionBytes
        // Asked for each time: a name for it would be counted, once a turn.
        let total = state.shared.memory.change(by: held - state.bytesTold)
        state.bytesTold = held
        metrics.memoryBytes.set(UInt64(max(0, held)))
        guard total >= state.shared.memory.bytesMax, state.now >= state.nextShed else { return }
        let share = Double(max(0, held)) / Double(max(1, total))
        shed(Int(Double(total - state.shared.memory.bytesFine) * share))
    }

    /// A connection's record, its user's and its timer.
    static var connectionBytes: Int {
        MemoryLayout<ConnectionRecord>.stride + MemoryLayout<UserRecord>.stride + 64
    }

    /// Resets those that hold the most, as far as this shard's share of the excess goes.
    private func shed(_ excess: Int) {
        // The others shed too; what is left after a moment is looked at again.
        state.nextShed = state.now.advanced(byMilliseconds: 10)
        var holders: [(bytes: Int, slot: UInt32)] = []
        for slot in 0..<UInt32(state.connections.highWater) where state.connections.isLive(slot) {
            let bytes = Int(state.connections[slot].bytesHeld)
            if bytes > 0, state.connections[slot].state != .dead { holders.append((bytes, slot)) }
        }
        holders.sort { $0.bytes > $1.bytes }
        var left = excess
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
