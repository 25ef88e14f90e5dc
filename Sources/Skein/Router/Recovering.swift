// Users' histories in Redis, as the router uses them: where a user stands, what a device that comes
// back has missed, and what this node itself has missed. Events of a user are numbered without a gap,
// so each one that is heard tells whether any is missing before it. Then, and whenever a device needs
// to be told, Redis is read; while it is, the read brings what comes, so that there is one order and
// nothing to merge.

internal import SkeinIO
internal import SkeinWire

extension RouterCore {
    // MARK: Hearing

    /// An event with an offset came on a user's channel.
    func heardKept(_ event: inout EventView, _ id: Bytes, _ offset: Offset, _ source: EventSource) {
        guard unsafe UserID(bytes: id.buffer.span) != nil else {
            metrics.malformed.add()
            return
        }
        event.user = id
        event.userHash = UserHash.of(id)
        guard let user = state.users.find(id, hash: event.userHash) else {
            noteGiven(source, .push, to: nil)
            return
        }
        guard state.users[user].isPlaced else {
            // Whoever is open here was not told of history; who waits will be told of a later offset.
            state.users[user].left = max(state.users[user].left, offset)
            if case .other = source { state.users[user].heardOthers = true }
            if isForDevices(source, of: user, by: .push), !deliver(event) { sendBack(user) }
            noteGiven(source, .push, to: user)
            return
        }
        let last = state.users[user].last
        if state.users[user].reads > 0 {
            state.users[user].left = max(state.users[user].left, offset)
        } else if offset.follows(last) {
            if !forward(&event, offset, source, to: user, by: .push) { leaveToRead(user, offset) }
        } else if offset.number <= last.number && offset.first <= last.first {
            noteGiven(source, .push, to: nil)
            metrics.duplicates.add()
        } else {
            state.users[user].left = max(state.users[user].left, offset)
            catchUp(user)
        }
    }

    /// The next event of a user, to the user's shard.
    ///
    /// - Returns: false where the shard takes nothing for now: the user stands where it stood.
    private func forward(
        _ event: inout EventView, _ offset: Offset, _ source: EventSource, to user: UInt32, by way: Way
    ) -> Bool {
        if isForDevices(source, of: user, by: way) {
            event.offset = offset
            guard deliver(event) else { return false }
        } else {
            metrics.duplicates.add()
        }
        noteGiven(source, way, to: user)
        state.users[user].last = offset
        if case .own(let sequence, _, _) = source, sequence < state.journal.nextSequence {
            state.users[user].passedThrough = max(state.users[user].passedThrough, sequence)
        }
        return true
    }

    /// What a shard did not take is read for it a moment later.
    private func leaveToRead(_ user: UInt32, _ offset: Offset) {
        state.users[user].left = max(state.users[user].left, offset)
        let home = state.home(of: state.users.hash(of: user))
        state.readsHeldUntil[home] = state.now.advanced(byMilliseconds: Self.fullShardMilliseconds)
        if state.users[user].reads == 0 { catchUp(user) }
    }

    /// How long a shard that takes nothing is left alone.
    static var fullShardMilliseconds: Int { 20 }

    /// How an event reached this node. Pushes come in the order in which events were published, and what a
    /// read brings may be ahead of them.
    enum Way { case push, read }

    private func noteKept(_ sequence: UInt64, _ way: Way) {
        noteOwn(sequence, isPushed: way == .push)
        guard way == .push, sequence < state.journal.nextSequence else { return }
        state.keptSequence = max(state.keptSequence, sequence)
    }

    /// Not before a shard has taken it: until then it waits in the journal.
    ///
    /// - Parameter user: whose open devices here have it now, or are not to have it; `nil` where that is noted, or
    ///   none is open.
    func noteGiven(_ source: EventSource, _ way: Way, to user: UInt32?) {
        guard case .own(let sequence, _, _) = source else { return }
        noteKept(sequence, way)
        guard let user, sequence < state.journal.nextSequence, sequence > state.users[user].givenThrough else {
            return
        }
        // Who still waits was not given it.
        if hasOpenDevice(user) { state.users[user].givenThrough = sequence }
    }

    /// Whether the user's devices here are to get an event that was heard, or read.
    private func isForDevices(_ source: EventSource, of user: UInt32, by way: Way) -> Bool {
        switch source {
        case .backend: return true
        case .other(let node, let sequence):
            // A read is ahead of pushes, of other users' events too: these would be taken for known.
            guard way == .push else { return true }
            // Where offsets say nothing, as in a Redis that lost its data, numbers of nodes do.
            let isNew = heardOther(node, sequence)
            return isNew || state.users[user].isPlaced
        case .own(let sequence, _, _):
            // What was accepted before the first device came, each was told of when it came; after that they
            // may have it already: served without Redis, or from a Redis that lost it since and was given it
            // again. A number that was never given is somebody else's invention.
            return sequence >= state.users[user].deliveredSince && sequence > state.users[user].givenThrough
                || sequence >= state.journal.nextSequence
        }
    }

    // MARK: Asking

    /// Brings a user's devices up to date. A read that is out already does not know of what happened
    /// after it was sent.
    func catchUp(_ user: UInt32) {
        guard state.keepsHistory else { return }
        read(user, for: nil)
    }

    func read(_ user: UInt32, for waiter: UInt32?) {
        var read = HistoryRead(
            user: user, generation: state.users.generation(of: user),
            from: state.users[user].isPlaced ? state.users[user].last : nil)
        if let waiter {
            let asked = state.waiters[waiter].asked.offset
            read.from = min(asked, read.from ?? asked)
            read.waiter = waiter
            read.waiterGeneration = state.waiters.generation(of: waiter)
        }
        state.users[user].reads += 1
        state.toRead.append(read)
    }

    /// As many reads as may be out at once; none for a shard that is left alone, whose users wait behind the
    /// others.
    func flushReads() {
        guard !state.toRead.isEmpty, state.links[.own].isReady, state.epoch != nil else { return }
        state.readsBlockedSince = nil
        var left = min(state.toRead.count, Self.readsPerTurn)
        while left > 0, state.readsOut.count < state.limits.historyReadsMax, var read = state.toRead.popFirst() {
            left -= 1
            guard state.users.isLive(read.user, generation: read.generation) else { continue }
            guard state.now >= state.readsHeldUntil[state.home(of: state.users.hash(of: read.user))] else {
                state.toRead.append(read)
                continue
            }
            // Since it was asked for, another read may have found the user.
            if read.from == nil, state.users[read.user].isPlaced { read.from = state.users[read.user].last }
            read.acknowledged = state.acknowledgedSequence
            read.heard = state.users[read.user].left
            read.epoch = state.epoch
            write(read)
            state.readsOut.append(read)
        }
    }

    private static var readsPerTurn: Int { 256 }

    /// Whether there is room for one more.
    var canSendReads: Bool {
        state.links[.own].isReady && state.epoch != nil && state.readsOut.count < state.limits.historyReadsMax
    }

    private func write(_ read: HistoryRead) {
        // Of the same moment as the answer, as far as Redis has moments.
        askForEpoch()
        let id = state.users.id(of: read.user)
        let room = HistoryScripts.read.utf8CodeUnitCount + 2 * id.count + state.historyKey.count
            + state.positionKey.count + 320
        state.links[.own].command(Awaited(kind: .history), room: room) { writer in
            RESPCommand.writeArray(8, into: &writer)
            writer.appendBulk("EVAL")
            writer.appendBulk(HistoryScripts.read)
            writer.appendBulk("2")
            writer.appendBulk(state.historyKey, id, "}")
            writer.appendBulk(state.positionKey, id, "}")
            if let from = read.from {
                // From the place itself, to see that it still is what it was.
                ByteWriter.withTemporary(capacity: Offset.textBytesMax + 2) { text in
                    text.append(from)
                    text.withWritten { RESPCommand.writeBulk($0, into: &writer) }
                }
            } else {
                writer.appendBulk("")
            }
            writer.appendBulk(decimal: Int64(state.limits.historyEventsMax) + 1)
            writer.appendBulk(decimal: Int64(HistoryScripts.readBytesMax))
        }
    }

    // MARK: Answers

    /// What a user's history holds.
    func historyHeard(_ reply: borrowing RESPReply) {
        guard let read = state.readsOut.popFirst() else { return }
        guard state.users.isLive(read.user, generation: read.generation) else { return }
        let user = read.user
        state.users[user].reads -= 1
        guard let page = self.page(reply) else {
            metrics.malformed.add()
            giveUp(user, read)
            return
        }
        if page.tip < read.heard, read.epoch == state.epoch {
            // What it had published before it was asked is not there: it would be read for without end.
            eventsWereLost()
            if state.users[user].left == read.heard { state.users[user].left = .none }
        }
        var isBroughtUp = true
        if state.users[user].isPlaced {
            isBroughtUp = bringUp(user, read, page, reply)
        } else if read.acknowledged + 1 < state.users[user].deliveredSince {
            // Of before the first of the devices came: it may not know of what was accepted by then.
        } else if hasOpenDevice(user) {
            // A mark is heard by who hears the user: the canary's channel was asked for before.
            if canRead, state.users[user].hearing == .yes, !state.users[user].awaitsMark {
                placeBehindMark(user, page.tip)
            }
        } else {
            // What was heard meanwhile went to whoever was open, and is nothing to the others.
            state.users[user].place = .known(max(page.tip, state.users[user].left))
            // What is replayed from here must not be given again should Redis fall silent.
            for index in page.offsets.indices {
                _ = withEvent(index, of: reply, user) { _, source in noteGiven(source, .read, to: nil) }
            }
        }
        if isBroughtUp {
            state.users[user].passedThrough = max(state.users[user].passedThrough, read.acknowledged)
        }
        if !state.users[user].isPlaced {
            if state.waiters.isLive(read.waiter, generation: read.waiterGeneration) {
                state.waiters[read.waiter].isReading = false
            }
            serveWaiters(of: user)
            return
        }
        if state.waiters.isLive(read.waiter, generation: read.waiterGeneration) {
            serve(read, page, reply)
        }
        serveWaiters(of: user)
        if state.users[user].left > state.users[user].last, state.users[user].reads == 0 { catchUp(user) }
    }

    /// Something that is no answer: as if the link had broken for this one user.
    func historyUnreadable() {
        guard let read = state.readsOut.popFirst() else { return }
        metrics.malformed.add()
        guard state.users.isLive(read.user, generation: read.generation) else { return }
        state.users[read.user].reads -= 1
        giveUp(read.user, read)
    }

    private func page(_ reply: borrowing RESPReply) -> HistoryPage? {
        guard reply.value.count == 3, let now = reply.value[1].integer, now >= 0 else { return nil }
        var offsets: [Offset] = []
        let count = reply.value[2].count
        offsets.reserveCapacity(count)
        for index in 0..<count {
            guard reply.value[2][index].count == 2, reply.value[2][index][1].count >= 2 else { return nil }
            let offset = reply.value[2][index][0].withBytes { Offset(parsing: Self.bytes($0)) }
            guard let offset else { return nil }
            offsets.append(offset)
        }
        return reply.value[0].withBytes { position in
            HistoryPage(
                position: Self.bytes(position), now: UInt64(now), offsets: offsets,
                eventsMax: state.limits.historyEventsMax,
                ageMilliseconds: UInt64(max(0, state.limits.historyAge.milliseconds)))
        }
    }

    private static func bytes(_ span: Span<UInt8>) -> Bytes {
        unsafe span.withUnsafeBufferPointer { buffer in
            unsafe buffer.baseAddress.map { unsafe Bytes($0, count: buffer.count) } ?? .empty
        }
    }

    /// Gives a user's devices what they missed, or tells them to come back.
    ///
    /// - Returns: false where their shard did not take all of it for now.
    private func bringUp(
        _ user: UInt32, _ read: HistoryRead, _ page: HistoryPage, _ reply: borrowing RESPReply
    ) -> Bool {
        guard page.tip != state.users[user].last else { return true }
        guard page.tip > state.users[user].last || hasLost(read, page) else {
            // It was answered before what was heard since; who waits for it reads again.
            if state.users[user].reads == 0 { catchUp(user) }
            return true
        }
        guard let missed = page.missed(since: state.users[user].last) else {
            if hasLost(read, page) || page.contradicts(state.users[user].last) { eventsWereLost() }
            state.users[user].last = page.tip
            sendBack(user)
            return true
        }
        metrics.catchUps.add()
        for index in missed.reversed() {
            var isTaken = true
            let isEvent = withEvent(index, of: reply, user) { event, source in
                isTaken = forward(&event, page.offsets[index], source, to: user, by: .read)
            }
            guard isTaken else {
                leaveToRead(user, page.tip)
                return false
            }
            guard isEvent else {
                state.users[user].last = page.tip
                sendBack(user)
                return true
            }
        }
        // Also where nothing ever happened, and only the time is another.
        state.users[user].last = page.tip
        return true
    }

    /// Redis stands behind a place where this node had already seen it when it asked. What a client says of
    /// its place proves nothing.
    private func hasLost(_ read: HistoryRead, _ page: HistoryPage) -> Bool {
        guard read.waiter == ConnectionRecord.none, read.epoch == state.epoch, let from = read.from else {
            return false
        }
        return page.tip < from
    }

    /// - Returns: false where the entry is not an event of a node's.
    func withEvent(
        _ index: Int, of reply: borrowing RESPReply, _ user: UInt32,
        _ body: (inout EventView, EventSource) -> Void
    ) -> Bool {
        // Fields and their values: the event is the last.
        let fields = reply.value[2][index][1].count
        return reply.value[2][index][1][fields - 1].withBytes { payload in
            let payload = Self.bytes(payload)
            guard var event = self.event(in: payload, .relay) else { return false }
            event.user = state.users.id(of: user)
            event.userHash = state.users.hash(of: user)
            let source = self.source(of: payload, on: event.user)
            guard source != .backend else { return false }
            event.take(source)
            body(&event, source)
            return true
        }
    }

    // MARK: What cannot be had

    /// Closes a user's devices here, to come back at once: they missed something.
    func sendBack(_ user: UInt32, _ way: RoutedUser.Return = .resuming) {
        guard state.users[user].owedReturn == .none else {
            if way == .reading { state.users[user].owedReturn = way }
            return
        }
        metrics.gaps.add()
        guard !tellToReturn(user, way) else { return }
        state.users[user].owedReturn = way
        let home = state.home(of: state.users.hash(of: user))
        state.owedReturns[home].append(
            UserReference(place: user, generation: state.users.generation(of: user)))
        state.owedReturnCount += 1
    }

    /// Tells those to come back whose shard took nothing when they were to be told.
    ///
    /// - Returns: whether nobody is left to be told there.
    func payReturns(on shard: Int) -> Bool {
        while let owed = state.owedReturns[shard].last {
            if state.users.isLive(owed.place, generation: owed.generation),
                state.users[owed.place].owedReturn != .none
            {
                guard tellToReturn(owed.place, state.users[owed.place].owedReturn) else { return false }
                state.users[owed.place].owedReturn = .none
            }
            state.owedReturns[shard].removeLast()
            state.owedReturnCount -= 1
        }
        return true
    }

    func payReturns() {
        guard state.owedReturnCount > 0 else { return }
        for shard in 0..<state.shardCount { _ = payReturns(on: shard) }
    }

    private func tellToReturn(_ user: UInt32, _ way: RoutedUser.Return) -> Bool {
        let wait = state.shared.host.random(in: 0...Self.sendBackMilliseconds)
        var hint = "{\"reconnectAfterMs\":\(wait),\"resume\":\(way == .resuming && state.keepsHistory)}"
        return hint.withUTF8 { text in
            guard let base = text.baseAddress else { return true }
            return disconnect(
                state.users.id(of: user), code: 1012, reason: unsafe Bytes(base, count: text.count))
        }
    }

    static var sendBackMilliseconds: Int64 { 2_000 }

    /// The link is lost: reads for those who are here wait for the next one, newcomers do not.
    func postponeReads() {
        while let read = state.readsOut.popFirst() { state.toRead.append(read) }
        if !state.toRead.isEmpty, state.readsBlockedSince == nil { state.readsBlockedSince = state.now }
        for _ in 0..<state.toRead.count {
            guard let read = state.toRead.popFirst(),
                state.users.isLive(read.user, generation: read.generation)
            else { continue }
            if state.waiters.isLive(read.waiter, generation: read.waiterGeneration) {
                state.waiters[read.waiter].isReading = false
            }
            if state.users[read.user].isPlaced {
                var again = read
                again.waiter = ConnectionRecord.none
                again.from = state.users[read.user].last
                state.toRead.append(again)
            } else {
                state.users[read.user].reads -= 1
            }
            serveWaiters(of: read.user)
        }
    }

    /// Nobody waits for ever for a link that does not come back: devices are told to come again.
    func giveUpBlockedReads() {
        guard !state.toRead.isEmpty, !state.links[.own].isReady || state.epoch == nil else { return }
        guard let since = state.readsBlockedSince else {
            state.readsBlockedSince = state.now
            return
        }
        guard state.now.nanoseconds(since: since) >= state.limits.canaryTimeout.nanoseconds else { return }
        state.readsBlockedSince = nil
        while let read = state.toRead.popFirst() {
            guard state.users.isLive(read.user, generation: read.generation) else { continue }
            state.users[read.user].reads -= 1
            guard state.users[read.user].isPlaced else { continue }
            state.users[read.user].place = .unknown
            sendBack(read.user)
        }
    }
}
