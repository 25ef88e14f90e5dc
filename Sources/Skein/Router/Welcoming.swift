// How devices are welcomed where there is a history: whoever comes waits until it is known where its user
// stands, and whoever comes back, until what it missed has been read.

internal import SkeinIO
internal import SkeinWire

extension RouterCore {
    // MARK: Waiting

    /// Whether history can be asked at all.
    var canRead: Bool {
        state.keepsHistory && state.links[.own].isReady && state.links[.subscribe].isReady
            && state.links[.publish].isReady && state.epoch != nil
    }

    /// Whether a device whose channels are heard has to wait for a read, which is begun if need be.
    func waitsForHistory(_ place: UInt32) -> Bool {
        guard canRead else { return false }
        let waiter = state.waiters[place]
        if waiter.isReading || state.users[waiter.user].awaitsMark { return true }
        let after = comesAfter(waiter)
        if after > state.acknowledgedSequence {
            if !waiter.isQueued {
                state.waiters[place].isQueued = true
                state.unready.append(
                    UnreadyWaiter(
                        after: after, place: place, generation: state.waiters.generation(of: place)))
            }
            return true
        }
        if waiter.resumes, waiter.asked.epoch == state.epoch {
            state.waiters[place].isReading = true
            read(waiter.user, for: place)
            return true
        }
        guard !isBehind(waiter.user) else {
            if state.users[waiter.user].reads == 0 { read(waiter.user, for: nil) }
            return true
        }
        guard !state.users[waiter.user].isPlaced else { return false }
        if state.users[waiter.user].reads == 0 { read(waiter.user, for: nil) }
        return true
    }

    /// Up to which of this node's own events has to be in history before a device may be told where it
    /// stands: what was accepted before it came, or given to the user's other devices without Redis.
    /// Else it would get those late, behind newer ones, or not at all.
    private func comesAfter(_ waiter: Waiter) -> UInt64 {
        max(waiter.after, state.users[waiter.user].deliveredThrough)
    }

    /// A user's devices were given events without Redis, and `last` is of before: who is told of it now
    /// would never get them.
    private func isBehind(_ user: UInt32) -> Bool {
        state.users[user].isPlaced && state.users[user].deliveredThrough > state.users[user].passedThrough
    }

    /// What some waited for is in history, or the link is lost and it will not be soon.
    func serveUnready() {
        let isLost = !state.links[.publish].isReady
        for _ in 0..<state.unready.count {
            guard isLost || state.unready[0].after <= state.acknowledgedSequence,
                let unready = state.unready.popFirst()
            else { return }
            guard state.waiters.isLive(unready.place, generation: unready.generation) else { continue }
            state.waiters[unready.place].isQueued = false
            serveWaiters(of: state.waiters[unready.place].user)
        }
    }

    /// Welcomes a device that has missed nothing, or cannot be given what it missed.
    func welcome(_ waiter: Waiter) {
        guard state.keepsHistory, let epoch = state.epoch, state.users[waiter.user].isPlaced,
            state.users[waiter.user].hearing == .yes, comesAfter(waiter) <= state.acknowledgedSequence,
            !isBehind(waiter.user)
        else {
            // It takes what comes, and where its user stood means nothing to it.
            if state.users[waiter.user].deviceCount == 1 { state.users[waiter.user].place = .unknown }
            answer(waiter.reference, .welcome)
            return
        }
        beginWelcome(epoch, state.users[waiter.user].last, waiter.resumes ? .lost : .none, 0)
        state.replay.withBytes { answer(waiter.reference, .welcome, $0) }
    }

    private func beginWelcome(_ epoch: UInt64, _ position: Offset, _ result: ResumeResult, _ count: Int) {
        state.replay.removeAll()
        state.replay.write(room: 64) { writer in
            writer.store(epoch)
            writer.store(position.first)
            writer.store(position.number)
            writer.store(result.rawValue)
            writer.store(UInt32(count))
        }
    }

    // MARK: Coming back

    /// Answers a device that comes back: all that it missed in one record, or that not all is there.
    func serve(_ read: HistoryRead, _ page: HistoryPage, _ reply: borrowing RESPReply) {
        let place = read.waiter
        let waiter = state.waiters[place]
        guard let epoch = state.epoch, state.users[waiter.user].hearing == .yes else {
            state.waiters[place].isReading = false
            return
        }
        guard comesAfter(waiter) <= read.acknowledged else {
            state.waiters[place].isReading = false
            return
        }
        let last = state.users[waiter.user].last
        guard last == page.tip else {
            // Others here are further already: it is read again, up to where they are.
            self.read(waiter.user, for: place)
            return
        }
        forgetWaiter(of: waiter.reference, waiter.user)
        guard waiter.asked.epoch == epoch, let missed = page.missed(since: waiter.asked.offset),
            writeReplay(epoch, missed, page, reply, waiter.user)
        else {
            beginWelcome(epoch, last, .lost, 0)
            state.replay.withBytes { answer(waiter.reference, .welcome, $0) }
            return
        }
        state.replay.withBytes { answer(waiter.reference, .welcome, $0) }
    }

    /// - Returns: false where it is more than one resume may bring, or is not what it should be.
    private func writeReplay(
        _ epoch: UInt64, _ missed: Range<Int>, _ page: HistoryPage, _ reply: borrowing RESPReply,
        _ user: UInt32
    ) -> Bool {
        beginWelcome(epoch, page.tip, .recovered, missed.count)
        for index in missed.reversed() {
            let isWritten = withEvent(index, of: reply, user) { event, source in
                // It must not be given again should Redis fall silent.
                noteGiven(source, .read, to: user)
                // It is another connection now, and asked for nothing.
                event.origin = .none
                event.requestID = .empty
                event.user = .empty
                event.offset = page.offsets[index]
                append(event)
            }
            guard isWritten, state.replay.count <= state.limits.historyUserBytesMax else { return false }
        }
        return true
    }

    private func append(_ event: EventView) {
        let count = event.recordBytes
        state.replay.write(room: count + 4) { writer in
            writer.store(UInt32(count))
            writer.withUnused { memory in
                unsafe memory.withUnsafeMutableBufferPointer { room in
                    guard let place = room.baseAddress, room.count >= count else { return 0 }
                    unsafe event.store(to: place)
                    return count
                }
            }
        }
    }

    /// A user's history could not be read.
    func giveUp(_ user: UInt32, _ read: HistoryRead) {
        if state.users[user].isPlaced { sendBack(user) }
        state.users[user].place = .unknown
        if state.waiters.isLive(read.waiter, generation: read.waiterGeneration) {
            let waiter = state.waiters[read.waiter]
            forgetWaiter(of: waiter.reference, waiter.user)
            answer(waiter.reference, .welcome)
        }
        endWaiters(of: user)
    }

    /// Those that wait for a read and for nothing else are welcomed without history.
    private func endWaiters(of user: UInt32) {
        var place = state.users[user].firstWaiter
        while place != ConnectionRecord.none {
            let waiter = state.waiters[place]
            if !waiter.isReading, !waiter.needsSession || waiter.hasSession, waiter.hasPlace,
                state.users[user].hearing == .yes
            {
                forgetWaiter(of: waiter.reference, user)
                answer(waiter.reference, .welcome)
            }
            place = waiter.next
        }
    }
}
