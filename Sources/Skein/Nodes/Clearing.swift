// After a node that died: its lease has ended, and what it wrote of its users' devices is taken back by
// one of those that live. Each step is one script, and each looks first whether the node has come back:
// a lease that is there again stops it. The node itself takes the same way when it leaves.
//
// A Redis that stood still may carry out later what the node wrote on a link that was lost. So it stays in the
// list for a while, and is looked at once more: after a death always, after leaving where a link was just lost.

internal import SkeinIO
internal import SkeinWire

extension RouterCore {
    /// Answers whether there is more (1), all is done (0), or it is none of ours (-1); how many
    /// devices and users went; and whether it was the second look. A device is a field that begins with the node's
    /// ID; what is no hash is somebody else's, and keeps nobody's devices. When somebody was last seen only the
    /// first look may set back.
    private static var script: StaticString {
        """
        --skein clear
        local id,force,again=ARGV[1],ARGV[8]=='1',0 \
        local t=redis.call('TIME') local now=t[1]*1000+math.floor(t[2]/1000) local seen=now \
        if force then redis.call('DEL',KEYS[1],ARGV[9]) else \
        local ends=redis.call('ZSCORE',KEYS[2],id) \
        if not ends or redis.call('EXISTS',KEYS[1])==1 or ends+ARGV[3]>now then return {-1,0,0,0} end \
        if not redis.call('SET',KEYS[3],ARGV[2],'NX','PX',ARGV[4]) \
        and redis.call('GET',KEYS[3])~=ARGV[2] then return {-1,0,0,0} end redis.call('PEXPIRE',KEYS[3],ARGV[4]) \
        if redis.call('GET',KEYS[8])==ends then again=1 seen=ends-ARGV[10] else seen=ends-ARGV[5] end end \
        seen=string.format('%.0f',math.floor(seen/1000)) \
        redis.call('SELECT',4) redis.call('DEL',KEYS[6],KEYS[7]) local devices,gone=0,0 \
        if redis.call('EXISTS',KEYS[5])==1 then \
        redis.call('SUNIONSTORE',KEYS[4],KEYS[4],KEYS[5]) redis.call('DEL',KEYS[5]) end \
        local users=redis.call('SPOP',KEYS[4],ARGV[6]) \
        for _,user in ipairs(users) do local key='presence:devices:'..user \
        local fields=redis.pcall('HKEYS',key) if fields.err then fields={} end \
        for _,field in ipairs(fields) do \
        if string.sub(field,1,17)==id..'-' then devices=devices+redis.call('HDEL',key,field) end end \
        if redis.pcall('HLEN',key)==0 then gone=gone+1 local last='online:'..user \
        if again==0 or (tonumber(redis.pcall('GET',last)) or 0)<=tonumber(seen) then redis.call('SET',last,seen) end \
        if force then redis.call('PEXPIRE','presence:'..user,ARGV[7]) \
        else redis.call('DEL','presence:'..user) end end end \
        if #users==tonumber(ARGV[6]) then return {1,devices,gone,again} end \
        redis.call('SELECT',0) redis.call('DEL',KEYS[3]) \
        if again==1 or ARGV[10]=='0' then redis.call('ZREM',KEYS[2],id) redis.call('DEL',KEYS[8]) else \
        local look=string.format('%.0f',now+ARGV[10]) redis.call('ZADD',KEYS[2],look,id) \
        redis.call('PEXPIRE',KEYS[2],ARGV[11]) redis.call('SET',KEYS[8],look,'PX',ARGV[11]) end \
        return {0,devices,gone,again}
        """
    }

    /// Begins to clear up after a node, unless that is done for another: one at a time.
    func clear(_ id: String) {
        guard (state.registry.dead?.due ?? state.now) <= state.now else { return }
        state.registry.dead = DeadNode(id: id, due: state.now)
        sendClear(id, isForced: false)
    }

    private func sendClear(_ id: String, isForced: Bool) {
        let lease = state.limits.nodeLease.milliseconds
        state.registry.dead?.due = state.now.advanced(byMilliseconds: Int(lease))
        let keys = [
            state.registry.key(of: id), state.registry.nodesKey, state.registry.key(of: id, ":lock"),
            state.registry.key(of: id, ":users"), state.registry.key(of: id, ":old"),
            state.registry.key(of: id, ":said"), state.registry.key(of: id, ":turn"),
            state.registry.key(of: id, ":again"),
        ]
        let room = Self.script.utf8CodeUnitCount + keys.reduce(0) { $0 + $1.count } + 640
        state.links[.own].command(Awaited(kind: .clear), room: room) { writer in
            RESPCommand.writeArray(3 + keys.count + 11, into: &writer)
            writer.appendBulk("EVAL")
            writer.appendBulk(Self.script)
            writer.appendBulk("8")
            for key in keys { RESPCommand.writeBulk(key.span, into: &writer) }
            writer.appendBulk(text: id)
            writer.appendBulk(text: state.registry.id)
            writer.appendBulk(decimal: state.limits.nodeGrace.milliseconds)
            writer.appendBulk(decimal: lease)
            writer.appendBulk(decimal: lease)
            writer.appendBulk(decimal: Int64(NodeRegistry.usersPerStep))
            writer.appendBulk(decimal: Int64(Self.quietMilliseconds))
            writer.appendBulk(isForced ? "1" : "0")
            // While anything of it may come again, it has to be known by its mark.
            let isAllKept = state.journal.nextSequence - 1 <= state.acknowledgedSequence
            let mark = isAllKept ? state.appendedKey : keys[0]
            if isForced, isAllKept { state.registry.clearsMark = true }
            RESPCommand.writeBulk(mark.span, into: &writer)
            let mayFollow = !isForced || state.restatement.againAt != nil
            writer.appendBulk(decimal: mayFollow ? Restatement.stragglersMilliseconds.upperBound : 0)
            writer.appendBulk(decimal: NodeRegistry.leftoverMilliseconds)
        }
    }

    func cleared(_ reply: borrowing RESPReply) {
        guard reply.value.count == 4, let status = reply.value[0].integer,
            let devices = reply.value[1].integer, let users = reply.value[2].integer,
            let again = reply.value[3].integer, var dead = state.registry.dead
        else {
            metrics.malformed.add()
            return
        }
        let isOwn = dead.id == state.registry.id
        dead.devices += Int(clamping: devices)
        dead.users += Int(clamping: users)
        state.registry.dead = dead
        if !isOwn {
            metrics.clearedDevices.add(UInt64(clamping: devices))
            metrics.clearedUsers.add(UInt64(clamping: users))
        }
        if status == 1 {
            sendClear(dead.id, isForced: isOwn)
            return
        }
        state.registry.dead = nil
        if isOwn {
            state.registry.isRetired = true
        } else if status == 0 {
            let found = [("of", dead.id), ("devices", "\(dead.devices)"), ("users", "\(dead.users)")]
            if again == 0 {
                metrics.clearedNodes.add()
                log(.warning, "a node died: its lease ended, and its devices are taken back", found)
            } else {
                log(.info, "a node that is gone was looked at once more", found)
            }
            // There may be another one.
            state.registry.readDue = state.now
        }
    }

    /// Takes back this node's own lease, and whatever is left under its name. Behind everything else
    /// that it writes of its users, so that nothing comes after it.
    func retire() {
        guard !state.registry.isRetiring else { return }
        state.registry.isRetiring = true
        guard !state.isCluster, state.links[.own].isReady else {
            state.registry.isRetired = true
            return
        }
        state.registry.dead = DeadNode(id: state.registry.id, due: state.now)
        sendClear(state.registry.id, isForced: true)
    }
}
