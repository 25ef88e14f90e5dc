// How connections end: by the server, by us, or by a mistake of either.

internal import SkeinClient
internal import SkeinIO
internal import SkeinWire

extension Worker {
    /// Lets go of the socket, whatever is in flight on it, with a reset where nothing was agreed.
    mutating func leave(_ slot: UInt32, _ submissions: inout SubmissionQueue) {
        let isGone = connections[slot].state == .closed && connections[slot].fd < 0
        guard connections[slot].state != .leaving, !isGone else {
            returnPlace(slot)
            return
        }
        if connections[slot].state == .open, !connections[slot].flags.contains(.publisher) { openCount -= 1 }
        let fd = connections[slot].fd
        connections[slot].state = .leaving
        connections[slot].out.removeAllUnless(connections[slot].flags.contains(.sendingLater))
        connections[slot].waiting.removeAll()
        guard fd >= 0 else {
            closeIfIdle(slot, &submissions)
            return
        }
        Sockets.setResetOnClose(fd)
        for (flag, operation) in [
            (Connection.Flags.receiving, Operation.receive), (.sendingLater, Operation.sendLater),
            (.connecting, Operation.connect),
        ] where connections[slot].flags.contains(flag) {
            submissions.append(
                Submission(.cancel, fd: fd, token: connections[slot].token(slot, operation)))
        }
        closeIfIdle(slot, &submissions)
    }

    /// The last completion has come: the place is free for another life.
    mutating func closeIfIdle(_ slot: UInt32, _ submissions: inout SubmissionQueue) {
        guard connections[slot].state == .leaving, !connections[slot].hasInFlight else { return }
        if connections[slot].fd >= 0 {
            submissions.append(Submission(.close, fd: connections[slot].fd, token: .ignored))
        }
        connections[slot].fd = -1
        connections[slot].state = .closed
        connections[slot].life &+= 1
        connections[slot].flags.subtract([.fragmented, .textFragments, .starved])
        connections[slot].out.removeAll()
        connections[slot].waiting.removeAll()
        connections[slot].partial.removeAll()
        connections[slot].message.removeAll()
        connections[slot].session.free()
        connections[slot].session = .none
        returnPlace(slot)
    }

    private mutating func returnPlace(_ slot: UInt32) {
        if scenario == .connect, connections[slot].state == .closed { freeSlots.append(slot) }
    }

    /// The stream has ended, or failed with `-errno`.
    mutating func ended(_ slot: UInt32, error: Int32, _ submissions: inout SubmissionQueue) {
        switch connections[slot].state {
        case .connecting, .securing, .upgrading, .greeting:
            refused(slot, status: error == 0 ? 1 : Int(error), retryAfter: nil, &submissions)
        case .open:
            // Without a word.
            closed(slot, code: 1006, reason: "", &submissions)
            leave(slot, &submissions)
        case .closing: leave(slot, &submissions)
        case .leaving, .closed: break
        }
    }

    /// The peer broke a rule of RFC 6455.
    mutating func broken(_ slot: UInt32, _ error: WebSocketError, _ submissions: inout SubmissionQueue) {
        result.protocolErrors += 1
        if result.firstProtocolError == nil { result.firstProtocolError = "\(error)" }
        ended(slot, error: -71, &submissions)
    }

    /// A close frame.
    mutating func closeReceived(_ slot: UInt32, _ payload: Span<UInt8>, _ submissions: inout SubmissionQueue) {
        let close: ClosePayload
        do throws(WebSocketError) { close = try ClosePayload.decode(payload) } catch {
            broken(slot, error, &submissions)
            return
        }
        let code = Int(close.code ?? 1005)
        let text = payload.extracting(close.reason.range)
        let reason = String(decoding: text.indices.map { text[$0] }, as: UTF8.self)
        switch connections[slot].state {
        case .greeting:
            refused(slot, status: code, retryAfter: nil, &submissions)
        case .open:
            sendClose(slot, code: code == 1005 ? nil : UInt16(code))
            closed(slot, code: code, reason: reason, &submissions)
        case .closing:
            // The answer to ours; the server closes the socket first (RFC 6455 §7.1.1).
            if !connections[slot].flags.contains(.told) {
                closed(slot, code: code, reason: reason, &submissions)
            }
        case .closed, .connecting, .securing, .upgrading, .leaving: break
        }
    }

    /// An open connection has ended: counted once.
    mutating func closed(
        _ slot: UInt32, code: Int, reason: String, _ submissions: inout SubmissionQueue
    ) {
        guard !connections[slot].flags.contains(.told) else { return }
        connections[slot].flags.insert(.told)
        connections[slot].since = now
        let isOurs = connections[slot].flags.contains(.parting) || scenario == .connect
        if connections[slot].flags.contains(.publisher) {
            result.closedEarly += 1
            return
        }
        if !isOurs, phase != .leaving {
            result.closes.add(code: code, reason: reason, target: Int(connections[slot].target), at: now)
        }
        switch scenario {
        case .connect: break
        case .echo, .fanout, .pair, .hold:
            if phase != .leaving { result.closedEarly += 1 }
        case .chat:
            if !isOurs, phase != .leaving { result.closedEarly += 1 }
            tellPartner(of: slot, .offline)
            // Away for up to a second: its own choice, not a back-off.
            if phase != .leaving {
                _ = clients[Int(slot)].lost()
                timers.schedule(
                    slot, at: Instant(nanoseconds: now).advanced(byMilliseconds: Int(nextRandom() % 1_000)))
            }
        case .storm:
            if phase != .leaving { comeBack(slot, clients[Int(slot)].closed(code: code, reason: reason)) }
        case .drain:
            if mayComeBack {
                let next = code == 1006
                    ? clients[Int(slot)].lost() : clients[Int(slot)].closed(code: code, reason: reason)
                comeBack(slot, next)
            }
        }
    }

    mutating func sendClose(_ slot: UInt32, code: UInt16?) {
        guard connections[slot].state == .open else { return }
        if let code {
            sendFrame(slot, .close, [UInt8(code >> 8), UInt8(code & 0xFF)].span)
        } else {
            sendFrame(slot, .close, Span())
        }
        connections[slot].state = .closing
        if !connections[slot].flags.contains(.publisher) { openCount -= 1 }
        if scenario != .drain && scenario != .storm {
            timers.schedule(slot, at: Instant(nanoseconds: now).advanced(bySeconds: 5))
        }
    }

    /// storm: all at once, with no word.
    mutating func cutAll(_ submissions: inout SubmissionQueue) {
        for slot in 0..<UInt32(count) where connections[slot].state == .open {
            connections[slot].since = now
            connections[slot].flags.insert(.told)
            // What a lost connection costs first is one attempt, at once.
            _ = clients[Int(slot)].lost()
            timers.schedule(slot, at: Instant(nanoseconds: now))
            leave(slot, &submissions)
        }
    }
}
