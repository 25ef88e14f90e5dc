// One thread's part of the load: its connections, their traffic, and what came of it. A machine on the same
// loop that the broker's shards run on; a turn handles what came, sends what is due, and gives each touched
// connection one send. Warm, it allocates nothing for a message.

internal import SkeinClient
internal import SkeinIO
internal import SkeinWire

/// What all workers of a run share.
final class RunShared: Sendable {
    let plan: BenchPlan
    let control: BenchControl
    let board: FanoutBoard
    /// For wss.
    let tls: TLSContext?

    init(plan: BenchPlan, control: BenchControl, tls: TLSContext?) {
        self.plan = plan
        self.control = control
        self.tls = tls
        board = FanoutBoard(count: plan.scenario == .fanout ? BenchPlan.Limits.fanoutSlots : 1)
    }
}

@safe
struct Worker: Machine, ~Copyable {
    // Who it is.
    let shared: RunShared
    let scenario: Scenario
    let number: Int
    // Of the plan, whose copy would cost a reference count for each of its lists.
    let total: Int
    let depth: Int
    let spins: Bool
    let figures: WorkerFigures
    let buffers: BufferPool
    /// Of thread 0, whose publisher waits for completed messages.
    let publisherInbox: Inbox?

    // Its connections: `count` of the plan's, then the publisher where it has one.
    var connections: Slab<Connection>
    let count: Int
    var clients: [ReconnectingClient] = []
    var timers: TimerWheel
    var connectQueue = RawArray<UInt32>()
    var connectCursor = 0
    /// connect: places without a connection.
    var freeSlots = RawArray<UInt32>()
    var begun: UInt64 = 0
    var pendingCount = 0
    var openCount = 0
    var pacedFrom: Int64 = 0
    let addresses: UnsafeMutablePointer<UInt8>
    var addressBytes: [UInt32] = []
    let keys: HandshakeKeys

    // Its traffic.
    var streams: RawArray<Stream>
    /// When the last messages of each stream were due, `ringMask + 1` of each.
    var dueTimes: RawArray<Int64>
    let ringMask: UInt32
    var messages: MessageStore
    var accepted: [NumberSet] = []
    var arrived: [NumberSet] = []
    var result = WorkerResult()

    // Where it stands.
    var now: Int64 = 0
    var phase = Phase.connecting
    var step = 0
    var recordsFrom: Int64 = .max
    /// Number of the next message that is due, of this worker's.
    var due: UInt64 = 0
    var dueStart: Int64 = 0
    let duePeriod: Double
    var nextSender = 0
    var churnAt: Int64 = .max
    var churnNext = 0
    var mixState: UInt64
    var maskState: UInt64
    var cpuReadAt: Int64 = 0

    // What this turn has touched, and what the last one sent.
    var dirty = RawArray<UInt32>()
    var inFlight = RawArray<UInt32>()
    var starved = RawArray<UInt32>()
    var isSettled = true
    var pump: TLSPump?
    /// What one receive was under TLS.
    var plain = RawBuffer()
    let scratch: UnsafeMutableBufferPointer<UInt8>
    private(set) var isFinished = false

    deinit {
        for slot in 0..<UInt32(connections.highWater) {
            let record = unsafe connections.pointer(to: slot)
            if unsafe record.pointee.fd >= 0 { unsafe Sockets.close(record.pointee.fd) }
            unsafe record.pointee.freeBuffers()
            unsafe record.pointee.session.free()
        }
        unsafe addresses.deallocate()
        unsafe scratch.deallocate()
        pump?.free()
        var plain = plain
        plain.free()
    }

    // The loop's calls.

    mutating func handle(
        _ completions: Span<Completion>, at now: Instant, into submissions: inout SubmissionQueue
    ) {
        self.now = now.nanoseconds
        settle(completions, &submissions)
        for index in 0..<completions.count {
            let completion = completions[index]
            switch completion.token.operation {
            case Operation.receive: received(completion, &submissions)
            case Operation.connect: connected(completion, &submissions)
            case Operation.sendLater: sentLater(completion, &submissions)
            default: break
            }
        }
    }

    /// Somebody else's last receiver has a message: that the publisher looks is all there is to it.
    mutating func handle(
        _ parcel: borrowing Parcel, at now: Instant, into submissions: inout SubmissionQueue
    ) {}

    mutating func endTurn(at now: Instant, into submissions: inout SubmissionQueue) {
        self.now = now.nanoseconds
        settleQuietly(&submissions)
        followPhase(&submissions)
        while let timer = timers.popDue(at: now) { fired(timer, &submissions) }
        connectSome(&submissions)
        sendDue()
        rearmStarved(&submissions)
        flush(&submissions)
        publishFigures()
    }

    mutating func submitted() {}

    var deadline: Instant? {
        if spins && phase == .running { return Instant(nanoseconds: now) }
        var next = now + Self.pollNanoseconds
        if duePeriod > 0, phase == .running { next = min(next, dueAt(due)) }
        if let timer = timers.next { next = min(next, timer.nanoseconds) }
        if phase == .running, churnAt < next { next = churnAt }
        return Instant(nanoseconds: next)
    }

    /// How often the phase is looked at when nothing else happens.
    private static var pollNanoseconds: Int64 { 2_000_000 }

    func global(_ slot: UInt32) -> Int {
        (Int(slot / 2) * shared.plan.threads + number) * 2 + Int(slot & 1)
    }

    mutating func finish() { isFinished = true }
}

extension Worker {
    init(
        _ shared: RunShared, number: Int, figures: WorkerFigures, buffers: BufferPool, publisherInbox: Inbox?
    ) {
        let plan = shared.plan
        self.shared = shared
        scenario = plan.scenario
        self.number = number
        self.figures = figures
        self.buffers = buffers
        self.publisherInbox = publisherInbox
        self.total = plan.connections
        depth = plan.depth
        spins = plan.spins
        let isConnect = plan.scenario == .connect
        let places = isConnect ? plan.connectConcurrency : plan.connections
        count = BenchPlan.share(of: places, number: number, threads: plan.threads)
        let hasPublisher = number < plan.publishers
        connections = Slab(maxSlots: max(1, count + 1))
        timers = TimerWheel(start: .now(), granularityShift: 20)
        keys = HandshakeKeys(seed: UInt64.random(in: 1 ... .max))
        maskState = .random(in: 1 ... .max)
        mixState = .random(in: 1 ... .max)

        let targets = plan.targets + (plan.publisherTarget.map { [$0] } ?? [])
        unsafe addresses = .allocate(capacity: 128 * max(1, targets.count + 1))
        for (index, target) in targets.enumerated() {
            addressBytes.append(
                unsafe target.address.copy(to: UnsafeMutableRawPointer(addresses + 128 * index)))
        }
        if case .redis(let address, _) = plan.publisher {
            addressBytes.append(
                unsafe address.copy(to: UnsafeMutableRawPointer(addresses + 128 * targets.count)))
        }
        unsafe scratch = .allocate(capacity: 16_384)
        if shared.tls != nil { pump = TLSPump() }

        let perConnection = plan.rate / Double(max(1, plan.connections))
        let wanted = max(plan.depth, plan.rate > 0 ? Int(perConnection * 10) + 64 : 1)
        let ring = Self.powerOfTwo(atLeast: min(wanted, BenchPlan.Limits.dueTimesMax))
        ringMask = UInt32(ring - 1)
        let streamCount = max(1, count + 1)
        streams = RawArray(repeating: Stream(), count: streamCount)
        dueTimes = RawArray(repeating: 0, count: plan.scenario == .fanout ? 1 : streamCount * ring)
        duePeriod = plan.rate > 0 ? 1e9 / plan.rate * (plan.scenario == .fanout ? 1 : Double(plan.threads)) : 0
        messages = MessageStore(kinds: plan.scenario == .chat ? MessageStore.Kind.allCases.count : 1)
        if plan.scenario.keepsNumbers {
            accepted = Array(repeating: NumberSet(), count: count)
            arrived = accepted
        }
        for slot in 0..<UInt32(count + (hasPublisher ? 1 : 0)) { prepare(slot, plan) }
    }

    private mutating func prepare(_ slot: UInt32, _ plan: BenchPlan) {
        var connection = Connection()
        let isPublisher = Int(slot) == count
        let index = isPublisher ? plan.connections : global(slot)
        connection.identity = UInt32(index)
        connection.target = UInt16(index % plan.targets.count)
        connection.key = UInt8(truncatingIfNeeded: index)
        if isPublisher {
            connection.flags.insert(.publisher)
            switch plan.publisher {
            case .user: connection.target = 0
            case .url, .redis: connection.target = UInt16(plan.targets.count)
            }
            if case .redis = plan.publisher { connection.flags.insert(.redis) }
        }
        _ = connections.insert(connection)
        if scenario == .connect {
            freeSlots.append(slot)
        } else {
            connectQueue.append(slot)
            connections[slot].flags.insert(.queued)
        }
        if scenario.comesBack { clients.append(ReconnectingClient(seed: .random(in: 1 ... .max))) }
        guard scenario != .connect else { return }
        let names = names(slot)
        messages.append(plan.message.render(names, paddedTo: plan.payloadBytes))
        if scenario == .chat {
            messages.append(
                MessagePreset.template("receipt").render(names, paddedTo: plan.payloadBytes))
            messages.append(MessagePreset.typing.render(names))
            messages.append(MessagePreset.ping.render(names))
            messages.append(MessagePreset.online.render(names))
            messages.append(MessagePreset.offline.render(names))
        }
    }

    /// For templates.
    func names(_ slot: UInt32) -> Template.Names {
        let plan = shared.plan
        var names = Template.Names()
        let identity = Int(connections[slot].identity)
        names.index = identity
        names.stream = UInt32(truncatingIfNeeded: identity)
        names.partner = scenario.isPaired ? identity ^ 1 : identity
        if scenario == .fanout, case .user = plan.publisher {
            // All receivers are devices of the first user.
            names.index = connections[slot].flags.contains(.publisher) ? 1 : 0
            names.partner = 0
        }
        names.user = plan.tokens.user(names.index)
        names.to = plan.tokens.user(names.partner)
        return names
    }

    private static func powerOfTwo(atLeast count: Int) -> Int {
        var power = 1
        while power < count { power *= 2 }
        return power
    }

    /// Mask keys need to differ, not to be secret: xorshift.
    @inline(__always)
    mutating func nextMask() -> UInt32 {
        maskState ^= maskState << 13
        maskState ^= maskState >> 7
        maskState ^= maskState << 17
        return UInt32(truncatingIfNeeded: maskState) | 1
    }

    mutating func nextRandom() -> UInt64 {
        mixState ^= mixState << 13
        mixState ^= mixState >> 7
        mixState ^= mixState << 17
        return mixState
    }
}

extension BenchPlan {
    var publisherTarget: BenchTarget? {
        guard scenario == .fanout, case .url(let target) = publisher else { return nil }
        return target
    }
}
