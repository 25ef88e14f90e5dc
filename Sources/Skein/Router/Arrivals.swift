// Who is on this node: devices that come and go, the subscriptions that follow them, and the answers
// that let a client be told that it is connected.

internal import SkeinIO
internal import SkeinWire

extension RouterCore {
    func arrived(_ reference: ConnectionReference, _ bytes: Bytes, _ flags: ArrivalFlags) {
        var reader = RecordReader(bytes)
        let id = reader.text()
        let agent = reader.text()
        let hash = UserHash.of(id)
        let asked = flags.contains(.resumes) ? reader.number(ResumePoint.self) : nil
        if flags.contains(.again) {
            if let user = state.users.find(id, hash: hash) { writeDevice(user, reference, agent) }
            return
        }
        let user: UInt32
        if let known = state.users.find(id, hash: hash) {
            user = known
        } else {
            guard let new = state.users.insert(RoutedUser(id: StoredUserID(copying: id)), hash: hash) else {
                answer(reference, .unavailable)
                return
            }
            user = new
        }
        if state.users[user].deviceCount == 0 {
            state.users[user].deliveredSince = state.journal.nextSequence
            state.users[user].deliveredThrough = 0
            state.users[user].heardOthers = false
            // Who was to come back has gone.
            state.users[user].owedReturn = .none
            // What this node accepted before is not for it, and may come after what is known here: it is on its
            // way to Redis, or, already answered, on its way back.
            state.users[user].place = .unknown
        }
        state.users[user].deviceCount += 1
        state.users[user].change &+= 1
        let needsSession = flags.contains(.needsSession)
        if needsSession && !state.links[.presence].isReady {
            answer(reference, .unavailable)
            return
        }
        let needsPlace = countsOnAllNodes
        if !needsSession && !needsPlace { writeDevice(user, reference, agent) }
        hear(user)
        let waiter = Waiter(
            reference: reference, next: state.users[user].firstWaiter, user: user,
            needsSession: needsSession, hasSession: false, hasPlace: !needsPlace, resumes: asked != nil,
            asked: asked ?? ResumePoint(epoch: 0, offset: .none), after: state.journal.nextSequence - 1,
            agent: needsSession ? OwnedText(copying: agent) : .none)
        guard let place = state.waiters.insert(waiter) else {
            answer(reference, .unavailable)
            return
        }
        state.users[user].firstWaiter = place
        if needsSession {
            askForSession(user, waiter: place)
        } else if !needsPlace || !writeDevice(user, reference, agent, waiter: place) {
            givePlace(place)
        }
    }

    /// Whether a device has to find its place among its user's on all nodes, which Redis counts. Not
    /// while Redis is not waited for: the user's events are passed on at once then, and whoever waited
    /// would miss them.
    private var countsOnAllNodes: Bool {
        state.limits.connectionsPerUserMax > 0 && state.links[.presence].isReady && !state.isCluster
            && state.refusedWrites == nil && !state.isLocal
    }

    /// Redis has counted the user's devices. - Parameter count: `nil` where it could not.
    func arrivalAnswered(_ awaited: Awaited, _ count: Int64?) {
        let place = awaited.argument
        guard state.waiters.isLive(place, generation: awaited.generation) else { return }
        let isCrowded = count ?? 0 > state.limits.connectionsPerUserMax
        guard isCrowded, askWhetherCrowded(place) else {
            givePlace(place)
            return
        }
        state.waiters[place].isDoubted = true
    }

    /// And looked which of them are alive. - Parameter isWithin: `nil` where it could not.
    func crowdAnswered(_ awaited: Awaited, _ isWithin: Bool?) {
        let place = awaited.argument
        guard state.waiters.isLive(place, generation: awaited.generation) else { return }
        if isWithin == false { endWaiter(place, .tooMany) } else { givePlace(place) }
    }

    /// Redis is not waited for any more. What it still takes back as one too many is here by then, and is said
    /// again.
    func givePlaces() {
        for place in 0..<UInt32(state.waiters.highWater) where state.waiters.isLive(place) {
            guard !state.waiters[place].hasPlace, !state.waiters[place].needsSession else { continue }
            if state.waiters[place].isDoubted { oweRestatement() }
            givePlace(place)
        }
    }

    func givePlace(_ place: UInt32) {
        state.waiters[place].hasPlace = true
        serveWaiters(of: state.waiters[place].user)
    }

    func left(_ reference: ConnectionReference, _ bytes: Bytes) {
        var reader = RecordReader(bytes)
        let id = reader.text()
        guard let user = state.users.find(id, hash: UserHash.of(id)),
            state.users[user].deviceCount > 0
        else { return }
        forgetWaiter(of: reference, user)
        state.users[user].deviceCount -= 1
        state.users[user].change &+= 1
        eraseDevice(user, reference)
        guard state.users[user].deviceCount == 0 else { return }
        let generation = state.users.generation(of: user)
        let change = state.users[user].change
        state.quiet.append(
            Delayed(
                due: state.now.advanced(byMilliseconds: Self.quietMilliseconds), user: user,
                generation: generation,
                change: change))
        state.leaving.append(
            Delayed(
                due: state.now.advanced(byMilliseconds: 10_000), user: user, generation: generation,
                change: change))
    }

    /// Between a user's last device and the end of the user's presence.
    static var quietMilliseconds: Int { 5_000 }

    /// - Parameter history: what a welcomed device is told of it.
    func answer(_ reference: ConnectionReference, _ result: JoinResult, _ history: Bytes = .empty) {
        guard let memory = unsafe state.outbox.append(
            to: reference.shard, kind: ShardRecord.joined.rawValue, flags: result.rawValue,
            argument: reference.rawValue, payloadBytes: history.count)
        else {
            // Without room the handshake's own deadline ends it.
            metrics.overload.add()
            return
        }
        unsafe history.copy(to: memory)
    }

    // MARK: Subscriptions

    /// Asks for a user's channels unless that was done.
    private func hear(_ user: UInt32) {
        guard state.users[user].hearing == .no, state.links[.subscribe].isReady else { return }
        state.users[user].hearing = .asked
        state.toSubscribe.append(user)
    }

    static var usersPerSubscribe: Int { 256 }

    /// SUBSCRIBE for all who wait, up to 512 channels in one command.
    func flushSubscribes() {
        guard state.links[.subscribe].isReady else { return }
        while !state.toSubscribe.isEmpty, state.links[.subscribe].filling.count < Self.fillBytesMax {
            let count = min(state.toSubscribe.count, Self.usersPerSubscribe)
            state.links[.subscribe].filling.write(room: 64) { writer in
                RESPCommand.writeArray(1 + 2 * count, into: &writer)
                writer.appendBulk("SUBSCRIBE")
            }
            for _ in 0..<count {
                guard let user = state.toSubscribe.popFirst() else { break }
                let id = state.users.id(of: user)
                state.links[.subscribe].filling.write(room: 2 * (id.count + 48)) { writer in
                    writer.appendBulk("user:", id)
                    writer.appendBulk("chat:user:", id)
                }
            }
            state.unacknowledgedSubscribes += count
        }
    }

    /// Redis hears a channel for us. `chat:user:` is asked for last, so with it a user is complete.
    func subscribed(_ channel: Bytes) {
        metrics.subscriptions.add()
        // The canary can be heard from here on; the first one is asked for at once.
        if channel.equals(state.canaryChannel) { state.canaryDue = state.now }
        // What was said on it before that was not heard.
        if channel.equals(state.commandChannel) { askForRevocations() }
        guard let id = channel.dropping("chat:user:") else { return }
        state.unacknowledgedSubscribes = max(0, state.unacknowledgedSubscribes - 1)
        guard let user = state.users.find(id, hash: UserHash.of(id)) else { return }
        state.users[user].hearing = .yes
        // Heard before, and then not for a while: whatever was said meanwhile is in history. A read that is out
        // may be of before.
        if state.users[user].isPlaced || state.users[user].reads > 0 { catchUp(user) }
        serveWaiters(of: user)
    }

    func unsubscribed(_ channel: Bytes) { metrics.subscriptions.subtract() }

    /// After a new connection: everyone again.
    func subscribeEveryone() {
        state.toSubscribe.removeAll()
        state.unacknowledgedSubscribes = 0
        metrics.subscriptions.set(0)
        for user in 0..<UInt32(state.users.highWater) where state.users.isLive(user) {
            state.users[user].hearing = .asked
            state.toSubscribe.append(user)
        }
    }

    /// The subscribing link is gone: nobody is heard, and nobody waits for it.
    func hearNobody() {
        state.toSubscribe.removeAll()
        state.unacknowledgedSubscribes = 0
        for user in 0..<UInt32(state.users.highWater) where state.users.isLive(user) {
            state.users[user].hearing = .no
            if state.users[user].awaitsMark { state.users[user].place = .unknown }
            serveWaiters(of: user)
        }
    }

    // MARK: Waiters

    private func isServed(_ place: UInt32) -> Bool {
        let waiter = state.waiters[place]
        guard !waiter.needsSession || waiter.hasSession, waiter.hasPlace else { return false }
        guard state.users[waiter.user].hearing == .yes else { return !state.links[.subscribe].isReady }
        return !waitsForHistory(place)
    }

    func serveWaiters(of user: UInt32) {
        var kept = ConnectionRecord.none
        var place = state.users[user].firstWaiter
        while place != ConnectionRecord.none {
            let waiter = state.waiters[place]
            if isServed(place) {
                welcome(waiter)
                removeWaiter(place)
            } else {
                state.waiters[place].next = kept
                kept = place
            }
            place = waiter.next
        }
        state.users[user].firstWaiter = kept
    }

    func endWaiter(_ place: UInt32, _ result: JoinResult) {
        let waiter = state.waiters[place]
        forgetWaiter(of: waiter.reference, waiter.user)
        answer(waiter.reference, result)
    }

    func forgetWaiter(of reference: ConnectionReference, _ user: UInt32) {
        var previous = ConnectionRecord.none
        var place = state.users[user].firstWaiter
        while place != ConnectionRecord.none {
            let waiter = state.waiters[place]
            if waiter.reference == reference {
                if previous == ConnectionRecord.none {
                    state.users[user].firstWaiter = waiter.next
                } else {
                    state.waiters[previous].next = waiter.next
                }
                removeWaiter(place)
                return
            }
            previous = place
            place = waiter.next
        }
    }

    private func removeWaiter(_ place: UInt32) {
        state.waiters[place].agent.free()
        state.waiters.remove(place)
    }

    // MARK: Departures

    func runDelayed() {
        while !state.quiet.isEmpty, state.quiet[0].due <= state.now {
            guard let step = state.quiet.popFirst(), stillHolds(step) else { continue }
            endPresence(step.user)
        }
        while !state.leaving.isEmpty, state.leaving[0].due <= state.now {
            guard let step = state.leaving.popFirst(), stillHolds(step) else { continue }
            forget(step.user)
        }
    }

    private func stillHolds(_ step: Delayed) -> Bool {
        state.users.isLive(step.user, generation: step.generation)
            && state.users[step.user].change == step.change && state.users[step.user].deviceCount == 0
    }

    private func forget(_ user: UInt32) {
        // A SUBSCRIBE that is still out would name a user who is gone.
        guard state.users[user].hearing != .asked else {
            state.leaving.append(
                Delayed(
                    due: state.now.advanced(byMilliseconds: 10_000), user: user,
                    generation: state.users.generation(of: user), change: state.users[user].change))
            return
        }
        if state.users[user].hearing == .yes, state.links[.subscribe].isReady {
            let id = state.users.id(of: user)
            state.links[.subscribe].filling.write(room: 2 * id.count + 128) { writer in
                RESPCommand.writeArray(3, into: &writer)
                writer.appendBulk("UNSUBSCRIBE")
                writer.appendBulk("user:", id)
                writer.appendBulk("chat:user:", id)
            }
        }
        state.users.remove(user)
    }
}

extension ByteWriter {
    /// `$n` and a bulk string of two parts.
    mutating func appendBulk(_ prefix: StaticString, _ id: Bytes) {
        append(UInt8(ascii: "$"))
        appendDecimal(prefix.utf8CodeUnitCount + id.count)
        append("\r\n")
        append(prefix)
        append(id)
        append("\r\n")
    }

    /// A bulk string of three parts.
    mutating func appendBulk(_ prefix: [UInt8], _ id: Bytes, _ suffix: StaticString) {
        append(UInt8(ascii: "$"))
        appendDecimal(prefix.count + id.count + suffix.utf8CodeUnitCount)
        append("\r\n")
        append(prefix.span)
        append(id)
        append(suffix)
        append("\r\n")
    }

    mutating func appendBulk(_ text: StaticString) { appendBulk(text, .empty) }

    mutating func appendBulk(_ bytes: Bytes) { appendBulk("", bytes) }

    /// Sixteen hexadecimal digits.
    mutating func appendBulk(hex: UInt64) {
        append("$16\r\n")
        appendHex(hex)
        append("\r\n")
    }

    mutating func appendBulk(decimal: Int64) {
        ByteWriter.withTemporary(capacity: 24) { text in
            text.appendDecimal(Int(decimal))
            text.withWritten { span in
                append(UInt8(ascii: "$"))
                appendDecimal(span.count)
                append("\r\n")
                append(span)
                append("\r\n")
            }
        }
    }
}
