// One event loop's worth of connections, as a machine: it is fed what the kernel answered and what
// other threads sent, and gives back what to ask of the kernel next. Nothing else touches what it
// owns, and no two threads do at a time. In a turn: outcomes of the last sends first, then everything
// else, then timers, then one send for each connection that has something to send.

internal import SkeinIO
internal import SkeinWire

struct Shard: Machine, ~Copyable {
    let core: ShardCore

    init(_ state: consuming ShardState) {
        core = ShardCore(state)
        core.startAccepting()
    }

    deinit {
        core.state.dialects.destroy()
        core.state.tls.free()
        core.state.history.free()
        core.destroy()
    }

    mutating func handle(
        _ completions: Span<Completion>, at now: Instant, into submissions: inout SubmissionQueue
    ) {
        core.begin(now)
        // Sends that fell short come first: after them no connection has bytes of the last turn,
        // so whatever is appended below is appended in order.
        for index in completions.indices
        where completions[index].token.operation == ShardOperation.sendNow {
            core.sendFellShort(completions[index])
        }
        core.finishFlushed()
        let isUneven = core.mayBeUneven(completions.count)
        for index in completions.indices {
            let completion = completions[index]
            switch completion.token.operation {
            case ShardOperation.receive:
                if isUneven { core.receivedFairly(completion) } else { core.received(completion) }
            case ShardOperation.sendWhenPossible: core.backlogSent(completion)
            case ShardOperation.accept: core.accepted(completion)
            case ShardOperation.sendNow: break
            default: core.metrics.countDropped(.staleCompletion)
            }
        }
    }

    mutating func handle(
        _ parcel: borrowing Parcel, at now: Instant, into submissions: inout SubmissionQueue
    ) {
        core.begin(now)
        core.finishFlushed()
        let core = core
        parcel.forEachRecord { record in
            // Behind an event that has not reached everyone: nobody may get them in another order.
            if core.state.fanOut.isUnderWay { core.state.fanOut.hold(record) } else { core.handle(record) }
        }
    }

    mutating func endTurn(at now: Instant, into submissions: inout SubmissionQueue) {
        core.begin(now)
        core.finishFlushed()
        core.continueFanOut()
        core.continueDeferred()
        core.continueHandshakes()
        core.fireTimers()
        core.continueDrain()
        core.balanceMemory()
        core.sweepHistory()
        core.tellPartings()
        core.tellDepartures()
        core.flush(into: &submissions)
        // Sealing takes memory too, and it stays for two turns, however long those are.
        if core.state.arena.burstBytes > 0 { core.tellMemory() }
        core.metrics.ringOverflows.set(unsafe core.state.counters.values.pointee.overflows)
        core.metrics.ringRefusals.set(unsafe core.state.counters.values.pointee.refusals)
        core.metrics.borrowedTurns.set(core.state.outbox.turnsBorrowed)
        core.metrics.alive.set(UInt64(core.state.connections.count))
        core.metrics.loopTurn.record(core.state.clock.now().nanoseconds(since: core.state.turnStart))
        core.state.turnStart = Instant(nanoseconds: 0)
    }

    mutating func submitted() {
        core.state.turn &+= 1
        core.state.fanOut.bytesMade = 0
        core.state.arena.flip()
        core.segmentsOfThisTurn { $0.removeAll() }
        core.sendMoves()
    }

    var deadline: Instant? {
        // What was moved, or ends with its flush, waits for the next turn and for nothing else.
        if !core.state.moving.isEmpty || !core.state.finishing.isEmpty || !core.state.replayed.isEmpty
            || !core.state.outbox.isEmpty || !core.state.postponed.isEmpty
            || !core.state.partings.isEmpty || !core.state.deferred.isEmpty
            || core.state.fanOut.isUnderWay { return core.state.now }
        var next = earliest(
            core.state.timers.next, earliest(core.state.acceptPausedUntil, core.state.drain?.nextStep))
        if !core.state.departures.isEmpty || core.state.announced != nil {
            next = earliest(next, core.state.departuresDue)
        }
        if core.state.history.exists { next = earliest(next, core.state.history.value.sweepDue) }
        return next
    }

    var isBusy: Bool { core.state.fanOut.isUnderWay }

    var isFinished: Bool { core.state.isFinished }
}

func earliest(_ a: Instant?, _ b: Instant?) -> Instant? {
    guard let a else { return b }
    guard let b else { return a }
    return min(a, b)
}

extension ShardCore {
    /// The turn's clock. Read once, by whichever input comes first.
    @inline(__always)
    func begin(_ now: Instant) {
        guard state.turnStart.nanoseconds == 0 else { return }
        state.turnStart = now
        state.now = now
        let wall = state.clock.wallMilliseconds()
        guard wall != state.wallMilliseconds else { return }
        state.wallMilliseconds = wall
        state.timestamp.clear()
        state.timestamp.writer.appendTimestamp(millisecondsSince1970: wall)
    }

    /// The turn's time as RFC 3339 text.
    @inline(__always)
    var timestamp: Bytes { state.timestamp.bytes }

    @inline(__always)
    func segmentsOfThisTurn<R>(_ body: (inout RawList<Segment>) -> R) -> R {
        if state.turn & 1 == 0 { return body(&state.evenSegments) }
        return body(&state.oddSegments)
    }

    /// A record from another thread.
    @inline(__always)
    func handle(_ record: ParcelRecord) {
        let bytes = unsafe Bytes(record.bytes, count: record.count)
        let reference = ConnectionReference(rawValue: record.argument)
        switch ShardRecord(rawValue: record.kind) {
        case .deliver: deliver(EventView(record: bytes))
        case .broadcast: fanOut(bytes)
        case .adopt: adopt(bytes)
        case .authenticated: authenticated(reference, bytes)
        case .joined: joined(reference, JoinResult(rawValue: record.flags) ?? .unavailable, bytes)
        case .publishFailed: publishFailed(reference, bytes)
        case .disconnectUser: disconnectUser(bytes)
        case .announce: announceDevices(RestatementCursor(rawValue: record.argument))
        case .fence: passOnFence(FenceTicket(rawValue: record.argument))
        case .fenced: fenced(FenceTicket(rawValue: record.argument))
        case .task: LoopTask<ShardCore>.run(record.argument, self)
        case nil: preconditionFailure("a shard was sent a record it does not know")
        }
    }
}
