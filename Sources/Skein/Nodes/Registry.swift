// The registry of nodes, in Redis: each writes a lease three times in its life and reads those of the
// others. All of its times are Redis's own, so nodes need not agree on theirs. The leases are in
// database 0 and what the nodes wrote of their users is in database 4; scripts see both.

internal import SkeinIO
internal import SkeinWire

extension RouterCore {
    /// What others may have done meanwhile hangs on whether the lease was still there.
    private static var beatScript: StaticString {
        """
        --skein beat
        local t=redis.call('TIME') local now=t[1]*1000+math.floor(t[2]/1000) \
        local was=redis.call('EXISTS',KEYS[1]) \
        redis.call('SET',KEYS[1],ARGV[2],'PX',ARGV[3]) \
        redis.call('ZADD',KEYS[2],string.format('%.0f',now+ARGV[3]),ARGV[1]) \
        redis.call('PEXPIRE',KEYS[2],ARGV[4]) \
        redis.call('SELECT',4) redis.call('PEXPIRE',KEYS[3],ARGV[4]) return was
        """
    }

    /// For each node its ID, the milliseconds until its lease ends, and the lease.
    private static var nodesScript: StaticString {
        """
        --skein nodes
        local t=redis.call('TIME') local now=t[1]*1000+math.floor(t[2]/1000) \
        local list=redis.call('ZRANGE',KEYS[1],0,ARGV[2]-1,'WITHSCORES') local out={} \
        for i=1,#list,2 do out[#out+1]=list[i] out[#out+1]=list[i+1]-now \
        out[#out+1]=redis.call('GET',ARGV[1]..list[i]) or '' end return out
        """
    }

    /// In a cluster the keys are in several places, and a node keeps to itself.
    private var hasRegistry: Bool { state.hasRedis && !state.isCluster && state.links[.own].isReady }

    /// Between two beats until the listeners are open.
    private static var openingMilliseconds: Int { 100 }

    private var beatMilliseconds: Int { max(1, Int(state.limits.nodeLease.milliseconds) * 3 / 10) }

    func keepLease() {
        guard hasRegistry, state.finishBy == nil else { return }
        if state.now >= state.registry.beatDue { beat() }
        if state.now >= state.registry.readDue { readNodes() }
    }

    /// When it has something to do; `nil` while it cannot do it.
    var leaseDue: Instant? {
        guard hasRegistry, state.finishBy == nil else { return nil }
        return min(state.registry.beatDue, state.registry.readDue)
    }

    /// The link for it is there.
    func beginLease() {
        // Redis may have taken a beat of the last link and found no lease, and the answer is lost.
        state.registry.isDoubtful = state.registry.isDoubtful || state.registry.beats > state.registry.beatsEnded
        if state.registry.namesItself { state.registry.nameAgain() }
        state.registry.beatsEnded = state.registry.beats
        state.registry.beatDue = state.now
        state.registry.readDue = state.now
        state.registry.dead = nil
    }

    /// The node leaves, or goes on after all: the others are told at once.
    func setDraining(_ isDraining: Bool) {
        state.registry.isDraining = isDraining
        state.registry.beatDue = state.now
        state.registry.readDue = state.now
        if isDraining {
            // By what was read last, until the others have been asked again.
            setPace(state.shared.board.others(at: state.now))
        } else {
            state.shared.pace.reset()
        }
    }

    // MARK: Own lease

    private func beat() {
        let load = state.load()
        state.registry.measure(load, at: state.now)
        metrics.arrivingPerSecond.set(UInt64(state.registry.arrivingPerSecond))
        metrics.leavingPerSecond.set(UInt64(state.registry.leavingPerSecond))
        if load.takesMore { state.registry.hasOpened = true }
        let wait = state.registry.hasOpened ? beatMilliseconds : min(beatMilliseconds, Self.openingMilliseconds)
        state.registry.beatDue = state.now.advanced(byMilliseconds: wait)
        state.json.clear()
        NodeLease.write(ownLease(load), into: &state.json.writer)
        let lease = state.json.bytes
        let leaseMilliseconds = state.limits.nodeLease.milliseconds
        let room = Self.beatScript.utf8CodeUnitCount + lease.count + 512 + state.channelPrefix.utf8.count * 3
        state.registry.beats += 1
        state.links[.own].command(Awaited(kind: .beat), room: room) { writer in
            RESPCommand.writeArray(10, into: &writer)
            writer.appendBulk("EVAL")
            writer.appendBulk(Self.beatScript)
            writer.appendBulk("3")
            RESPCommand.writeBulk(state.registry.leaseKey.span, into: &writer)
            RESPCommand.writeBulk(state.registry.nodesKey.span, into: &writer)
            RESPCommand.writeBulk(state.registry.usersKey.span, into: &writer)
            writer.appendBulk(text: state.registry.id)
            writer.appendBulk(lease)
            writer.appendBulk(decimal: leaseMilliseconds)
            writer.appendBulk(decimal: NodeRegistry.leftoverMilliseconds)
        }
    }

    private func ownLease(_ load: NodeLoad) -> NodeInfo {
        var node = NodeInfo()
        node.nodeId = state.registry.id
        node.address = state.registry.address
        node.controlAddress = state.shared.board.controlAddress
        node.version = state.shared.version
        node.startedAtMilliseconds = state.registry.startedAtMilliseconds
        node.shards = state.shardCount
        node.connections = load.connections
        node.users = load.users
        node.draining = state.registry.isDraining
        node.acceptPerSecond =
            load.takesMore && !node.draining ? state.limits.acceptRate(shards: state.shardCount) : 0
        node.arrivingPerSecond = state.registry.arrivingPerSecond
        node.leavingPerSecond = state.registry.leavingPerSecond
        return node
    }

    /// - Parameter was: whether our last lease still stood.
    func beatAnswered(was: Bool) {
        metrics.leasedAt.set(UInt64(state.now.nanoseconds))
        let isBack = state.registry.wasLeased && !was
        // Whoever came before the first lease may have been taken for a dead node's.
        let isDoubtful = state.registry.isDoubtful || (!state.registry.wasLeased && state.users.count > 0)
        state.registry.wasLeased = true
        state.registry.isDoubtful = false
        state.registry.beatsEnded = min(state.registry.beatsEnded + 1, state.registry.beats)
        if isBack {
            metrics.leasesLost.add()
            log(.warning, "this node's lease had ended: it stood still, or Redis was away or has forgotten it; "
                + "its devices are written again")
        }
        if isBack || isDoubtful { restate() }
    }

    // MARK: The others'

    private func readNodes() {
        state.registry.readDue = state.now.advanced(byMilliseconds: beatMilliseconds)
        let room = Self.nodesScript.utf8CodeUnitCount + 256 + state.channelPrefix.utf8.count * 2
        state.links[.own].command(Awaited(kind: .nodes), room: room) { writer in
            RESPCommand.writeArray(6, into: &writer)
            writer.appendBulk("EVAL")
            writer.appendBulk(Self.nodesScript)
            writer.appendBulk("1")
            RESPCommand.writeBulk(state.registry.nodesKey.span, into: &writer)
            RESPCommand.writeBulk(state.registry.leasePrefix.span, into: &writer)
            writer.appendBulk(decimal: Int64(state.limits.nodesMax))
        }
    }

    func nodesHeard(_ reply: borrowing RESPReply) {
        var others: [NodeInfo] = []
        var dead: String?
        let grace = Int(state.limits.nodeGrace.milliseconds)
        var index = 0
        while index + 2 < reply.value.count {
            defer { index += 3 }
            guard let id = reply.value[index].text, NodeRegistry.isNodeID(id),
                let given = reply.value[index + 1].integer
            else {
                metrics.malformed.add()
                continue
            }
            // It is counted with, and anybody may have written it.
            let left = max(-NodeRegistry.leaseMillisecondsMax, min(given, NodeRegistry.leaseMillisecondsMax))
            guard id != state.registry.id else { continue }
            if let node = lease(reply.value[index + 2], of: id, left) {
                others.append(node)
            } else if left < -grace {
                dead = dead ?? id
            }
        }
        nodesHeard(others)
        // The more there are, the less often each reads them.
        let wait = max(beatMilliseconds, others.count * 1_000 / NodeRegistry.readsPerSecond)
        state.registry.readDue = state.now.advanced(byMilliseconds: wait)
        if let dead { clear(dead) }
    }

    private func lease(_ value: borrowing RESPValue, of id: String, _ left: Int64) -> NodeInfo? {
        let read = value.withBytes { text in
            unsafe text.withUnsafeBufferPointer { buffer -> NodeInfo? in
                guard let base = buffer.baseAddress, !buffer.isEmpty else { return nil }
                return unsafe NodeLease.read(Bytes(base, count: buffer.count), &state.envelope)
            }
        }
        guard var node = read else { return nil }
        node.nodeId = id
        node.leaseMilliseconds = left
        return node
    }

    private func nodesHeard(_ others: [NodeInfo]) {
        state.shared.board.set(others, at: state.now)
        metrics.nodes.set(UInt64(others.count))
        if state.registry.isDraining { setPace(others) }
    }

    private func setPace(_ others: [NodeInfo]) {
        let perSecond = DrainPacing.perSecond(others, leaving: state.registry.leavingPerSecond)
        state.shared.pace.set(perSecond, peers: others.count { !$0.draining })
    }

    /// Redis did not take or tell leases; what else the link is for goes on.
    func registryRefused(_ text: Bytes) {
        metrics.malformed.add()
        state.registry.dead = nil
        let line = "Redis refused what the registry of nodes is kept with: \(text.text)"
        if state.registryNews.isNews(line, at: state.now) { log(.warning, line) }
    }
}

extension ByteWriter {
    mutating func appendBulk(text: String) {
        var text = text
        text.withUTF8 { span in unsafe RESPCommand.writeBulk(span.span, into: &self) }
    }
}

extension Limits {
    /// Connections a second that a node of so many shards says it can take.
    func acceptRate(shards: Int) -> Int { acceptPerSecond > 0 ? acceptPerSecond : 2_000 * shards }
}
