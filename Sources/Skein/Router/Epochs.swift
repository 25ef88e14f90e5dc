// The epoch of all histories in Redis: made by whoever comes first, asked for again and again, since
// another one means that Redis has lost what it had. Where it lost the newest only, as in a failover or
// a restart without the last second's writes, a node finds out by its mark, and ends the epoch. So it does with
// one that comes again, as when Redis lost all and then a replica of before took over.

internal import SkeinIO
internal import SkeinWire

extension RouterCore {
    /// Also the link's pulse: whoever deletes all keys under us is noticed within a second.
    func askForEpoch() {
        guard state.keepsHistory else { return }
        state.links[.own].command(Awaited(kind: .epoch), room: state.epochKey.count + 64) { writer in
            RESPCommand.writeArray(2, into: &writer)
            writer.appendBulk("GET")
            RESPCommand.writeBulk(state.epochKey.span, into: &writer)
        }
    }

    /// There is none: whoever comes first begins one, and all ask again what it is.
    func makeEpoch() {
        let new = max(1, state.shared.host.random())
        state.links[.own].command(Awaited(kind: .pulse), room: state.epochKey.count + 96) { writer in
            RESPCommand.writeArray(4, into: &writer)
            writer.appendBulk("SET")
            RESPCommand.writeBulk(state.epochKey.span, into: &writer)
            writer.appendBulk(hex: new)
            writer.appendBulk("NX")
        }
        askForEpoch()
    }

    /// Before anything is sent on a new link: whether Redis still has what it said it has.
    func askForMark() {
        guard state.keepsHistory, state.keptAcknowledged > 0, markStands else { return }
        state.links[.publish].command(Awaited(kind: .mark), room: state.appendedKey.count + 64) { writer in
            RESPCommand.writeArray(2, into: &writer)
            writer.appendBulk("GET")
            RESPCommand.writeBulk(state.appendedKey.span, into: &writer)
        }
    }

    /// Whether it is to be seen yet that Redis has what it said it has: while the link is away, it may have
    /// failed over, and who knows it best is this node.
    var owesLookAtMark: Bool {
        state.keepsHistory && state.keptAcknowledged > 0 && markStands && !state.links[.publish].isReady
    }

    /// It ends by its own time, long after what it speaks of.
    private var markStands: Bool {
        let age = max(state.limits.historyPositionAge, state.limits.historyAge)
        return state.now.nanoseconds(since: state.keptAt) < age.nanoseconds / 2
    }

    /// Up to which of this node's events Redis has them in history; nothing: none.
    func markHeard(_ text: String) {
        let mark = UInt64(text, radix: 16) ?? 0
        // A node that leaves takes its mark away itself.
        guard mark < state.keptAcknowledged, !state.registry.clearsMark else { return }
        state.keptAcknowledged = mark
        eventsWereLost()
    }

    /// What was in history, for this node has seen it there, is not any more, and what was there of others'
    /// may be gone too.
    func eventsWereLost() {
        guard state.lostEpoch == nil else { return }
        state.lostEpoch = state.epoch ?? 0
        log(
            .warning, "Redis lost events that it had taken, as after a failover or a restart that lost the last "
                + "writes: whoever may have missed one is told to read again")
        endEpoch()
    }

    /// Whoever finds it first ends it for all. Where Redis refuses that, the next pulse tries again.
    private func endEpoch() {
        guard let lost = state.lostEpoch, lost == state.epoch, state.links[.own].isReady else { return }
        let new = max(1, state.shared.host.random())
        let room = Self.endScript.utf8CodeUnitCount + state.epochKey.count + 192
        state.links[.own].command(Awaited(kind: .ending), room: room) { writer in
            RESPCommand.writeArray(6, into: &writer)
            writer.appendBulk("EVAL")
            writer.appendBulk(Self.endScript)
            writer.appendBulk("1")
            RESPCommand.writeBulk(state.epochKey.span, into: &writer)
            for epoch in [lost, new] {
                writer.appendBulk(hex: epoch)
            }
        }
    }

    private static var endScript: StaticString {
        """
        --skein end
        if redis.call('GET',KEYS[1])==ARGV[1] then redis.call('SET',KEYS[1],ARGV[2]) end \
        return redis.call('GET',KEYS[1])
        """
    }

    private func notePast(_ epoch: UInt64) {
        if state.pastEpochs.count == Self.pastEpochsMax { state.pastEpochs.removeFirst() }
        state.pastEpochs.append(epoch)
    }

    private static var pastEpochsMax: Int { 16 }

    func epochHeard(_ text: String) {
        guard let epoch = text.utf8.count == 16 ? UInt64(text, radix: 16) : nil else {
            metrics.malformed.add()
            return
        }
        let isAnother = state.epoch != nil && state.epoch != epoch
        if isAnother, let past = state.epoch { notePast(past) }
        state.epoch = epoch
        if state.lostEpoch == 0 { state.lostEpoch = epoch }
        if state.lostEpoch == epoch { endEpoch() } else { state.lostEpoch = nil }
        if state.pastEpochs.contains(epoch) { eventsWereLost() }
        guard isAnother else { return }
        state.keptAcknowledged = 0
        // Redis lost what it had: what any of them missed is not to be known.
        log(.warning, "Redis began a new history: clients are told to come back and read their state again")
        // Those too that know no offset and were given other nodes' events: these may be appended again, and
        // look new.
        for user in 0..<UInt32(state.users.highWater) where state.users.isLive(user) {
            // Places of the old epoch say nothing in the new one, and would contradict it.
            let isWaitedFor = state.users[user].awaitsMark
            let knewOffsets = state.users[user].isPlaced
            state.users[user].place = .unknown
            state.users[user].left = .none
            if knewOffsets || state.users[user].heardOthers {
                state.users[user].heardOthers = false
                if state.users[user].deviceCount > 0 { sendBack(user) }
            }
            if isWaitedFor { serveWaiters(of: user) }
        }
    }
}
