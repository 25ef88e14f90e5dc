// After Redis was away, or has forgotten: every device is said again, and what is left under this node's
// name of those that went meanwhile is taken back. First the set of its users is put aside, then the
// shards say what is here, which Redis notes, and at last what those users have and nobody has said
// goes. Nothing that is here is missing in between, and no clock decides what is old.

internal import SkeinIO
internal import SkeinWire

struct Restatement {
    /// Which time it is, so that what an earlier one was told does not count.
    var ticket: UInt32 = 0
    /// The shard that says its devices, and from which slot on; all have when it is past the last.
    var shard = Int.max
    var slot: UInt32 = 0
    /// It was asked for the next of them and has not answered.
    var isAsked = false
    /// What is said is noted, until the sweep is over.
    var isUnderWay = false
    /// A command that must not be lost was, because too much waited.
    var isOwed = false
    /// A link was lost with commands that nobody answered for: a Redis that stood still has them, and carries
    /// them out beside what the next link brings, maybe after its sweep. When those are over, counted from the
    /// next link's greeting, all is said once more.
    var againAt: Instant?

    /// Far more than Redis takes for what a socket holds; spread, since all nodes lose their links at once.
    static let stragglersMilliseconds: ClosedRange<Int64> = 10_000...15_000
}

/// How far a shard has said its devices: the first slot that is still to come, or `.max`.
struct RestatementCursor {
    var ticket: UInt32
    var slot: UInt32

    init(ticket: UInt32, slot: UInt32) {
        self.ticket = ticket
        self.slot = slot
    }

    init(rawValue: UInt64) {
        self.init(ticket: UInt32(rawValue >> 32), slot: UInt32(truncatingIfNeeded: rawValue))
    }

    var rawValue: UInt64 { UInt64(ticket) << 32 | UInt64(slot) }
}

extension RouterCore {
    /// A restatement of a lost link, that Redis carries out after a later one has begun, is none: each has its
    /// number, and the latest stands in a key.
    private static var asideScript: StaticString {
        """
        --skein aside
        if tonumber(redis.call('GET',KEYS[4]) or '0')>tonumber(ARGV[2]) then return 0 end \
        redis.call('SET',KEYS[4],ARGV[2],'PX',ARGV[1]) redis.call('DEL',KEYS[3]) \
        if redis.call('EXISTS',KEYS[1])==1 then redis.call('SUNIONSTORE',KEYS[2],KEYS[1],KEYS[2]) \
        redis.call('DEL',KEYS[1]) redis.call('PEXPIRE',KEYS[2],ARGV[1]) end return 0
        """
    }

    private static var sweepScript: StaticString {
        """
        --skein sweep
        if redis.call('GET',KEYS[3])~=ARGV[5] then return 0 end \
        local users=redis.call('SPOP',KEYS[1],ARGV[2]) \
        for _,user in ipairs(users) do local key='presence:devices:'..user \
        local fields=redis.pcall('HKEYS',key) if fields.err then fields={} end \
        for _,field in ipairs(fields) do \
        if string.sub(field,1,17)==ARGV[1]..'-' and redis.call('SISMEMBER',KEYS[2],field)==0 then \
        redis.call('HDEL',key,field) end end \
        if redis.pcall('HLEN',key)==0 then redis.call('SET','online:'..user,ARGV[3]) \
        redis.call('PEXPIRE','presence:'..user,ARGV[4]) end end \
        if #users==tonumber(ARGV[2]) then return 1 end redis.call('DEL',KEYS[1],KEYS[2]) return 0
        """
    }

    /// Says every device again, to a Redis that may have forgotten it or missed that others went: so many
    /// at a time as the link has room for.
    func restate() {
        state.restatement.isOwed = false
        state.restatement.ticket &+= 1
        state.restatement.shard = 0
        state.restatement.slot = 0
        state.restatement.isAsked = false
        if !state.isCluster, state.links[.presence].isReady {
            state.restatement.isUnderWay = true
            state.registry.usersAreKept = false
            state.registry.saidAreKept = false
            let keys = [
                state.registry.usersKey, state.registry.oldUsersKey, state.registry.saidKey, state.registry.turnKey,
            ]
            let room = Self.asideScript.utf8CodeUnitCount + 4 * keys[0].count + 192
            state.links[.presence].command(Awaited(kind: .write), room: room) { writer in
                RESPCommand.writeArray(9, into: &writer)
                writer.appendBulk("EVAL")
                writer.appendBulk(Self.asideScript)
                writer.appendBulk("4")
                for key in keys { RESPCommand.writeBulk(key.span, into: &writer) }
                writer.appendBulk(decimal: NodeRegistry.leftoverMilliseconds)
                writer.appendBulk(decimal: Int64(state.restatement.ticket))
            }
        }
        restateFurther()
    }

    /// Whether a shard has more to say and can be asked: when it cannot for now, it is soon.
    var isRestating: Bool {
        !haveAllSaid && !state.restatement.isAsked && state.links[.presence].isReady
    }

    private var haveAllSaid: Bool { state.restatement.shard >= state.shardCount }

    /// Asks for the next devices, one shard at a time, when what they take fits on the link.
    func restateFurther() {
        guard isRestating, presenceBytes < Self.presenceBytesMax else { return }
        let cursor = RestatementCursor(ticket: state.restatement.ticket, slot: state.restatement.slot)
        let memory = unsafe state.outbox.append(
            to: state.restatement.shard, kind: ShardRecord.announce.rawValue, argument: cursor.rawValue)
        state.restatement.isAsked = unsafe memory != nil
        if unsafe memory == nil { metrics.overload.add() }
    }

    /// Something that has to be in Redis found no room on the way there.
    func oweRestatement() { state.restatement.isOwed = true }

    /// What is owed is done when the link has room again.
    func restateIfOwed() {
        guard state.restatement.isOwed, haveAllSaid,
            state.links[.presence].isReady, presenceBytes < Self.presenceBytesMax / 4
        else { return }
        restate()
    }

    /// The link for presence was lost, with commands that nobody answered for.
    func expectStragglers() {
        let wait = state.shared.host.random(in: Restatement.stragglersMilliseconds)
        state.restatement.againAt = state.now.advanced(byMilliseconds: Int(wait))
    }

    /// A new link for presence: all is said, and again when the last one's commands are over.
    func restateAfterLoss() {
        if state.restatement.againAt != nil { expectStragglers() }
        restate()
    }

    func restateAgainIfDue() {
        guard let due = state.restatement.againAt, state.now >= due, state.links[.presence].isReady, haveAllSaid
        else { return }
        state.restatement.againAt = nil
        restate()
    }

    private var presenceBytes: Int { state.links[.presence].waitingBytes }

    /// A shard has said devices; what it said is before this on the link.
    func announced(_ cursor: RestatementCursor) {
        guard cursor.ticket == state.restatement.ticket, state.restatement.isAsked else { return }
        state.restatement.isAsked = false
        state.restatement.slot = cursor.slot
        if cursor.slot == .max {
            state.restatement.shard += 1
            state.restatement.slot = 0
        }
        guard haveAllSaid else {
            restateFurther()
            return
        }
        // Where something was left out, nobody knows what is to go: all is said once more.
        if !state.restatement.isOwed { askWhetherToSweep() }
    }

    private var canSweep: Bool { !state.isCluster && state.links[.presence].isReady && state.finishBy == nil }

    /// Before the answer it is known whether Redis took all that was said.
    private func askWhetherToSweep() {
        guard canSweep else { return }
        let key = state.registry.oldUsersKey
        let awaited = Awaited(kind: .sweep, argument: state.restatement.ticket)
        state.links[.presence].command(awaited, room: key.count + 64) { writer in
            RESPCommand.writeArray(2, into: &writer)
            writer.appendBulk("EXISTS")
            RESPCommand.writeBulk(key.span, into: &writer)
        }
    }

    private func sweep() {
        guard canSweep else { return }
        let keys = [state.registry.oldUsersKey, state.registry.saidKey, state.registry.turnKey]
        let room = Self.sweepScript.utf8CodeUnitCount + 3 * keys[0].count + 512
        let awaited = Awaited(kind: .sweep, argument: state.restatement.ticket)
        state.links[.presence].command(awaited, room: room) { writer in
            RESPCommand.writeArray(11, into: &writer)
            writer.appendBulk("EVAL")
            writer.appendBulk(Self.sweepScript)
            writer.appendBulk("3")
            for key in keys { RESPCommand.writeBulk(key.span, into: &writer) }
            writer.appendBulk(text: state.registry.id)
            writer.appendBulk(decimal: Int64(NodeRegistry.usersPerStep))
            writer.appendBulk(decimal: state.wallMilliseconds / 1_000)
            writer.appendBulk(decimal: Int64(Self.quietMilliseconds))
            writer.appendBulk(decimal: Int64(state.restatement.ticket))
        }
    }

    /// - Parameter hasMore: whether there is anything to sweep.
    func swept(_ awaited: Awaited, hasMore: Bool) {
        // A new restatement has begun: it sweeps when its own shards have spoken, and until then it notes.
        guard awaited.argument == state.restatement.ticket else { return }
        // Where it refused some of what was said, those would go too; all is said again when it takes writes.
        if hasMore, state.refusedWrites == nil { sweep() } else { state.restatement.isUnderWay = false }
    }
}
