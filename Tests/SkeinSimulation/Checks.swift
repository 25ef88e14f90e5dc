// What must hold of the nodes themselves, whatever was said: buffers, descriptors, what is in flight,
// bounds, and that nobody sleeps through a call.

extension Simulation {
    /// Whoever sleeps with something in its inbox was not woken.
    func checkSleepers() {
        for loop in loops where loop.phase == .waiting && !loop.ring.isWoken && loop.steps.hasParcels {
            guard loop.stalledUntil <= world.now else { continue }
            world.fail("\(loop.ring.name) sleeps with something in its inbox")
        }
    }

    /// Between two turns a machine holds no buffer but those that it says wait for the next.
    func check(_ loop: LoopRunner) {
        let lent = loop.ring.buffers.lent
        let held = loop.ring.heldBuffers + loop.steps.figures.buffersDeferred
        if lent != held { world.fail("\(loop.ring.name) kept \(lent - held) receive buffers over a turn") }
        let pool = loop.ring.buffers
        if pool.header.pointee.recycledCount + lent != pool.count {
            world.fail("\(loop.ring.name) has lost a receive buffer")
        }
    }

    /// What a shard believes of its connections is what the kernel knows.
    func audit(_ loop: LoopRunner) {
        let world = world
        loop.steps.visitConnections { connection in
            guard let descriptor = loop.ring.kernel[connection.fd] else {
                world.fail("\(loop.ring.name) has a connection without a descriptor")
                return
            }
            if connection.isReceiving != descriptor.readIsInFlight, !connection.isDeferred {
                world.fail("\(loop.ring.name) is wrong about a receive in flight on \(connection.fd)")
            }
            if connection.isSending != descriptor.writeIsInFlight {
                world.fail("\(loop.ring.name) is wrong about a send in flight on \(connection.fd)")
            }
            guard connection.isOpen else { return }
            if connection.backlogBytes > connection.backlogBytesMax
                || connection.backlogMessages > connection.backlogMessagesMax
            {
                world.fail("\(loop.ring.name) has a send queue beyond its bound: \(connection)")
            }
        }
    }

    /// More may wait for a device while it is given what it had missed, and not for longer.
    func checkReplaysEnded() {
        // To who came back a moment ago, the shard ends it with its next turn.
        if stillReplayed != nil { run(for: 1, nil) { false } }
        if let stillReplayed { world.fail(stillReplayed) }
    }

    private var stillReplayed: String? {
        let most = world.scenario.configuration.limits.sendQueueMessagesMax
        var found: String?
        for loop in nodes.filter({ !$0.hasEnded }).flatMap(\.loops) where !loop.isRouter {
            loop.steps.visitConnections { connection in
                guard connection.isOpen, connection.backlogBytes == 0 else { return }
                if connection.backlogMessagesMax != most {
                    found = "\(loop.ring.name) still replays to \(connection)"
                }
            }
        }
        return found
    }

    /// Every device of a node that lives has its field, and no other field is there: what a dead node
    /// left is cleared up as long as any other lives.
    var presenceIsRight: Bool {
        let living = nodes.filter { !$0.hasEnded && !$0.isLeaving }
        guard !living.isEmpty else { return true }
        var fields: [String: Int] = [:]
        for device in redis.devices.values {
            for field in device.keys { fields[String(decoding: field.prefix(16), as: UTF8.self), default: 0] += 1 }
        }
        for node in living {
            var open = 0
            for loop in node.loops where !loop.isRouter {
                loop.steps.visitConnections { if $0.isOpen, $0.hasUser { open += 1 } }
            }
            guard fields.removeValue(forKey: node.server.nodeID) ?? 0 == open else { return false }
        }
        return fields.isEmpty
    }

    /// Those that live have looked for the last time after those that do not.
    var goneAreForgotten: Bool {
        nodes.allSatisfy { !$0.hasEnded || redis.hasForgotten($0.server.nodeID) }
            || nodes.allSatisfy { $0.hasEnded || $0.isLeaving }
    }

    /// For a trace.
    var presenceInRedis: String {
        redis.devices.filter { !$0.value.isEmpty }
            .map { key, fields in
                let names = fields.keys.map { String(decoding: $0, as: UTF8.self) }.sorted()
                return "\(String(decoding: key, as: UTF8.self)): \(names.joined(separator: " "))"
            }
            .sorted().joined(separator: "; ") + "; nodes "
            + nodes.map { node in
                var open = ""
                for loop in node.loops where !loop.isRouter {
                    loop.steps.visitConnections { if $0.isOpen, $0.hasUser { open += " \(loop.ring.name)/\($0.slot)" } }
                }
                return "\(node.number) is \(node.server.nodeID)\(node.hasEnded ? ", ended" : ", open are\(open)")"
            }.joined(separator: ", ")
    }

    /// Nor does Redis of it, when nothing kept the two apart at the end.
    func checkRegistry() {
        guard world.scenario.usesRedis, !world.scenario.faults.isLossy else { return }
        for node in nodes where node.leftCalmly {
            if let left = redis.remains(of: node.server.nodeID) {
                world.fail("node \(node.number) left in Redis: \(left)")
            }
        }
    }

    /// A node that has drained holds nothing any more.
    func checkEmpty(_ node: Node) {
        for loop in node.loops {
            let figures = loop.steps.figures
            if loop.isRouter { continue }
            if figures.connections + figures.users + figures.timers + figures.deferred > 0 {
                world.fail("\(loop.ring.name) ended with something left: \(figures)")
            }
        }
        for descriptor in node.kernel.openDescriptors {
            switch descriptor.kind {
            case .listener: world.fail("node \(node.number) ended with an open listener")
            case .stream where !descriptor.isLink:
                let stage = descriptor.wasRead ? descriptor.ring == nil ? "moved" : "served" : "accepted"
                world.fail("node \(node.number) ended with descriptor \(descriptor.fd) open: \(stage) last")
            case .stream, .reserve, .unconnected: break
            }
        }
    }
}
