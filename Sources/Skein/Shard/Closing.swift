// How a connection ends. By agreement: our close frame behind everything queued, the peer's answer,
// our side shut down, the peer's end of stream. By force: everything in flight is cancelled, and the
// descriptor is closed with the last completion, because a close under a request sends no FIN.

internal import SkeinIO
internal import SkeinWire

extension ShardCore {
    /// Queues a close frame and waits for the peer's, within the write timeout.
    func close(_ slot: UInt32, _ code: CloseCode, reason: StaticString = "") {
        let reason = Bytes(reason)
        close(slot, code: code.rawValue, reason: reason)
    }

    func close(_ slot: UInt32, code: UInt16, reason: Bytes) {
        switch state.connections[slot].state {
        case .open: break
        case .joining, .authenticating, .handshaking:
            refuse(slot, status: 503, result: .unavailable)
            return
        case .closing, .finishing, .dead: return
        }
        leaveUser(slot)
        countClosed(slot, code)
        let memory = unsafe state.arena.allocate(128)
        var writer = unsafe ByteWriter(unsafe: memory, capacity: 128)
        unsafe FrameEncoder.writeClose(code: code, reason: reason.buffer.span, into: &writer)
        state.arena.trim(128 - writer.count)
        state.connections[slot].state = .closing
        state.connections[slot].flags.insert(.closeSent)
        enqueue(slot, unsafe Bytes(memory, count: writer.count))
        // Dead where not even that could be sealed.
        guard state.connections[slot].state == .closing else { return }
        if state.connections[slot].flags.contains(.closeReceived) {
            state.connections[slot].flags.insert(.finishAfterFlush)
        }
        state.connections[slot].deadline = state.now.advanced(by: state.limits.writeTimeout)
        schedule(slot)
    }

    /// The peer's close frame: answered with its own code, then the server ends the connection.
    func peerClosed(_ slot: UInt32, code: UInt16?) {
        state.connections[slot].flags.insert(.closeReceived)
        if state.connections[slot].state == .closing {
            // Ours was out first: both sides are done.
            if hasUnsent(slot) {
                state.connections[slot].flags.insert(.finishAfterFlush)
            } else {
                finish(slot)
            }
            return
        }
        leaveUser(slot)
        countClosed(slot, code ?? 1005)
        let memory = unsafe state.arena.allocate(16)
        var writer = unsafe ByteWriter(unsafe: memory, capacity: 16)
        if let code {
            unsafe FrameEncoder.writeClose(
                code: code, reason: Bytes.empty.buffer.span, into: &writer)
        } else {
            FrameEncoder.writeHeader(.close, payloadBytes: 0, into: &writer)
        }
        state.arena.trim(16 - writer.count)
        state.connections[slot].state = .closing
        state.connections[slot].flags.formUnion([.closeSent, .finishAfterFlush])
        enqueue(slot, unsafe Bytes(memory, count: writer.count))
        guard state.connections[slot].state == .closing else { return }
        state.connections[slot].deadline = state.now.advanced(by: state.limits.writeTimeout)
        schedule(slot)
    }

    /// The peer broke the protocol: it is told how, and nothing more of it is read as frames.
    func violated(_ slot: UInt32, _ error: WebSocketError) {
        guard state.connections[slot].state == .open || state.connections[slot].state == .closing else {
            return
        }
        if state.connections[slot].state == .open {
            close(slot, error.closeCode, reason: error.reason)
            guard state.connections[slot].state == .closing else { return }
        }
        state.connections[slot].state = .finishing
        state.connections[slot].flags.insert(.finishAfterFlush)
        if !hasUnsent(slot) { finish(slot) }
    }

    /// Everything is written: shut down our side and wait a little for the peer's end of stream, so
    /// that what it still had under way does not turn our last bytes into a reset.
    func finish(_ slot: UInt32) {
        guard state.connections[slot].state != .dead, !notify(slot) else { return }
        if state.connections[slot].flags.contains(.closeReceived) {
            drop(slot, code: 0)
            return
        }
        state.shared.host.shutdownSending(state.connections[slot].fd)
        state.connections[slot].state = .finishing
        state.connections[slot].flags.remove(.finishAfterFlush)
        if !state.connections[slot].flags.contains(.receiving) { receiveOnce(slot) }
        state.connections[slot].deadline = state.now.advanced(byMilliseconds: 2_000)
        schedule(slot)
    }

    /// Ends a connection now. - Parameter code: what is counted if nothing was yet; 0: nothing.
    func drop(_ slot: UInt32, code: UInt16) {
        let was = state.connections[slot].state
        guard was != .dead else { return }
        leaveUser(slot)
        if was == .open { countClosed(slot, code) }
        if was == .handshaking || was == .authenticating || was == .joining {
            metrics.handshaking.subtract()
        }
        state.connections[slot].state = .dead
        state.connections[slot].turn = state.turn &- 2
        state.connections[slot].segmentCount = 0
        if state.drain != nil, state.connections[slot].backlog.exists {
            metrics.eventsLeft.add(UInt64(max(0, state.connections[slot].backlog.value.messages)))
        }
        state.timers.cancel(slot)
        // Each request by its own token: to find them by descriptor the kernel walks all there are.
        if state.connections[slot].flags.contains(.receiving) {
            cancel(slot, ShardOperation.receive)
        }
        if state.connections[slot].flags.contains(.sending) {
            cancel(slot, ShardOperation.sendWhenPossible)
        }
        reapIfIdle(slot)
    }

    func cancel(_ slot: UInt32, _ operation: UInt8) {
        state.pending.append(
            Submission(.cancel, fd: state.connections[slot].fd, token: token(slot, operation)))
    }

    /// As `drop`, and the peer is told by a reset that not everything came.
    func reset(_ slot: UInt32, code: UInt16) {
        state.shared.host.setResetOnClose(state.connections[slot].fd)
        drop(slot, code: code)
    }

    /// Marks a dead connection for the end of the turn, once nothing is in flight for it. Not
    /// sooner: a slot that was reused within a turn could be given the old one's bytes.
    func reapIfIdle(_ slot: UInt32) {
        guard state.connections[slot].state == .dead,
            state.connections[slot].flags.isDisjoint(with: [.receiving, .sending, .reaped])
        else { return }
        state.connections[slot].flags.insert(.reaped)
        state.reaped.append(slot)
    }

    /// Frees what died this turn, but for those that died so late in it that their dialect is told in
    /// the next.
    func reap() {
        var kept = 0
        for index in 0..<state.reaped.count {
            let slot = state.reaped[index]
            guard state.connections[slot].flags.contains(.parting) else {
                free(slot)
                continue
            }
            state.reaped[kept] = slot
            kept += 1
        }
        state.reaped.truncate(to: kept)
    }

    private func free(_ slot: UInt32) {
        let record = unsafe state.connections.pointer(to: slot)
        unsafe record.pointee.input.free()
        unsafe record.pointee.backlog.free()
        if unsafe record.pointee.handshake.exists { unsafe record.pointee.handshake.value.freeTexts() }
        unsafe record.pointee.handshake.free()
        unsafe record.pointee.userAgent.free()
        freeContext(slot)
        freeSession(slot)
        state.bytesHeld -= Int(unsafe record.pointee.bytesHeld)
        state.pending.append(Submission(.close, fd: unsafe record.pointee.fd, token: .ignored))
        if unsafe record.pointee.flags.contains(.told), state.drain?.isPastDeadline == false {
            metrics.moved.add()
        }
        uncount(slot)
        state.connections.remove(slot)
    }

    func uncount(_ slot: UInt32) {
        let shared = state.shared
        if state.connections[slot].flags.contains(.counted) {
            shared.addresses.left(state.connections[slot].address)
        }
        shared.connectionLeft()
    }

    /// Ended without a close frame.
    func countLost(_ slot: UInt32) { countClosed(slot, 1006) }

    private func countClosed(_ slot: UInt32, _ code: UInt16) {
        metrics.connections[Int(state.connections[slot].dialect)].subtract()
        metrics.open.subtract()
        metrics.countClose(code)
    }

    /// Tells dialects who has gone. At the end of the turn and not at once: somebody may have gone
    /// because of what a dialect was just sending, in the middle of a walk through a user's devices.
    func tellPartings() {
        while var parting = state.partings.popFirst() {
            state.parting = parting
            let connection = Connection(core: self, slot: parting.slot)
            state.dialects.with(parting.dialect) { $0.disconnected(connection) }
            state.parting = nil
            state.connections[parting.slot].flags.remove(.parting)
            parting.userID.free()
        }
    }

    /// Takes a connection off its user's list of devices.
    func leaveUser(_ slot: UInt32) {
        let user = state.connections[slot].user
        if state.connections[slot].flags.contains(.announced) {
            state.connections[slot].flags.remove(.announced)
            state.connections[slot].flags.insert(.parting)
            let id = user == ConnectionRecord.none ? Bytes.empty : state.users.id(of: user)
            state.partings.append(
                Parting(
                    slot: slot, dialect: state.connections[slot].dialect, userID: OwnedText(copying: id)))
        }
        guard user != ConnectionRecord.none else { return }
        let next = state.connections[slot].nextDevice
        let previous = state.connections[slot].previousDevice
        if previous == ConnectionRecord.none {
            state.users[user].firstDevice = next
        } else {
            state.connections[previous].nextDevice = next
        }
        if next != ConnectionRecord.none { state.connections[next].previousDevice = previous }
        state.connections[slot].user = ConnectionRecord.none
        state.connections[slot].nextDevice = ConnectionRecord.none
        state.connections[slot].previousDevice = ConnectionRecord.none
        state.users[user].deviceCount -= 1
        if state.connections[slot].flags.contains(.toldRouter) { tellRouter(left: slot, user: user) }
        guard state.users[user].deviceCount == 0 else { return }
        state.users.remove(user)
        metrics.users.subtract()
    }
}
