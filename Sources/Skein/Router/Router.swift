// The thread between the shards and the backplane, as a machine. It knows which users are on this
// node and hears their channels; it gives every targeted event its one order. Its work for a message
// is per shard and never per connection.

internal import SkeinIO
internal import SkeinWire

struct Router: Machine, ~Copyable {
    let core: RouterCore

    init(_ state: consuming RouterState) { core = RouterCore(state) }

    deinit { core.destroy() }

    mutating func handle(
        _ completions: Span<Completion>, at now: Instant, into submissions: inout SubmissionQueue
    ) {
        core.begin(now)
        for index in completions.indices { core.handle(completions[index]) }
    }

    mutating func handle(
        _ parcel: borrowing Parcel, at now: Instant, into submissions: inout SubmissionQueue
    ) {
        core.begin(now)
        let core = core
        parcel.forEachRecord { record in core.handle(record) }
    }

    mutating func endTurn(at now: Instant, into submissions: inout SubmissionQueue) {
        core.begin(now)
        core.runTimers()
        core.flushLinks()
        for index in 0..<core.state.pending.count { submissions.append(core.state.pending[index]) }
        core.state.pending.removeAll()
        core.state.outbox.flush()
        core.publishGauges()
        core.metrics.loopTurn.record(core.state.clock.now().nanoseconds(since: core.state.turnStart))
        core.state.turnStart = Instant(nanoseconds: 0)
    }

    mutating func submitted() {}

    var deadline: Instant? { core.nextTimer() }

    var isFinished: Bool { core.state.isFinished }
}

extension RouterCore {
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

    @inline(__always)
    func handle(_ record: ParcelRecord) {
        let bytes = unsafe Bytes(record.bytes, count: record.count)
        let reference = ConnectionReference(rawValue: record.argument)
        switch RouterRecord(rawValue: record.kind) {
        case .publish: publish(bytes)
        case .arrive: arrived(reference, bytes, ArrivalFlags(rawValue: record.flags))
        case .leave: left(reference, bytes)
        case .announced: announced(RestatementCursor(rawValue: record.argument))
        case .fence: fence(FenceTicket(rawValue: record.argument))
        case .task: LoopTask<RouterCore>.run(record.argument, self)
        case nil: preconditionFailure("the router was sent a record it does not know")
        }
    }

    /// Hands an event to the shard where its user lives, or to all.
    ///
    /// - Returns: false where a shard takes nothing for now, so that somebody does not get it.
    @inline(__always)
    @discardableResult
    func deliver(_ event: EventView) -> Bool {
        if event.user.isEmpty {
            var isWhole = true
            for shard in 0..<state.shardCount
            where !forward(event, to: shard, ShardRecord.broadcast.rawValue) { isWhole = false }
            return isWhole
        }
        let home = state.home(of: event.userHash)
        // Who has to come back is told so before anything newer.
        guard state.owedReturnCount == 0 || payReturns(on: home) else {
            metrics.overload.add()
            return false
        }
        return forward(event, to: home, ShardRecord.deliver.rawValue)
    }

    @inline(__always)
    private func forward(_ event: EventView, to shard: Int, _ kind: UInt16) -> Bool {
        guard let memory = unsafe state.outbox.append(
            to: shard, kind: kind, payloadBytes: event.recordBytes)
        else {
            metrics.overload.add()
            return false
        }
        unsafe event.store(to: memory)
        return true
    }

    func publishGauges() {
        metrics.queuedCommands.set(UInt64(state.journal.count))
        metrics.queuedBytes.set(UInt64(state.journal.bytes))
    }
}
