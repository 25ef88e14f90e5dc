// From a frame to the kernel. A turn gathers segments on the connections it touches; its flush makes
// one send of each. What the kernel does not take at once becomes the connection's backlog, which
// has the limits of the send queue and a clock of its own.

internal import Glibc
internal import SkeinIO
internal import SkeinWire

extension ShardCore {
    /// Queues bytes of this turn's arena for a connection: one frame, or an answer to a handshake.
    ///
    /// - Parameter mark: `sealedMark` for what is sealed already, which is a segment of its own.
    @inline(__always)
    func enqueue(_ slot: UInt32, _ bytes: Bytes, mark: UInt32 = 0) {
        let record = unsafe state.connections.pointer(to: slot)
        if unsafe record.pointee.backlog.exists {
            enqueueBehindBacklog(slot, bytes)
            return
        }
        let address = unsafe UInt(bitPattern: bytes.base)
        let count = UInt32(truncatingIfNeeded: bytes.count)
        segmentsOfThisTurn { segments in
            if unsafe record.pointee.turn != state.turn || record.pointee.segmentCount == 0 {
                let head = UInt32(truncatingIfNeeded: segments.count)
                unsafe record.pointee.turn = state.turn
                unsafe record.pointee.segmentHead = head
                unsafe record.pointee.segmentTail = head
                unsafe record.pointee.segmentCount = 1
                unsafe record.pointee.turnBytes = count
                unsafe record.pointee.turnMessages = 1
                segments.append(Segment(address: address, count: count | mark, next: .max))
                state.dirty.append(slot)
                return
            }
            unsafe record.pointee.turnBytes &+= count
            unsafe record.pointee.turnMessages &+= 1
            let tail = Int(unsafe record.pointee.segmentTail)
            // Frames written one after the other, as in a burst of broadcasts, are one segment; never
            // plain ones and sealed ones, or plain text would go out as if it were sealed.
            if mark == 0, segments[tail].address &+ UInt(segments[tail].count) == address,
                segments[tail].count & Self.sealedMark == 0
            {
                segments[tail].count &+= count
                return
            }
            let place = UInt32(truncatingIfNeeded: segments.count)
            segments[tail].next = place
            unsafe record.pointee.segmentTail = place
            unsafe record.pointee.segmentCount &+= 1
            segments.append(Segment(address: address, count: count | mark, next: .max))
        }
    }

    /// One send for each connection that was given something this turn.
    func flush(into submissions: inout SubmissionQueue) {
        let count = state.dirty.count
        if count > 0 {
            var bytes: UInt64 = 0
            var batch: Int64 = 0
            for index in 0..<count {
                let slot = state.dirty[index]
                guard state.connections.isLive(slot) else { continue }
                let record = unsafe state.connections.pointer(to: slot)
                // Dead by now, or its slot is another's: what it was given goes with it.
                guard unsafe record.pointee.turn == state.turn && record.pointee.segmentCount > 0
                    && record.pointee.state != .dead
                else { continue }
                if unsafe !record.pointee.tls.isNone, !sealTurn(slot) { continue }
                submissions.append(submission(for: slot))
                bytes &+= UInt64(unsafe record.pointee.turnBytes)
                batch &+= 1
                if unsafe record.pointee.flags.contains(.finishAfterFlush) {
                    state.finishing.append(slot)
                }
            }
            state.dirty.removeAll()
            metrics.bytesSent.add(bytes)
            metrics.sendBatch.record(batch)
        }
        rearmStarved()
        rearmAccept()
        reap()
        for index in 0..<state.pending.count { submissions.append(state.pending[index]) }
        state.pending.removeAll()
        state.outbox.flush()
    }

    @inline(__always)
    private func submission(for slot: UInt32) -> Submission {
        let record = unsafe state.connections.pointer(to: slot)
        let token = token(slot, ShardOperation.sendNow)
        let fd = unsafe record.pointee.fd
        let head = Int(unsafe record.pointee.segmentHead)
        if unsafe record.pointee.segmentCount == 1 {
            let segment = segmentsOfThisTurn { $0[head] }
            return Submission(.sendNow, fd: fd, token: token, address: segment.address, count: segment.count)
        }
        return unsafe gathered(record, fd: fd, token: token)
    }

    /// Bytes up to which copying scattered frames together is cheaper than having the kernel walk
    /// an iovec for each.
    private static var gatherBytesMax: UInt32 { 16_384 }
    private static var vectorCountMax: UInt32 { 1_024 }

    private func gathered(
        _ record: UnsafeMutablePointer<ConnectionRecord>, fd: Int32, token: Token
    ) -> Submission {
        let total = unsafe record.pointee.turnBytes
        let parts = unsafe record.pointee.segmentCount
        var next = unsafe record.pointee.segmentHead
        if total <= Self.gatherBytesMax || parts > Self.vectorCountMax {
            let memory = unsafe state.arena.allocate(Int(total))
            var end = unsafe memory
            while next != .max {
                let segment = segmentsOfThisTurn { $0[Int(next)] }
                unsafe Bytes(UnsafePointer(bitPattern: segment.address)!, count: Int(segment.count))
                    .copy(to: end)
                unsafe end += Int(segment.count)
                next = segment.next
            }
            return Submission(
                .sendNow, fd: fd, token: token, address: UInt(bitPattern: memory), count: total)
        }
        let stride = unsafe MemoryLayout<iovec>.stride
        let raw = unsafe state.arena.allocate(Int(parts) * stride + 16)
        let vector = unsafe UnsafeMutableRawPointer(raw).alignedUp(for: iovec.self)
        var place = 0
        while next != .max {
            let segment = segmentsOfThisTurn { $0[Int(next)] }
            unsafe vector.storeBytes(
                of: iovec(
                    iov_base: UnsafeMutableRawPointer(bitPattern: segment.address),
                    iov_len: Int(segment.count)),
                toByteOffset: place * stride, as: iovec.self)
            place += 1
            next = segment.next
        }
        return Submission(
            .sendVectorNow, fd: fd, token: token, address: UInt(bitPattern: vector),
            count: parts)
    }

    /// The kernel took only part of the last turn's bytes, or the peer is gone.
    func sendFellShort(_ completion: Completion) {
        let slot = completion.token.slot
        guard state.connections.isLive(slot, generation: completion.token.generation) else {
            metrics.countDropped(.staleCompletion)
            return
        }
        let record = unsafe state.connections.pointer(to: slot)
        guard unsafe record.pointee.state != .dead else { return }
        guard completion.result >= 0 || completion.result == -EAGAIN else {
            drop(slot, code: 1006)
            return
        }
        // The segments are the last turn's. Were they not, its bytes would be lost: end it.
        guard unsafe record.pointee.turn == state.turn &- 1 else {
            drop(slot, code: 1006)
            return
        }
        var backlog = unsafe Backlog(
            capacity: Int(record.pointee.turnBytes), isSealed: !record.pointee.tls.isNone)
        var next = unsafe record.pointee.segmentHead
        while next != .max {
            let segment = state.turn & 1 == 0 ? state.oddSegments[Int(next)] : state.evenSegments[Int(next)]
            backlog.append(
                unsafe Bytes(UnsafePointer(bitPattern: segment.address)!, count: Int(segment.count)),
                messages: 0)
            next = segment.next
        }
        backlog.count(messages: Int(unsafe record.pointee.turnMessages))
        backlog.sent(max(0, Int(completion.result)))
        unsafe record.pointee.segmentCount = 0
        unsafe record.pointee.backlog = OwnedPointer(backlog)
        account(slot)
        submitBacklog(slot)
        checkSendQueue(slot)
    }

    private func submitBacklog(_ slot: UInt32) {
        let record = unsafe state.connections.pointer(to: slot)
        let bytes = unsafe record.pointee.backlog.value.takeOff()
        unsafe record.pointee.flags.insert(.sending)
        // Progress gives an open connection time. Of a handshake and of leaving the end is set, and
        // whoever takes a byte a second does not put it off.
        if unsafe record.pointee.state == .open {
            unsafe record.pointee.deadline = state.now.advanced(by: state.limits.writeTimeout)
        }
        state.pending.append(
            Submission(
                .sendWhenPossible, fd: unsafe record.pointee.fd,
                token: token(slot, ShardOperation.sendWhenPossible),
                address: unsafe UInt(bitPattern: bytes.base),
                count: UInt32(clamping: bytes.count)))
        schedule(slot)
    }

    private func enqueueBehindBacklog(_ slot: UInt32, _ bytes: Bytes) {
        let record = unsafe state.connections.pointer(to: slot)
        guard unsafe record.pointee.tls.isNone else {
            sealBehindBacklog(slot, bytes)
            return
        }
        unsafe record.pointee.backlog.value.append(bytes, messages: 1)
        metrics.bytesSent.add(UInt64(bytes.count))
        account(slot)
        checkSendQueue(slot)
    }

    /// Past its limits a send queue is closed with 4008, behind what it holds; nothing is dropped
    /// silently.
    func checkSendQueue(_ slot: UInt32) {
        let record = unsafe state.connections.pointer(to: slot)
        let waiting = unsafe record.pointee.backlog.value.bytes
        metrics.sendQueueHighWater.raise(to: UInt64(waiting))
        let most = sendQueueMax(isReplaying: unsafe record.pointee.flags.contains(.replaying))
        guard unsafe record.pointee.state == .open,
            waiting > most.bytes || (unsafe record.pointee.backlog.value.messages) > most.messages
        else { return }
        metrics.slowConsumers.add()
        metrics.countDropped(.slowConsumer)
        close(slot, .slowConsumer, reason: "slow consumer")
    }

    /// A slow consumer that came back is given all that history held for it at once. So that it can
    /// read that before it counts as slow again, as much more may wait for it until it has.
    func sendQueueMax(isReplaying: Bool) -> (messages: Int, bytes: Int) {
        let messages = state.limits.sendQueueMessagesMax
        let bytes = state.limits.sendQueueBytesMax
        guard isReplaying else { return (messages, bytes) }
        // An event in an envelope is a little longer than as it is kept. Either may be without a limit.
        func sum(_ a: Int, _ b: Int) -> Int { a > .max - b ? .max : a + b }
        let kept = state.limits.historyUserBytesMax
        return (sum(messages, state.limits.historyEventsMax), sum(bytes, sum(kept, kept)))
    }

    /// Part of a backlog, or all of it, went out.
    func backlogSent(_ completion: Completion) {
        let slot = completion.token.slot
        guard state.connections.isLive(slot, generation: completion.token.generation) else {
            metrics.countDropped(.staleCompletion)
            return
        }
        let record = unsafe state.connections.pointer(to: slot)
        unsafe record.pointee.flags.remove(.sending)
        if unsafe record.pointee.state == .dead {
            reapIfIdle(slot)
            return
        }
        guard completion.result >= 0 else {
            drop(slot, code: 1006)
            return
        }
        // A ping would have waited behind it: that it takes what it is sent says as much as an answer.
        if completion.result > 0 { unsafe record.pointee.lastHeard = state.now }
        let before = unsafe record.pointee.backlog.value.messages
        unsafe record.pointee.backlog.value.sent(Int(completion.result))
        if state.drain != nil {
            let after = unsafe record.pointee.backlog.value.messages
            metrics.eventsFlushed.add(UInt64(max(0, before - after)))
        }
        guard unsafe record.pointee.backlog.value.isEmpty else {
            submitBacklog(slot)
            return
        }
        unsafe record.pointee.backlog.free()
        unsafe record.pointee.flags.remove(.replaying)
        account(slot)
        if unsafe record.pointee.state == .authenticating {
            moveOn(slot)
            return
        }
        if unsafe record.pointee.flags.contains(.finishAfterFlush) { finish(slot) } else { schedule(slot) }
    }

    /// Connections whose last bytes went out with the last turn, and whole.
    @inline(__always)
    func finishFlushed() {
        if !state.replayed.isEmpty { endReplays() }
        guard !state.finishing.isEmpty else { return }
        while let slot = state.finishing.popLast() {
            guard state.connections.isLive(slot) else { continue }
            let record = unsafe state.connections.pointer(to: slot)
            guard unsafe record.pointee.flags.contains(.finishAfterFlush)
                && !record.pointee.backlog.exists
            else { continue }
            finish(slot)
        }
    }

    /// Who was given what it had missed with the last turn, and took all of it, may keep no more waiting
    /// than others; who did not, once its backlog is out.
    private func endReplays() {
        var kept = 0
        for index in 0..<state.replayed.count {
            let slot = state.replayed[index]
            guard state.connections.isLive(slot), !state.connections[slot].backlog.exists else { continue }
            if state.connections[slot].turn == state.turn {
                state.replayed[kept] = slot
                kept += 1
            } else {
                state.connections[slot].flags.remove(.replaying)
            }
        }
        state.replayed.truncate(to: kept)
    }
}
