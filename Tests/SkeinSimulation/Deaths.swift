// The greater accidents: nodes that are killed, stand still or are restarted one after another, and a
// Redis that gives way to a replica that lacks the newest writes.

import SkeinIO

extension Simulation {
    private var living: [Node] { nodes.filter { !$0.isLeaving && !$0.hasEnded } }

    /// As the kernel leaves it behind: everything closed, nothing said.
    func killNode() {
        guard !living.isEmpty else { return }
        let node = world.historyChance.pick(living)
        world.reach(.nodeKilled)
        world.note("node \(node.number) is killed")
        world.killed.insert(node.number)
        world.endedEarly.insert(node.number)
        node.kill()
        planStart(like: node)
    }

    func restartNode() {
        guard !living.isEmpty else { return }
        let node = world.historyChance.pick(living)
        drain(node)
        planStart(like: node)
    }

    func freezeNode(_ now: Int64) {
        guard !living.isEmpty else { return }
        world.reach(.nodeFrozen)
        let until = now + Int64(world.historyChance.pick([1_000, 3_000, 10_000])) * 1_000_000
        for loop in world.historyChance.pick(living).loops { loop.stalledUntil = until }
    }

    private func planStart(like node: Node) {
        guard !world.historyChance.oneIn(4) else { return }
        starts.append(world.scenario.shardCounts[node.number])
        accidents.append((world.now + Int64(world.historyChance.within(0...1_500)) * 1_000_000, .startNode))
        accidents.sort { $0.at > $1.at }
    }

    func startNode() {
        guard let shardCount = starts.popLast() else { return }
        world.reach(.nodeStarted)
        world.scenario.shardCounts.append(shardCount)
        do {
            let node = try Node(world, number: nodes.count)
            nodes.append(node)
            loops += node.loops
        } catch {
            world.fail("no node could be made: \(error)")
        }
    }

    /// A replica follows, and some time later takes the primary's place.
    func failOver(_ now: Int64) {
        guard redis.replica != nil else {
            redis.follow()
            accidents.append((now + Int64(world.historyChance.within(1...400)) * 1_000_000, .failOver))
            accidents.sort { $0.at > $1.at }
            return
        }
        world.note("Redis gives way to its replica")
        redis.failOver()
        world.failedOverOrder = world.order
    }
}

extension Node {
    func kill() {
        wasKilled = true
        isLeaving = true
        let jobs = host.simulatedExecutor
        while !jobs.jobs.isEmpty { jobs.run(0) }
        kernel.die()
        for loop in loops where loop.phase != .ended {
            // A loop that is parked cannot be taken down; what it does on waking has no effect.
            if loop.phase == .waiting { loop.steps.turn() }
            loop.steps.finish()
            loop.phase = .ended
        }
    }
}
