// A connection comes home: to the shard where all devices of its user meet. There it is counted, the
// user's channels are heard, and only then is the client told that it is connected.

internal import SkeinIO
internal import SkeinWire

extension ShardCore {
    /// Sends a connection to its home. Nothing is in flight for it; it leaves this ring by a
    /// release, and its parcel follows when that has been submitted.
    func move(_ slot: UInt32, to home: Int, id: Bytes) {
        state.timers.cancel(slot)
        let record = state.connections[slot]
        precondition(!record.backlog.exists, "a connection moved away from what is in flight for it")
        state.pending.append(Submission(.release, fd: record.fd, token: .ignored))
        state.moving.append(Move(home: UInt32(home), record: record, id: OwnedText(copying: id)))
        metrics.handshaking.subtract()
        state.bytesHeld -= Int(record.bytesHeld)
        if !record.tls.isNone { metrics.tlsSessions.subtract() }
        state.connections.remove(slot)
    }

    /// A move that had to wait for a backlog, now that there is none.
    func moveOn(_ slot: UInt32) {
        var id = state.connections[slot].handshake.value.userID
        guard !id.bytes.isEmpty else { return }
        state.connections[slot].handshake.value.userID = .none
        move(slot, to: state.shared.home(of: UserHash.of(id.bytes)), id: id.bytes)
        id.free()
    }

    func sendMoves() {
        while var move = state.moving.popLast() {
            let id = move.id.bytes
            let bytes = MemoryLayout<ConnectionRecord>.size + RecordWriter.bytes(id)
            if let memory = unsafe state.outbox.append(
                to: Int(move.home), kind: ShardRecord.adopt.rawValue, payloadBytes: bytes)
            {
                var writer = unsafe RecordWriter(memory, capacity: bytes)
                writer.number(move.record)
                writer.text(id)
            } else {
                // No room: the client is refused here, from a slot of its own again.
                metrics.countDropped(.overload)
                if let slot = state.connections.insert(move.record) {
                    metrics.handshaking.add()
                    state.bytesHeld += Int(move.record.bytesHeld)
                    if !move.record.tls.isNone { metrics.tlsSessions.add() }
                    refuse(slot, status: 503, result: .overload, retryAfterSeconds: 1)
                } else {
                    abandon(move.record)
                    state.shared.connectionLeft()
                }
            }
            move.id.free()
        }
    }

    func adopt(_ bytes: Bytes) {
        var reader = RecordReader(bytes)
        let record = reader.number(ConnectionRecord.self)
        let id = reader.text()
        guard let slot = state.connections.insert(record) else {
            abandon(record)
            state.shared.connectionLeft()
            metrics.countHandshake(.tooManyNode)
            return
        }
        metrics.handshaking.add()
        state.connections[slot].turn = state.turn &- 2
        state.bytesHeld += Int(record.bytesHeld)
        if !record.tls.isNone {
            state.connections[slot].tls.attach(to: state.tls.value.pump)
            metrics.tlsSessions.add()
        }
        schedule(slot)
        join(slot, id: id, hash: UserHash.of(id))
    }

    /// A connection on its way that no shard has a slot for.
    private func abandon(_ record: ConnectionRecord) { Self.abandon(record, at: state.shared.host) }

    private static func abandon(_ record: ConnectionRecord, at host: any Host) {
        var record = record
        record.handshake.value.freeTexts()
        record.handshake.free()
        record.userAgent.free()
        if !record.tls.isNone { record.tls.free() }
        host.close(record.fd)
    }

    /// Every shard has ended: what was on its way to one that did not live to see it is closed.
    static func abandonStranded(in inbox: Inbox, at host: any Host) {
        var parcels = inbox.take()
        while let parcel = parcels.popFirst() {
            parcel.forEachRecord { record in
                guard ShardRecord(rawValue: record.kind) == .adopt else { return }
                var reader = RecordReader(unsafe Bytes(record.bytes, count: record.count))
                abandon(reader.number(ConnectionRecord.self), at: host)
            }
        }
    }

    func join(_ slot: UInt32, id: Bytes, hash: UInt64) {
        guard state.drain?.isListening ?? true else {
            guard state.drain?.isPastDeadline == false else {
                reset(slot, code: 0)
                return
            }
            refuse(slot, status: 503, result: .unavailable, retryAfterSeconds: 1)
            return
        }
        let user: UInt32
        if let known = state.users.find(id, hash: hash) {
            user = known
            let most = state.limits.connectionsPerUserMax
            guard most == 0 || state.users[user].deviceCount < UInt32(clamping: most) else {
                refuse(slot, status: 429, result: .tooManyUser, retryAfterSeconds: 5)
                return
            }
        } else {
            guard let new = state.users.insert(UserRecord(id: StoredUserID(copying: id)), hash: hash) else {
                refuse(slot, status: 503, result: .tooManyNode, retryAfterSeconds: 5)
                return
            }
            user = new
            metrics.users.add()
        }
        link(slot, to: user)
        guard state.usesBackplane else {
            open(slot)
            return
        }
        state.connections[slot].state = .joining
        let needsSession = state.shared.sessionRequired
        var flags: ArrivalFlags = needsSession ? .needsSession : []
        var point: ResumePoint?
        if state.keepsHistory, case .point(let asked) = resumeRequest(slot) {
            flags.insert(.resumes)
            point = asked
        }
        let isAsked = tellRouter(arrived: slot, user: user, flags: flags, resuming: point)
        if !isAsked { refuse(slot, status: 503, result: .overload, retryAfterSeconds: 1) }
    }

    private func link(_ slot: UInt32, to user: UInt32) {
        // At the end of the list: devices are served in the order they came.
        state.connections[slot].user = user
        state.connections[slot].nextDevice = ConnectionRecord.none
        state.users[user].deviceCount += 1
        var last = state.users[user].firstDevice
        guard last != ConnectionRecord.none else {
            state.connections[slot].previousDevice = ConnectionRecord.none
            state.users[user].firstDevice = slot
            return
        }
        while state.connections[last].nextDevice != ConnectionRecord.none {
            last = state.connections[last].nextDevice
        }
        state.connections[last].nextDevice = slot
        state.connections[slot].previousDevice = last
    }

    func tellRouter(
        arrived slot: UInt32, user: UInt32, flags: ArrivalFlags, resuming point: ResumePoint? = nil
    ) -> Bool {
        let id = state.users.id(of: user)
        let agent = state.connections[slot].userAgent.bytes
        let bytes = RecordWriter.bytes(id, agent) + (point == nil ? 0 : MemoryLayout<ResumePoint>.size)
        guard let memory = unsafe state.outbox.append(
            to: state.shared.routerIndex, kind: RouterRecord.arrive.rawValue, flags: flags.rawValue,
            argument: reference(slot).rawValue, payloadBytes: bytes)
        else {
            metrics.countDropped(.overload)
            return false
        }
        var writer = unsafe RecordWriter(memory, capacity: bytes)
        writer.text(id)
        writer.text(agent)
        if let point { writer.number(point) }
        state.connections[slot].flags.insert(.toldRouter)
        return true
    }

    func tellRouter(left slot: UInt32, user: UInt32) {
        let id = state.users.id(of: user)
        let reference = reference(slot).rawValue
        guard state.departures.isEmpty, sayLeft(reference, id) else {
            // Untold, the router would count a device too many for as long as this node lives.
            metrics.countDropped(.overload)
            if state.departures.isEmpty { waitToTell() }
            state.departures.append(Departure(reference: reference, userID: OwnedText(copying: id)))
            return
        }
    }

    /// Tells of those who left while there was no room, in their order.
    func tellDepartures() {
        guard !state.departures.isEmpty || state.announced != nil, state.now >= state.departuresDue else {
            return
        }
        sayAnnounced()
        while !state.departures.isEmpty {
            guard sayLeft(state.departures[0].reference, state.departures[0].userID.bytes) else {
                waitToTell()
                return
            }
            var told = state.departures.popFirst()
            told?.userID.free()
        }
    }

    /// A router that stands still has made no room a moment later.
    private func waitToTell() { state.departuresDue = state.now.advanced(byMilliseconds: 10) }

    private func sayLeft(_ reference: UInt64, _ id: Bytes) -> Bool {
        let bytes = RecordWriter.bytes(id)
        guard let memory = unsafe state.outbox.append(
            to: state.shared.routerIndex, kind: RouterRecord.leave.rawValue, argument: reference,
            payloadBytes: bytes)
        else { return false }
        var writer = unsafe RecordWriter(memory, capacity: bytes)
        writer.text(id)
        return true
    }

    /// The router's answer: the user's channels are heard, or the handshake fails.
    func joined(_ reference: ConnectionReference, _ result: JoinResult, _ history: Bytes) {
        guard let slot = slot(of: reference), state.connections[slot].state == .joining else { return }
        switch result {
        case .welcome: open(slot, history)
        case .noSession: refuse(slot, status: 401, result: .noSession)
        case .unavailable: refuse(slot, status: 503, result: .unavailable, retryAfterSeconds: 2)
        case .tooMany: refuse(slot, status: 429, result: .tooManyUser, retryAfterSeconds: 5)
        }
    }

    /// Answers 101, tells the client that it is connected, gives it what it missed, and goes on with
    /// what it sent meanwhile.
    ///
    /// - Parameter history: the router's word on it, where the backplane is Redis.
    func open(_ slot: UInt32, _ history: Bytes = .empty) {
        guard !isRevoked(slot) else {
            refuse(slot, status: 401, result: .unauthorized)
            return
        }
        let handshake = state.connections[slot].handshake
        guard let request = handshake.value.request, let key = request.key else {
            preconditionFailure("a connection was opened without a handshake")
        }
        let bytes = handshake.value.bytes.bytes
        let subprotocol = handshake.value.hasBearerProtocol ? Bytes("bearer") : Bytes.empty
        let extensionsMax = DeflateNegotiation.headerBytesMax
        let room = HandshakeResponse.acceptBytes(
            protocolBytes: subprotocol.count, extensionsBytes: extensionsMax)
        let memory = unsafe state.arena.allocate(room)
        var writer = unsafe ByteWriter(unsafe: memory, capacity: room)
        ByteWriter.withTemporary(capacity: extensionsMax) { extensions in
            if let offer = request.extensions {
                agreeOnCompression(slot, bytes.slice(offer), into: &extensions)
            }
            extensions.withWritten { extensions in
                unsafe HandshakeResponse.writeAccept(
                    key: bytes.slice(key).buffer.span, protocol: subprotocol.buffer.span,
                    extensions: extensions, into: &writer)
            }
        }
        state.arena.trim(room - writer.count)
        enqueue(slot, unsafe Bytes(memory, count: writer.count))
        // Where it could not be sealed, nobody is there to be let in.
        guard state.connections[slot].state != .dead else { return }

        let dialect = state.connections[slot].dialect
        state.connections[slot].state = .open
        if state.connections[slot].flags.contains(.sending) {
            state.connections[slot].deadline = state.now.advanced(by: state.limits.writeTimeout)
        }
        state.connections[slot].connectedAtMilliseconds = state.wallMilliseconds
        state.connections[slot].lastHeard = state.now
        state.connections[slot].lastPing = state.now
        metrics.handshaking.subtract()
        metrics.countHandshake(.accepted)
        metrics.connections[Int(dialect)].add()
        metrics.open.add()
        schedule(slot)

        state.connections[slot].flags.insert(.announced)
        welcome(slot, history)

        // Frames that the client sent behind its handshake, before anything newly received.
        let early = bytes.slice(from: request.headBytes, count: bytes.count - request.headBytes)
        if early.count > 0 {
            unsafe consume(slot, UnsafeMutablePointer(mutating: early.base), early.count)
        }
        state.connections[slot].handshake.value.freeTexts()
        state.connections[slot].handshake.free()
        account(slot)
        guard state.connections[slot].state != .dead else { return }
        receiveMany(slot)
    }

    /// How much the devices that are told of at once take on the link to Redis, in bytes.
    private static var announcedBytesMax: Int { 2 << 20 }

    /// Redis may have forgotten what it was told: tells the router of the next devices again, also of those
    /// that wait for its answer, and from where to ask on.
    func announceDevices(_ cursor: RestatementCursor) {
        var cursor = cursor
        var left = Self.announcedBytesMax
        let end = UInt32(state.connections.highWater)
        while cursor.slot < end, left > 0 {
            if isTold(cursor.slot) {
                let user = state.connections[cursor.slot].user
                guard tellRouter(arrived: cursor.slot, user: user, flags: .again) else { break }
                // Its command, and an agent in which every byte has to be escaped.
                left -= 1_024 + 2 * state.connections[cursor.slot].userAgent.bytes.count
            }
            cursor.slot += 1
        }
        if cursor.slot >= end { cursor.slot = .max }
        state.announced = cursor
        sayAnnounced()
    }

    private func isTold(_ slot: UInt32) -> Bool {
        guard state.connections.isLive(slot), state.connections[slot].user != ConnectionRecord.none else {
            return false
        }
        let flags = state.connections[slot].flags
        switch state.connections[slot].state {
        case .open: return true
        case .joining: return flags.contains(.toldRouter)
        case .handshaking, .authenticating, .closing, .finishing, .dead: return false
        }
    }

    private func sayAnnounced() {
        guard let cursor = state.announced else { return }
        let memory = unsafe state.outbox.append(
            to: state.shared.routerIndex, kind: RouterRecord.announced.rawValue, argument: cursor.rawValue)
        if unsafe memory == nil { waitToTell() } else { state.announced = nil }
    }
}
