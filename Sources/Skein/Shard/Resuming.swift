// History at a shard. On the memory backplane it lives here, at the user's home, where one thread puts
// all events of a user in order, so that what is kept, what is sent and what is sent again cannot
// disagree. Where the backplane is Redis, the router brings what a client missed with its welcome.

internal import SkeinIO
internal import SkeinWire

/// What became of a client's wish to resume.
enum ResumeResult: UInt8, CaseIterable {
    /// It did not ask.
    case none
    case recovered
    /// History does not reach back so far, or is another one.
    case lost
    case malformed

    var name: String {
        switch self {
        case .none: "none"
        case .recovered: "recovered"
        case .lost: "lost"
        case .malformed: "malformed"
        }
    }
}

extension ShardCore {
    /// What a handshake says of resuming.
    func resumeRequest(_ slot: UInt32) -> ResumeRequest {
        let handshake = state.connections[slot].handshake
        guard handshake.exists, let query = handshake.value.request?.query else { return .none }
        return ResumeRequest(query: handshake.value.bytes.bytes.slice(query))
    }

    /// Tells a client that it is connected, and then what it missed: from here on the rest follows.
    func welcome(_ slot: UInt32, _ history: Bytes) {
        let request = resumeRequest(slot)
        if hasHistory(slot) {
            welcomeFromMemory(slot, request)
        } else if history.isEmpty {
            sayConnected(slot, nil)
            if request != .none { resumed(slot, request == .malformed ? .malformed : .lost, 0) }
        } else {
            welcomeFromRouter(slot, history, request)
        }
    }

    private func hasHistory(_ slot: UInt32) -> Bool {
        state.history.exists && state.connections[slot].user != ConnectionRecord.none
            && !state.dialects.isEcho(state.connections[slot].dialect)
    }

    private func sayConnected(_ slot: UInt32, _ welcome: Welcome?) {
        state.welcome = welcome
        let connection = Connection(core: self, slot: slot)
        state.dialects.with(state.connections[slot].dialect) { $0.connected(connection) }
        state.welcome = nil
    }

    private func resumed(_ slot: UInt32, _ result: ResumeResult, _ replayed: Int) {
        metrics.resumes[Int(result.rawValue)].add()
        metrics.replayed.add(UInt64(replayed))
        ByteWriter.withTemporary(capacity: 64) { writer in
            writer.append("{\"recovered\":")
            writer.append(result == .recovered ? "true" : "false")
            writer.append(",\"replayed\":")
            writer.appendDecimal(replayed)
            writer.append(UInt8(ascii: "}"))
            writer.withWritten { data in
                let bytes = unsafe data.withUnsafeBufferPointer {
                    unsafe Bytes($0.baseAddress!, count: $0.count)
                }
                reply(slot, type: Bytes("resumed"), data: bytes, requestID: .empty)
            }
        }
    }

    /// Gives a connection an event of the past.
    private func replay(_ event: EventView, to slot: UInt32) {
        guard state.connections[slot].state == .open else { return }
        if !state.connections[slot].flags.contains(.replaying) {
            state.connections[slot].flags.insert(.replaying)
            state.replayed.append(slot)
        }
        metrics.deliveries.add()
        metrics.messagesSent.add()
        enqueueData(slot, frame(event, state.connections[slot].dialect, requestID: false))
    }

    // MARK: Memory

    private func welcomeFromMemory(_ slot: UInt32, _ request: ResumeRequest) {
        let user = state.connections[slot].user
        let id = state.users.id(of: user)
        let hash = state.users.hash(of: user)
        let position = state.history.value.position(of: id, hash: hash)
        sayConnected(slot, Welcome(epoch: state.epoch, position: position))
        // A dialect may have ended it.
        guard state.connections[slot].state == .open else { return }
        switch request {
        case .none: return
        case .malformed: resumed(slot, .malformed, 0)
        case .point(let point):
            let missed =
                point.epoch == state.epoch
                ? state.history.value.missed(since: point.offset, of: id, hash: hash, at: state.now) : nil
            guard let missed else {
                resumed(slot, .lost, 0)
                return
            }
            // What the dialect sent to the user just now has arrived already.
            let after = state.history.value.position(of: id, hash: hash)
            var left = max(0, missed - Int(after.number &- position.number))
            let count = left
            state.history.value.visit(last: missed, of: id, hash: hash) { event in
                if left > 0 { replay(event, to: slot) }
                left -= 1
            }
            resumed(slot, .recovered, count)
        }
    }

    /// An event for a user whose home is here: appended, then sent to whoever is there.
    func keepAndDeliver(_ event: EventView) {
        var event = event
        state.history.value.append(&event, at: state.now)
        publishHistory()
        deliverNow(event)
    }

    private func publishHistory() {
        metrics.historyEvents.set(state.history.value.appended)
        metrics.historyBytes.set(UInt64(state.history.value.bytesHeld))
        metrics.historyUsers.set(UInt64(state.history.value.userCount))
        for loss in HistoryLoss.allCases {
            metrics.historyLosses[loss.rawValue].set(state.history.value.losses[loss.rawValue])
        }
    }

    @inline(__always)
    func sweepHistory() {
        guard state.history.exists, let due = state.history.value.sweepDue, state.now >= due else { return }
        state.history.value.sweep(at: state.now)
        publishHistory()
    }

    // MARK: Redis

    /// `Welcome`, what came of resuming, and as many events.
    private func welcomeFromRouter(_ slot: UInt32, _ history: Bytes, _ request: ResumeRequest) {
        var reader = RecordReader(history)
        let welcome = reader.number(Welcome.self)
        var result = ResumeResult(rawValue: reader.number(UInt8.self)) ?? .lost
        let count = Int(reader.number(UInt32.self))
        sayConnected(slot, welcome)
        // The router was not told of what nobody could read.
        if request == .malformed { result = .malformed }
        guard result != .none else { return }
        for _ in 0..<count { replay(EventView(record: reader.block()), to: slot) }
        resumed(slot, result, count)
    }
}

extension HistoryLimits {
    /// One shard's part of what a node keeps; `nil` where it keeps nothing.
    init?(_ limits: Limits, shardCount: Int) {
        guard limits.historyEventsMax > 0 else { return nil }
        let all = limits.historyBytesMax > 0 ? limits.historyBytesMax : MemoryGauge.bytesUsable / 8
        bytesMax = max(HistoryRing.bytesMin, all / shardCount)
        let most = min(limits.historyUserBytesMax, bytesMax, 1 << 30)
        userBytesMax = HistoryRing.bytesMin
        while userBytesMax * 2 <= most { userBytesMax *= 2 }
        eventsMax = limits.historyEventsMax
        age = limits.historyAge
        usersMax = max(1, limits.historyUsersMax / shardCount)
    }
}
