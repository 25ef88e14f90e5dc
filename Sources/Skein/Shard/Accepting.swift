// New sockets. Refusals that need no byte of the request are made here, with an HTTP answer, so that
// a client learns why; running out of descriptors sheds one waiting client and pauses, never spins.

internal import Glibc
internal import SkeinIO

extension ShardCore {
    func startAccepting() { state.metrics.value.isListening.set(1) }

    private var acceptToken: Token { Token(slot: 0, generation: 0, operation: ShardOperation.accept) }

    /// Arms the listener when it is not: at the start, after an error's pause, on old kernels
    /// after each connection.
    func rearmAccept() {
        guard state.listener >= 0, !state.acceptArmed else { return }
        if let until = state.acceptPausedUntil {
            guard state.now >= until else { return }
            state.acceptPausedUntil = nil
        }
        state.acceptArmed = true
        state.pending.append(Submission(.accept, fd: state.listener, token: acceptToken))
    }

    func accepted(_ completion: Completion) {
        if !completion.hasMore { state.acceptArmed = false }
        guard completion.result >= 0 else {
            acceptFailed(-completion.result)
            return
        }
        let fd = completion.result
        guard state.listener >= 0 else {
            state.pending.append(Submission(.close, fd: fd, token: .ignored))
            return
        }
        if state.isShedding {
            shed(fd)
            return
        }
        admit(fd)
    }

    private func admit(_ fd: Int32) {
        let address = state.shared.host.peerAddress(of: fd) ?? PeerAddress(high: 0, low: 0, port: 0)
        state.shared.host.setNoDelay(fd)
        let shared = state.shared
        let limits = state.limits
        let record = ConnectionRecord(
            fd: fd, address: address, now: state.now,
            deadline: state.now.advanced(by: limits.handshakeTimeout))
        guard let slot = state.connections.insert(record) else {
            metrics.countHandshake(.tooManyNode)
            state.pending.append(Submission(.close, fd: fd, token: .ignored))
            return
        }
        metrics.handshaking.add()
        schedule(slot)
        guard !shared.memory.isHigh else {
            shared.connectionCame()
            refuse(slot, status: 503, result: .memory, retryAfterSeconds: 5)
            return
        }
        let isWithinNode = shared.connectionCame(max: limits.connectionsMax)
        guard isWithinNode else {
            refuse(slot, status: 503, result: .tooManyNode, retryAfterSeconds: 5)
            return
        }
        // A proxy's connections are its clients': they are counted when it has said whose they are.
        guard shared.proxies.mayForward(address) || countAddress(slot) else { return }
        receiveOnce(slot)
    }

    /// Counts a connection by its client's address.
    /// - Returns: false when it was refused: there are too many, or they come too fast.
    func countAddress(_ slot: UInt32) -> Bool {
        let limits = state.limits
        switch state.shared.addresses.came(
            state.connections[slot].address, now: state.now, max: limits.connectionsPerAddressMax,
            rate: limits.handshakeRate, burst: limits.handshakeBurst)
        {
        case .admitted:
            state.connections[slot].flags.insert(.counted)
            return true
        case .tooMany:
            refuse(slot, status: 429, result: .tooManyAddress, retryAfterSeconds: 5)
        case .tooFast:
            state.connections[slot].flags.insert(.counted)
            refuse(slot, status: 429, result: .rateLimited, retryAfterSeconds: 1)
        }
        return false
    }

    private func acceptFailed(_ error: Int32) {
        guard state.listener >= 0 else { return }
        switch error {
        case ECANCELED:
            return
        case EMFILE, ENFILE:
            metrics.countDropped(.noDescriptors)
            // Give up the reserve for a moment, so that one waiting client is told by a close and
            // not by silence; then wait for others to leave.
            if state.reserve >= 0 {
                state.shared.host.close(state.reserve)
                state.reserve = -1
                state.isShedding = true
            } else {
                pauseAccepting()
            }
        default:
            // A connection that was reset while it waited, and the like: the listener is fine.
            if !state.acceptArmed { pauseAccepting(milliseconds: 1) }
        }
    }

    private func shed(_ fd: Int32) {
        state.shared.host.close(fd)
        do throws(SystemError) {
            state.reserve = try state.shared.host.openReserve()
            state.isShedding = false
        } catch {
            state.reserve = -1
        }
        if state.acceptArmed { state.pending.append(Submission(.cancel, fd: state.listener, token: .ignored)) }
        pauseAccepting()
        log(.warning, "no file descriptors left; new connections wait. Raise LimitNOFILE (ulimit -n).")
    }

    private func pauseAccepting(milliseconds: Int = 100) {
        state.acceptPausedUntil = state.now.advanced(byMilliseconds: milliseconds)
        if state.reserve < 0, let reserve = try? state.shared.host.openReserve() {
            state.reserve = reserve
            state.isShedding = false
        }
    }

    /// Stops listening for good: the kernel refuses what comes from now on.
    func stopListening() {
        guard state.listener >= 0 else { return }
        if state.acceptArmed { state.pending.append(Submission(.cancel, fd: state.listener, token: .ignored)) }
        state.pending.append(Submission(.close, fd: state.listener, token: .ignored))
        state.listener = -1
        // Nothing is waited for any more, or the loop would wait for a moment that has passed.
        state.acceptPausedUntil = nil
        state.metrics.value.isListening.set(0)
    }
}
