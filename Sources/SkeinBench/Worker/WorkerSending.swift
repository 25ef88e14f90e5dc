// What a turn sends: frames are appended to their connection's buffer, and at the turn's end each touched
// connection gets one send. What the kernel does not take goes out with a send that waits.

internal import SkeinIO
internal import SkeinWire

extension RawBuffer {
    mutating func removeAllUnless(_ isUsed: Bool) { if !isUsed { removeAll() } }
}

extension Worker {
    @inline(__always)
    mutating func touch(_ slot: UInt32) {
        if connections[slot].flags.contains(.dirty) { return }
        connections[slot].flags.insert(.dirty)
        dirty.append(slot)
    }

    /// Whether what is written has to wait: for the kernel, or for TLS.
    @inline(__always)
    func writesAside(_ slot: UInt32) -> Bool {
        connections[slot].flags.contains(.sendingLater) || !connections[slot].session.isNone
    }

    mutating func write(_ slot: UInt32, room: Int, _ body: (inout ByteWriter) -> Void) {
        if writesAside(slot) {
            connections[slot].waiting.write(room: room, body)
        } else {
            connections[slot].out.write(room: room, body)
        }
        touch(slot)
    }

    mutating func sendText(_ slot: UInt32, _ bytes: [UInt8]) { sendFrame(slot, .text, bytes.span) }

    mutating func sendFrame(_ slot: UInt32, _ opcode: Opcode, _ payload: Span<UInt8>) {
        // A server that pings and does not read is not answered without end.
        let held = connections[slot].out.count + connections[slot].waiting.count
        guard held + payload.count < BenchPlan.Limits.outBytesMax else { return }
        let key = nextMask()
        write(slot, room: FrameEncoder.maxClientHeaderBytes + payload.count) { writer in
            FrameEncoder.writeClientHeader(opcode, payloadBytes: payload.count, key: key, into: &writer)
            writer.withUnused { room in
                for index in 0..<payload.count { room[index] = payload[index] }
                // What lies behind the payload is written over by whatever comes next.
                unmask(&room, key: key)
                return payload.count
            }
        }
    }

    /// - Returns: false where the connection holds all that it may.
    @inline(__always)
    mutating func sendMessage(
        _ slot: UInt32, _ kind: MessageStore.Kind, number: UInt32, stream: UInt32
    ) -> Bool {
        let entry = messages.entry(Int(slot), kind)
        let record = unsafe connections.pointer(to: slot)
        let held = unsafe record.pointee.out.count &+ record.pointee.waiting.count
        guard held &+ entry.count < BenchPlan.Limits.outBytesMax else { return false }
        let key = nextMask()
        if writesAside(slot) {
            unsafe messages.writeFrame(
                entry, number: number, stream: stream, key: key, to: &record.pointee.waiting)
        } else {
            unsafe messages.writeFrame(
                entry, number: number, stream: stream, key: key, to: &record.pointee.out)
        }
        touch(slot)
        return true
    }

    // Flushing.

    mutating func flush(_ submissions: inout SubmissionQueue) {
        guard !dirty.isEmpty else { return }
        for index in 0..<dirty.count {
            let slot = dirty[index]
            connections[slot].flags.remove(.dirty)
            guard connections[slot].fd >= 0, connections[slot].state != .leaving,
                !connections[slot].flags.contains(.sendingLater)
            else { continue }
            if !connections[slot].session.isNone {
                seal(slot)
            } else if !connections[slot].waiting.isEmpty, connections[slot].out.isEmpty {
                let empty = connections[slot].out
                connections[slot].out = connections[slot].waiting
                connections[slot].waiting = empty
            }
            connections[slot].flags.remove(.dirty)
            let count = connections[slot].out.count
            guard count > 0 else { continue }
            submissions.append(
                Submission(
                    .sendNow, fd: connections[slot].fd,
                    token: connections[slot].token(slot, Operation.sendNow),
                    address: connections[slot].out.address, count: UInt32(count)))
            inFlight.append(slot)
        }
        dirty.removeAll()
        isSettled = inFlight.isEmpty
    }

    /// Before anything else of a turn: what the last one's sends came to. Those without a completion went
    /// out whole.
    mutating func settle(_ completions: Span<Completion>, _ submissions: inout SubmissionQueue) {
        if isSettled { return }
        for index in 0..<completions.count {
            let completion = completions[index]
            guard completion.token.operation == Operation.sendNow, isCurrent(completion) else { continue }
            let slot = completion.token.slot
            let result = completion.result
            if result >= 0 || result == -11 {
                let sent = max(0, Int(result))
                self.result.sentBytes &+= UInt64(sent)
                connections[slot].out.removeFirst(sent)
                sendLater(slot, &submissions)
            } else {
                // What the server said before it closed may still wait to be read; reading finds the end.
                connections[slot].out.removeAll()
            }
        }
        settleRest()
    }

    mutating func settleQuietly(_ submissions: inout SubmissionQueue) {
        if !isSettled { settleRest() }
    }

    private mutating func settleRest() {
        for index in 0..<inFlight.count {
            let slot = inFlight[index]
            guard !connections[slot].flags.contains(.sendingLater) else { continue }
            result.sentBytes &+= UInt64(connections[slot].out.count)
            connections[slot].out.removeAll()
        }
        inFlight.removeAll()
        isSettled = true
    }

    private mutating func sendLater(_ slot: UInt32, _ submissions: inout SubmissionQueue) {
        guard !connections[slot].out.isEmpty, connections[slot].fd >= 0 else { return }
        connections[slot].flags.insert(.sendingLater)
        submissions.append(
            Submission(
                .sendWhenPossible, fd: connections[slot].fd,
                token: connections[slot].token(slot, Operation.sendLater),
                address: connections[slot].out.address, count: UInt32(connections[slot].out.count)))
    }

    mutating func sentLater(_ completion: Completion, _ submissions: inout SubmissionQueue) {
        guard isCurrent(completion) else { return }
        let slot = completion.token.slot
        connections[slot].flags.remove(.sendingLater)
        if connections[slot].state == .leaving {
            closeIfIdle(slot, &submissions)
            return
        }
        guard completion.result > 0 else {
            connections[slot].out.removeAll()
            connections[slot].waiting.removeAll()
            return
        }
        result.sentBytes &+= UInt64(completion.result)
        connections[slot].out.removeFirst(Int(completion.result))
        if connections[slot].out.isEmpty {
            if !connections[slot].waiting.isEmpty { touch(slot) }
        } else {
            sendLater(slot, &submissions)
        }
    }
}
