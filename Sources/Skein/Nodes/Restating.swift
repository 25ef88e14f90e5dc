// After Redis was away, or has forgotten: every device is said again, and what is left under this node's
// name of those that went meanwhile is taken back. First the set of its users is put aside, then the
// shards say what is here, and at last whatever in the set is older than that goes. Nothing that is here
// is missing in between.

internal import SkeinIO
internal import SkeinWire

struct Restatement {
    /// Which time it is, so that what an earlier one was told does not count.
    var ticket: UInt64 = 0
    /// Shards that have not said everything yet.
    var missing = 0
    /// Devices that were written before are not said again: RFC 3339, as in their fields.
    var since: [UInt8] = []
    /// A command that must not be lost was, because too much waited.
    var isOwed = false
}

extension RouterCore {
    private static var asideScript: StaticString {
        """
        --skein aside
        if redis.call('EXISTS',KEYS[1])==1 then redis.call('SUNIONSTORE',KEYS[2],KEYS[1],KEYS[2]) \
        redis.call('DEL',KEYS[1]) redis.call('PEXPIRE',KEYS[2],ARGV[1]) end return 0
        """
    }

    private static var sweepScript: StaticString {
        """
        --skein sweep
        local users=redis.call('SPOP',KEYS[1],ARGV[3]) \
        for _,user in ipairs(users) do local key='presence:devices:'..user \
        local all=redis.call('HGETALL',key) for i=1,#all,2 do \
        local at=string.match(all[i+1],'"timestamp":"([^"]+)"}$') \
        if string.sub(all[i],1,17)==ARGV[1]..'-' and at and at<ARGV[2] then \
        redis.call('HDEL',key,all[i]) end end \
        if redis.call('HLEN',key)==0 then redis.call('SET','online:'..user,ARGV[4]) \
        redis.call('PEXPIRE','presence:'..user,ARGV[5]) end end \
        if #users==tonumber(ARGV[3]) then return 1 end redis.call('DEL',KEYS[1]) return 0
        """
    }

    /// Says every device again, to a Redis that may have forgotten it or missed that others went.
    func restate() {
        state.restatement.isOwed = false
        state.restatement.ticket += 1
        state.restatement.missing = state.shardCount
        state.restatement.since = unsafe Array(state.timestamp.bytes.buffer)
        if !state.isCluster, state.links[.presence].isReady {
            let keys = [state.registry.usersKey, state.registry.oldUsersKey]
            let room = Self.asideScript.utf8CodeUnitCount + 2 * keys[1].count + 128
            state.links[.presence].command(Awaited(kind: .write), room: room) { writer in
                RESPCommand.writeArray(6, into: &writer)
                writer.appendBulk("EVAL")
                writer.appendBulk(Self.asideScript)
                writer.appendBulk("2")
                for key in keys { RESPCommand.writeBulk(key.span, into: &writer) }
                writer.appendBulk(decimal: NodeRegistry.leftoverMilliseconds)
            }
        }
        for shard in 0..<state.shardCount {
            let memory = unsafe state.outbox.append(
                to: shard, kind: ShardRecord.announce.rawValue, argument: state.restatement.ticket)
            if unsafe memory == nil {
                metrics.overload.add()
                state.restatement.isOwed = true
            }
        }
    }

    /// Something that has to be in Redis found no room on the way there.
    func oweRestatement() { state.restatement.isOwed = true }

    /// What is owed is done when the link has room again.
    func restateIfOwed() {
        guard state.restatement.isOwed, state.links[.presence].isReady,
            state.links[.presence].filling.count < Self.presenceBytesMax / 4
        else { return }
        restate()
    }

    /// A shard has said all its devices; what it said is before this on the link.
    func announced(_ ticket: UInt64) {
        guard ticket == state.restatement.ticket, state.restatement.missing > 0 else { return }
        state.restatement.missing -= 1
        if state.restatement.missing == 0 { sweep() }
    }

    private func sweep() {
        guard !state.isCluster, state.links[.presence].isReady, state.finishBy == nil else { return }
        let key = state.registry.oldUsersKey
        let room = Self.sweepScript.utf8CodeUnitCount + key.count + 512
        state.links[.presence].command(Awaited(kind: .sweep), room: room) { writer in
            RESPCommand.writeArray(9, into: &writer)
            writer.appendBulk("EVAL")
            writer.appendBulk(Self.sweepScript)
            writer.appendBulk("1")
            RESPCommand.writeBulk(key.span, into: &writer)
            writer.appendBulk(text: state.registry.id)
            RESPCommand.writeBulk(state.restatement.since.span, into: &writer)
            writer.appendBulk(decimal: Int64(NodeRegistry.usersPerStep))
            writer.appendBulk(decimal: state.wallMilliseconds / 1_000)
            writer.appendBulk(decimal: Int64(Self.quietMilliseconds))
        }
    }

    /// - Parameter hasMore: whether another step is needed.
    func swept(hasMore: Bool) {
        // A new restatement has begun: it sweeps when its own shards have spoken.
        if hasMore, state.restatement.missing == 0 { sweep() }
    }
}
