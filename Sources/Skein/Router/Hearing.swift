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
            guard !heardMark(payload), !heardPlaceMark(payload) else { return }
            state.canaryHeard = state.now
            if let sentAt = unsafe JSONNumber.integer(payload.buffer.span) {
                state.canaryEcho = max(state.canaryEcho, min(Instant(nanoseconds: Int64(sentAt)), state.now))
            }
            metrics.canaryHeard.set(UInt64(state.now.nanoseconds))
        } else if channel.equals(state.commandChannel) {
            heardCommand(payload)
        }
    }

    /// - Parameter id: whose channel it came on; `nil` on the channels for everyone, where the
    ///   envelope says who.
    private func heardEvent(_ payload: Bytes, for id: Bytes?, _ shape: EnvelopeShape) {
        guard var event = self.event(in: payload, shape) else {
            metrics.malformed.add()
            return
        }
        let source = id.map { self.source(of: payload, on: $0) } ?? .backend
        event.take(source)
        if let id, let offset = self.offset(in: payload, from: source) {
            heardKept(&event, id, offset, source)
            return
        }
        // Before it is noted as heard, and may go from the journal.
        let mayBeMissed = self.mayBeMissed(source)
        guard isNew(source) else {
            metrics.duplicates.add()
            return
        }
        if let id {
            address(&event, id, mayBeMissed: mayBeMissed)
            return
        }
        let target = shape == .relay ? member("targetUserId", payload) : nil
        switch recipient(of: payload, shape, target) {
        case .everyone: deliver(event)
        case .user(let id): address(&event, id, mayBeMissed: mayBeMissed)
        case .nobody: metrics.malformed.add()
        }
    }

    /// An envelope as an event; `nil` where it is none. Its members stay in the index.
    func event(in payload: Bytes, _ shape: EnvelopeShape) -> EventView? {
        let text = unsafe payload.buffer
        guard payload.count <= state.payloadBytesMax, unsafe UTF8Validator.isValid(text.span),
            unsafe state.envelope.index.index(text.span),
            let type = member("type", payload), type.kind == .string,
            type.string.range.count <= ShardCore.typeBytesMax
        else { return nil }
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
        return event
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

    /// What a user's shard does not take is not given again, and nothing keeps it: the user's devices are
    /// told to read anew, unless it is an event that may be missed.
    private func address(_ event: inout EventView, _ id: Bytes, mayBeMissed: Bool) {
        guard unsafe UserID(bytes: id.buffer.span) != nil else {
            metrics.malformed.add()
            return
        }
        event.user = id
        event.userHash = UserHash.of(id)
        guard !deliver(event), !mayBeMissed, let user = state.users.find(id, hash: event.userHash) else { return }
        sendBack(user, .reading)
    }

    @inline(__always)
    private func member(_ name: StaticString, _ payload: Bytes) -> ObjectIndex.Member? {
        unsafe state.envelope.index.find(name, in: payload.buffer.span)
    }

    /// Reads `via`, which nodes put on what they publish: node, connection, sequence and channel, 16
    /// hexadecimal digits each.
    func source(of payload: Bytes, on id: Bytes) -> EventSource {
        guard let via = member("via", payload), via.kind == .string else { return .backend }
        let text = payload.slice(via.string)
        guard text.count >= 67, let node = text.hex(at: 0), let origin = text.hex(at: 17),
            let sequence = text.hex(at: 34), text.hex(at: 51) == Self.channelMark(id)
        else { return .backend }
        guard node == state.node else { return .other(node: node, sequence: sequence) }
        return .own(
            sequence: sequence, origin: ConnectionReference(rawValue: origin), toOthers: text.count > 67)
    }

    /// Only what a node published has an offset; a backend's own member of that name says nothing.
    func offset(in payload: Bytes, from source: EventSource) -> Offset? {
        guard state.keepsHistory, source != .backend, let offset = member("offset", payload),
            offset.kind == .string
        else { return nil }
        return Offset(parsing: payload.slice(offset.string))
    }

    /// Whether an event that no history keeps is still to be delivered here.
    @inline(__always)
    private func isNew(_ source: EventSource) -> Bool {
        switch source {
        case .backend: true
        case .own(let sequence, _, _): heardOwn(sequence)
        case .other(let node, let sequence): heardOther(node, sequence)
        }
    }

    /// Whether an event without an offset is one that may be missed. Where there is a history, nodes publish
    /// only such without one; where there is none, what another node publishes does not say.
    private func mayBeMissed(_ source: EventSource) -> Bool {
        switch source {
        case .backend: return false
        case .other: return state.keepsHistory
        case .own(let sequence, _, _):
            guard sequence >= state.journal.firstSequence, sequence < state.journal.nextSequence else {
                return state.keepsHistory
            }
            return EventView(record: state.journal.record(sequence)).flags.contains(.transient)
        }
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
            let id = unsafe UserID(bytes: unescaped(user, payload).buffer.span),
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
        id.withBytes { text in
            unsafe text.withUnsafeBufferPointer { text in
                guard let base = text.baseAddress else { return }
                disconnect(unsafe Bytes(base, count: text.count), code: wireCode, reason: reason)
            }
        }
    }

    /// Tells the user's shard to close the user's connections.
    ///
    /// - Returns: false where it takes nothing for now.
    @discardableResult
    func disconnect(_ id: Bytes, code: UInt16, reason: Bytes) -> Bool {
        guard unsafe UserID(bytes: id.buffer.span) != nil else { return true }
        let bytes = 2 + RecordWriter.bytes(id, reason)
        guard let memory = unsafe state.outbox.append(
            to: state.home(of: UserHash.of(id)), kind: ShardRecord.disconnectUser.rawValue,
            payloadBytes: bytes)
        else {
            metrics.overload.add()
            return false
        }
        var writer = unsafe RecordWriter(memory, capacity: bytes)
        writer.number(code)
        writer.text(id)
        writer.text(reason)
        return true
    }
}

/// Who published what came on a user's channel.
enum EventSource: Equatable {
    /// Anyone; it was never counted.
    case backend
    case own(sequence: UInt64, origin: ConnectionReference, toOthers: Bool)
    case other(node: UInt64, sequence: UInt64)
}

extension EventView {
    /// Where it came from decides who gets its request's ID.
    mutating func take(_ source: EventSource) {
        switch source {
        case .backend: break
        case .own(_, let origin, let toOthers):
            self.origin = origin
            if toOthers { flags.insert(.exceptOrigin) }
        case .other: requestID = .empty
        }
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
