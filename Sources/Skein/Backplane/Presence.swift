// What other backends read of this node's users in Redis: `presence:`, `presence:devices:`,
// `online:`, and the sessions that `AUTH_SESSION=required` asks for. All of it can be written again
// from what the shards know, so nothing waits while Redis is away.

internal import SkeinIO
internal import SkeinWire

extension RouterCore {
    static var presenceSeconds: Int64 { 300 }
    static var onlineSeconds: Int64 { 60 }
    /// Commands that may wait on the presence link, in bytes; past it a renewal is left out, past four
    /// times as much any command, and everything is said again later.
    static var presenceBytesMax: Int { 4 << 20 }

    /// - Parameter isRenewal: it comes again by itself, so it is the first to be left out.
    /// - Returns: whether it was handed to the link.
    @discardableResult
    private func presenceCommand(
        room: Int, awaiting kind: Awaited = Awaited(kind: .write), isRenewal: Bool = false,
        _ write: (inout ByteWriter) -> Void
    ) -> Bool {
        // When the link comes back, everything is said again anyway.
        guard state.links[.presence].isReady else { return false }
        let most = isRenewal ? Self.presenceBytesMax : 4 * Self.presenceBytesMax
        guard state.links[.presence].filling.count < most else {
            if !isRenewal { oweRestatement() }
            return false
        }
        state.links[.presence].command(kind, room: room, write)
        return true
    }

    /// A device came, or is said again after a reconnect.
    ///
    /// - Parameter waiter: who waits to hear whether the user may have one more; `nil`: it is here.
    /// - Returns: whether it was handed to Redis.
    @discardableResult
    func writeDevice(
        _ user: UInt32, _ reference: ConnectionReference, _ agent: Bytes, waiter: UInt32? = nil
    ) -> Bool {
        state.users[user].isPresent = true
        guard state.links[.presence].isReady else { return false }
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
        guard !state.isCluster else { return writeDeviceOfCluster(user, reference) }
        let id = state.users.id(of: user)
        let device = state.json.bytes
        let max = waiter == nil ? 0 : state.limits.connectionsPerUserMax
        let awaited = waiter.map {
            Awaited(kind: .arrival, argument: $0, generation: state.waiters.generation(of: $0))
        }
        let room = 4 * id.count + device.count + 3 * state.registry.usersKey.count + 704
        let isNoted = state.restatement.isUnderWay
        return presenceCommand(room: room, awaiting: awaited ?? Awaited(kind: .write)) { writer in
            state.scripts.writeCall(.arrive, keys: 6, arguments: 12, into: &writer)
            writer.appendBulk("presence:devices:", id)
            writer.appendBulk("presence:", id)
            writer.appendBulk("online:", id)
            RESPCommand.writeBulk(state.registry.usersKey.span, into: &writer)
            RESPCommand.writeBulk(state.registry.saidKey.span, into: &writer)
            RESPCommand.writeBulk(state.registry.nodesKey.span, into: &writer)
            writer.append("$33\r\n")
            appendConnectionID(reference, to: &writer)
            writer.append("\r\n")
            writer.appendBulk(device)
            writer.appendBulk(decimal: Int64(max))
            writer.appendBulk(hex: state.node)
            RESPCommand.writeBulk(state.registry.leasePrefix.span, into: &writer)
            writer.appendBulk(decimal: state.wallMilliseconds / 1_000)
            writer.appendBulk(decimal: Self.presenceSeconds)
            writer.appendBulk(decimal: Self.onlineSeconds)
            writer.appendBulk(id)
            writer.appendBulk(decimal: NodeRegistry.leftoverMilliseconds)
            writer.appendBulk(isNoted ? "1" : "0")
            writer.appendBulk(decimal: state.registry.namesItself ? state.limits.nodeLease.milliseconds : 0)
        }
    }

    /// There a script cannot have all keys, so each goes alone: nobody counts over nodes, and the keys'
    /// own time clears up.
    private func writeDeviceOfCluster(_ user: UInt32, _ reference: ConnectionReference) -> Bool {
        let id = state.users.id(of: user)
        let device = state.json.bytes
        let isSent = presenceCommand(room: id.count + device.count + 160) { writer in
            RESPCommand.writeArray(4, into: &writer)
            writer.appendBulk("HSET")
            writer.appendBulk("presence:devices:", id)
            writer.append("$33\r\n")
            appendConnectionID(reference, to: &writer)
            writer.append("\r\n")
            writer.appendBulk(device)
        }
        renew(user)
        return isSent
    }

    private func appendConnectionID(_ reference: ConnectionReference, to writer: inout ByteWriter) {
        writer.appendHex(state.node)
        writer.append(UInt8(ascii: "-"))
        writer.appendHex(reference.rawValue)
    }

    /// Keeps a user's keys alive.
    func renew(_ user: UInt32) {
        let id = state.users.id(of: user)
        presenceCommand(room: id.count + 96, isRenewal: true) { writer in
            RESPCommand.writeArray(3, into: &writer)
            writer.appendBulk("EXPIRE")
            writer.appendBulk("presence:devices:", id)
            writer.appendBulk(decimal: Self.presenceSeconds)
        }
        presenceCommand(room: id.count + 96, isRenewal: true) { writer in
            RESPCommand.writeArray(5, into: &writer)
            writer.appendBulk("SET")
            writer.appendBulk("presence:", id)
            writer.appendBulk("online")
            writer.appendBulk("EX")
            writer.appendBulk(decimal: Self.presenceSeconds)
        }
        presenceCommand(room: id.count + 128, isRenewal: true) { writer in
            RESPCommand.writeArray(5, into: &writer)
            writer.appendBulk("SET")
            writer.appendBulk("online:", id)
            writer.appendBulk(decimal: state.wallMilliseconds / 1_000)
            writer.appendBulk("EX")
            writer.appendBulk(decimal: Self.onlineSeconds)
        }
    }

    func eraseDevice(_ user: UInt32, _ reference: ConnectionReference) {
        let id = state.users.id(of: user)
        presenceCommand(room: id.count + 160) { writer in
            RESPCommand.writeArray(3, into: &writer)
            writer.appendBulk("HDEL")
            writer.appendBulk("presence:devices:", id)
            writer.append("$33\r\n")
            appendConnectionID(reference, to: &writer)
            writer.append("\r\n")
        }
    }

    /// The user's last device here has been gone for a while. Another node may have more of them, so
    /// whether the user is offline is decided where all devices are written: in one script.
    ///
    /// - Parameter quiet: milliseconds that the presence stays for, should nobody come back; this node
    ///   will not be there to see.
    func endPresence(_ user: UInt32, after quiet: Int = 0) {
        guard state.users[user].isPresent else { return }
        state.users[user].isPresent = false
        // In a cluster the keys' own time ends them.
        guard !state.isCluster else { return }
        let id = state.users.id(of: user)
        presenceCommand(room: 4 * id.count + state.registry.usersKey.count + 320) { writer in
            state.scripts.writeCall(.quiet, keys: 4, arguments: 3, into: &writer)
            writer.appendBulk("presence:devices:", id)
            writer.appendBulk("presence:", id)
            writer.appendBulk("online:", id)
            RESPCommand.writeBulk(state.registry.usersKey.span, into: &writer)
            writer.appendBulk(decimal: state.wallMilliseconds / 1_000)
            writer.appendBulk(id)
            writer.appendBulk(decimal: Int64(quiet))
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
        presenceCommand(room: id.count + 64, awaiting: kind) { writer in
            RESPCommand.writeArray(2, into: &writer)
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
        let counted = waiter.hasPlace ? nil : place
        let isWritten = writeDevice(waiter.user, waiter.reference, waiter.agent.bytes, waiter: counted)
        // Where Redis counts, its answer goes on from here.
        if counted == nil || !isWritten { givePlace(place) }
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
