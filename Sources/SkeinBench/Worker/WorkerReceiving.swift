// From received bytes to messages. Server frames are not masked: a message that is whole in its receive
// buffer is read where it lies, and only what is cut off is copied.

internal import SkeinIO
internal import SkeinWire

extension Worker {
    mutating func receive(_ slot: UInt32, _ submissions: inout SubmissionQueue) {
        connections[slot].flags.insert(.receiving)
        submissions.append(
            Submission(
                .receiveMany, fd: connections[slot].fd,
                token: connections[slot].token(slot, Operation.receive)))
    }

    mutating func received(_ completion: Completion, _ submissions: inout SubmissionQueue) {
        let slot = completion.token.slot
        guard isCurrent(completion) else {
            if completion.hasBuffer { buffers.recycle(completion.buffer) }
            return
        }
        if !completion.hasMore { connections[slot].flags.remove(.receiving) }
        if completion.result > 0, completion.hasBuffer {
            let count = Int(completion.result)
            result.receivedBytes &+= UInt64(count)
            let base = unsafe buffers.bytes(of: completion.buffer)
            if !connections[slot].session.isNone {
                unsafe open(slot, base, count, &submissions)
            } else {
                take(slot, unsafe Span(_unsafeStart: UnsafePointer(base), count: count), &submissions)
            }
            buffers.recycle(completion.buffer)
            if !completion.hasMore { receiveAgain(slot, &submissions) }
            return
        }
        if completion.hasBuffer { buffers.recycle(completion.buffer) }
        if connections[slot].state == .leaving {
            closeIfIdle(slot, &submissions)
        } else if completion.result == -105 {
            // ENOBUFS: the buffers come back at the end of the turn.
            if !connections[slot].flags.contains(.starved) {
                connections[slot].flags.insert(.starved)
                starved.append(slot)
            }
        } else {
            ended(slot, error: completion.result, &submissions)
        }
    }

    private mutating func receiveAgain(_ slot: UInt32, _ submissions: inout SubmissionQueue) {
        switch connections[slot].state {
        case .leaving: closeIfIdle(slot, &submissions)
        case .closed: break
        default: if !connections[slot].flags.contains(.receiving) { receive(slot, &submissions) }
        }
    }

    mutating func rearmStarved(_ submissions: inout SubmissionQueue) {
        if starved.isEmpty { return }
        for index in 0..<starved.count {
            let slot = starved[index]
            guard connections[slot].flags.contains(.starved) else { continue }
            connections[slot].flags.remove(.starved)
            receiveAgain(slot, &submissions)
        }
        starved.removeAll()
    }

    /// Plain bytes, in the order of the stream.
    mutating func take(_ slot: UInt32, _ bytes: Span<UInt8>, _ submissions: inout SubmissionQueue) {
        if connections[slot].partial.isEmpty {
            let used = consume(slot, bytes, &submissions)
            if used < bytes.count, connections[slot].state != .leaving, connections[slot].state != .closed {
                connections[slot].partial.append(bytes.extracting(used..<bytes.count))
            }
            return
        }
        connections[slot].partial.append(bytes)
        // A copy of the place, not of the bytes: they do not move while they are read.
        let partial = connections[slot].partial
        let used = partial.withSpan { consume(slot, $0, &submissions) }
        if connections[slot].state == .leaving || connections[slot].state == .closed { return }
        connections[slot].partial.removeFirst(used)
    }

    /// - Returns: how many bytes are done with.
    private mutating func consume(
        _ slot: UInt32, _ bytes: Span<UInt8>, _ submissions: inout SubmissionQueue
    ) -> Int {
        var used = 0
        if connections[slot].flags.contains(.redis) { return redisReplied(bytes) }
        if connections[slot].state == .upgrading {
            guard let head = upgrade(slot, bytes, &submissions) else { return 0 }
            used = head
        }
        do throws(WebSocketError) {
            while used < bytes.count, connections[slot].state.speaksFrames {
                guard let header = try Self.decoder.header(in: bytes, at: used),
                    used &+ header.frameBytes <= bytes.count
                else { return used }
                let start = used &+ header.headerBytes
                used &+= header.frameBytes
                let payload = bytes.extracting(start..<used)
                if header.fin, header.opcode == .text || header.opcode == .binary,
                    !connections[slot].flags.contains(.fragmented)
                {
                    message(slot, payload, &submissions)
                } else {
                    try unusual(slot, header, payload, &submissions)
                }
            }
        } catch {
            broken(slot, error, &submissions)
        }
        return used
    }

    private static var decoder: FrameDecoder {
        FrameDecoder(role: .client, payloadBytesMax: BenchPlan.Limits.messageBytesMax)
    }

    /// Control frames, and messages in several.
    @inline(never)
    private mutating func unusual(
        _ slot: UInt32, _ header: FrameHeader, _ payload: Span<UInt8>, _ submissions: inout SubmissionQueue
    ) throws(WebSocketError) {
        switch header.opcode {
        case .ping: sendFrame(slot, .pong, payload)
        case .pong: break
        case .close: closeReceived(slot, payload, &submissions)
        case .text, .binary:
            guard !connections[slot].flags.contains(.fragmented) else { throw .messageInsideMessage }
            connections[slot].flags.insert(.fragmented)
            connections[slot].message.removeAll()
            connections[slot].message.append(payload)
            result.fragmentedMessages += 1
        case .continuation:
            guard connections[slot].flags.contains(.fragmented) else { throw .continuationWithoutStart }
            guard payload.count <= BenchPlan.Limits.messageBytesMax - connections[slot].message.count else {
                throw .messageTooBig
            }
            connections[slot].message.append(payload)
            guard header.fin else { return }
            connections[slot].flags.remove(.fragmented)
            let whole = connections[slot].message
            whole.withSpan { message(slot, $0, &submissions) }
        }
    }

    // TLS.

    mutating func secure(_ slot: UInt32, _ submissions: inout SubmissionQueue) {
        guard let context = shared.tls, let pump, let target = target(slot) else { return }
        connections[slot].state = .securing
        connections[slot].session = TLSSession.client(context, pump: pump, serverName: target.serverName)
        if connections[slot].session.isNone {
            refused(slot, status: -12, retryAfter: nil, &submissions)
            return
        }
        moveSealed(slot)
    }

    @unsafe
    private mutating func open(
        _ slot: UInt32, _ base: UnsafeMutablePointer<UInt8>, _ count: Int, _ submissions: inout SubmissionQueue
    ) {
        guard let pump else { return }
        let session = connections[slot].session
        // Gathered first: what is read may end the session, which must not happen under its own call.
        var plain = self.plain
        plain.removeAll()
        let status = unsafe session.receive(base, count: count, pump: pump, scratch: scratch) { piece in
            guard let start = piece.baseAddress else { return true }
            plain.append(unsafe Span(_unsafeStart: UnsafePointer(start), count: piece.count))
            return true
        }
        moveSealed(slot)
        if connections[slot].state == .securing, session.isEstablished { writeRequest(slot) }
        self.plain = plain
        if !plain.isEmpty { plain.withSpan { take(slot, $0, &submissions) } }
        switch status {
        case .ok: break
        case .closed: ended(slot, error: 0, &submissions)
        case .failed(let failure):
            if result.firstProtocolError == nil { result.firstProtocolError = "TLS: \(failure)" }
            ended(slot, error: -71, &submissions)
        }
    }

    /// What TLS has for the peer, to where the kernel is given it from.
    private mutating func moveSealed(_ slot: UInt32) {
        guard let pump, pump.outputCount > 0 else { return }
        if connections[slot].flags.contains(.sendingLater) {
            // Its memory is the kernel's now; so much of a handshake is never said into a full socket.
            pump.clearOutput()
            return
        }
        if let base = unsafe pump.output.baseAddress {
            connections[slot].out.append(unsafe Span(_unsafeStart: base, count: pump.outputCount))
        }
        pump.clearOutput()
        touch(slot)
    }

    /// What waits in plain text, sealed behind what `out` has.
    mutating func seal(_ slot: UInt32) {
        let session = connections[slot].session
        guard let pump, !connections[slot].waiting.isEmpty, session.isEstablished else { return }
        var waiting = connections[slot].waiting
        unsafe waiting.withBytes(from: 0) { base, count in
            _ = unsafe session.send(UnsafePointer(base), count: count, pump: pump)
        }
        connections[slot].waiting.removeAll()
        moveSealed(slot)
    }
}
