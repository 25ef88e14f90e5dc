// From a whole message to its dialect: the rate, the envelope, the shape of its parts. Whatever is
// wrong with a message is answered, and never closes its connection by itself.

internal import SkeinIO
internal import SkeinWire

extension ShardCore {
    func message(_ slot: UInt32, _ opcode: Opcode, _ bytes: Bytes) {
        let record = unsafe state.connections.pointer(to: slot)
        // Behind our close frame nothing is carried out any more.
        guard unsafe record.pointee.state == .open else { return }
        metrics.messagesReceived.add()
        let dialect = unsafe record.pointee.dialect
        if state.dialects.isEcho(dialect) {
            echo(slot, opcode, bytes)
            return
        }
        guard opcode == .text else {
            close(slot, .unsupportedData, reason: "this endpoint takes text messages")
            return
        }
        dispatch(slot, dialect, bytes, isRefused: !isWithinRate(slot))
    }

    private func echo(_ slot: UInt32, _ opcode: Opcode, _ bytes: Bytes) {
        let room = FrameEncoder.maxHeaderBytes + bytes.count
        let memory = unsafe state.arena.allocate(room)
        var writer = unsafe ByteWriter(unsafe: memory, capacity: room)
        FrameEncoder.writeHeader(opcode, payloadBytes: bytes.count, into: &writer)
        writer.append(bytes)
        state.arena.trim(room - writer.count)
        metrics.deliveries.add()
        metrics.messagesSent.add()
        enqueueData(slot, unsafe Bytes(memory, count: writer.count))
    }

    /// The generic cell rate: one number says when the next message would be due at the sustained
    /// rate; a burst may run ahead of it.
    @inline(__always)
    private func isWithinRate(_ slot: UInt32) -> Bool {
        let interval = state.messageInterval
        guard interval > 0 else { return true }
        let record = unsafe state.connections.pointer(to: slot)
        let now = state.now.nanoseconds
        let due = unsafe max(record.pointee.rateDue, now)
        guard due &- now &+ interval <= state.messageLead else { return false }
        unsafe record.pointee.rateDue = due &+ interval
        if due == now { unsafe record.pointee.refusals = 0 }
        return true
    }

    private func refuseMessage(_ slot: UInt32, _ requestID: Bytes) {
        metrics.countDropped(.rateLimited)
        let now = state.now.nanoseconds
        if state.connections[slot].refusals == 0 { state.connections[slot].refusalsStart = now }
        state.connections[slot].refusals &+= 1
        let isLong = now &- state.connections[slot].refusalsStart
            >= state.limits.messageAbusePeriod.nanoseconds
        if isLong || state.connections[slot].refusals >= UInt32(clamping: state.limits.messageRefusalsMax) {
            close(slot, .rateLimited, reason: "too many messages")
            return
        }
        fail(slot, .rateLimited, "too many messages: slow down", requestID)
    }

    private func dispatch(_ slot: UInt32, _ dialect: UInt8, _ bytes: Bytes, isRefused: Bool) {
        let shape = state.dialects.shape(dialect)
        state.dataKey = shape.dataText
        guard unsafe state.envelope.index.index(bytes.buffer.span) else {
            if isRefused { refuseMessage(slot, .empty) } else { notAnEnvelope(slot, .empty) }
            return
        }
        var requestID = Bytes.empty
        if let member = unsafe state.envelope.index.find("requestId", in: bytes.buffer.span) {
            guard member.kind == .string || member.kind == .number,
                member.value.range.count <= Self.requestIDBytesMax
            else {
                if isRefused { refuseMessage(slot, .empty) } else {
                    fail(slot, .validation, "requestId must be a string of at most 256 bytes", .empty)
                }
                return
            }
            requestID = bytes.slice(member.value)
        }
        guard !isRefused else {
            refuseMessage(slot, requestID)
            return
        }
        guard !state.envelope.index.overflowed else {
            fail(slot, .validation, "the envelope must have at most 1,024 members", requestID)
            return
        }
        guard let type = unsafe state.envelope.index.find(shape.nameText, in: bytes.buffer.span),
            type.kind == .string
        else {
            notAnEnvelope(slot, requestID)
            return
        }
        guard type.string.range.count <= Self.typeBytesMax else {
            fail(slot, .unknownEvent, "type must be at most 256 bytes", requestID)
            return
        }
        if let member = unsafe state.envelope.index.find(shape.dataText, in: bytes.buffer.span) {
            guard member.kind == .object,
                unsafe state.data.index.indexTrusted(bytes.buffer.span, object: member.value)
            else {
                fail(
                    slot, .validation,
                    shape.dataKey == .data ? "data must be an object" : "payload must be an object",
                    requestID)
                return
            }
            guard !state.data.index.overflowed else {
                fail(
                    slot, .validation,
                    shape.dataKey == .data
                        ? "data must have at most 1,024 members" : "payload must have at most 1,024 members",
                    requestID)
                return
            }
        } else {
            state.data.index.removeAll()
        }
        let rawType = bytes.slice(type.string)
        var name = rawType
        if type.hasEscapes {
            state.name.clear()
            unsafe JSONString.unescape(rawType.buffer.span, into: &state.name.writer)
            name = state.name.bytes
        }
        let message = Message(core: self, bytes: bytes, type: name, rawType: rawType)
        let connection = Connection(core: self, slot: slot)
        state.dialects.received(dialect, message, connection)
    }

    private func notAnEnvelope(_ slot: UInt32, _ requestID: Bytes) {
        metrics.malformed.add()
        fail(
            slot, .invalidMessage, "not an envelope: a JSON object with a string for its type",
            requestID)
    }

    static var requestIDBytesMax: Int { 258 }
    static var typeBytesMax: Int { 256 }
}

extension DialectTable {
    @inline(__always)
    func received(_ index: UInt8, _ message: borrowing Message, _ connection: borrowing Connection) {
        unsafe dialect(index)._withUnsafeGuaranteedRef { $0.received(message, from: connection) }
    }
}
