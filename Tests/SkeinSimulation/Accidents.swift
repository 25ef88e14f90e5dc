// Where a simulation meets its clients, and what befalls its nodes.

import SkeinIO

extension Simulation {
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

    func happen(_ now: Int64) {
        redis.deliverLate()
        if now >= nextNote { publishNote(now) }
        guard let accident = accidents.last, now >= accident.at else { return }
        accidents.removeLast()
        world.record(.fault, Accident.allCases.firstIndex(of: accident.kind) ?? 0)
        switch accident.kind {
        case .stallLoop:
            world.reach(.loopStalled)
            let stall = Int64(world.chance.pick([50, 700, 2_000, 4_000])) * 1_000_000
            world.chance.pick(loops).stalledUntil = now + stall
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
        case .forgetScripts:
            world.reach(.scriptsForgotten)
            redis.scripts = [:]
        case .drain: drain(nodes[0])
        case .killNode: killNode()
        case .restartNode: restartNode()
        case .startNode: startNode()
        case .freezeNode: freezeNode(now)
        case .failOver: failOver(now)
        }
    }

    /// A backend says something.
    func publishNote(_ now: Int64) {
        nextNote = now + Int64(world.chance.within(1...200)) * 1_000_000
        guard let backend, !redis.isDown, !redis.isStalled else { return }
        let receiver = world.chance.oneIn(4) ? -1 : world.chance.below(userNames.count)
        let message = ledger.say(backend, to: receiver, .confirmed)
        let content = ClientWords.content(backend.number, message, bytes: world.chance.below(100))
        let channel = receiver < 0 ? "websocket:broadcast" : "user:\(userNames[receiver])"
        redis.publish(Array(channel.utf8), ClientWords.note(content))
    }
}
