// What the router does by the clock: reconnect, ask the canary, notice silence, renew, look back for
// the departed, and gather commands for the links.

internal import SkeinIO
internal import SkeinWire

extension RouterCore {
    /// How long commands are gathered once a link has just been given some.
    static var gatherNanoseconds: Int64 { 100_000 }
    static var canaryMilliseconds: Int { 1_000 }

    func start() {
        guard state.hasRedis else {
            metrics.set(.memory)
            return
        }
        metrics.set(.connecting)
        state.reason.set("connecting to Redis")
        for role in RedisLink.Role.allCases { connect(role) }
    }

    func runTimers() {
        guard state.hasRedis else {
            if state.finishBy != nil { state.isFinished = true }
            return
        }
        for role in RedisLink.Role.allCases {
            if let retryAt = state.links[role].retryAt, state.now >= retryAt,
                state.links[role].fd < 0
            { connect(role) }
            if let deadline = state.links[role].deadline, state.now >= deadline {
                let isSecuring = state.links[role].state == .securing
                failed(
                    role,
                    isSecuring
                        ? .tls("no answer to the handshake; is this its tls-port?")
                        : .slow(milliseconds: Self.connectMilliseconds))
            }
        }
        askCanary()
        evaluate()
        if state.now >= state.stallDue, !state.isLocal {
            state.stallDue = state.now.advanced(byMilliseconds: 50)
            checkStall()
        }
        waitAgainIfPossible()
        renewSlice()
        pollSlice()
        runDelayed()
        // What was left to a read is back when the read is over.
        if state.journal.count > 0 { releaseJournal() }
        keepLease()
        if state.finishBy == nil {
            restateFurther()
            restateIfOwed()
            restateAgainIfDue()
        }
        askForRevocationsIfDue()
        payReturns()
        giveUpBlockedReads()
        answerFences()
        finishIfDone()
    }

    func flushLinks() {
        guard state.hasRedis else { return }
        fillPublishLink()
        sendMarks()
        flushSubscribes()
        flushReads()
        for role in RedisLink.Role.allCases where isGathered(role) {
            if !state.links[role].session.isNone, state.links[role].filling.count > 0 { seal(role) }
            if let submission = state.links[role].takeOff(at: state.now) {
                state.pending.append(submission)
            }
        }
    }

    /// A link that was quiet sends at once; a busy one at most every 100 µs.
    @inline(__always)
    private func isGathered(_ role: RedisLink.Role) -> Bool {
        guard state.links[role].wantsFlush else { return false }
        return state.now.nanoseconds(since: state.links[role].lastFlush) >= Self.gatherNanoseconds
    }

    func nextTimer() -> Instant? {
        guard state.hasRedis else { return state.finishBy }
        var next = min(state.canaryDue, state.renewDue)
        if state.shared.sessionRequired { next = min(next, state.pollDue) }
        if !state.isLocal && state.journal.count > 0 { next = min(next, state.stallDue) }
        if let due = leaseDue { next = min(next, due) }
        if !state.quiet.isEmpty { next = min(next, state.quiet[0].due) }
        if state.owedReturnCount > 0 {
            next = min(next, state.now.advanced(byMilliseconds: Self.fullShardMilliseconds))
        }
        // Some may wait for a shard that was left alone for a moment.
        if !state.toRead.isEmpty, canSendReads {
            next = min(next, state.now.advanced(byMilliseconds: Self.fullShardMilliseconds))
        }
        if isRestating { next = min(next, state.now.advanced(byMilliseconds: Self.fullShardMilliseconds)) }
        if let due = state.revocationsDue { next = min(next, due) }
        if let due = state.restatement.againAt, due > state.now { next = min(next, due) }
        if !state.leaving.isEmpty { next = min(next, state.leaving[0].due) }
        for role in RedisLink.Role.allCases {
            if let retryAt = state.links[role].retryAt { next = min(next, retryAt) }
            if let deadline = state.links[role].deadline { next = min(next, deadline) }
            if state.links[role].wantsFlush {
                next = min(next, state.links[role].lastFlush.advanced(byNanoseconds: Self.gatherNanoseconds))
            }
        }
        if state.finishBy != nil { next = min(next, state.now.advanced(byMilliseconds: 20)) }
        return next
    }

    // MARK: Canary

    /// On the channel that only this node hears: the canary, and the marks of fences and places.
    func publishOnCanary(_ payload: (inout ByteWriter) -> Void) {
        let room = state.canaryChannel.count + 160
        state.links[.publish].command(Awaited(kind: .canary), room: room) { writer in
            RESPCommand.writeArray(3, into: &writer)
            writer.appendBulk("PUBLISH")
            RESPCommand.writeBulk(state.canaryChannel.span, into: &writer)
            payload(&writer)
        }
    }

    private func askCanary() {
        guard state.now >= state.canaryDue else { return }
        state.canaryDue = state.now.advanced(byMilliseconds: Self.canaryMilliseconds)
        askPresence()
        askOwn()
        guard state.links[.publish].isReady, state.links[.subscribe].isReady else { return }
        if state.canaryAsked == nil { state.canaryAsked = state.now }
        publishOnCanary { $0.appendBulk(decimal: state.now.nanoseconds) }
    }

    /// The presence link has a canary of its own: a write once a second that finds nothing to
    /// change, since no user has an empty ID. What would be refused to a presence is refused to it.
    private func askPresence() {
        guard state.links[.presence].isReady else { return }
        let silence = state.now.nanoseconds(since: state.links[.presence].lastReply)
        guard silence < state.limits.canaryTimeout.nanoseconds else {
            failed(.presence, .silent(seconds: Int(silence / 1_000_000_000)))
            return
        }
        state.links[.presence].command(Awaited(kind: .probe), room: 96) { writer in
            RESPCommand.writeArray(6, into: &writer)
            writer.appendBulk("SET")
            writer.appendBulk("presence:")
            writer.appendBulk("online")
            writer.appendBulk("XX")
            writer.appendBulk("EX")
            writer.appendBulk("300")
        }
    }

    /// The own link has nothing to say for long stretches; a silent one is replaced like any other.
    private func askOwn() {
        guard state.links[.own].isReady else { return }
        let silence = state.now.nanoseconds(since: state.links[.own].lastReply)
        guard silence < state.limits.canaryTimeout.nanoseconds else {
            failed(.own, .silent(seconds: Int(silence / 1_000_000_000)))
            return
        }
        guard !state.keepsHistory else {
            askForEpoch()
            return
        }
        state.links[.own].command(Awaited(kind: .pulse), room: 32) { writer in
            RESPCommand.writeArray(1, into: &writer)
            writer.appendBulk("PING")
        }
    }

    /// What health, readiness and metrics say: it follows the canary, not the sockets.
    func evaluate() {
        proveLinks()
        let timeout = state.limits.canaryTimeout.nanoseconds
        let areReady = state.links[.publish].isReady && state.links[.subscribe].isReady
        let areProven = state.links[.publish].isProven && state.links[.subscribe].isProven
        var isUp = false
        if areReady, let heard = state.canaryHeard, let asked = state.canaryAsked, heard >= asked {
            isUp = areProven && state.now.nanoseconds(since: heard) < timeout
        }
        if areReady, !isUp, let asked = state.canaryAsked {
            let last = max(asked, state.canaryHeard ?? asked)
            if state.now.nanoseconds(since: last) >= timeout {
                for role in RedisLink.Role.allCases where state.links[role].isReady {
                    failed(role, .silent(seconds: Int(timeout / 1_000_000_000)))
                }
                return
            }
        }
        if !isUp && state.wasUp { stopWaiting("its canary is not heard") }
        state.wasUp = isUp
        // All four links: without the third nobody's session can be asked for, without the fourth
        // nothing of Skein's own.
        let isWhole = isUp && state.links[.presence].isProven && state.links[.own].isProven
            && state.refusedWrites == nil && (!state.keepsHistory || state.epoch != nil)
        guard isWhole != state.wasWhole else { return }
        state.wasWhole = isWhole
        if isWhole {
            metrics.set(.up)
            state.news.forget()
            state.reason.set(nil)
            log(.info, "Redis is up", [("address", state.resolver.text)])
        } else {
            metrics.set(.degraded)
        }
    }

    /// Links that were refused something stand for good once they stood for a while.
    private func proveLinks() {
        for role in RedisLink.Role.allCases {
            guard let provenAt = state.links[role].provenAt, state.now >= provenAt else { continue }
            state.links[role].provenAt = nil
            state.links[role].isProving = false
            state.links[role].failure = nil
            tellReason()
        }
    }

    // MARK: Leaving

    /// The shards have ended: what they left is sent on, presence is taken back, and the loop ends.
    func finish() {
        state.finishBy = state.now.advanced(byMilliseconds: 2_000)
        for user in 0..<UInt32(state.users.highWater)
        where state.users.isLive(user) && state.users[user].deviceCount == 0 {
            // Whoever left a moment ago has his quiet all the same: the keys' own time keeps it.
            endPresence(user, after: Self.quietMilliseconds)
        }
    }

    private func finishIfDone() {
        guard let finishBy = state.finishBy else { return }
        // Then, and not sooner, nothing is written under this node's name any more.
        let isSent = state.journal.nextSequence - 1 <= state.acknowledgedSequence
        if hasSettled(.presence), isSent || !state.links[.publish].isReady { retire() }
        let isEmpty = RedisLink.Role.allCases.allSatisfy(hasSettled) && state.registry.isRetired
        // What this node has seen lost, no other may ever see: it ends the epoch before it goes.
        let hasTold = state.lostEpoch == nil && !owesLookAtMark
        if (isEmpty && isSent && hasTold) || state.now >= finishBy { state.isFinished = true }
    }

    /// It has answered all that it was given, or is not there.
    private func hasSettled(_ role: RedisLink.Role) -> Bool {
        !state.links[role].isReady
            || (state.links[role].filling.count == 0 && !state.links[role].isSending
                && state.links[role].awaited.isEmpty)
    }
}
