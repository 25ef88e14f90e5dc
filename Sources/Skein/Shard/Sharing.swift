// Fairness within a turn. A receive that stays armed brings whatever one peer can send, in as many
// buffers as there are; so a connection has a share of each turn, and what it brought beyond waits,
// in its order, until all others were heard.

internal import SkeinIO

extension ShardCore {
    /// Whether so many completions may hold more of one connection than its share.
    @inline(__always)
    func mayBeUneven(_ completionsCount: Int) -> Bool {
        completionsCount > state.limits.receiveTurnBytesMax / state.limits.receiveBufferBytes
            || !state.deferred.isEmpty
    }

    /// As `received`, up to the connection's share of the turn.
    func receivedFairly(_ completion: Completion) {
        let slot = completion.token.slot
        guard state.connections.isLive(slot, generation: completion.token.generation) else {
            received(completion)
            return
        }
        if state.connections[slot].flags.contains(.deferred) {
            wait(slot, completion)
        } else if takesMore(slot, completion) {
            received(completion)
        } else {
            // The kernel would go on filling buffers, which all connections share. Armed again when
            // what is here has been read.
            if completion.hasMore { cancel(slot, ShardOperation.receive) }
            wait(slot, completion)
        }
    }

    /// Reads what earlier turns left, once round: behind all that came in this turn.
    func continueDeferred() {
        for _ in 0..<state.deferred.count {
            guard let completion = state.deferred.popFirst() else { return }
            let slot = completion.token.slot
            let isLive = state.connections.isLive(slot, generation: completion.token.generation)
            guard !isLive || takesMore(slot, completion) else {
                // As will all that follow of this connection, now and in the next turns: they stay in order.
                state.connections[slot].flags.insert(.deferred)
                state.deferred.append(completion)
                continue
            }
            if isLive { state.connections[slot].flags.remove(.deferred) }
            received(completion)
        }
    }

    private func wait(_ slot: UInt32, _ completion: Completion) {
        state.connections[slot].flags.insert(.deferred)
        state.deferred.append(completion)
        metrics.deferredReads.add()
    }

    /// Whether the connection's share is not used up; counts what it brings now.
    private func takesMore(_ slot: UInt32, _ completion: Completion) -> Bool {
        let record = unsafe state.connections.pointer(to: slot)
        // Nothing is read of it any more, and its buffers are wanted back.
        guard unsafe record.pointee.state != .dead else { return true }
        let turn = UInt16(truncatingIfNeeded: state.turn)
        if unsafe record.pointee.receivedTurn != turn {
            unsafe record.pointee.receivedTurn = turn
            unsafe record.pointee.turnReceived = 0
        }
        guard unsafe Int(record.pointee.turnReceived) < state.limits.receiveTurnBytesMax else { return false }
        unsafe record.pointee.turnReceived &+= UInt32(max(0, completion.result))
        return true
    }
}
