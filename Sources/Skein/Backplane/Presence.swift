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

    /// A device came, or is said again after a reconnect. Plain commands: a script that does the same costs
    /// Redis half as much again.
    ///
    /// - Parameter waiter: who waits to hear whether the user may have one more; `nil`: it is here.
    /// - Returns: whether it was handed to Redis.
    @discardableResult
    func writeDevice(
        _ user: UInt32, _ reference: ConnectionReference, _ agent: Bytes, waiter: UInt32? = nil
    ) -> Bool {
        if !state.users[user].isPresent { state.presentCount += 1 }
        state.users[user].isPresent = true
        guard state.links[.presence].isReady else { return false }
        if !state.isCluster { noteDevice(user, reference) }
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
        let id = state.users.id(of: user)
        let device = state.json.bytes
        let isSent = presenceCommand(room: id.count + device.count + 160) { writer in
            RESPCommand.writeArray(4, into: &writer)
            writer.appendBulk("HSET")
            writer.appendBulk("presence:devices:", id)
            appendBulk(reference, to: &writer)
            writer.appendBulk(device)
        }
        renew(user, isRenewal: false)
        guard isSent, let waiter else { return isSent }
        let awaited = Awaited(kind: .arrival, argument: waiter, generation: state.waiters.generation(of: waiter))
        return presenceCommand(room: id.count + 64, awaiting: awaited) { writer in
            RESPCommand.writeArray(2, into: &writer)
            writer.appendBulk("HLEN")
            writer.appendBulk("presence:devices:", id)
        }
    }

    /// For those who clear up after this node, and for its own sweep.
    private func noteDevice(_ user: UInt32, _ reference: ConnectionReference) {
        if state.registry.namesItself { nameNode() }
        addToSet(state.registry.usersKey) { writer in writer.appendBulk(state.users.id(of: user)) }
        // From then on beats keep it.
        if !state.registry.usersAreKept { state.registry.usersAreKept = keep(state.registry.usersKey) }
        guard state.restatement.isUnderWay else { return }
        addToSet(state.registry.saidKey) { writer in appendBulk(reference, to: &writer) }
        if !state.registry.saidAreKept { state.registry.saidAreKept = keep(state.registry.saidKey) }
    }

    private func addToSet(_ key: [UInt8], _ writeMember: (inout ByteWriter) -> Void) {
        presenceCommand(room: key.count + UserID.lengthMax + 64) { writer in
            RESPCommand.writeArray(3, into: &writer)
            writer.appendBulk("SADD")
            RESPCommand.writeBulk(key.span, into: &writer)
            writeMember(&writer)
        }
    }

    private func keep(_ key: [UInt8]) -> Bool {
        presenceCommand(room: key.count + 96) { writer in
            RESPCommand.writeArray(3, into: &writer)
            writer.appendBulk("PEXPIRE")
            RESPCommand.writeBulk(key.span, into: &writer)
            writer.appendBulk(decimal: NodeRegistry.leftoverMilliseconds)
        }
    }

    private func nameNode() {
        let key = state.registry.nodesKey
        presenceCommand(room: PresenceScripts.named.utf8CodeUnitCount + key.count + 192) { writer in
            RESPCommand.writeArray(7, into: &writer)
            writer.appendBulk("EVAL")
            writer.appendBulk(PresenceScripts.named)
            writer.appendBulk("1")
            RESPCommand.writeBulk(key.span, into: &writer)
            writer.appendBulk(hex: state.node)
            writer.appendBulk(decimal: NodeRegistry.leftoverMilliseconds)
            writer.appendBulk(decimal: state.limits.nodeLease.milliseconds)
        }
    }

    /// Redis has more devices of a waiter's user than may be: whether they are alive is asked where all are
    /// written, and if so this one goes.
    ///
    /// - Returns: whether it was handed to Redis.
    func askWhetherCrowded(_ place: UInt32) -> Bool {
        let waiter = state.waiters[place]
        let id = state.users.id(of: waiter.user)
        let awaited = Awaited(kind: .crowded, argument: place, generation: state.waiters.generation(of: place))
        let room = PresenceScripts.crowded.utf8CodeUnitCount + id.count + state.registry.leasePrefix.count + 256
        return presenceCommand(room: room, awaiting: awaited) { writer in
            RESPCommand.writeArray(8, into: &writer)
            writer.appendBulk("EVAL")
            writer.appendBulk(PresenceScripts.crowded)
            writer.appendBulk("1")
            writer.appendBulk("presence:devices:", id)
            appendBulk(waiter.reference, to: &writer)
            writer.appendBulk(decimal: Int64(state.limits.connectionsPerUserMax))
            writer.appendBulk(hex: state.node)
            RESPCommand.writeBulk(state.registry.leasePrefix.span, into: &writer)
        }
    }

    private func appendBulk(_ reference: ConnectionReference, to writer: inout ByteWriter) {
        writer.append("$33\r\n")
        appendConnectionID(reference, to: &writer)
        writer.append("\r\n")
    }

    private func appendConnectionID(_ reference: ConnectionReference, to writer: inout ByteWriter) {
        writer.appendHex(state.node)
        writer.append(UInt8(ascii: "-"))
        writer.appendHex(reference.rawValue)
    }

    /// Keeps a user's keys alive.
    private func renew(_ user: UInt32, isRenewal: Bool = true) {
        let id = state.users.id(of: user)
        presenceCommand(room: id.count + 96, isRenewal: isRenewal) { writer in
            RESPCommand.writeArray(3, into: &writer)
            writer.appendBulk("EXPIRE")
            writer.appendBulk("presence:devices:", id)
            writer.appendBulk(decimal: Self.presenceSeconds)
        }
        presenceCommand(room: id.count + 96, isRenewal: isRenewal) { writer in
            RESPCommand.writeArray(5, into: &writer)
            writer.appendBulk("SET")
            writer.appendBulk("presence:", id)
            writer.appendBulk("online")
            writer.appendBulk("EX")
            writer.appendBulk(decimal: Self.presenceSeconds)
        }
        presenceCommand(room: id.count + 128, isRenewal: isRenewal) { writer in
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
            appendBulk(reference, to: &writer)
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
        state.presentCount -= 1
        // Redis forgets an empty set, and its time with it.
        if state.presentCount == 0 { state.registry.usersAreKept = false }
        // In a cluster the keys' own time ends them; where something was left out, the sweep that is owed does, and
        // has to find the user in the set.
        guard !state.isCluster, !state.restatement.isOwed else { return }
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

    /// - Returns: whether it was asked; what was not is asked again, by us or by a client.
    @discardableResult
    private func exists(_ user: UInt32, awaiting kind: Awaited) -> Bool {
        let id = state.users.id(of: user)
        return presenceCommand(room: id.count + 64, awaiting: kind, isRenewal: true) { writer in
            RESPCommand.writeArray(2, into: &writer)
            writer.appendBulk("EXISTS")
            writer.appendBulk("session:", id)
        }
    }

    func askForSession(_ user: UInt32, waiter: UInt32) {
        let generation = state.waiters.generation(of: waiter)
        let isAsked = exists(user, awaiting: Awaited(kind: .session, argument: waiter, generation: generation))
        if !isAsked { endWaiter(waiter, .unavailable) }
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
