// Revocations between nodes. In Redis they are one sorted set by the time of their expiry, beside a
// command that tells the nodes which run; both are one script, so that a node which starts between
// the two misses nothing. What Redis has not confirmed is sent again when it returns.

internal import SkeinIO
internal import SkeinWire

extension RouterCore {
    /// Confirmed entries at the front of the list that may wait to be taken off it.
    private static var confirmedMax: Int { 1_024 }
    /// What is written again at once where Redis has lost it.
    private static var restoredMax: Int { 10_000 }
    private static var askAgainMilliseconds: Int { 5_000 }

    /// Drops what has expired, adds one entry, lets the key end with its last entry, tells the nodes.
    private static var script: StaticString {
        """
        redis.call('ZREMRANGEBYSCORE',KEYS[1],'-inf',ARGV[1]) \
        redis.call('ZADD',KEYS[1],ARGV[2],ARGV[3]) \
        local last=redis.call('ZRANGE',KEYS[1],-1,-1,'WITHSCORES') \
        redis.call('PEXPIREAT',KEYS[1],string.format('%.0f',last[2])) \
        redis.call('PUBLISH',ARGV[4],ARGV[5]) return 1
        """
    }

    // MARK: Telling

    /// Hands a revocation of this node's to Redis. - Returns: whether Redis was there to take it.
    func passOn(_ revocation: Revocation) -> Bool {
        guard state.unconfirmed.count - state.confirmedCount < state.limits.revocationsMax else {
            return false
        }
        state.unconfirmed.append(revocation)
        guard state.links[.presence].isReady else { return false }
        send(revocation, .revocation)
        return true
    }

    /// The link is there again: what may not have arrived, and then what the others revoked.
    func resendRevocations() {
        state.unconfirmed.removeFirst(state.confirmedCount)
        state.confirmedCount = 0
        state.unconfirmed.removeAll { $0.expiresAtMilliseconds <= state.wallMilliseconds }
        for revocation in state.unconfirmed { send(revocation, .revocation) }
        askForRevocations()
    }

    func revocationConfirmed() {
        state.confirmedCount += 1
        guard state.confirmedCount >= min(Self.confirmedMax, state.unconfirmed.count) else { return }
        state.unconfirmed.removeFirst(min(state.confirmedCount, state.unconfirmed.count))
        state.confirmedCount = 0
    }

    func revocationRefused(_ kind: Awaited.Kind, _ why: Bytes) {
        let rule = RedisNeed.revocations(prefix: state.channelPrefix).rule
        guard kind == .revocation else {
            let what = kind == .revocations ? "to say what other nodes revoked" : "a revocation once more"
            let text = "Redis refused \(what): \(why.text)"
            // It is asked with every connection, and given again until it has them all; and until it answers.
            state.revocationsDue = state.now.advanced(byMilliseconds: 6 * Self.askAgainMilliseconds)
            if state.revocationNews.isNews(text, at: state.now) { log(.warning, text, [("needs", rule)]) }
            return
        }
        log(
            .error, "Redis refused a revocation, so other nodes do not know of it: \(why.text)",
            [("needs", rule)])
        revocationConfirmed()
        state.revocationsDue = state.now.advanced(byMilliseconds: Self.askAgainMilliseconds)
    }

    /// What Redis refused, it is given again by what it turns out not to have.
    func askForRevocationsIfDue() {
        guard let due = state.revocationsDue, state.now >= due else { return }
        state.revocationsDue = nil
        askForRevocations()
    }

    private func send(_ revocation: Revocation, _ awaited: Awaited.Kind) {
        let entry = RevocationText.member(revocation)
        let command = RevocationText.command(revocation)
        let room = Self.script.utf8CodeUnitCount + entry.count + command.count + 1_024
        state.links[.presence].command(Awaited(kind: awaited), room: room) { writer in
            RESPCommand.writeArray(9, into: &writer)
            writer.appendBulk("EVAL")
            writer.appendBulk(Self.script)
            writer.appendBulk("1")
            RESPCommand.writeBulk(state.revocationsKey.span, into: &writer)
            writer.appendBulk(decimal: state.wallMilliseconds)
            writer.appendBulk(decimal: revocation.expiresAtMilliseconds)
            RESPCommand.writeBulk(entry.span, into: &writer)
            RESPCommand.writeBulk(state.commandChannel.span, into: &writer)
            RESPCommand.writeBulk(command.span, into: &writer)
        }
    }

    // MARK: Learning

    /// Asks for all that is revoked: at a start, and wherever commands may have been missed.
    func askForRevocations() {
        guard state.links[.presence].isReady else { return }
        state.links[.presence].command(Awaited(kind: .revocations), room: 512) { writer in
            RESPCommand.writeArray(8, into: &writer)
            writer.appendBulk("ZREVRANGEBYSCORE")
            RESPCommand.writeBulk(state.revocationsKey.span, into: &writer)
            writer.appendBulk("+inf")
            writer.appendBulk(decimal: state.wallMilliseconds)
            writer.appendBulk("WITHSCORES")
            writer.appendBulk("LIMIT")
            writer.appendBulk("0")
            writer.appendBulk(decimal: Int64(2 * state.limits.revocationsMax))
        }
    }

    /// Entries and their expiries, as Redis keeps them. What it does not have any more, because it
    /// started anew without its data, is written again.
    func revocationsHeard(_ entries: [(text: String, expiresAt: Int64)]) {
        var isAnyNew = false
        for entry in entries {
            guard let revocation = RevocationText.parse(entry.text, expiresAt: entry.expiresAt) else {
                metrics.malformed.add()
                continue
            }
            if learn(revocation) { isAnyNew = true }
        }
        if isAnyNew { tell(0..<state.shardCount) { $0.closeRevoked() } }
        guard state.shared.revocations.count > 0 else { return }
        let heard = Set(entries.map(\.text))
        let missing = state.shared.revocations.list(at: state.wallMilliseconds).lazy
            .filter { !heard.contains(String(decoding: RevocationText.member($0), as: UTF8.self)) }
        for revocation in missing.prefix(Self.restoredMax) {
            send(revocation, .restoredRevocation)
            // Until Redis has them all.
            state.revocationsDue = state.now.advanced(byMilliseconds: 6 * Self.askAgainMilliseconds)
        }
    }

    func revocationsHeard(_ reply: borrowing RESPReply) {
        var entries: [(text: String, expiresAt: Int64)] = []
        var index = 0
        while index + 1 < reply.value.count {
            let score = reply.value[index + 1].text.flatMap(Double.init)
            if let text = reply.value[index].text, let expiresAt = score.flatMap(Int64.init(exactly:)) {
                entries.append((text, expiresAt))
            } else {
                metrics.malformed.add()
            }
            index += 2
        }
        revocationsHeard(entries)
    }

    /// `{"command":"revoke","entry","expiresAt"}` from another node, or our own come back.
    func heardRevoke(entry: Bytes, expiresAt: Int64) {
        guard let revocation = RevocationText.parse(entry.text, expiresAt: expiresAt) else {
            metrics.malformed.add()
            return
        }
        guard learn(revocation) else { return }
        tell(state.shared.shards(of: revocation.subject)) { _ = $0.close(revocation) }
    }

    /// - Returns: whether it says what was not known yet.
    private func learn(_ revocation: Revocation) -> Bool {
        switch state.shared.revocations.insert(revocation, at: state.wallMilliseconds) {
        case .new: return true
        case .known: return false
        case .full:
            if !state.isRevocationLost {
                log(
                    .error,
                    "another node's revocation found no room and does not hold here; raise WS_MAX_REVOCATIONS")
            }
            state.isRevocationLost = true
            return false
        }
    }

    private func tell(_ shards: Range<Int>, _ body: @escaping @Sendable (ShardCore) -> Void) {
        for shard in shards {
            // Whatever waits there: nobody says it a second time, and the connection would stay open.
            _ = LoopTask<ShardCore>.post(
                to: state.shared.shardInboxes[shard], kind: ShardRecord.task.rawValue, always: true, body)
        }
    }
}

/// How a revocation is written in Redis: `u:<before>:<user>` or `t:<token ID>`, and its expiry beside.
enum RevocationText {
    static func member(_ revocation: Revocation) -> [UInt8] {
        switch revocation.subject {
        case .user(let user): Array("u:\(revocation.beforeMilliseconds):\(user)".utf8)
        case .token(let id): Array("t:\(id)".utf8)
        }
    }

    static func command(_ revocation: Revocation) -> [UInt8] {
        let member = member(revocation)
        return ByteWriter.withTemporary(capacity: 6 * member.count + 128) { writer in
            writer.append("{\"command\":\"revoke\",\"entry\":")
            writer.appendJSONString(member.span)
            writer.append(",\"expiresAt\":")
            writer.appendDecimal(Int(revocation.expiresAtMilliseconds))
            writer.append(UInt8(ascii: "}"))
            return writer.withWritten { text in unsafe text.withUnsafeBufferPointer { unsafe Array($0) } }
        }
    }

    static func parse(_ text: String, expiresAt: Int64) -> Revocation? {
        let rest = text.dropFirst(2)
        if text.hasPrefix("t:"), !rest.isEmpty, rest.utf8.count <= Revocation.tokenIDBytesMax {
            return Revocation(.token(String(rest)), beforeMilliseconds: 0, expiresAtMilliseconds: expiresAt)
        }
        guard text.hasPrefix("u:"), let colon = rest.firstIndex(of: ":"),
            let before = Int64(rest[..<colon]), let user = UserID(rest[rest.index(after: colon)...])
        else { return nil }
        return Revocation(.user(user), beforeMilliseconds: before, expiresAtMilliseconds: expiresAt)
    }
}
