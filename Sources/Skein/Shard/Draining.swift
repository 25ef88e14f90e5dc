// Leaving on purpose, on one shard: clients are told to go elsewhere in waves, each behind what is
// queued for it, with a hint when to come back that spreads them; at the deadline the rest is closed.

internal import SkeinIO
internal import SkeinWire

struct ShardDrain {
    let plan: DrainPlan
    let started: Instant
    /// When the listener closes and the first wave goes.
    let wavesBegin: Instant
    /// Until then waves keep to what the other nodes can take.
    let slopeBegins: Instant
    /// Waves are over by four fifths of the deadline.
    let wavesEnd: Instant
    var deadline: Instant
    var isListening = true
    var nextWave: Instant
    /// Where the next wave goes on.
    var cursor: UInt32 = 0
    var isPastDeadline = false
    /// The wave that is chosen and not told yet.
    var fence: ShardFence?
    /// Clients that the other nodes could take by now, in parts of one.
    var credit = 0.0

    init(_ plan: DrainPlan, now: Instant) {
        self.plan = plan
        started = now
        wavesBegin = now.advanced(by: plan.preStop)
        let span = plan.deadline.nanoseconds
        slopeBegins = wavesBegin.advanced(byNanoseconds: span / 5 * 2)
        wavesEnd = wavesBegin.advanced(byNanoseconds: span / 5 * 4)
        deadline = wavesBegin.advanced(byNanoseconds: span)
        nextWave = wavesBegin
    }

    var nextStep: Instant { min(fence?.due ?? nextWave, isPastDeadline ? lastMoment : deadline) }

    /// Whoever has not taken leave by then is not waited for.
    var lastMoment: Instant { deadline.advanced(byMilliseconds: 2_000) }
}

extension ShardCore {
    func startDrain(_ plan: DrainPlan) {
        guard state.drain == nil else { return }
        state.drain = ShardDrain(plan, now: state.now)
    }

    /// - Returns: false once the listener is closed: then there is no way back.
    func cancelDrain() -> Bool {
        guard let drain = state.drain else { return true }
        guard drain.isListening else { return false }
        state.drain = nil
        return true
    }

    func continueDrain() {
        guard var drain = state.drain else { return }
        if drain.isListening && state.now >= drain.wavesBegin {
            drain.isListening = false
            stopListening()
            refuseHandshakes()
        }
        if !drain.isListening {
            if state.now >= drain.deadline && !drain.isPastDeadline {
                drain.isPastDeadline = true
                drain.fence = nil
                closeRemaining()
            } else if drain.isPastDeadline && state.now >= drain.lastMoment {
                dropRemaining()
            } else if let fence = drain.fence {
                if state.now >= fence.due, !state.fanOut.isUnderWay {
                    state.shared.pace.noteLateFence()
                    drain.fence = nil
                    closeChosen()
                }
            } else if state.now >= drain.nextWave, !state.fanOut.isUnderWay {
                // Not in the middle of a fan-out: what is accepted has to be in front of a close frame.
                wave(&drain)
            }
            finishIfEmpty(&drain)
        }
        state.drain = drain
    }

    /// A connection on its way from one shard to another is with neither, and one that was accepted
    /// may not have been told of yet: a shard that ended too soon would leave them open and unheard. The
    /// kernel's last word on the listener comes soon after it was cancelled, also at the last moment.
    private func finishIfEmpty(_ drain: inout ShardDrain) {
        guard state.connections.count == 0, !state.acceptArmed else { return }
        drain.fence = nil
        if state.shared.hasNoConnections || state.now >= drain.lastMoment {
            state.isFinished = true
        } else {
            drain.nextWave = min(drain.nextWave, state.now.advanced(byMilliseconds: 10))
        }
    }

    /// Chooses the next slice of those that were not told yet.
    private func wave(_ drain: inout ShardDrain) {
        let interval = max(1_000_000, drain.plan.wave.nanoseconds)
        let open = Int(metrics.open.count)
        let left = max(0, drain.wavesEnd.nanoseconds(since: state.now)) / interval
        drain.nextWave = state.now.advanced(byNanoseconds: interval)
        guard open > 0 else { return }
        let allowance = allowance(open, interval, &drain)
        let choice = DrainPacing.wave(
            open: open, wavesLeft: Int(left), isEarly: state.now < drain.slopeBegins, allowance: allowance)
        state.shared.pace.note(choice.pacedBy)
        drain.credit = max(0, drain.credit - Double(choice.count))
        state.chosen.removeAll()
        let end = UInt32(state.connections.highWater)
        var visited: UInt32 = 0
        while state.chosen.count < choice.count && visited < end {
            let slot = drain.cursor < end ? drain.cursor : 0
            drain.cursor = slot + 1
            visited += 1
            guard state.connections.isLive(slot) else { continue }
            switch state.connections[slot].state {
            case .open: state.chosen.append(reference(slot))
            case .handshaking, .authenticating, .joining, .closing, .finishing, .dead:
                break
            }
        }
        if state.chosen.count > 0 { askForFence(&drain) }
    }

    /// What the other nodes can take of this shard in a wave: its share of the node's pace, with what
    /// the last waves left of a whole client. `nil` where no node says.
    private func allowance(_ open: Int, _ interval: Int64, _ drain: inout ShardDrain) -> Int? {
        guard let perSecond = state.shared.pace.perSecond else { return nil }
        let share = Double(open) / Double(max(open, state.shared.connectionTotal))
        let wave = Double(perSecond) * Double(interval) / 1e9 * share
        drain.credit = min(drain.credit + wave, wave + 1)
        return Int(drain.credit)
    }

    /// Nobody is let in any more, and a connection that has asked for nothing keeps no node. What is
    /// on its way to another shard is refused there, when it would join.
    private func refuseHandshakes() {
        for slot in 0..<UInt32(state.connections.highWater) where state.connections.isLive(slot) {
            switch state.connections[slot].state {
            case .handshaking where !state.connections[slot].handshake.exists:
                drop(slot, code: 0)
            case .handshaking, .authenticating, .joining:
                refuse(slot, status: 503, result: .unavailable, retryAfterSeconds: 1)
            case .open, .closing, .finishing, .dead:
                break
            }
        }
    }

    func tellToLeave(_ slot: UInt32, _ drain: ShardDrain) {
        // Spread over the time that the drain itself takes, so that the others see a slope.
        let spread = max(500, min(10_000, drain.plan.wave.nanoseconds / 1_000_000 * 4))
        let wait = state.shared.host.random(in: 0...spread)
        // Where no other node has what comes meanwhile, a client reads its state again.
        let canResume = state.usesBackplane && state.limits.historyEventsMax > 0
        var hint = "{\"reconnectAfterMs\":\(wait),\"resume\":\(canResume)}"
        hint.withUTF8 { text in
            guard let base = text.baseAddress else { return }
            close(slot, code: 1012, reason: unsafe Bytes(base, count: text.count))
        }
        guard state.connections[slot].state == .closing else { return }
        state.connections[slot].flags.insert(.told)
        // It may take its time: what is still here at the drain's deadline is closed then.
        state.connections[slot].deadline = max(state.connections[slot].deadline, drain.deadline)
        schedule(slot)
        metrics.told.add()
    }

    private func closeRemaining() {
        state.chosen.removeAll()
        for slot in 0..<UInt32(state.connections.highWater) where state.connections.isLive(slot) {
            switch state.connections[slot].state {
            case .open:
                metrics.closedAtDeadline.add()
                close(slot, .goingAway, reason: "node is leaving")
            case .closing:
                metrics.closedAtDeadline.add()
                // A close frame of this very turn still has to go out.
                if !hasUnsent(slot) { drop(slot, code: 0) }
            case .handshaking, .authenticating, .joining:
                refuse(slot, status: 503, result: .unavailable, retryAfterSeconds: 1)
            case .finishing, .dead:
                break
            }
        }
    }

    private func dropRemaining() {
        for slot in 0..<UInt32(state.connections.highWater) where state.connections.isLive(slot) {
            reset(slot, code: 1006)
        }
    }

    /// Leaves at once: nobody is waited for.
    func stop() {
        stopListening()
        var plan = DrainPlan()
        plan.deadline = .zero
        var drain = state.drain ?? ShardDrain(plan, now: state.now)
        drain.isListening = false
        drain.isPastDeadline = true
        drain.deadline = min(drain.deadline, state.now)
        state.drain = drain
        dropRemaining()
    }
}
