// A node's descriptors: the lowest free number first, as few as the seed allows, and each with what is
// in flight on it.

import Glibc
import SkeinIO

final class Listener {
    var waiting: [Stream] = []
    var isClosed = false
    let descriptor: Descriptor

    init(_ descriptor: Descriptor) { self.descriptor = descriptor }
}

final class Descriptor {
    enum Kind {
        case reserve
        case listener(Listener)
        case stream(Stream)
        /// A socket on its way to Redis.
        case unconnected
    }

    enum Reading { case nothing, accept, receive, receiveMany }
    enum Writing { case nothing, send, connect }

    let fd: Int32
    var kind: Kind
    /// The ring that has something in flight on it, or had last.
    unowned(unsafe) var ring: RingState?
    var reading = Reading.nothing
    var readToken = Token.ignored
    var writing = Writing.nothing
    var writeToken = Token.ignored
    var address: UInt = 0
    var count = 0
    var checksum: UInt64 = 0
    /// Until the last completion has been reaped.
    var readIsInFlight = false
    var writeIsInFlight = false
    var resetsOnClose = false
    /// Between a router and its Redis.
    var isLink = false
    /// A receive was asked for, once at least.
    var wasRead = false
    var isQueued = false
    /// A planted mistake: the next receive is swallowed.
    var forgetsRearm = false
    /// Completions that the ring holds back; others must not overtake them.
    var heldBack = 0

    init(fd: Int32, kind: Kind) {
        self.fd = fd
        self.kind = kind
    }

    var stream: Stream? {
        if case .stream(let stream) = kind { return stream }
        return nil
    }

    /// Something that is in flight could complete now.
    var isReady: Bool {
        switch kind {
        case .stream(let stream):
            if stream.nodeWasReset { return reading != .nothing || writing == .send }
            if reading != .nothing && (stream.inbound.readable > 0 || stream.inbound.hasEnded) { return true }
            return writing == .send && (stream.outbound.room > 0 || stream.peerIsGone)
        case .listener(let listener): return reading == .accept && !listener.waiting.isEmpty
        case .reserve, .unconnected: return false
        }
    }
}

final class Kernel {
    unowned(unsafe) let world: World
    let node: Int
    private var table: [Descriptor?] = [nil, nil, nil]
    private(set) var openCount = 3
    var descriptorsMax: Int
    /// Descriptors with a connect in flight, and when it is answered.
    var connecting: [(descriptor: Descriptor, due: Int64)] = []
    /// How often there was no descriptor within one simulated second.
    var shortageSecond: Int64 = 0
    var shortages = 0
    /// The node was killed: nothing that it still does has any effect.
    private(set) var isDead = false

    init(_ world: World, node: Int) {
        self.world = world
        self.node = node
        descriptorsMax = world.faults.descriptorsMax
    }

    var openDescriptors: [Descriptor] { table.compactMap { $0 } }

    func open(_ kind: Descriptor.Kind, always: Bool = false) -> Descriptor? {
        guard always || openCount < descriptorsMax else { return nil }
        openCount += 1
        for fd in 3..<table.count where table[fd] == nil {
            let descriptor = Descriptor(fd: Int32(fd), kind: kind)
            table[fd] = descriptor
            return descriptor
        }
        let descriptor = Descriptor(fd: Int32(table.count), kind: kind)
        table.append(descriptor)
        return descriptor
    }

    subscript(fd: Int32) -> Descriptor? {
        fd >= 3 && Int(fd) < table.count ? table[Int(fd)] : nil
    }

    /// Closes everything, as for a process that is no more.
    func die() {
        isDead = true
        connecting = []
        for descriptor in openDescriptors {
            end(descriptor, reset: descriptor.stream != nil && world.historyChance.oneIn(2))
        }
    }

    func close(_ fd: Int32, by who: String) {
        guard !isDead else { return }
        guard let descriptor = self[fd] else {
            world.fail("\(who) closed descriptor \(fd), which is not open")
            return
        }
        var isIdle = !descriptor.readIsInFlight && !descriptor.writeIsInFlight
        // A cancelled accept holds no stream: what it still gives is closed when it comes.
        if case .listener = descriptor.kind { isIdle = descriptor.reading == .nothing }
        if !isIdle {
            world.fail("\(who) closed descriptor \(fd) with something in flight on it")
        }
        table[Int(fd)] = nil
        openCount -= 1
        end(descriptor, reset: descriptor.resetsOnClose)
    }

    private func end(_ descriptor: Descriptor, reset: Bool) {
        switch descriptor.kind {
        case .stream(let stream): stream.nodeCloses(reset: reset)
        case .listener(let listener):
            listener.isClosed = true
            for stream in listener.waiting { stream.nodeCloses(reset: true) }
            listener.waiting = []
        case .reserve, .unconnected: break
        }
        descriptor.kind = .reserve
    }
}

/// The machine under a node's loops. Unchecked: the simulator runs everything on one thread.
final class SimulatedHost: Host, @unchecked Sendable {
    private let world: World
    private let kernel: Kernel
    let simulatedExecutor: SimulatedExecutor

    init(_ world: World, _ kernel: Kernel) {
        self.world = world
        self.kernel = kernel
        simulatedExecutor = SimulatedExecutor(world)
    }

    var clock: Clock { world.clock }
    var executor: (any TaskExecutor)? { simulatedExecutor }
    func random() -> UInt64 { world.brokerChance.next() }

    func stream(for address: SocketAddress) throws(SystemError) -> Int32 {
        guard let descriptor = kernel.open(.unconnected) else {
            world.reach(.descriptorsUsedUp)
            throw SystemError(call: "socket", errno: EMFILE)
        }
        return descriptor.fd
    }

    func peerAddress(of fd: Int32) -> PeerAddress? { kernel[fd]?.stream?.address }
    func setNoDelay(_ fd: Int32) {}

    func setResetOnClose(_ fd: Int32) {
        world.reach(.resetByNode)
        kernel[fd]?.resetsOnClose = true
    }

    func shutdownSending(_ fd: Int32) {
        guard let stream = kernel[fd]?.stream else {
            world.fail("shut down descriptor \(fd), which is no stream")
            return
        }
        if world.plant == .forgottenFlush { stream.outbound.lose() }
        stream.nodeEnds()
    }

    func openReserve() throws(SystemError) -> Int32 {
        guard let descriptor = kernel.open(.reserve) else { throw SystemError(call: "open", errno: EMFILE) }
        return descriptor.fd
    }

    func close(_ fd: Int32) {
        if kernel[fd]?.stream != nil { world.reach(.clientShed) }
        kernel.close(fd, by: "the broker")
    }
}

/// Runs what a node computes beside its loops, when the scheduler picks it. Unchecked: as above.
final class SimulatedExecutor: TaskExecutor, @unchecked Sendable {
    private unowned(unsafe) let world: World
    private(set) var jobs: [(job: UnownedJob, due: Int64)] = []

    init(_ world: World) { self.world = world }

    func enqueue(_ job: consuming ExecutorJob) {
        let wait = world.chance.oneIn(6) ? world.chance.within(1...800) : 0
        jobs.append((UnownedJob(job), world.now + Int64(wait) * 1_000_000))
    }

    func run(_ index: Int) {
        let job = jobs.remove(at: index).job
        job.runSynchronously(on: asUnownedTaskExecutor())
    }
}
