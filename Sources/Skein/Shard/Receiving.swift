// From received bytes to messages. A frame that is whole in its receive buffer is unmasked and read
// where it lies; only what is cut off is copied, and checked as it comes, so that a bad byte is
// answered when it arrives and not when the message ends.

internal import Glibc
internal import SkeinIO
internal import SkeinWire

extension ShardCore {
    func receiveMany(_ slot: UInt32) {
        state.connections[slot].flags.insert(.receiving)
        state.pending.append(
            Submission(
                .receiveMany, fd: state.connections[slot].fd,
                token: token(slot, ShardOperation.receive)))
    }

    func received(_ completion: Completion) {
        let slot = completion.token.slot
        guard state.connections.isLive(slot, generation: completion.token.generation) else {
            metrics.countDropped(.staleCompletion)
            if completion.hasBuffer { state.buffers.recycle(completion.buffer) }
            return
        }
        let record = unsafe state.connections.pointer(to: slot)
        if !completion.hasMore { unsafe record.pointee.flags.remove(.receiving) }
        if completion.result > 0 && completion.hasBuffer {
            let count = Int(completion.result)
            metrics.bytesReceived.add(UInt64(count))
            unsafe record.pointee.lastHeard = state.now
            let base = unsafe state.buffers.bytes(of: completion.buffer)
            if unsafe record.pointee.state == .handshaking {
                unsafe handshakeReceived(slot, base, count)
            } else if speaksTLS && (unsafe record.pointee.state.readsOn) {
                unsafe unseal(slot, base, count)
            } else {
                unsafe take(slot, base, count)
            }
            state.buffers.recycle(completion.buffer)
            if !completion.hasMore { receiveAgain(slot) }
            return
        }
        if completion.hasBuffer { state.buffers.recycle(completion.buffer) }
        receiveEnded(slot, completion.result)
    }

    /// What a connection said, in plain text.
    @inline(__always)
    @unsafe
    func take(_ slot: UInt32, _ base: UnsafeMutablePointer<UInt8>, _ count: Int) {
        let record = unsafe state.connections.pointer(to: slot)
        switch unsafe record.pointee.state {
        case .open, .closing:
            unsafe consume(slot, base, count)
            if unsafe record.pointee.input.exists || record.pointee.bytesHeld > 0 { account(slot) }
        case .handshaking: headReceived(slot, unsafe Bytes(base, count: count))
        case .authenticating, .joining:
            // Unsealed with what came before it: kept with that, until the connection is open.
            unsafe record.pointee.handshake.value.bytes.append(unsafe Bytes(base, count: count))
        case .finishing, .dead: break
        }
    }

    /// The peer will say nothing more.
    func endOfStream(_ slot: UInt32) { receiveEnded(slot, 0) }

    /// After a receive that was the last of its request: the next one, where one is wanted.
    private func receiveAgain(_ slot: UInt32) {
        switch state.connections[slot].state {
        case .open, .closing:
            if !state.connections[slot].flags.contains(.receiving) { receiveMany(slot) }
        case .finishing:
            if !state.connections[slot].flags.contains(.receiving) { receiveOnce(slot) }
        case .dead: reapIfIdle(slot)
        case .handshaking, .authenticating, .joining: break
        }
    }

    private func receiveEnded(_ slot: UInt32, _ result: Int32) {
        if state.connections[slot].state == .dead {
            reapIfIdle(slot)
            return
        }
        switch result {
        case -ENOBUFS:
            metrics.starvedReads.add()
            // Every buffer is back by the end of the turn; until then asking again is useless.
            if !state.connections[slot].flags.contains(.receiving) {
                state.connections[slot].flags.insert(.starved)
                state.starved.append(slot)
            }
        case -ECANCELED, -EAGAIN, -EINTR:
            // Cancelled while it lives: it had brought too much at once, which is read by now.
            receiveAgain(slot)
        case 0 where hasUnsent(slot):
            // It said its last and may still listen: what it was given goes out first.
            endAfterFlush(slot)
        default:
            if state.connections[slot].state == .handshaking { metrics.countHandshake(.gone) }
            drop(slot, code: 1006)
        }
    }

    /// Whether anything that it was given is not with the kernel yet.
    func hasUnsent(_ slot: UInt32) -> Bool {
        let record = state.connections[slot]
        return record.backlog.exists || (record.turn == state.turn && record.segmentCount > 0)
    }

    private func endAfterFlush(_ slot: UInt32) {
        switch state.connections[slot].state {
        case .open:
            leaveUser(slot)
            countLost(slot)
        case .closing, .finishing: break
        case .handshaking, .authenticating, .joining, .dead:
            drop(slot, code: 1006)
            return
        }
        state.connections[slot].state = .finishing
        state.connections[slot].flags.formUnion([.finishAfterFlush, .closeReceived])
        state.connections[slot].deadline = state.now.advanced(by: state.limits.writeTimeout)
        schedule(slot)
    }

    /// Arms again what ran out of buffers, once a turn.
    func rearmStarved() {
        while let slot = state.starved.popLast() {
            guard state.connections.isLive(slot) else { continue }
            guard state.connections[slot].flags.contains(.starved) else { continue }
            state.connections[slot].flags.remove(.starved)
            guard !state.connections[slot].flags.contains(.receiving) else { continue }
            switch state.connections[slot].state {
            case .handshaking: receiveOnce(slot)
            case .open, .closing, .finishing: receiveAgain(slot)
            case .authenticating, .joining, .dead: break
            }
        }
    }

    /// Reads frames. The bytes are the connection's until this returns, and are unmasked in place.
    @unsafe
    func consume(_ slot: UInt32, _ base: UnsafeMutablePointer<UInt8>, _ count: Int) {
        var offset = 0
        while offset < count {
            let record = unsafe state.connections.pointer(to: slot)
            guard unsafe record.pointee.state == .open || record.pointee.state == .closing else { return }
            let rest = unsafe Span(_unsafeStart: base + offset, count: count &- offset)
            do throws(WebSocketError) {
                if unsafe record.pointee.input.exists {
                    offset &+= try unsafe consumePartial(slot, base + offset, count &- offset)
                    continue
                }
                let isCompressing = unsafe record.pointee.flags.contains(.compresses)
                let decoder = isCompressing ? state.compressedDecoder : state.decoder
                guard let header = try decoder.header(in: rest) else {
                    keepHead(slot, unsafe Bytes(base + offset, count: count &- offset))
                    return
                }
                guard header.fin, header.frameBytes <= rest.count else {
                    var input = PartialInput()
                    try input.begin(header, messageBytesMax: messageBytesMax(header.rsv1))
                    unsafe record.pointee.input = OwnedPointer(input)
                    offset &+= header.headerBytes
                    if header.payloadBytes == 0 { try frameEnded(slot) }
                    continue
                }
                guard header.opcode != .continuation else { throw .continuationWithoutStart }
                let payload = unsafe base + offset + header.headerBytes
                var span = unsafe MutableSpan(_unsafeStart: payload, count: header.payloadBytes)
                unmask(&span, key: header.maskKey)
                let bytes = unsafe Bytes(payload, count: header.payloadBytes)
                offset &+= header.frameBytes
                if header.opcode.isControl {
                    try control(slot, header.opcode, bytes)
                } else if isCompressing && header.rsv1 {
                    try messageCompressed(slot, header.opcode, bytes)
                } else {
                    guard header.payloadBytes <= state.limits.messageBytesMax else { throw .messageTooBig }
                    if header.opcode == .text {
                        guard unsafe UTF8Validator.isValid(bytes.buffer.span) else { throw .textNotUTF8 }
                    }
                    message(slot, header.opcode, bytes)
                }
            } catch {
                violated(slot, error)
                return
            }
        }
    }

    /// Of the payload as it comes; a compressed one is measured again while it is inflated.
    @inline(__always)
    private func messageBytesMax(_ isCompressed: Bool) -> Int {
        isCompressed ? state.compressedDecoder.payloadBytesMax : state.limits.messageBytesMax
    }

    private func keepHead(_ slot: UInt32, _ bytes: Bytes) {
        var input = PartialInput()
        input.head.append(bytes)
        state.connections[slot].input = OwnedPointer(input)
    }

    /// - Returns: how many of the bytes were taken.
    private func consumePartial(
        _ slot: UInt32, _ base: UnsafeMutablePointer<UInt8>, _ count: Int
    ) throws(WebSocketError) -> Int {
        let input = state.connections[slot].input
        guard let header = input.value.frame else {
            // Between frames, or inside a header: no header is longer than 14 bytes.
            let before = input.value.head.count
            let taken = min(count, 14 - before)
            input.value.head.append(unsafe Bytes(base, count: taken))
            let head = input.value.head.bytes
            let isCompressing = state.connections[slot].flags.contains(.compresses)
            let decoder = isCompressing ? state.compressedDecoder : state.decoder
            guard let header = unsafe try decoder.header(in: head.buffer.span) else { return taken }
            input.value.head.removeAll()
            let isCompressed = header.rsv1 || input.value.fragments.isActive && input.value.fragments.isCompressed
            try input.value.begin(header, messageBytesMax: messageBytesMax(isCompressed))
            if header.payloadBytes == 0 { try frameEnded(slot) }
            return header.headerBytes - before
        }
        let taken = min(count, header.payloadBytes - input.value.frameReceived)
        try input.value.take(unsafe Bytes(base, count: taken), of: header)
        if input.value.frameReceived == header.payloadBytes { try frameEnded(slot) }
        return taken
    }

    private func frameEnded(_ slot: UInt32) throws(WebSocketError) {
        let input = state.connections[slot].input
        guard let header = input.value.frame else { return }
        input.value.frame = nil
        input.value.frameReceived = 0
        if header.opcode.isControl {
            try control(slot, header.opcode, input.value.control.bytes)
            input.value.control.removeAll()
        } else if header.fin {
            let opcode = input.value.opcode
            if input.value.fragments.isCompressed {
                try messageCompressed(slot, opcode, input.value.message.bytes)
            } else {
                if opcode == .text {
                    guard input.value.text.isComplete else { throw .textNotUTF8 }
                }
                message(slot, opcode, input.value.message.bytes)
            }
            input.value.message.removeAll()
        }
        if input.value.isSpent { state.connections[slot].input.free() }
    }

    private func control(_ slot: UInt32, _ opcode: Opcode, _ payload: Bytes) throws(WebSocketError) {
        switch opcode {
        case .ping:
            guard state.connections[slot].state == .open else { return }
            let memory = unsafe state.arena.allocate(128)
            var writer = unsafe ByteWriter(unsafe: memory, capacity: 128)
            unsafe FrameEncoder.writeControl(.pong, payload: payload.buffer.span, into: &writer)
            state.arena.trim(128 - writer.count)
            enqueue(slot, unsafe Bytes(memory, count: writer.count))
        case .close:
            let close = unsafe try ClosePayload.decode(payload.buffer.span)
            peerClosed(slot, code: close.code)
        case .pong, .text, .binary, .continuation:
            break
        }
    }
}

extension PartialInput {
    mutating func begin(_ header: FrameHeader, messageBytesMax: Int) throws(WebSocketError) {
        switch try fragments.accept(header, messageBytesMax: messageBytesMax) {
        case .whole, .begin:
            text = UTF8Validator()
            opcode = header.opcode
        case .control, .middle, .end:
            break
        }
        frame = header
        frameReceived = 0
    }

    /// Takes payload bytes as they come: unmasked, and as text checked, at once.
    mutating func take(_ bytes: Bytes, of header: FrameHeader) throws(WebSocketError) {
        let phase = frameReceived
        frameReceived += bytes.count
        if header.opcode.isControl {
            let start = control.count
            control.append(bytes)
            control.withTail(from: start) { unmask(&$0, key: header.maskKey, phase: phase) }
            return
        }
        let start = message.count
        message.append(bytes)
        message.withTail(from: start) { unmask(&$0, key: header.maskKey, phase: phase) }
        guard opcode == .text, !fragments.isCompressed else { return }
        let fresh = message.bytes.slice(from: start, count: bytes.count)
        guard unsafe text.validate(fresh.buffer.span) else { throw .textNotUTF8 }
    }
}
