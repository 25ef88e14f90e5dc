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
                failed(role, "Redis did not answer within 2 s of connecting")
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
        finishIfDone()
    }

    func flushLinks() {
        guard state.hasRedis else { return }
        fillPublishLink()
        flushSubscribes()
        for role in RedisLink.Role.allCases where isGathered(role) {
            if let submission = state.links[role].takeOff(at: state.now) {
                state.pending.append(submission)
            }
        }
    }

    /// A link that was quiet sends at once; a busy one at most every 100 µs.
    @inline(__always)
    private func isGathered(_ role: RedisLink.Role) -> Bool {
        guard state.links[role].filling.count > 0 else { return false }
        return state.now.nanoseconds(since: state.links[role].lastFlush) >= Self.gatherNanoseconds
    }

    func nextTimer() -> Instant? {
        guard state.hasRedis else { return state.finishBy }
        var next = min(state.canaryDue, state.renewDue)
        if state.shared.sessionRequired { next = min(next, state.pollDue) }
        if !state.isLocal && state.journal.count > 0 { next = min(next, state.stallDue) }
        if !state.quiet.isEmpty { next = min(next, state.quiet[0].due) }
        if !state.leaving.isEmpty { next = min(next, state.leaving[0].due) }
        for role in RedisLink.Role.allCases {
            if let retryAt = state.links[role].retryAt { next = min(next, retryAt) }
            if let deadline = state.links[role].deadline { next = min(next, deadline) }
            if state.links[role].filling.count > 0, !state.links[role].isSending,
                state.links[role].state != .idle
            {
                next = min(next, state.links[role].lastFlush.advanced(byNanoseconds: Self.gatherNanoseconds))
            }
        }
        if state.finishBy != nil { next = min(next, state.now.advanced(byMilliseconds: 20)) }
        return next
    }

    // MARK: Canary

    private func askCanary() {
        guard state.now >= state.canaryDue else { return }
        state.canaryDue = state.now.advanced(byMilliseconds: Self.canaryMilliseconds)
        askPresence()
        guard state.links[.publish].isReady, state.links[.subscribe].isReady else { return }
        if state.canaryAsked == nil { state.canaryAsked = state.now }
        state.links[.publish].command(Awaited(kind: .canary), room: 256) { writer in
            RESPCommand.writeArray(3, into: &writer)
            writer.appendBulk("PUBLISH")
            RESPCommand.writeBulk(state.canaryChannel.span, into: &writer)
            writer.appendBulk(decimal: state.now.nanoseconds)
        }
    }

    /// The presence link has a canary of its own: a PING once a second, whose answer has to come.
    private func askPresence() {
        guard state.links[.presence].isReady else { return }
        let silence = state.now.nanoseconds(since: state.links[.presence].lastReply)
        guard silence < state.limits.canaryTimeout.nanoseconds else {
            failed(.presence, "Redis is silent on the link for presence and sessions")
            return
        }
        state.links[.presence].command(Awaited(kind: .other), room: 32) { writer in
            RESPCommand.writeArray(1, into: &writer)
            writer.appendBulk("PING")
        }
    }

    /// What health, readiness and metrics say: it follows the canary, not the sockets.
    func evaluate() {
        let timeout = state.limits.canaryTimeout.nanoseconds
        let areReady = state.links[.publish].isReady && state.links[.subscribe].isReady
        var isUp = false
        if areReady, let heard = state.canaryHeard, let asked = state.canaryAsked, heard >= asked {
            isUp = state.now.nanoseconds(since: heard) < timeout
        }
        if areReady, !isUp, let asked = state.canaryAsked {
            let last = max(asked, state.canaryHeard ?? asked)
            if state.now.nanoseconds(since: last) >= timeout {
                failed(.publish, "Redis is silent: its canary was not heard for \(timeout / 1_000_000_000) s")
                failed(.subscribe, "Redis is silent: its canary was not heard")
                if state.links[.presence].isReady { failed(.presence, "Redis is silent") }
                return
            }
        }
        if !isUp && state.wasUp { stopWaiting("its canary is not heard") }
        state.wasUp = isUp
        // All three links: without the third nobody's session can be asked for.
        let isWhole = isUp && state.links[.presence].isReady
        guard isWhole != state.wasWhole else { return }
        state.wasWhole = isWhole
        if isWhole {
            metrics.set(.up)
            state.lastFailure = ""
            state.reason.set(nil)
            for role in RedisLink.Role.allCases { state.links[role].attempts = 0 }
            log(.info, "Redis is up", [("address", state.resolver.text)])
        } else {
            metrics.set(.degraded)
        }
    }

    // MARK: Leaving

    /// The shards have ended: what they left is sent on, presence is taken back, and the loop ends.
    func finish() {
        state.finishBy = state.now.advanced(byMilliseconds: 2_000)
        for user in 0..<UInt32(state.users.highWater)
        where state.users.isLive(user) && state.users[user].deviceCount == 0 { endPresence(user) }
    }

    private func finishIfDone() {
        guard let finishBy = state.finishBy else { return }
        let isEmpty = RedisLink.Role.allCases.allSatisfy { role in
            !state.links[role].isReady
                || (state.links[role].filling.count == 0 && !state.links[role].isSending
                    && state.links[role].awaited.isEmpty)
        }
        let isSent = state.journal.nextSequence - 1 <= state.acknowledgedSequence
        if (isEmpty && isSent) || state.now >= finishBy { state.isFinished = true }
    }
}
