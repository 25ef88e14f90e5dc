// What happens next: everything that could is put on a list, and luck picks from it. When nothing
// could, the clock moves to when something can.

extension Simulation {
    /// A device that breaks off and returns again and again may be given 600 KB of history each time, in
    /// pieces of 64 bytes: some 30,000 steps for each return.
    static let stepsMax = 4_000_000

    /// Goes on for so many simulated seconds, or until all is well.
    ///
    /// - Parameter complaint: what is wrong when the time is over; `nil`: nothing.
    func run(for seconds: Int, _ complaint: String?, until isDone: () -> Bool) {
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
            if world.order > Self.stepsMax { world.fail("a run without end") }
        }
    }

    /// Who is not content, for a complaint.
    var account: String {
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

    enum Choice: Int { case loop, stream, client, redis, job, connect }

    /// One thing that can happen now. - Returns: false when nothing can.
    func step() -> Bool {
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

    func add(_ choice: Choice, _ subject: Int) { ready.append(choice.rawValue << 32 | subject) }

    var nextDue: Int64 {
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
        next = min(next, redis.lateDue)
        if redis.isStalled { next = min(next, redis.stalledUntil) }
        return next
    }

    func take(_ loop: LoopRunner, _ subject: Int) {
        let node = nodes.first { $0.loops.contains { $0 === loop } }!
        if loop.phase == .waiting {
            world.record(.turn, subject)
            loop.steps.turn()
            loop.turns += 1
            check(loop)
            if loop.steps.isFinished {
                if loop.isRouter, loop.steps.figures.queuedEvents > 0 { world.leftEarly.insert(node.number) }
                if !world.isCalm { world.endedEarly.insert(node.number) }
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

    func lookForWakes(_ node: Node) {
        for loop in node.loops where loop.phase == .waiting { loop.ring.lookForWake() }
    }

    func move(_ index: Int) {
        let stream = world.streams[index]
        world.record(.network, stream.number)
        if stream.move() { return }
        world.streams.swapAt(index, world.streams.count - 1)
        world.streams.removeLast()
    }

    func connectLink(_ node: Node, _ index: Int) {
        let descriptor = node.kernel.connecting.remove(at: index).descriptor
        world.record(.connect, node.number)
        descriptor.isLink = true
        descriptor.ring?.connected(descriptor, redis.accept(node: node.number))
    }
}
