// Events on their way out: into the journal, to Redis, and back. While Redis answers, everything
// targeted goes through it, so that one order holds for every device; when it falls silent, this
// node's own devices are served at once, and numbers see to it that nobody gets an event twice.

internal import SkeinIO
internal import SkeinWire

extension RouterCore {
    /// An event for one user, from a shard or from the library.
    func publish(_ record: Bytes) {
        let event = EventView(record: record)
        guard state.hasRedis else {
            deliver(event)
            return
        }
        let user = state.users.find(event.user, hash: event.userHash)
        let isLocalUser = user.map { state.users[$0].deviceCount > 0 } ?? false
        guard let sequence = state.journal.append(
            record, isLocal: isLocalUser, at: state.now.nanoseconds)
        else {
            journalIsFull(event)
            return
        }
        if state.isLocal {
            state.localSequence = sequence
            if let user, isLocalUser {
                noteServed(user, sequence)
                metrics.deliveredLocally.add()
                // It will not be given again when Redis has it.
                if !deliver(event), !event.flags.contains(.transient) { sendBack(user) }
            }
        }
    }

    /// The user's devices here are given an event without Redis.
    private func noteServed(_ user: UInt32, _ sequence: UInt64) {
        state.users[user].deliveredThrough = max(state.users[user].deliveredThrough, sequence)
        state.users[user].givenThrough = max(state.users[user].givenThrough, sequence)
    }

    /// Nothing more can wait for Redis. This node's devices are served, and the sender is told that
    /// the others' were not.
    private func journalIsFull(_ event: EventView) {
        metrics.queueFull.add()
        stopWaiting("the queue for it is full")
        deliver(event)
        guard event.origin != .none else { return }
        let request = event.requestID
        guard let memory = unsafe state.outbox.append(
            to: event.origin.shard, kind: ShardRecord.publishFailed.rawValue,
            argument: event.origin.rawValue, payloadBytes: request.count)
        else { return }
        unsafe request.copy(to: memory)
    }

    /// Moves events from the journal to the link, as many as it takes at once.
    func fillPublishLink() {
        guard state.links[.publish].isReady else { return }
        while state.sentSequence + 1 < state.journal.nextSequence,
            state.links[.publish].filling.count < Self.fillBytesMax
        {
            let sequence = max(state.sentSequence, state.journal.firstSequence - 1) + 1
            state.sentSequence = sequence
            let event = EventView(record: state.journal.record(sequence))
            if isKept(event) {
                state.sentSequence = endOfRun(from: sequence)
                append(sequence...state.sentSequence)
                continue
            }
            // Redis had it when the last link broke: it has come back since. What a history keeps is sent all
            // the same, for Redis may have lost it again; the script knows it by its number.
            if sequence <= state.doubtfulThrough, state.journal.entry(sequence).isHeard {
                state.journal.markSkipped(sequence)
                passSkipped()
                continue
            }
            publish(event, sequence)
        }
    }

    /// Events in one run of the append script: Redis serves nobody else meanwhile.
    private static var appendsMax: UInt64 { 32 }

    /// The last of the events in a row that a history keeps, and that go in one script.
    private func endOfRun(from first: UInt64) -> UInt64 {
        var last = first
        var bytes = state.journal.record(first).count
        // In a cluster one script has the keys of one user.
        let most = state.isCluster ? 1 : Self.appendsMax
        while last + 1 < state.journal.nextSequence, last + 1 - first < most {
            let record = state.journal.record(last + 1)
            bytes += record.count
            guard bytes < Self.fillBytesMax, isKept(EventView(record: record)) else { break }
            last += 1
        }
        return last
    }

    private func isKept(_ event: EventView) -> Bool {
        state.keepsHistory && !event.flags.contains(.transient)
    }

    static var fillBytesMax: Int { 262_144 }

    /// Writes an event's envelope, without its closing brace, and the name of its user's channel.
    private func render(_ event: EventView, _ sequence: UInt64) {
        state.json.clear()
        EnvelopeShape.relay.write(event, requestID: true, into: &state.json.writer)
        // The envelope's closing brace makes way for where this event came from.
        state.json.writer.truncate(to: state.json.writer.count - 1)
        state.json.writer.append(",\"via\":\"")
        state.json.writer.appendHex(state.node)
        state.json.writer.append(UInt8(ascii: "-"))
        state.json.writer.appendHex(event.origin.rawValue)
        state.json.writer.append(UInt8(ascii: "-"))
        state.json.writer.appendHex(sequence)
        state.json.writer.append(UInt8(ascii: "-"))
        state.json.writer.appendHex(Self.channelMark(event.user))
        if event.flags.contains(.exceptOrigin) { state.json.writer.append("-others") }
        state.json.writer.append(UInt8(ascii: "\""))
        state.channel.clear()
        state.channel.writer.append("user:")
        state.channel.writer.append(event.user)
    }

    private func publish(_ event: EventView, _ sequence: UInt64) {
        render(event, sequence)
        state.json.writer.append(UInt8(ascii: "}"))
        let channel = state.channel.bytes
        let payload = state.json.bytes
        let room = RESPCommand.publishBytes(channelBytes: channel.count, payloadBytes: payload.count)
        state.links[.publish].command(Awaited(kind: .publish), room: room) { writer in
            unsafe RESPCommand.writePublish(
                channel: channel.buffer.span, payload: payload.buffer.span, into: &writer)
        }
        metrics.published.add()
    }

    /// The append script instead of PUBLISHes: it closes each envelope behind the offset.
    private func append(_ run: ClosedRange<UInt64>) {
        let before = state.appendedSequence > state.acknowledgedSequence ? state.appendedSequence : 0
        state.appendedSequence = run.upperBound
        state.links[.publish].filling.write(room: 160) { writer in
            state.scripts.writeCall(.append, keys: 2 * run.count, arguments: 2 + 3 * run.count, into: &writer)
        }
        for sequence in run {
            let user = EventView(record: state.journal.record(sequence)).user
            let room = 2 * user.count + state.historyKey.count + state.positionKey.count + 64
            state.links[.publish].filling.write(room: room) { writer in
                writer.appendBulk(state.historyKey, user, "}")
                writer.appendBulk(state.positionKey, user, "}")
            }
        }
        state.links[.publish].filling.write(room: state.appendedKey.count + 64) { writer in
            RESPCommand.writeBulk(state.appendedKey.span, into: &writer)
            writer.appendBulk(hex: before)
        }
        for sequence in run {
            render(EventView(record: state.journal.record(sequence)), sequence)
            let channel = state.channel.bytes
            let payload = state.json.bytes
            state.links[.publish].filling.write(room: channel.count + payload.count + 96) { writer in
                writer.appendBulk(channel)
                writer.appendBulk(payload)
                writer.appendBulk(hex: sequence)
            }
        }
        state.links[.publish].awaited.append(Awaited(kind: .append, argument: UInt32(run.count)))
        metrics.published.add(UInt64(run.count))
    }

    /// Redis has the oldest events that it had not answered for in history.
    func acknowledged(kept count: Int) {
        guard count > 0 else { return }
        state.acknowledgedSequence += UInt64(count)
        state.keptAcknowledged = state.acknowledgedSequence
        state.keptAt = state.now
        goOnAfterAcknowledgement()
    }

    /// Redis has taken the oldest event that it had not answered for.
    @inline(__always)
    func acknowledged() {
        state.acknowledgedSequence += 1
        goOnAfterAcknowledgement()
    }

    @inline(__always)
    private func goOnAfterAcknowledgement() {
        passSkipped()
        releaseJournal()
        if !state.unready.isEmpty { serveUnready() }
    }

    /// Nothing is answered to what was not sent again.
    @inline(__always)
    private func passSkipped() {
        while state.acknowledgedSequence < state.sentSequence,
            state.acknowledgedSequence + 1 >= state.journal.firstSequence,
            state.journal.entry(state.acknowledgedSequence + 1).isSkipped
        { state.acknowledgedSequence += 1 }
    }

    func releaseJournal() {
        while state.journal.count > 0 {
            let first = state.journal.firstSequence
            guard first <= state.acknowledgedSequence else { return }
            let entry = state.journal.entry(first)
            guard !entry.isLocal || first <= state.localSequence || isBack(first, entry)
            else { return }
            state.journal.removeFirst()
        }
    }

    /// Ties `via` to the user whose channel it was published on: an envelope that a backend passes
    /// on to another channel is a new event there. FNV-1a, the same on every node.
    static func channelMark(_ user: Bytes) -> UInt64 {
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        for index in 0..<user.count {
            hash = (hash ^ UInt64(unsafe user.base[index])) &* 0x0000_0100_0000_01B3
        }
        return hash
    }

    /// One of this node's own events that no history keeps came back.
    ///
    /// - Returns: false when its devices here have it already.
    @inline(__always)
    func heardOwn(_ sequence: UInt64) -> Bool {
        // A number that was never given is somebody else's invention; the event is delivered as any
        // backend's, and our own counting is not led astray.
        guard sequence < state.journal.nextSequence else { return true }
        return noteOwn(sequence) && sequence > state.localSequence
    }

    /// Marks one of this node's own events as heard.
    ///
    /// They may come out of turn: where Redis refuses one, those behind it on the link, which no
    /// history keeps, may still have been published.
    ///
    /// - Returns: false when it was heard before.
    @inline(__always)
    @discardableResult
    func noteOwn(_ sequence: UInt64, isPushed: Bool = true) -> Bool {
        guard sequence < state.journal.nextSequence else { return false }
        if sequence >= state.journal.firstSequence {
            let entry = state.journal.entry(sequence)
            guard !entry.isHeard else { return false }
            state.journal.markHeard(sequence)
            metrics.publishLatency.record(state.now.nanoseconds - entry.acceptedAt)
        } else {
            guard sequence > state.heardSequence else { return false }
        }
        metrics.heard.add()
        if isPushed { state.heardSequence = max(state.heardSequence, sequence) }
        releaseJournal()
        return true
    }

    /// One of another node's events came. Those of one node come in the order of their numbers;
    /// after a reconnect it may say some again.
    @inline(__always)
    func heardOther(_ node: UInt64, _ sequence: UInt64) -> Bool {
        for index in 0..<state.heardNodes.count where state.heardNodes[index].node == node {
            state.heardNodes[index].at = state.now
            guard sequence > state.heardNodes[index].sequence else { return false }
            state.heardNodes[index].sequence = sequence
            return true
        }
        let heard = HeardNode(node: node, sequence: sequence, at: state.now)
        if state.heardNodes.count < Self.heardNodesMax {
            state.heardNodes.append(heard)
        } else {
            // The node that was silent longest has most likely gone.
            var oldest = 0
            for index in 0..<state.heardNodes.count
            where state.heardNodes[index].at < state.heardNodes[oldest].at { oldest = index }
            state.heardNodes[oldest] = heard
        }
        return true
    }

    static var heardNodesMax: Int { 1_024 }

    /// Whether an event came back, or went out before one that did: then it was published before its
    /// user's channel was heard, and whoever came then was told of it. One that no history keeps says
    /// nothing of those that one keeps: Redis may have refused these and not it. What was left to a read
    /// that has no answer yet is not back.
    private func isBack(_ sequence: UInt64, _ entry: Journal.Entry) -> Bool {
        if entry.isHeard { return true }
        guard sequence < state.heardSequence else { return false }
        let event = EventView(record: state.journal.record(sequence))
        guard isKept(event) else { return true }
        guard sequence < state.keptSequence else { return false }
        guard let user = state.users.find(event.user, hash: event.userHash) else { return true }
        return state.users[user].reads == 0
            && (!state.users[user].isPlaced || state.users[user].left <= state.users[user].last)
    }

    /// Whether a user's devices here were all told of a place behind one of this node's events, which still
    /// is on its way back: they have it, or it is none of theirs.
    private func isPassed(_ sequence: UInt64, _ user: UInt32) -> Bool {
        state.users[user].isPlaced && sequence <= state.users[user].passedThrough
    }

    private func isPassed(_ sequence: UInt64) -> Bool {
        let event = EventView(record: state.journal.record(sequence))
        guard isKept(event) else { return false }
        return state.users.find(event.user, hash: event.userHash).map { isPassed(sequence, $0) } ?? false
    }

    /// Whether the user's events wait for a read: as where a full shard did not take one, in which Redis has
    /// no part.
    private func isLeftToRead(_ sequence: UInt64) -> Bool {
        let event = EventView(record: state.journal.record(sequence))
        guard isKept(event), state.links[.own].isReady,
            let user = state.users.find(event.user, hash: event.userHash)
        else { return false }
        return state.users[user].reads > 0
    }

    /// Redis is silent: what waits for its echo is delivered here now, and so is what follows.
    func stopWaiting(_ why: String) {
        guard !state.isLocal else { return }
        state.isLocal = true
        // Whoever answers now has come back; what was said before may still be on its way.
        state.silentSince = state.now
        state.canaryDue = state.now
        givePlaces()
        var sequence = max(state.localSequence + 1, state.journal.firstSequence)
        var count: UInt64 = 0
        while sequence < state.journal.nextSequence {
            let entry = state.journal.entry(sequence)
            if entry.isLocal, !isBack(sequence, entry) {
                let event = EventView(record: state.journal.record(sequence))
                if let user = state.users.find(event.user, hash: event.userHash) {
                    if isKept(event), isPassed(sequence, user) {
                        sequence += 1
                        continue
                    }
                    noteServed(user, sequence)
                }
                if deliver(event) {
                    count += 1
                } else if !event.flags.contains(.transient),
                    let user = state.users.find(event.user, hash: event.userHash)
                {
                    // It will not be given again when Redis has it.
                    sendBack(user)
                }
            }
            sequence += 1
        }
        state.localSequence = max(state.localSequence, state.journal.nextSequence - 1)
        metrics.deliveredLocally.add(count)
        releaseJournal()
        releaseFences()
        log(.warning, "Redis is not waited for: \(why). This node's devices are served directly.",
            [("delivered", "\(count)")])
    }

    /// Redis is heard again, and close behind: from the next event on, its order holds.
    func waitAgainIfPossible() {
        guard state.isLocal, state.wasUp, state.canaryEcho >= state.silentSince, state.toSubscribe.isEmpty,
            state.unacknowledgedSubscribes == 0,
            state.journal.nextSequence - 1 - min(state.acknowledgedSequence, state.journal.nextSequence - 1)
                < 256
        else { return }
        state.isLocal = false
        log(.info, "events go through Redis")
    }

    /// How many of this node's devices' events that are not back are looked at.
    private static var overdueMax: Int { 1_024 }

    /// Whether the oldest event that should have come back is overdue.
    func checkStall() {
        guard !state.isLocal else { return }
        var sequence = max(state.localSequence + 1, state.journal.firstSequence)
        var left = Self.overdueMax
        while sequence < state.journal.nextSequence, left > 0 {
            let entry = state.journal.entry(sequence)
            let age = state.now.nanoseconds - entry.acceptedAt
            guard age > state.limits.backplaneStall.nanoseconds else { return }
            guard entry.isLocal, !isBack(sequence, entry) else {
                sequence += 1
                continue
            }
            left -= 1
            if !isLeftToRead(sequence) {
                if isPassed(sequence) {
                    // It may have been published before its user's channel was heard, and never come.
                    state.journal.markHeard(sequence)
                    releaseJournal()
                    sequence = max(sequence + 1, state.journal.firstSequence)
                    continue
                }
                stopWaiting("an event did not come back for \(age / 1_000_000) ms")
                return
            }
            sequence += 1
        }
    }
}
