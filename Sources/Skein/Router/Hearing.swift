// What Redis pushes: events of users on this node, events for everyone, commands between nodes, and
// the canary. Whatever is not what its channel promises is counted and dropped.

internal import SkeinIO
internal import SkeinWire

extension RouterCore {
    func heard(_ channel: Bytes, _ payload: Bytes) {
        if let id = channel.dropping("user:") {
            heardEvent(payload, for: id, .relay)
        } else if let id = channel.dropping("chat:user:") {
            heardEvent(payload, for: id, .chat)
        } else if channel.equals("websocket:broadcast") {
            heardEvent(payload, for: nil, .relay)
        } else if channel.equals("chat:broadcast") {
            heardEvent(payload, for: nil, .chat)
        } else if channel.equals(state.canaryChannel) {
            guard !heardMark(payload) else { return }
            state.canaryHeard = state.now
            metrics.canaryHeard.set(UInt64(state.now.nanoseconds))
        } else if channel.equals(state.commandChannel) {
            heardCommand(payload)
        }
    }

    /// - Parameter id: whose channel it came on; `nil` on the channels for everyone, where the
    ///   envelope says who.
    private func heardEvent(_ payload: Bytes, for id: Bytes?, _ shape: EnvelopeShape) {
        let text = unsafe payload.buffer
        guard payload.count <= state.limits.messageBytesMax + 4_096, unsafe UTF8Validator.isValid(text.span),
            unsafe state.envelope.index.index(text.span),
            let type = member("type", payload), type.kind == .string,
            type.string.range.count <= ShardCore.typeBytesMax
        else {
            metrics.malformed.add()
            return
        }
        var event = EventView(
            type: payload.slice(type.string), data: Bytes("{}"), timestamp: state.timestamp.bytes)
        if let data = member(shape.dataText, payload) { event.data = payload.slice(data.value) }
        if let stamp = member("timestamp", payload), stamp.kind == .string {
            let given = payload.slice(stamp.string)
            if given.count <= 64, unsafe RFC3339.isValid(given.buffer.span) { event.timestamp = given }
        }
        if let request = member("requestId", payload),
            request.value.range.count <= ShardCore.requestIDBytesMax
        {
            event.requestID = payload.slice(request.value)
        }
        let target = shape == .relay ? member("targetUserId", payload) : nil
        if let target, target.kind == .string, target.string.range.count <= 1_024 {
            event.target = payload.slice(target.string)
        }
        guard isNew(payload, on: id, &event) else {
            metrics.duplicates.add()
            return
        }
        if let id {
            address(&event, id)
            return
        }
        switch recipient(of: payload, shape, target) {
        case .everyone: deliver(event)
        case .user(let id): address(&event, id)
        case .nobody: metrics.malformed.add()
        }
    }

    private enum Recipient { case everyone, user(Bytes), nobody }

    private func recipient(
        of payload: Bytes, _ shape: EnvelopeShape, _ target: ObjectIndex.Member?
    ) -> Recipient {
        if shape == .relay {
            guard let target, target.kind != .null else { return .everyone }
            guard target.kind == .string else { return .nobody }
            return target.string.isEmpty ? .everyone : .user(unescaped(target, payload))
        }
        // `chat:broadcast` names its user inside the payload.
        guard let data = member("payload", payload), data.kind == .object,
            unsafe state.inner.index.indexTrusted(payload.buffer.span, object: data.value),
            let user = unsafe state.inner.index.find("userId", in: payload.buffer.span),
            user.kind == .string
        else { return .nobody }
        return .user(unescaped(user, payload))
    }

    private func unescaped(_ member: ObjectIndex.Member, _ payload: Bytes) -> Bytes {
        let raw = payload.slice(member.string)
        guard member.hasEscapes, raw.count <= 1_024 else { return raw }
        state.channel.clear()
        unsafe JSONString.unescape(raw.buffer.span, into: &state.channel.writer)
        return state.channel.bytes
    }

    private func address(_ event: inout EventView, _ id: Bytes) {
        guard unsafe UserID(bytes: id.buffer.span) != nil else {
            metrics.malformed.add()
            return
        }
        event.user = id
        event.userHash = UserHash.of(id)
        deliver(event)
    }

    @inline(__always)
    private func member(_ name: StaticString, _ payload: Bytes) -> ObjectIndex.Member? {
        unsafe state.envelope.index.find(name, in: payload.buffer.span)
    }

    /// Reads `via`, which nodes put on what they publish, and says whether the event is still to be
    /// delivered here.
    private func isNew(_ payload: Bytes, on id: Bytes?, _ event: inout EventView) -> Bool {
        guard let via = member("via", payload), via.kind == .string else { return true }
        let text = payload.slice(via.string)
        // node-connection-sequence-channel, 16 hexadecimal digits each
        guard let id, text.count >= 67, let node = text.hex(at: 0), let origin = text.hex(at: 17),
            let sequence = text.hex(at: 34), text.hex(at: 51) == Self.channelMark(id)
        else { return true }
        guard node == state.node else {
            event.requestID = .empty
            return heardOther(node, sequence)
        }
        event.origin = ConnectionReference(rawValue: origin)
        if text.count > 67 { event.flags.insert(.exceptOrigin) }
        return heardOwn(sequence)
    }

    private func heardCommand(_ payload: Bytes) {
        let span = unsafe payload.buffer
        guard unsafe UTF8Validator.isValid(span.span), unsafe state.envelope.index.index(span.span),
            let command = member("command", payload), command.kind == .string
        else {
            metrics.malformed.add()
            return
        }
        let name = payload.slice(command.string)
        if name.equals("disconnect") {
            heardDisconnect(payload)
        } else if name.equals("revoke") {
            heardRevoke(payload)
        } else {
            metrics.malformed.add()
        }
    }

    private func heardRevoke(_ payload: Bytes) {
        guard let entry = member("entry", payload), entry.kind == .string,
            entry.string.range.count <= 1_024, let expiry = member("expiresAt", payload),
            let expiresAt = unsafe JSONNumber.integer(payload.slice(expiry.value).buffer.span)
        else {
            metrics.malformed.add()
            return
        }
        heardRevoke(entry: unescaped(entry, payload), expiresAt: Int64(expiresAt))
    }

    /// `{"command":"disconnect","userId","code","reason"}` from another node's control plane.
    private func heardDisconnect(_ payload: Bytes) {
        guard let user = member("userId", payload), user.kind == .string,
            let code = member("code", payload),
            let number = unsafe JSONNumber.integer(payload.slice(code.value).buffer.span),
            let wireCode = UInt16(exactly: number), CloseCode.isReceivable(wireCode)
        else {
            metrics.malformed.add()
            return
        }
        var reason = Bytes.empty
        if let given = member("reason", payload), given.kind == .string, given.string.range.count <= 1_024 {
            state.channel.clear()
            unsafe JSONString.unescape(payload.slice(given.string).buffer.span, into: &state.channel.writer)
            reason = state.channel.bytes
        }
        disconnect(payload.slice(user.string), code: wireCode, reason: reason)
    }

    /// Tells the user's shard to close the user's connections.
    func disconnect(_ id: Bytes, code: UInt16, reason: Bytes) {
        guard unsafe UserID(bytes: id.buffer.span) != nil else { return }
        let bytes = 2 + RecordWriter.bytes(id, reason)
        guard let memory = unsafe state.outbox.append(
            to: state.home(of: UserHash.of(id)), kind: ShardRecord.disconnectUser.rawValue,
            payloadBytes: bytes)
        else {
            metrics.overload.add()
            return
        }
        var writer = unsafe RecordWriter(memory, capacity: bytes)
        writer.number(code)
        writer.text(id)
        writer.text(reason)
    }
}

extension Bytes {
    /// What follows `prefix`; `nil` when it is not there or nothing follows.
    @inline(__always)
    func dropping(_ prefix: StaticString) -> Bytes? {
        let length = prefix.utf8CodeUnitCount
        guard count > length, slice(from: 0, count: length).equals(prefix) else { return nil }
        return slice(from: length, count: count - length)
    }

    func equals(_ other: [UInt8]) -> Bool {
        guard other.count == count else { return false }
        return unsafe other.elementsEqual(buffer)
    }

    /// Sixteen hexadecimal digits.
    @inline(__always)
    func hex(at start: Int) -> UInt64? {
        guard start + 16 <= count else { return nil }
        var value: UInt64 = 0
        for index in start..<start + 16 {
            let byte = unsafe base[index]
            let digit: UInt8
            switch byte {
            case 0x30...0x39: digit = byte &- 0x30
            case 0x61...0x66: digit = byte &- 0x57
            case 0x41...0x46: digit = byte &- 0x37
            default: return nil
            }
            value = value << 4 | UInt64(digit)
        }
        return value
    }
}
