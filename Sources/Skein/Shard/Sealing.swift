// TLS between a connection's bytes and the kernel's. What comes is unsealed before anything else sees
// it; what goes is gathered for a turn as ever, and sealed as one when the turn is flushed. What TLS
// itself has to say (handshake flights, tickets, alerts) goes before the turn's own bytes, because
// those are sealed after it.

internal import SkeinIO
internal import SkeinWire

/// What one shard needs to speak TLS.
@safe
struct TLSDoor: ~Copyable {
    /// For handshakes from now on; open sessions keep what they began with.
    private(set) var context: TLSContext
    let pump: TLSPump
    let plain: UnsafeMutableBufferPointer<UInt8>
    /// Bytes of one receive, with what an unfinished record had left.
    static let plainBytes = 32_768

    init(_ context: TLSContext) {
        self.context = context
        pump = TLSPump()
        unsafe plain = .allocate(capacity: Self.plainBytes)
    }

    /// Of an idle session, as measured; buffers come and go with each call.
    static let sessionBytes = 14_336

    mutating func renew(_ new: TLSContext) { context = new }

    deinit {
        pump.free()
        unsafe plain.deallocate()
    }
}

extension ShardCore {
    var speaksTLS: Bool { state.tls.exists }

    // MARK: Inbound

    /// Sealed bytes of a connection, which are its own until this returns.
    @unsafe
    func unseal(_ slot: UInt32, _ base: UnsafeMutablePointer<UInt8>, _ count: Int) {
        if state.connections[slot].tls.isNone, !beginSession(slot) { return }
        // By the connection's state: a peer can bring OpenSSL back into a handshake later, with half of
        // a key update.
        let isHandshaking = state.connections[slot].state == .handshaking
        if isHandshaking, !state.connections[slot].tls.isEstablished {
            guard state.tlsHandshakesLeft > 0 else {
                postpone(slot, unsafe Bytes(base, count: count))
                return
            }
            state.tlsHandshakesLeft -= 1
        }
        let session = state.connections[slot].tls
        let wasEstablished = session.isEstablished
        let generation = state.connections.generation(of: slot)
        let core = self
        let status = unsafe session.receive(
            base, count: count, pump: state.tls.value.pump, scratch: state.tls.value.plain
        ) { piece in
            // Before anything is sealed for another connection.
            core.enqueueSealed(slot)
            guard let start = piece.baseAddress else { return true }
            unsafe core.take(slot, start, piece.count)
            return core.state.connections.isLive(slot, generation: generation)
                && core.state.connections[slot].state.readsOn
        }
        guard state.connections.isLive(slot, generation: generation) else { return }
        enqueueSealed(slot)
        if isHandshaking, !wasEstablished, session.isEstablished {
            metrics.tlsHandshakes.add()
            if session.isResumed { metrics.tlsResumed.add() }
        }
        switch status {
        case .ok:
            if state.connections[slot].state == .handshaking,
                !state.connections[slot].flags.contains(.receiving)
            { receiveOnce(slot) }
        case .closed: endOfStream(slot)
        case .failed(let failure): tlsFailed(slot, failure)
        }
    }

    private func beginSession(_ slot: UInt32) -> Bool {
        let session = TLSSession.server(state.tls.value.context, pump: state.tls.value.pump)
        guard !session.isNone else {
            metrics.countDropped(.overload)
            drop(slot, code: 1006)
            return false
        }
        state.connections[slot].tls = session
        metrics.tlsSessions.add()
        return true
    }

    /// A turn does few handshakes, so that a storm of them does not stop those who are in.
    private func postpone(_ slot: UInt32, _ bytes: Bytes) {
        state.connections[slot].handshake.value.sealed.append(bytes)
        account(slot)
        state.postponed.append(slot)
    }

    /// Goes on with postponed handshakes, as many as a turn does.
    func continueHandshakes() {
        guard speaksTLS else { return }
        state.tlsHandshakesLeft = state.limits.tlsHandshakesPerTurn
        while state.tlsHandshakesLeft > 0, let slot = state.postponed.popFirst() {
            guard state.connections.isLive(slot), state.connections[slot].handshake.exists,
                state.connections[slot].state == .handshaking
            else { continue }
            var sealed = ByteBlock()
            swap(&sealed, &state.connections[slot].handshake.value.sealed)
            unsafe sealed.withBuffer { unsafe unseal(slot, $0.baseAddress!, $0.count) }
        }
    }

    private func tlsFailed(_ slot: UInt32, _ failure: TLSFailure) {
        let was = state.connections[slot].state
        if was == .handshaking {
            if failure.kind == .plainHTTP {
                freeSession(slot)
                refuse(slot, status: 400, result: .plainHTTP)
                return
            }
            metrics.countHandshake(.tlsFailed)
        }
        guard was != .dead else { return }
        if was == .handshaking || was == .authenticating || was == .joining {
            metrics.handshaking.subtract()
        }
        leaveUser(slot)
        if was == .open { countLost(slot) }
        // The alert goes out, and then we are done.
        state.connections[slot].state = .finishing
        state.connections[slot].flags.formUnion([.finishAfterFlush, .notified])
        state.connections[slot].deadline = state.now.advanced(byMilliseconds: 2_000)
        schedule(slot)
        if !hasUnsent(slot) { finish(slot) }
    }

    // MARK: Outbound

    /// Bytes above 2 GiB in a segment's count: sealed already.
    static var sealedMark: UInt32 { 0x8000_0000 }

    /// Queues what TLS has to say for a connection.
    func enqueueSealed(_ slot: UInt32) {
        let output = unsafe state.tls.value.pump.output
        guard output.count > 0 else { return }
        let record = unsafe state.connections.pointer(to: slot)
        guard unsafe record.pointee.state != .dead else {
            state.tls.value.pump.clearOutput()
            return
        }
        let bytes = unsafe Bytes(output.baseAddress!, count: output.count)
        if unsafe record.pointee.backlog.exists {
            unsafe record.pointee.backlog.value.append(bytes, messages: TLSRecords.count(bytes))
            metrics.bytesSent.add(UInt64(bytes.count))
            // First: a queue past its limits is closed, and the close frame goes through here as well.
            state.tls.value.pump.clearOutput()
            account(slot)
            checkSendQueue(slot)
            return
        }
        let memory = unsafe state.arena.allocate(bytes.count)
        unsafe bytes.copy(to: memory)
        state.tls.value.pump.clearOutput()
        enqueue(slot, unsafe Bytes(memory, count: bytes.count), mark: Self.sealedMark)
    }

    /// Seals a whole frame, or an answer, behind a backlog.
    func sealBehindBacklog(_ slot: UInt32, _ bytes: Bytes) {
        let session = state.connections[slot].tls
        guard isSent(unsafe session.send(bytes.base, count: bytes.count, pump: state.tls.value.pump), slot) else {
            return
        }
        enqueueSealed(slot)
    }

    /// Makes one sealed run of all that a connection was given this turn.
    /// - Returns: false where there is nothing to send any more.
    func sealTurn(_ slot: UInt32) -> Bool {
        let record = unsafe state.connections.pointer(to: slot)
        let session = unsafe record.pointee.tls
        var next = unsafe record.pointee.segmentHead
        var sealedBytes = 0
        var plainBytes = 0
        var plainCount = 0
        while next != .max {
            let segment = segmentsOfThisTurn { $0[Int(next)] }
            if segment.count & Self.sealedMark != 0 {
                sealedBytes += Int(segment.count & ~Self.sealedMark)
            } else {
                plainBytes += Int(segment.count)
                plainCount += 1
            }
            next = segment.next
        }
        // After a failure nothing can be sealed any more: the alert goes out alone.
        let hasFailed =
            unsafe sealedBytes > 0 && record.pointee.state == .finishing && !session.isEstablished
        if plainCount > 0, !hasFailed,
            !seal(slot, session, plainBytes: plainBytes, isOne: plainCount == 1) { return false }
        if unsafe record.pointee.flags.contains(.finishAfterFlush)
            && !record.pointee.flags.contains(.notified)
        {
            unsafe record.pointee.flags.insert(.notified)
            session.closeNotify(pump: state.tls.value.pump)
        }
        let output = unsafe state.tls.value.pump.output
        let total = sealedBytes + output.count
        let memory = unsafe state.arena.allocate(max(1, total))
        var end = unsafe memory
        next = unsafe record.pointee.segmentHead
        while next != .max {
            let segment = segmentsOfThisTurn { $0[Int(next)] }
            next = segment.next
            guard segment.count & Self.sealedMark != 0 else { continue }
            let count = Int(segment.count & ~Self.sealedMark)
            unsafe end.update(from: UnsafePointer(bitPattern: segment.address)!, count: count)
            unsafe end += count
        }
        if let base = output.baseAddress { unsafe end.update(from: base, count: output.count) }
        state.tls.value.pump.clearOutput()
        segmentsOfThisTurn { segments in
            unsafe record.pointee.segmentHead = UInt32(truncatingIfNeeded: segments.count)
            segments.append(Segment(
                address: UInt(bitPattern: memory), count: UInt32(truncatingIfNeeded: total), next: .max))
        }
        unsafe record.pointee.segmentTail = record.pointee.segmentHead
        unsafe record.pointee.segmentCount = 1
        unsafe record.pointee.turnBytes = UInt32(truncatingIfNeeded: total)
        unsafe record.pointee.turnMessages = UInt32(
            truncatingIfNeeded: TLSRecords.count(Bytes(memory, count: total)))
        return total > 0
    }

    private func seal(_ slot: UInt32, _ session: TLSSession, plainBytes: Int, isOne: Bool) -> Bool {
        var next = state.connections[slot].segmentHead
        // Small frames scattered over the arena become one record, not one each.
        let memory = unsafe isOne ? nil : state.arena.allocate(plainBytes)
        var end = unsafe memory
        while next != .max {
            let segment = segmentsOfThisTurn { $0[Int(next)] }
            next = segment.next
            guard segment.count & Self.sealedMark == 0 else { continue }
            let bytes = unsafe Bytes(UnsafePointer(bitPattern: segment.address)!, count: Int(segment.count))
            guard let target = unsafe end else {
                return isSent(
                    unsafe session.send(bytes.base, count: bytes.count, pump: state.tls.value.pump), slot)
            }
            unsafe bytes.copy(to: target)
            unsafe end = target + bytes.count
        }
        guard let memory = unsafe memory else { return true }
        return isSent(unsafe session.send(memory, count: plainBytes, pump: state.tls.value.pump), slot)
    }

    /// What cannot be sealed cannot be sent: then the connection ends, and nothing is lost silently.
    private func isSent(_ status: TLSStatus, _ slot: UInt32) -> Bool {
        if case .ok = status { return true }
        state.tls.value.pump.clearOutput()
        drop(slot, code: 1006)
        return false
    }

    /// Says that nothing more will come, where that was not said.
    /// - Returns: false where there is nothing to say.
    func notify(_ slot: UInt32) -> Bool {
        let record = state.connections[slot]
        guard record.tls.isEstablished, !record.flags.contains(.notified) else {
            return false
        }
        state.connections[slot].flags.insert(.notified)
        record.tls.closeNotify(pump: state.tls.value.pump)
        state.connections[slot].flags.insert(.finishAfterFlush)
        enqueueSealed(slot)
        return true
    }

    func freeSession(_ slot: UInt32) {
        guard !state.connections[slot].tls.isNone else { return }
        state.connections[slot].tls.free()
        state.connections[slot].tls = .none
        metrics.tlsSessions.subtract()
    }
}

/// TLS records in bytes that our own session wrote, each behind its five-byte header.
enum TLSRecords {
    static func bytes(_ bytes: Bytes) -> Int {
        guard bytes.count >= 5 else { return bytes.count }
        return unsafe 5 + (Int(bytes.base[3]) << 8 | Int(bytes.base[4]))
    }

    static func count(_ bytes: Bytes) -> Int {
        var count = 0
        var offset = 0
        while offset < bytes.count {
            offset += Self.bytes(bytes.slice(from: offset, count: bytes.count - offset))
            count += 1
        }
        return count
    }
}
