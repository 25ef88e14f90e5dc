// The links to Redis over their lives: connecting, bytes in and out, failure, back-off. One failed
// link is replaced alone; a silent canary replaces the two that it travels on.

internal import Glibc
internal import SkeinIO
internal import SkeinWire

extension RouterCore {
    static var connectMilliseconds: Int { 2_000 }
    static var backoffMilliseconds: (first: Int, most: Int) { (50, 2_000) }
    /// A link that stood this long is tried again at once.
    static var steadySeconds: Int64 { 10 }

    // MARK: Connecting

    func connect(_ role: RedisLink.Role) {
        state.links[role].retryAt = nil
        guard let place = state.resolver.current else {
            if let failure = state.resolver.failure {
                failed(role, failure)
            } else {
                // The first Sentinel is still being asked; its answer comes as a task.
                state.links[role].retryAt = state.now.advanced(byMilliseconds: 1_000)
            }
            return
        }
        let address = place.address
        let fd: Int32
        do throws(SystemError) { fd = try state.shared.host.stream(for: address) } catch {
            failed(role, .noSocket(error))
            return
        }
        if !address.isLocal { state.shared.host.setNoDelay(fd) }
        let memory = unsafe state.socketAddress + Int(role.rawValue) * 128
        let length = unsafe address.copy(to: memory)
        state.links[role].reset()
        state.links[role].fd = fd
        state.links[role].generation = (state.links[role].generation + 1) & 0xFF_FFFF
        state.links[role].state = .connecting
        state.links[role].deadline = state.now.advanced(byMilliseconds: Self.connectMilliseconds)
        state.links[role].isSending = true
        state.pending.append(
            Submission(
                .connect, fd: fd, token: state.links[role].token(RouterOperation.connect),
                address: UInt(bitPattern: memory), count: length))
    }

    func receive(_ role: RedisLink.Role) {
        state.links[role].isReceiving = true
        state.pending.append(
            Submission(
                .receiveMany, fd: state.links[role].fd,
                token: state.links[role].token(RouterOperation.receive)))
    }

    // MARK: Failing

    /// Gives a link up and tries again after a while.
    func failed(_ role: RedisLink.Role, _ failure: LinkFailure) {
        let wasReady = state.links[role].isReady
        let hadCommands = !state.links[role].awaited.isEmpty
        let readyFor = state.now.nanoseconds(since: state.links[role].readyAt)
        if wasReady && readyFor > Self.steadySeconds * 1_000_000_000 { state.links[role].attempts = 0 }
        state.links[role].attempts += 1
        let most = min(
            Self.backoffMilliseconds.most,
            Self.backoffMilliseconds.first << min(10, state.links[role].attempts))
        let wait = state.shared.host.random(in: Int64(most / 2)...Int64(most))
        state.links[role].retryAt = state.now.advanced(byMilliseconds: Int(wait))
        state.links[role].state = .idle
        state.links[role].deadline = nil
        state.links[role].failure = failure
        state.links[role].isProving = wasReady ? failure.isRefusal : state.links[role].isProving
        state.links[role].provenAt = nil
        metrics.reconnects.add()
        metrics.failures[failure.cause.rawValue].add()
        tell(role, failure)
        state.resolver.refresh(isWrong: failure.cause == .role)
        // What of presence has not left this machine shall not come later: all is said again.
        if role == .presence, state.links[role].fd >= 0 { state.shared.host.setResetOnClose(state.links[role].fd) }
        closeLink(role)
        if role.carriesEvents { stopWaiting("a link is lost") }
        switch role {
        case .publish: break
        case .own: postponeReads()
        case .subscribe: hearNobody()
        case .presence:
            state.refusedWrites = nil
            if wasReady, hadCommands { expectStragglers() }
            releaseWaiters()
        }
        if role == .publish {
            forgetPlaceMarks()
            serveUnready()
        }
        evaluate()
    }

    /// Redis was found to be what none of the links can use.
    func allFailed(_ failure: LinkFailure) {
        for role in RedisLink.Role.allCases where state.links[role].state != .idle {
            failed(role, failure)
        }
    }

    /// Sentinels name a primary, another one, or have no answer.
    func addressChanged() {
        guard state.hasRedis, state.finishBy == nil else { return }
        for role in RedisLink.Role.allCases where state.links[role].state == .idle {
            state.links[role].retryAt = state.now
        }
        guard state.resolver.failure == nil else { return }
        allFailed(.moved)
        // Those are another Redis's.
        state.restatement.againAt = nil
    }

    func closed(_ role: RedisLink.Role) -> LinkFailure {
        guard state.links[role].isReady else { return .closedEarly }
        return role == .subscribe ? .subscriberClosed : .closed
    }

    private func tell(_ role: RedisLink.Role, _ failure: LinkFailure) {
        metrics.set(.degraded)
        tellReason()
        let text = failure.text(state.resolver.text)
        guard state.news.isNews(text, at: state.now) else { return }
        log(.warning, "link to Redis lost: \(text)", [("link", "\(role)"), ("cause", failure.cause.name)])
    }

    /// What health and readiness say while Redis is not up: of all links' failures the weightiest.
    func tellReason() {
        var reason = state.refusedWrites?.failure
        for role in RedisLink.Role.allCases {
            guard let failure = state.links[role].failure else { continue }
            if let known = reason, known.weight >= failure.weight { continue }
            reason = failure
        }
        state.reason.set(reason?.text(state.resolver.text) ?? "Redis answers; its canary is awaited")
    }

    private func closeLink(_ role: RedisLink.Role) {
        guard state.links[role].fd >= 0 else { return }
        state.links[role].isClosing = true
        if state.links[role].isSending || state.links[role].isReceiving {
            state.pending.append(Submission(.cancel, fd: state.links[role].fd, token: .ignored))
        }
        closeIfIdle(role)
    }

    private func closeIfIdle(_ role: RedisLink.Role) {
        guard state.links[role].isClosing, !state.links[role].isSending,
            !state.links[role].isReceiving, !state.links[role].isOpening
        else { return }
        state.pending.append(Submission(.close, fd: state.links[role].fd, token: .ignored))
        state.links[role].fd = -1
        state.links[role].isClosing = false
        state.links[role].reset()
    }

    /// Handshakes that wait for a session cannot be answered now. Those that wait for their place
    /// among their user's connections have been counted here, and that has to do.
    private func releaseWaiters() {
        for place in 0..<UInt32(state.waiters.highWater) where state.waiters.isLive(place) {
            if state.waiters[place].needsSession && !state.waiters[place].hasSession {
                endWaiter(place, .unavailable)
            } else if !state.waiters[place].hasPlace {
                givePlace(place)
            }
        }
    }

    // MARK: Completions

    func handle(_ completion: Completion) {
        guard let role = RedisLink.Role(rawValue: UInt8(truncatingIfNeeded: completion.token.slot)),
            completion.token.generation == state.links[role].generation
        else {
            if completion.hasBuffer { state.buffers.recycle(completion.buffer) }
            return
        }
        switch completion.token.operation {
        case RouterOperation.connect: connected(role, completion.result)
        case RouterOperation.send: sent(role, completion.result)
        case RouterOperation.receive: received(role, completion)
        default: break
        }
        if state.links[role].isClosing { closeIfIdle(role) }
    }

    private func connected(_ role: RedisLink.Role, _ result: Int32) {
        state.links[role].isSending = false
        guard !state.links[role].isClosing else { return }
        guard result >= 0 else {
            failed(role, .unreachable(errno: -result))
            return
        }
        if state.redis?.tls == nil { greet(role) } else { secure(role) }
    }

    private func sent(_ role: RedisLink.Role, _ result: Int32) {
        state.links[role].isSending = false
        guard !state.links[role].isClosing else { return }
        guard result > 0 else {
            // What Redis said before it hung up may still be on its way in, and says why.
            let isGone = result == -EPIPE || result == -ECONNRESET
            if !isGone || !state.links[role].isReceiving { failed(role, closed(role)) }
            return
        }
        state.links[role].sentOfFlying += Int(result)
        if state.links[role].sentOfFlying < state.links[role].flying.count {
            state.pending.append(state.links[role].sendRest())
        }
    }

    private func received(_ role: RedisLink.Role, _ completion: Completion) {
        if !completion.hasMore { state.links[role].isReceiving = false }
        defer { if completion.hasBuffer { state.buffers.recycle(completion.buffer) } }
        guard !state.links[role].isClosing else { return }
        guard completion.result > 0, completion.hasBuffer else {
            if completion.result == -ENOBUFS || completion.result == -EINTR {
                if !state.links[role].isReceiving { receive(role) }
            } else {
                failed(role, closed(role))
            }
            return
        }
        let base = unsafe state.buffers.bytes(of: completion.buffer)
        let bytes = unsafe Bytes(base, count: Int(completion.result))
        if state.links[role].session.isNone { take(role, bytes) } else { open(role, bytes) }
        guard state.links[role].fd >= 0 else { return }
        if !completion.hasMore && !state.links[role].isClosing { receive(role) }
    }

    /// What Redis said: whole replies are read where they lie, a part of one is kept.
    func take(_ role: RedisLink.Role, _ bytes: Bytes) {
        if state.links[role].input.count == 0 {
            let taken = read(role, bytes)
            guard !state.links[role].isClosing, state.links[role].fd >= 0 else { return }
            state.links[role].input.append(bytes.slice(from: taken, count: bytes.count - taken))
        } else {
            state.links[role].input.append(bytes)
            let taken = read(role, state.links[role].input.bytes)
            guard !state.links[role].isClosing, state.links[role].fd >= 0 else { return }
            state.links[role].input.removeFirst(taken)
        }
    }
}
