// One node of a run: a real server, whose loops are taken turn by turn.

import Skein
import SkeinIO
import SkeinServices

/// A shard's or the router's loop, and where it stands.
final class LoopRunner {
    enum Phase { case entering, waiting, ended }

    let steps: any SteppedLoop
    let ring: RingState
    let isRouter: Bool
    var phase = Phase.entering
    var stalledUntil: Int64 = 0
    var turns = 0

    init(_ steps: any SteppedLoop, _ ring: RingState, isRouter: Bool) {
        self.steps = steps
        self.ring = ring
        self.isRouter = isRouter
    }

    func isReady(at now: Int64) -> Bool {
        guard now >= stalledUntil else { return false }
        switch phase {
        case .entering: return true
        case .ended: return false
        case .waiting:
            if ring.isWoken || ring.hasCompletions { return true }
            switch ring.wait {
            case .none: return true
            case .until(let deadline): return now >= deadline.nanoseconds
            case .forever: return false
            }
        }
    }

    /// When it goes on though nothing comes.
    var due: Int64 {
        guard phase == .waiting else { return phase == .ended ? .max : stalledUntil }
        if ring.isWoken || ring.hasCompletions { return stalledUntil }
        if case .until(let deadline) = ring.wait { return max(stalledUntil, deadline.nanoseconds) }
        return .max
    }
}

/// Takes any token for a user's name. Unchecked: everything runs on one thread.
private final class OpenDoor: Authenticator, @unchecked Sendable {
    private let world: World

    init(_ world: World) { self.world = world }

    func authenticate(token: String) async throws(AuthenticationFailure) -> Identity {
        guard token != "wrong", let user = UserID(token) else { throw .badSignature }
        guard world.scenario.tokensExpire, !world.isCalm else { return Identity(userID: user) }
        let lifetime = Int64(world.chance.within(200...8_000))
        return Identity(
            userID: user, username: "name",
            expiresAtMilliseconds: world.time.pointee.wallMilliseconds + lifetime)
    }
}

/// What a node says of itself. Unchecked: as above.
private final class LogEar: @unchecked Sendable {
    private let world: World
    private let number: Int

    init(_ world: World, _ number: Int) {
        self.world = world
        self.number = number
    }

    func hear(_ event: LogEvent) {
        let text = event.message
        world.note("node \(number): \(text) \(event.fields.map { "\($0.0)=\($0.1)" }.joined(separator: " "))")
        if text.hasPrefix("Redis is not waited for") || text.hasPrefix("link to Redis lost") {
            world.steadySince[number] = .max
        }
        if text.hasPrefix("Redis is not waited for") {
            world.reach(.deliveredLocally)
            if text.contains("did not come back") { world.reach(.eventOverdue) }
        } else if text.hasPrefix("events go through Redis") {
            world.reach(.throughRedisAgain)
            world.steadySince[number] = world.order
        } else if text.hasPrefix("Redis began a new history") {
            world.reach(.historyBegunAnew)
        } else if text.hasPrefix("link to Redis lost"), event.fields.contains(where: { $0.1 == "silent" }) {
            if event.fields.contains(where: { $0.1 == "presence" }) {
                world.reach(.presenceSilent)
            } else if event.fields.contains(where: { $0.1 == "own" }) {
                world.reach(.ownSilent)
            } else {
                world.reach(.canarySilent)
            }
        }
    }
}

final class Node {
    let number: Int
    let server: Server
    let kernel: Kernel
    let host: SimulatedHost
    private(set) var loops: [LoopRunner] = []
    private(set) var listeners: [Listener] = []
    var isLeaving = false
    /// When it began to drain.
    var drainedOrder: Int?
    /// It was told to when nothing went wrong any more.
    var leftCalmly = false
    var wasKilled = false

    init(_ world: World, number: Int) throws {
        self.number = number
        kernel = Kernel(world, node: number)
        host = SimulatedHost(world, kernel)
        var configuration = world.scenario.configuration
        configuration.shardCount = world.scenario.shardCounts[number]
        let ear = LogEar(world, number)
        server = try Server(
            configuration, authenticator: OpenDoor(world), dialects: [relayDialect()], host: host,
            log: { ear.hear($0) })
        server.startStepped()
        let limits = configuration.limits
        for index in 0..<configuration.shardCount {
            guard let descriptor = kernel.open(.reserve, always: true) else { continue }
            let listener = Listener(descriptor)
            descriptor.kind = .listener(listener)
            listeners.append(listener)
            let ring = RingState(
                world, kernel, name: "shard \(index) of node \(number)",
                limits: (limits.receiveBuffersCount, limits.receiveBufferBytes))
            let steps = server.makeSteppedShard(index, ring: SimulatedRing(ring), listener: descriptor.fd,
                mayBeLent: world.lendsShards)
            loops.append(LoopRunner(steps, ring, isRouter: false))
        }
        let ring = RingState(
            world, kernel, name: "router of node \(number)",
            limits: (limits.receiveBuffersCount, limits.receiveBufferBytes))
        loops.append(LoopRunner(server.makeSteppedRouter(ring: SimulatedRing(ring)), ring, isRouter: true))
        for loop in loops { loop.steps.begin() }
    }

    var router: LoopRunner { loops[loops.count - 1] }
    var hasEnded: Bool { loops.allSatisfy { $0.phase == .ended } }

    var isQuiet: Bool {
        for loop in loops where loop.phase != .ended {
            let figures = loop.steps.figures
            if figures.waiters + figures.deferred + figures.queuedEvents + figures.reads > 0 { return false }
        }
        return true
    }
}
