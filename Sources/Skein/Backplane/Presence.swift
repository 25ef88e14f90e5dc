// What other backends read of this node's users in Redis: `presence:`, `presence:devices:`,
// `online:`, and the sessions that `AUTH_SESSION=required` asks for. All of it can be written again
// from what the shards know, so nothing waits while Redis is away.

internal import SkeinIO
internal import SkeinWire

extension RouterCore {
    static var presenceSeconds: Int64 { 300 }
    static var onlineSeconds: Int64 { 60 }
    /// Commands that may wait on the presence link, in bytes; past it a renewal is left out.
    static var presenceBytesMax: Int { 4 << 20 }

    private func presenceCommand(
        _ count: Int, room: Int, awaiting kind: Awaited = Awaited(kind: .write),
        _ write: (inout ByteWriter) -> Void
    ) {
        guard state.links[.presence].isReady,
            state.links[.presence].filling.count < Self.presenceBytesMax
        else { return }
        state.links[.presence].command(kind, room: room + 64) { writer in
            RESPCommand.writeArray(count, into: &writer)
            write(&writer)
        }
    }

    /// A device came, or is said again after a reconnect.
    func writeDevice(_ user: UInt32, _ reference: ConnectionReference, _ agent: Bytes) {
        let id = state.users.id(of: user)
        state.users[user].isPresent = true
        guard state.links[.presence].isReady else { return }
        state.json.clear()
        state.json.writer.append("{\"socketId\":\"")
        appendConnectionID(reference, to: &state.json.writer)
        state.json.writer.append("\",\"metadata\":{\"userAgent\":")
        let isText = unsafe UTF8Validator.isValid(agent.buffer.span)
        let agent = isText ? agent : .empty
        unsafe state.json.writer.appendJSONString(agent.buffer.span)
        state.json.writer.append("},\"timestamp\":\"")
        state.json.writer.append(state.timestamp.bytes)
        state.json.writer.append("\"}")
        let device = state.json.bytes
        presenceCommand(4, room: id.count + device.count + 160) { writer in
            writer.appendBulk("HSET")
            writer.appendBulk("presence:devices:", id)
            writer.append("$33\r\n")
            appendConnectionID(reference, to: &writer)
            writer.append("\r\n")
            writer.appendBulk(device)
        }
        renew(user)
    }

    private func appendConnectionID(_ reference: ConnectionReference, to writer: inout ByteWriter) {
        writer.appendHex(state.node)
        writer.append(UInt8(ascii: "-"))
        writer.appendHex(reference.rawValue)
    }

    /// Keeps a user's keys alive.
    func renew(_ user: UInt32) {
        let id = state.users.id(of: user)
        presenceCommand(3, room: id.count + 96) { writer in
            writer.appendBulk("EXPIRE")
            writer.appendBulk("presence:devices:", id)
            writer.appendBulk(decimal: Self.presenceSeconds)
        }
        presenceCommand(5, room: id.count + 96) { writer in
            writer.appendBulk("SET")
            writer.appendBulk("presence:", id)
            writer.appendBulk("online")
            writer.appendBulk("EX")
            writer.appendBulk(decimal: Self.presenceSeconds)
        }
        presenceCommand(5, room: id.count + 128) { writer in
            writer.appendBulk("SET")
            writer.appendBulk("online:", id)
            writer.appendBulk(decimal: state.wallMilliseconds / 1_000)
            writer.appendBulk("EX")
            writer.appendBulk(decimal: Self.onlineSeconds)
        }
    }

    func eraseDevice(_ user: UInt32, _ reference: ConnectionReference) {
        let id = state.users.id(of: user)
        presenceCommand(3, room: id.count + 160) { writer in
            writer.appendBulk("HDEL")
            writer.appendBulk("presence:devices:", id)
            writer.append("$33\r\n")
            appendConnectionID(reference, to: &writer)
            writer.append("\r\n")
        }
    }

    /// The user's last device here has been gone for a while. Another node may have more of them, so
    /// whether the user is offline is decided where all devices are written: in one script.
    func endPresence(_ user: UInt32) {
        guard state.users[user].isPresent else { return }
        state.users[user].isPresent = false
        // In a cluster the keys' own time ends them.
        guard !state.isCluster else { return }
        let id = state.users.id(of: user)
        presenceCommand(7, room: 3 * id.count + 512) { writer in
            writer.appendBulk("EVAL")
            writer.appendBulk(
                """
                if redis.call('HLEN',KEYS[1])==0 then \
                redis.call('DEL',KEYS[2]) redis.call('SET',KEYS[3],ARGV[1]) end return 0
                """)
            writer.appendBulk("3")
            writer.appendBulk("presence:devices:", id)
            writer.appendBulk("presence:", id)
            writer.appendBulk("online:", id)
            writer.appendBulk(decimal: state.wallMilliseconds / 1_000)
        }
    }

    // MARK: Renewal

    /// Each user once in 20 s, a slice at a time.
    func renewSlice() {
        guard state.now >= state.renewDue else { return }
        state.renewDue = state.now.advanced(byMilliseconds: 100)
        visitSlice(&state.renewCursor, slices: 200) { user in renew(user) }
    }

    /// Walks the next slice of the users that have devices.
    private func visitSlice(_ cursor: inout UInt32, slices: Int, _ visit: (UInt32) -> Void) {
        let total = state.users.highWater
        var left = (total + slices - 1) / slices
        while left > 0 {
            if cursor >= UInt32(total) { cursor = 0 }
            if state.users.isLive(cursor), state.users[cursor].deviceCount > 0,
                state.users[cursor].isPresent
            { visit(cursor) }
            cursor += 1
            left -= 1
        }
    }

    // MARK: Sessions

    private func exists(_ user: UInt32, awaiting kind: Awaited) {
        let id = state.users.id(of: user)
        presenceCommand(2, room: id.count + 64, awaiting: kind) { writer in
            writer.appendBulk("EXISTS")
            writer.appendBulk("session:", id)
        }
    }

    func askForSession(_ user: UInt32, waiter: UInt32) {
        let generation = state.waiters.generation(of: waiter)
        exists(user, awaiting: Awaited(kind: .session, argument: waiter, generation: generation))
    }

    /// Whether a session that a joining device needs is there.
    func sessionAnswered(_ awaited: Awaited, _ exists: Bool?) {
        let place = awaited.argument
        guard state.waiters.isLive(place, generation: awaited.generation) else { return }
        guard let exists else {
            endWaiter(place, .unavailable)
            return
        }
        guard exists else {
            endWaiter(place, .noSession)
            return
        }
        state.waiters[place].hasSession = true
        let waiter = state.waiters[place]
        writeDevice(waiter.user, waiter.reference, waiter.agent.bytes)
        serveWaiters(of: waiter.user)
    }

    /// Each user's session once a second, a slice at a time: deleting it is how one logs out.
    func pollSlice() {
        guard state.shared.sessionRequired, state.now >= state.pollDue else { return }
        state.pollDue = state.now.advanced(byMilliseconds: 100)
        visitSlice(&state.pollCursor, slices: 10) { user in
            exists(
                user,
                awaiting: Awaited(
                    kind: .poll, argument: user, generation: state.users.generation(of: user)))
        }
    }

    func pollAnswered(_ awaited: Awaited, _ exists: Bool?) {
        guard exists == false,
            state.users.isLive(awaited.argument, generation: awaited.generation)
        else { return }
        disconnect(state.users.id(of: awaited.argument), code: 4401, reason: Bytes("session ended"))
    }
}
