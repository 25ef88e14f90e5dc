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
}

package final class Simulation {
    private let seed: UInt64
    let world: World
    let ledger: Ledger
    let redis: FakeRedis
    private(set) var userNames: [String] = []
    private var nodes: [Node] = []
    private var loops: [LoopRunner] = []
    private var clients: [Client] = []
    private var accidents: [(at: Int64, kind: Accident)] = []
    private var backend: Sender?
    private var nextNote: Int64 = .max
    private var ready: [Int] = []

    enum Accident: CaseIterable {
        case stallLoop, jumpClock, cutLink, cutAfterPublish, stallRedis, restartRedis, deleteSession, drain
    }

    package init(seed: UInt64, plant: Plant? = nil, isTraced: Bool = false) {
        self.seed = seed
        world = World(seed: seed, plant: plant, isTraced: isTraced)
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
            lastSteps: world.steps.suffix(200).map(\.text))
    }

    // MARK: Phases

    /// Names by where they lead, so that a run is the same whatever this process spreads users by.
    private func nameUsers() {
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

    private func openUp() {
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

    private func planAccidents() {
        let faults = world.scenario.faults
        let span = world.scenario.safetySeconds * 1_000
        func plan(_ kind: Accident, _ count: Int) {
            for _ in 0..<count {
                accidents.append((world.now + Int64(world.chance.below(span)) * 1_000_000, kind))
            }
        }
        plan(.stallLoop, faults.loopStalls)
        plan(.jumpClock, faults.clockJumps)
        plan(.cutLink, faults.linkCuts)
        plan(.cutAfterPublish, faults.cutsAfterPublish)
        plan(.stallRedis, faults.redisStalls)
        plan(.restartRedis, faults.redisRestarts)
        plan(.deleteSession, faults.sessionDeletions)
        if world.scenario.drainsEarly { plan(.drain, 1) }
        accidents.sort { $0.at > $1.at }
    }

    /// The safety phase.
    private func misfortune() {
        run(for: world.scenario.safetySeconds, nil) { false }
    }

    /// The liveness phase.
    private func recover() {
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
        // What is still on its way arrives.
        run(for: 1, nil) { false }
        guard world.failure == nil else { return }
        ledger.checkCompleteness()
        for client in clients where client.state == .open && client.device?.isOpen == true {
            if let sender = client.sender { ledger.checkAnswered(sender) }
        }
    }

    private var isSettled: Bool {
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
    private func leave() {
        guard world.failure == nil else { return }
        for client in clients { client.retire() }
        for node in nodes where !node.isLeaving { drain(node) }
        run(for: 30, "a drain did not end") { [unowned self] in nodes.allSatisfy(\.hasEnded) }
        guard world.failure == nil else { return }
        for node in nodes { checkEmpty(node) }
    }

    private func drain(_ node: Node) {
        guard !node.isLeaving else { return }
        node.isLeaving = true
        var plan = DrainPlan()
        plan.deadline = .milliseconds(world.chance.pick([300, 2_000, 5_000]))
        plan.preStop = .milliseconds(world.chance.pick([0, 0, 300]))
        plan.wave = .milliseconds(world.chance.pick([50, 250]))
        world.reach(.drained)
        if !world.isCalm { world.reach(.drainedInTraffic) }
        node.server.drain(plan)
        lookForWakes(node)
    }

    private func checkEmpty(_ node: Node) {
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
                world.fail("node \(node.number) ended with descriptor \(descriptor.fd) open")
            case .stream, .reserve, .unconnected: break
            }
        }
    }

    private func sumUp() {
        for node in nodes {
            let snapshot = node.server.snapshot()
            for shard in snapshot.shards {
                world.reached[.staleCompletion] += Int(shard.dropped["stale_completion"] ?? 0)
                world.reached[.overload] += Int(shard.dropped["overload"] ?? 0)
                world.reached[.handshakeTimeout] += Int(shard.handshakes["timeout"] ?? 0)
                world.reached[.writeStalled] += Int(shard.slowConsumers) - Int(shard.dropped["slow_consumer"] ?? 0)
                world.reached[.close1006] += Int(shard.closes[1_006] ?? 0)
            }
            world.reached[.nodeHeardAgain] += Int(snapshot.backplane.dropped["duplicate"] ?? 0)
            world.reached[.queueFull] += Int(snapshot.backplane.dropped["backplane_queue_full"] ?? 0)
            world.reached[.overload] += Int(snapshot.backplane.dropped["shard_overload"] ?? 0)
            world.reached[.subscribedAgain] += snapshot.backplane.reconnects > 0 ? 1 : 0
            let report = node.server.steppedReport
            world.reached[.toldToLeave] += report.told
            world.reached[.movedInTime] += report.moved
            world.reached[.closedAtDeadline] += report.closedAtDeadline
            world.reached[.flushedInDrain] += report.eventsFlushed
        }
    }

    // MARK: Stepping

    /// Goes on for so many simulated seconds, or until all is well.
    ///
    /// - Parameter complaint: what is wrong when the time is over; `nil`: nothing.
    private func run(for seconds: Int, _ complaint: String?, until isDone: () -> Bool) {
        let end = world.now + Int64(seconds) * 1_000_000_000
        var count = 0
        while world.failure == nil {
            count += 1
            if count & 31 == 0, isDone() { return }
            if world.now >= end {
                if let complaint, !isDone() { world.fail("\(complaint) within \(seconds) s: \(account)") }
                return
            }
            if !step() {
                if isDone() { return }
                checkSleepers()
                let next = min(end, nextDue)
                world.advance(by: max(1, next - world.now))
                world.record(.time, 0)
            }
            if world.order > 400_000 { world.fail("a run without end") }
        }
    }

    /// Who is not content, for a complaint.
    private var account: String {
        var parts: [String] = []
        for client in clients where !client.isSettled || !client.hasAnswers {
            parts.append("client \(client.number) is \(client.account)")
        }
        for node in nodes {
            for loop in node.loops where loop.phase != .ended {
                parts.append("\(loop.ring.name): \(loop.steps.figures)")
            }
        }
        return parts.joined(separator: "; ")
    }

    private enum Choice: Int { case loop, stream, client, redis, job, connect }

    /// One thing that can happen now. - Returns: false when nothing can.
    private func step() -> Bool {
        let now = world.now
        happen(now)
        ready.removeAll(keepingCapacity: true)
        for index in loops.indices where loops[index].isReady(at: now) { add(.loop, index) }
        for index in world.streams.indices where world.streams[index].heldUntil <= now { add(.stream, index) }
        for index in clients.indices where clients[index].isReady(at: now) { add(.client, index) }
        if !redis.isStalled {
            let connections = redis.connections
            for index in connections.indices where redis.isReady(connections[index]) { add(.redis, index) }
        }
        for node in nodes {
            let jobs = node.host.simulatedExecutor.jobs
            for index in jobs.indices where jobs[index].due <= now { add(.job, node.number << 16 | index) }
            let connecting = node.kernel.connecting
            for index in connecting.indices where connecting[index].due <= now {
                add(.connect, node.number << 16 | index)
            }
        }
        guard !ready.isEmpty else { return false }
        let choice = ready[world.chance.below(ready.count)]
        let subject = choice & 0xFFFF_FFFF
        switch Choice(rawValue: choice >> 32) {
        case .loop: take(loops[subject], subject)
        case .stream: move(subject)
        case .client:
            world.record(.client, subject)
            clients[subject].step()
        case .redis:
            world.record(.redis, subject)
            redis.serve(redis.connections[subject])
        case .job:
            world.record(.answer, subject)
            let node = nodes[subject >> 16]
            node.host.simulatedExecutor.run(subject & 0xFFFF)
            lookForWakes(node)
        case .connect: connectLink(nodes[subject >> 16], subject & 0xFFFF)
        case nil: preconditionFailure("an unknown choice")
        }
        world.advance(by: Int64(500 + world.chance.below(20_000)))
        return true
    }

    private func add(_ choice: Choice, _ subject: Int) { ready.append(choice.rawValue << 32 | subject) }

    private var nextDue: Int64 {
        var next = Int64.max
        for loop in loops { next = min(next, loop.due) }
        for stream in world.streams { next = min(next, stream.heldUntil) }
        for client in clients { next = min(next, client.due) }
        for node in nodes {
            for job in node.host.simulatedExecutor.jobs { next = min(next, job.due) }
            for entry in node.kernel.connecting { next = min(next, entry.due) }
        }
        if let accident = accidents.last { next = min(next, accident.at) }
        next = min(next, nextNote)
        if redis.isStalled { next = min(next, redis.stalledUntil) }
        return next
    }

    private func take(_ loop: LoopRunner, _ subject: Int) {
        let node = nodes.first { $0.loops.contains { $0 === loop } }!
        if loop.phase == .waiting {
            world.record(.turn, subject)
            loop.steps.turn()
            loop.turns += 1
            check(loop)
            if loop.steps.isFinished {
                loop.steps.finish()
                loop.phase = .ended
            } else {
                loop.phase = .entering
            }
            lookForWakes(node)
            // Others may come between a turn and its end.
            guard loop.phase == .entering, !world.chance.oneIn(4) else { return }
        }
        world.record(.enter, subject)
        loop.steps.enter()
        loop.phase = .waiting
        loop.ring.lookForWake()
        if loop.turns & 7 == 0 { audit(loop) }
    }

    private func lookForWakes(_ node: Node) {
        for loop in node.loops where loop.phase == .waiting { loop.ring.lookForWake() }
    }

    private func move(_ index: Int) {
        let stream = world.streams[index]
        world.record(.network, stream.number)
        if stream.move() { return }
        world.streams.swapAt(index, world.streams.count - 1)
        world.streams.removeLast()
    }

    private func connectLink(_ node: Node, _ index: Int) {
        let descriptor = node.kernel.connecting.remove(at: index).descriptor
        world.record(.connect, node.number)
        descriptor.isLink = true
        descriptor.ring?.connected(descriptor, redis.accept(node: node.number))
    }

    // MARK: Checks

    /// Whoever sleeps with something in its inbox was not woken.
    private func checkSleepers() {
        for loop in loops where loop.phase == .waiting && !loop.ring.isWoken && loop.steps.hasParcels {
            guard loop.stalledUntil <= world.now else { continue }
            world.fail("\(loop.ring.name) sleeps with something in its inbox")
        }
    }

    /// Between two turns a machine holds no buffer.
    private func check(_ loop: LoopRunner) {
        let lent = loop.ring.buffers.lent
        let held = loop.ring.heldBuffers
        if lent != held { world.fail("\(loop.ring.name) kept \(lent - held) receive buffers over a turn") }
        let pool = loop.ring.buffers
        if pool.header.pointee.recycledCount + lent != pool.count {
            world.fail("\(loop.ring.name) has lost a receive buffer")
        }
    }

    /// What a shard believes of its connections is what the kernel knows.
    private func audit(_ loop: LoopRunner) {
        let limits = world.scenario.configuration.limits
        let world = world
        loop.steps.visitConnections { connection in
            guard let descriptor = loop.ring.kernel[connection.fd] else {
                world.fail("\(loop.ring.name) has a connection without a descriptor")
                return
            }
            if connection.isReceiving != descriptor.readIsInFlight {
                world.fail("\(loop.ring.name) is wrong about a receive in flight on \(connection.fd)")
            }
            if connection.isSending != descriptor.writeIsInFlight {
                world.fail("\(loop.ring.name) is wrong about a send in flight on \(connection.fd)")
            }
            guard connection.isOpen else { return }
            if connection.backlogBytes > limits.sendQueueBytesMax
                || connection.backlogMessages > limits.sendQueueMessagesMax
            {
                world.fail("\(loop.ring.name) has a send queue beyond its bound: \(connection)")
            }
        }
    }

    // MARK: For clients

    /// A way to a node that takes connections.
    func connect() -> (Stream, node: Int)? {
        let open = nodes.filter { $0.listeners.contains { !$0.isClosed } }
        guard !open.isEmpty else { return nil }
        let node = world.chance.pick(open)
        let listeners = node.listeners.filter { !$0.isClosed }
        let listener = world.chance.pick(listeners)
        let address = PeerAddress(high: 0, low: UInt64(1 + world.chance.below(3)), port: 1)
        let stream = Stream(world, capacity: world.faults.socketBytes, address: address)
        listener.waiting.append(stream)
        listener.descriptor.ring?.touch(listener.descriptor)
        return (stream, node.number)
    }

    func refused(_ answer: ClientReader) {
        if answer.starts(with: "HTTP/1.1 401") {
            world.reach(.refused401)
        } else if answer.starts(with: "HTTP/1.1 404") {
            world.reach(.refused404)
        } else if answer.starts(with: "HTTP/1.1 429") {
            world.reach(.refused429)
        } else if answer.starts(with: "HTTP/1.1 431") {
            world.reach(.refused431)
        } else if answer.starts(with: "HTTP/1.1 503") {
            world.reach(.refused503)
        } else {
            world.reach(.refusedOther)
        }
    }

    func closed(_ code: Int) {
        switch code {
        case 1_000: world.reach(.close1000)
        case 1_001: world.reach(.close1001)
        case 1_002: world.reach(.close1002)
        case 1_003: world.reach(.close1003)
        case 1_005: world.reach(.close1005)
        case 1_007: world.reach(.close1007)
        case 1_009: world.reach(.close1009)
        case 1_012: world.reach(.close1012)
        case 3_000: world.reach(.close1000)
        case 4_008: world.reach(.close4008)
        case 4_401: world.reach(.close4401)
        case 4_429: world.reach(.close4429)
        default: world.fail("a client was closed with \(code)")
        }
    }

    // MARK: Accidents

    private func happen(_ now: Int64) {
        if now >= nextNote { publishNote(now) }
        guard let accident = accidents.last, now >= accident.at else { return }
        accidents.removeLast()
        world.record(.fault, Accident.allCases.firstIndex(of: accident.kind) ?? 0)
        switch accident.kind {
        case .stallLoop:
            world.reach(.loopStalled)
            world.chance.pick(loops).stalledUntil = now + Int64(world.chance.pick([50, 700, 2_000, 4_000])) * 1_000_000
        case .jumpClock:
            let hours = Int64(world.chance.within(1...48))
            if world.chance.oneIn(2) {
                world.reach(.clockSetForward)
                world.time.pointee.wallMilliseconds += hours * 3_600_000
            } else {
                world.reach(.clockSetBack)
                world.time.pointee.wallMilliseconds -= hours * 3_600_000
            }
        case .cutLink: redis.cutOne()
        case .cutAfterPublish: redis.cutAfter = world.chance.below(6)
        case .stallRedis:
            world.reach(.redisStalled)
            redis.stalledUntil = now + Int64(world.chance.pick([100, 700, 2_500, 5_000])) * 1_000_000
        case .restartRedis: redis.restart(for: Int64(world.chance.pick([1, 300, 2_000])) * 1_000_000)
        case .deleteSession:
            world.reach(.sessionDeleted)
            redis.sessions.remove(Array("session:\(world.chance.pick(userNames))".utf8))
        case .drain: drain(nodes[0])
        }
    }

    /// A backend says something.
    private func publishNote(_ now: Int64) {
        nextNote = now + Int64(world.chance.within(1...200)) * 1_000_000
        guard let backend, !redis.isDown, !redis.isStalled else { return }
        let receiver = world.chance.oneIn(4) ? -1 : world.chance.below(userNames.count)
        let message = ledger.say(backend, to: receiver, .confirmed)
        let note = ClientWords.note(ClientWords.content(backend.number, message, bytes: world.chance.below(100)))
        redis.publish(Array((receiver < 0 ? "websocket:broadcast" : "user:\(userNames[receiver])").utf8), note)
    }
}
