// A connection in a dialect's hand, for the length of one call. It cannot be copied or kept: what
// outlives the call is its ``Connection/id``.

internal import SkeinIO
internal import SkeinWire

public struct Connection: ~Copyable {
    let core: ShardCore
    let slot: UInt32

    /// Unique among all connections of all nodes; what clients know as `connectionId`.
    public var id: String { core.connectionID(core.reference(slot)) }

    /// Whose connection this is; `nil` where the endpoint needs no token and none came.
    public var userID: UserID? {
        let user = core.state.connections[slot].user
        guard user != ConnectionRecord.none else {
            // Its user may have no record any more, but the dialect that is told of it asks whose it was.
            guard let parting = core.state.parting, parting.slot == slot, !parting.userID.bytes.isEmpty
            else { return nil }
            return unsafe UserID(bytes: parting.userID.bytes.buffer.span)
        }
        let id = core.state.users.id(of: user)
        return unsafe UserID(bytes: id.buffer.span)
    }

    /// The peer's address, without its port.
    public var remoteAddress: String { core.state.connections[slot].address.host }

    /// Begins an event of this type: the inside of a JSON string, so without quotes or backslashes.
    public func draft(_ type: StaticString) -> EventDraft {
        EventDraft(core: core, type: Bytes(type))
    }

    /// Begins an event of the same type as a message.
    public func draft(like message: borrowing Message) -> EventDraft {
        EventDraft(core: core, type: message.rawType)
    }

    /// Sends an event to every device of a user, wherever they are, in the order of acceptance. A
    /// user without devices is no error. Returns before any byte is written.
    ///
    /// - Parameters:
    ///   - request: the message that this answers; this connection gets its `requestId` back.
    /// - Throws: nothing was sent to anyone.
    public func send(
        _ draft: inout EventDraft, to user: UserID, answering request: borrowing Message
    ) throws(SendError) {
        try send(&draft, to: user, requestID: request.requestID, flags: [])
    }

    /// As ``send(_:to:answering:)``, where nothing is answered.
    public func send(_ draft: inout EventDraft, to user: UserID) throws(SendError) {
        try send(&draft, to: user, requestID: .empty, flags: [])
    }

    /// To the user's other devices, and not to this connection.
    public func sendToOthers(_ draft: inout EventDraft, of user: UserID) throws(SendError) {
        try send(&draft, to: user, requestID: .empty, flags: .exceptOrigin)
    }

    private func send(
        _ draft: inout EventDraft, to user: UserID, requestID: Bytes, flags: EventView.Flags
    ) throws(SendError) {
        guard !draft.isTooLarge else { throw .tooLarge }
        let data = draft.seal()
        let isSent = user.withBytes { id in
            let bytes = unsafe id.withUnsafeBufferPointer { unsafe Bytes($0.baseAddress!, count: $0.count) }
            return core.publish(
                EventView(
                    user: bytes, userHash: UserHash.of(bytes), type: draft.type, data: data,
                    timestamp: core.timestamp, requestID: requestID, origin: core.reference(slot),
                    flags: flags))
        }
        guard isSent else { throw .overloaded }
    }

    /// Answers on this connection alone, with the request's `requestId`.
    public func reply(_ draft: inout EventDraft, to request: borrowing Message) {
        guard !draft.isTooLarge else {
            fail(.internalError, "the answer is too large", for: request.requestID)
            return
        }
        core.reply(slot, type: draft.type, data: draft.seal(), requestID: request.requestID)
    }

    /// Tells the client that its message was not carried out. The connection stays.
    public func fail(_ code: ErrorCode, _ text: StaticString, for request: borrowing Message) {
        fail(code, text, for: request.requestID)
    }

    public func fail(_ code: ErrorCode, _ text: StaticString) { fail(code, text, for: Bytes.empty) }

    private func fail(_ code: ErrorCode, _ text: StaticString, for requestID: Bytes) {
        core.fail(slot, code, text, requestID)
    }

    /// Closes the connection behind what is queued for it.
    ///
    /// - Parameter code: 1000, or from 3000 to 4999; the reason is cut at 123 bytes.
    public func close(code: UInt16, reason: String) {
        var reason = reason
        reason.withUTF8 { text in
            guard let base = text.baseAddress else { return }
            core.close(slot, code: code, reason: unsafe Bytes(base, count: text.count))
        }
    }

    /// The first frame that a client gets.
    func sendConnected() { core.sendConnected(slot) }
}

extension ShardCore {
    func connectionID(_ reference: ConnectionReference) -> String {
        let digits = String(reference.rawValue, radix: 16)
        let padding = String(repeating: "0", count: 16 - digits.count)
        return state.shared.nodeID + "-" + padding + digits
    }

    /// An event for one connection alone.
    func reply(_ slot: UInt32, type: Bytes, data: Bytes, requestID: Bytes) {
        guard state.connections[slot].state == .open else { return }
        let event = EventView(type: type, data: data, timestamp: timestamp, requestID: requestID)
        metrics.messagesSent.add()
        enqueueData(slot, frame(event, state.connections[slot].dialect, requestID: true))
    }

    func fail(_ slot: UInt32, _ code: ErrorCode, _ text: StaticString, _ requestID: Bytes) {
        let text = Bytes(text)
        ByteWriter.withTemporary(capacity: text.count * 6 + 128) { writer in
            writer.append("{\"code\":\"")
            writer.append(code.text)
            writer.append("\",\"message\":")
            unsafe writer.appendJSONString(text.buffer.span)
            writer.append(UInt8(ascii: "}"))
            writer.withWritten { data in
                let bytes = unsafe data.withUnsafeBufferPointer {
                    unsafe Bytes($0.baseAddress!, count: $0.count)
                }
                reply(slot, type: Bytes("error"), data: bytes, requestID: requestID)
            }
        }
    }

    func sendConnected(_ slot: UInt32) {
        ByteWriter.withTemporary(capacity: 256) { writer in
            writer.append("{\"connectionId\":\"")
            var id = connectionID(reference(slot))
            id.withUTF8 { unsafe writer.append($0.span) }
            // Without a history there is nothing to resume from, and no offset to name.
            writer.append("\",\"resume\":false}")
            writer.withWritten { data in
                let bytes = unsafe data.withUnsafeBufferPointer {
                    unsafe Bytes($0.baseAddress!, count: $0.count)
                }
                reply(slot, type: Bytes("connected"), data: bytes, requestID: .empty)
            }
        }
    }

    /// A publish of this connection's could not be kept for Redis.
    func publishFailed(_ reference: ConnectionReference, _ requestID: Bytes) {
        guard let slot = slot(of: reference) else { return }
        fail(
            slot, .internalError,
            "Redis is away and too much waits for it: only this node's devices got this", requestID)
    }
}
