// One run: whole nodes, a Redis and clients on one thread, from one seed. Whatever could happen next
// is on a list, and luck picks from it; when nothing could, the clock moves to when something can.
// First everything may go wrong and must stay safe; then nothing does, and all must come right.

import Skein
import SkeinIO

package struct Outcome: Sendable {
    package let seed: UInt64
    /// What was wrong; `nil` when nothing was.
    package let failure: String?
    package let steps: Int
    /// The same for every run of one seed.
    package let hash: UInt64
    package let simulatedSeconds: Double
    package let reached: Reached
    package let lastSteps: [String]
    package let notes: [String]
}

package final class Simulation {
    private let seed: UInt64
    let world: World
    let ledger: Ledger
    let redis: FakeRedis
    var userNames: [String] = []
    var nodes: [Node] = []
    var loops: [LoopRunner] = []
    var clients: [Client] = []
    var accidents: [(at: Int64, kind: Accident)] = []
    var backend: Sender?
    var nextNote: Int64 = .max
    var ready: [Int] = []
    /// Shards of nodes that are to be started.
    var starts: [Int] = []

    enum Accident: CaseIterable {
        case stallLoop, jumpClock, cutLink, cutAfterPublish, stallRedis, restartRedis, deleteSession, drain
        case forgetScripts, killNode, restartNode, startNode, freezeNode, failOver
    }

    /// - Parameter nodes: so many on one Redis, where the seed is not to choose.
    package init(seed: UInt64, nodes: Int? = nil, plant: Plant? = nil, isTraced: Bool = false) {
        self.seed = seed
        world = World(seed: seed, nodes: nodes, plant: plant, isTraced: isTraced)
        ledger = Ledger(world)
        redis = FakeRedis(world)
    }

    package func run() -> Outcome {
        let began = world.now
        do {
            for number in 0..<world.scenario.nodeCount { nodes.append(try Node(world, number: number)) }
        } catch {
            world.fail("no node could be made: \(error)")
        }
        if nodes.count == 3 { world.reach(.threeNodes) }
        loops = nodes.flatMap(\.loops)
        nameUsers()
        openUp()
        misfortune()
        recover()
        leave()
        sumUp()
        return Outcome(
            seed: seed, failure: world.failure, steps: world.order, hash: world.hash,
            simulatedSeconds: Double(world.now - began) / 1e9, reached: world.reached,
            lastSteps: world.steps.suffix(200).map(\.text), notes: world.notes)
    }

    // MARK: Phases

    /// Names by where they lead, so that a run is the same whatever this process spreads users by.
    func nameUsers() {
        for user in 0..<world.scenario.userCount {
            let drawn = world.chance.next()
            // Nodes with as many shards spread users alike.
            let homes = nodes.map { Int(drawn % UInt64($0.server.steppedShardCount)) }
            for attempt in 0..<0x10000 {
                let digits = String(attempt, radix: 16)
                let name = "u\(user)-" + String(repeating: "0", count: 4 - digits.count) + digits
                guard zip(nodes, homes).allSatisfy({ $0.server.home(ofUser: name) == $1 }) else { continue }
                userNames.append(name)
                redis.sessions.insert(Array("session:\(name)".utf8))
                break
            }
        }
    }

    func openUp() {
        let scenario = world.scenario
        if scenario.usesRedis, scenario.faults.redisIsSteady {
            let all = nodes
            run(for: 20, "no router found its Redis") {
                all.allSatisfy { $0.router.steps.figures.isUp && !$0.router.steps.figures.deliversLocally }
            }
        }
        for device in 0..<scenario.deviceCount {
            clients.append(
                Client(world, self, number: device, user: world.chance.below(scenario.userCount)))
        }
        for echo in 0..<scenario.echoCount {
            clients.append(Client(world, self, number: scenario.deviceCount + echo, user: -1))
        }
        if scenario.usesRedis, world.chance.oneIn(2) {
            backend = ledger.sender(user: -1, node: -1)
            nextNote = world.now + 100_000_000
        }
        planAccidents()
    }

    func planAccidents() {
        let faults = world.scenario.faults
        let span = world.scenario.safetySeconds * 1_000
        func plan(_ kind: Accident, _ count: Int, by chance: ReferenceWritableKeyPath<World, Chance> = \.chance) {
            for _ in 0..<count {
                accidents.append((world.now + Int64(world[keyPath: chance].below(span)) * 1_000_000, kind))
            }
        }
        plan(.stallLoop, faults.loopStalls)
        plan(.jumpClock, faults.clockJumps)
        plan(.cutLink, faults.linkCuts)
        plan(.cutAfterPublish, faults.cutsAfterPublish)
        plan(.stallRedis, faults.redisStalls)
        plan(.restartRedis, faults.redisRestarts)
        plan(.deleteSession, faults.sessionDeletions)
        plan(.forgetScripts, faults.forgottenScripts, by: \.historyChance)
        plan(.killNode, faults.nodeKills, by: \.historyChance)
        plan(.restartNode, faults.nodeRestarts, by: \.historyChance)
        plan(.freezeNode, faults.nodeFreezes, by: \.historyChance)
        plan(.failOver, faults.failovers, by: \.historyChance)
        if world.scenario.drainsEarly { plan(.drain, 1) }
        accidents.sort { $0.at > $1.at }
    }

    /// The safety phase.
    func misfortune() {
        run(for: world.scenario.safetySeconds, nil) { false }
    }

    /// The liveness phase.
    func recover() {
        world.isCalm = true
        world.faults = Faults()
        world.faults.socketBytes = world.scenario.faults.socketBytes
        accidents = []
        nextNote = .max
        redis.stalledUntil = 0
        redis.cutAfter = nil
        for name in userNames { redis.sessions.insert(Array("session:\(name)".utf8)) }
        for loop in loops { loop.stalledUntil = min(loop.stalledUntil, world.now) }
        for node in nodes { node.kernel.descriptorsMax = 10_000 }
        for client in clients { client.calmDown() }
        if nodes.allSatisfy(\.isLeaving) { for client in clients { client.retire() } }
        run(for: 90, "not all came right") { [unowned self] in isSettled }
        for client in clients { client.retire() }
        run(for: 30, "not all was answered") { [unowned self] in
            world.scenario.faults.isLossy || clients.allSatisfy(\.hasAnswers)
        }
        // What is still on its way arrives.
        run(for: 1, nil) { false }
        if world.scenario.usesRedis, !world.scenario.faults.isLossy {
            run(for: 40, "presence in Redis is not who is here") { [unowned self] in presenceIsRight }
            run(for: 40, "a node that is gone was not forgotten") { [unowned self] in goneAreForgotten }
            if world.failure != nil { world.note("Redis has \(presenceInRedis)") }
        }
        guard world.failure == nil else { return }
        ledger.checkCompleteness()
        checkReplaysEnded()
        for client in clients where client.state == .open && client.device?.isOpen == true {
            if let sender = client.sender { ledger.checkAnswered(sender) }
        }
    }

    var isSettled: Bool {
        for client in clients {
            if nodes.allSatisfy(\.isLeaving) {
                guard client.state == .away else { return false }
            } else if !client.isSettled || (!client.hasAnswers && !world.scenario.faults.isLossy) {
                guard client.isContentToStayAway else { return false }
            }
        }
        for node in nodes where !node.hasEnded {
            guard node.isQuiet else { return false }
            guard world.scenario.usesRedis, !node.isLeaving else { continue }
            let figures = node.router.steps.figures
            guard figures.isUp, !figures.deliversLocally else { return false }
        }
        return nodes.allSatisfy { !$0.isLeaving || $0.hasEnded }
    }

    /// Every node drains; nothing is left.
    func leave() {
        guard world.failure == nil else { return }
        for client in clients { client.retire() }
        for node in nodes where !node.isLeaving { drain(node) }
        run(for: 30, "a drain did not end") { [unowned self] in nodes.allSatisfy(\.hasEnded) }
        guard world.failure == nil else { return }
        for node in nodes where !node.wasKilled { checkEmpty(node) }
        checkRegistry()
    }

    func drain(_ node: Node) {
        guard !node.isLeaving else { return }
        node.isLeaving = true
        node.drainedOrder = world.order
        node.leftCalmly = world.isCalm
        var plan = DrainPlan()
        plan.deadline = .milliseconds(world.chance.pick([300, 2_000, 5_000]))
        plan.preStop = .milliseconds(world.chance.pick([0, 0, 300]))
        plan.wave = .milliseconds(world.chance.pick([50, 250]))
        world.reach(.drained)
        if !world.isCalm { world.reach(.drainedInTraffic) }
        node.server.drain(plan)
        lookForWakes(node)
    }

    func sumUp() {
        for node in nodes {
            let snapshot = node.server.snapshot()
            for shard in snapshot.shards {
                world.reached[.staleCompletion] += Int(shard.dropped["stale_completion"] ?? 0)
                world.reached[.overload] += Int(shard.dropped["overload"] ?? 0)
                world.reached[.readDeferred] += Int(shard.deferredReads)
                world.reached[.memoryShed] += Int(shard.dropped["memory"] ?? 0)
                world.reached[.handshakeTimeout] += Int(shard.handshakes["timeout"] ?? 0)
                let stalled = Int(shard.slowConsumers) - Int(shard.dropped["slow_consumer"] ?? 0)
                world.reached[.writeStalled] += stalled
                world.reached[.close1006] += Int(shard.closes[1_006] ?? 0)
            }
            world.reached[.caughtUp] += Int(snapshot.backplane.catchUps)
            world.reached[.sentBack] += Int(snapshot.backplane.gaps)
            world.reached[.nodeHeardAgain] += Int(snapshot.backplane.dropped["duplicate"] ?? 0)
            world.reached[.queueFull] += Int(snapshot.backplane.dropped["backplane_queue_full"] ?? 0)
            world.reached[.overload] += Int(snapshot.backplane.dropped["shard_overload"] ?? 0)
            world.reached[.subscribedAgain] += snapshot.backplane.reconnects > 0 ? 1 : 0
            world.reached[.leaseLost] += Int(snapshot.backplane.leasesLost)
            let report = node.server.steppedReport
            world.reached[.toldToLeave] += report.told
            world.reached[.movedInTime] += report.moved
            world.reached[.closedAtDeadline] += report.closedAtDeadline
            world.reached[.flushedInDrain] += report.eventsFlushed
        }
    }
}
