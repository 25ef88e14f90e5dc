// Every connection has one timer, set for the earliest of its deadlines. Hearing from a peer moves
// nothing: when the timer fires, it looks what is really due, and is set again.

internal import SkeinIO
internal import SkeinWire

extension Instant {
    func advanced(by duration: Duration) -> Instant {
        advanced(byNanoseconds: duration.nanoseconds)
    }
}

extension Duration {
    var milliseconds: Int64 { nanoseconds / 1_000_000 }

    /// Whole nanoseconds, at most some 146 years.
    var nanoseconds: Int64 {
        let (seconds, attoseconds) = components
        guard seconds < Int64.max / 2_000_000_000 else { return .max / 2 }
        return seconds * 1_000_000_000 + attoseconds / 1_000_000_000
    }
}

extension ShardCore {
    func schedule(_ slot: UInt32) {
        state.timers.schedule(slot, at: nextDeadline(of: slot))
    }

    private func nextDeadline(of slot: UInt32) -> Instant {
        let record = state.connections[slot]
        guard record.state == .open else { return record.deadline }
        var next = record.lastPing.advanced(by: state.limits.pingInterval)
        next = min(next, record.lastHeard.advanced(by: state.limits.pongTimeout))
        if record.flags.contains(.sending) { next = min(next, record.deadline) }
        if record.expiresAtMilliseconds != .max {
            // Checked again at least once a minute: the wall clock may be set meanwhile.
            // An authenticator may name any time at all, also one that no difference can hold.
            let (left, isFar) = record.expiresAtMilliseconds.subtractingReportingOverflow(
                state.wallMilliseconds)
            let isPast = record.expiresAtMilliseconds <= state.wallMilliseconds
            let wait = isPast ? 0 : isFar ? 60_000 : min(60_000, left)
            next = min(next, state.now.advanced(byMilliseconds: Int(wait)))
        }
        return next
    }

    /// Deadlines that one turn sees to: a crowd that came together is closed together, and others'
    /// messages come in between.
    private static var timersPerTurn: Int { 64 }

    func fireTimers() {
        for _ in 0..<Self.timersPerTurn {
            guard let slot = state.timers.popDue(at: state.now) else { return }
            guard state.connections.isLive(slot) else { continue }
            fire(slot)
        }
    }

    private func fire(_ slot: UInt32) {
        let record = state.connections[slot]
        let isDue = state.now >= record.deadline
        switch record.state {
        case .dead:
            return
        case .handshaking:
            guard isDue else { break }
            metrics.countHandshake(.timeout)
            drop(slot, code: 0)
            return
        case .authenticating, .joining:
            guard isDue else { break }
            refuse(slot, status: 503, result: .timeout, retryAfterSeconds: 1)
            return
        case .closing, .finishing:
            guard isDue else { break }
            // The peer did not answer our close, or did not take what was queued before it.
            if record.backlog.exists { reset(slot, code: 0) } else { drop(slot, code: 0) }
            return
        case .open:
            if fireOpen(slot, record, isDue) { return }
        }
        schedule(slot)
    }

    /// - Returns: true when the connection is no longer open.
    private func fireOpen(_ slot: UInt32, _ record: ConnectionRecord, _ isDue: Bool) -> Bool {
        if record.flags.contains(.sending) && isDue {
            metrics.slowConsumers.add()
            reset(slot, code: 1006)
            return true
        }
        if state.now >= record.lastHeard.advanced(by: state.limits.pongTimeout) {
            drop(slot, code: 1006)
            return true
        }
        if record.expiresAtMilliseconds <= state.wallMilliseconds {
            close(slot, .unauthorized, reason: "token expired")
            return true
        }
        if state.now >= record.lastPing.advanced(by: state.limits.pingInterval) {
            state.connections[slot].lastPing = state.now
            // Behind a backlog a ping would only make the queue longer; the write stall watches it.
            if !record.backlog.exists { sendPing(slot) }
        }
        return false
    }

    private func sendPing(_ slot: UInt32) {
        let memory = unsafe state.arena.allocate(8)
        var writer = unsafe ByteWriter(unsafe: memory, capacity: 8)
        FrameEncoder.writeHeader(.ping, payloadBytes: 0, into: &writer)
        state.arena.trim(8 - writer.count)
        enqueue(slot, unsafe Bytes(memory, count: writer.count))
    }
}
