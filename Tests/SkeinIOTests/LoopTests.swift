// Loops on their own threads, with everything coming at them at once: parcels from other loops,
// posts from anywhere, sockets, timers. Nothing may be lost, overtaken, slept through or spun on.

import CSkein
import Glibc
import SkeinIO
import Synchronization
import Testing

/// What a test sees of a machine that lives on another thread.
final class Observations: Sendable {
    let records = Atomic<Int>(0)
    let disorders = Atomic<Int>(0)
    let turns = Atomic<Int>(0)
    let timers = Atomic<Int>(0)
    let echoed = Atomic<Int>(0)
    let stop = Atomic<Bool>(false)
}

/// Counts what it hears of each sender, and whether that came in order; echoes what its sockets
/// say.
struct Witness: Machine, ~Copyable {
    static var stopKind: UInt16 { 0xFFFF }
    static var socketKind: UInt16 { 0xFFFE }

    let seen: Observations
    let buffers: BufferPool
    var last = [UInt64](repeating: 0, count: 64)
    var wheel = TimerWheel(start: .now())
    var echoing: [(buffer: UInt16, completion: Completion)] = []
    var inFlight = 0
    var isFinished = false

    init(seen: Observations, buffers: BufferPool, ticks: Bool) {
        self.seen = seen
        self.buffers = buffers
        if ticks { wheel.schedule(0, at: .now()) }
    }

    mutating func handle(
        _ completions: Span<Completion>, at now: Instant, into submissions: inout SubmissionQueue
    ) {
        for index in completions.indices {
            let completion = completions[index]
            let fd = Int32(bitPattern: completion.token.slot)
            guard completion.token.operation == 1 else { continue }
            guard completion.result > 0 else {
                inFlight -= 1
                submissions.append(Submission(.close, fd: fd, token: .ignored))
                continue
            }
            echoing.append((completion.buffer, completion))
            seen.echoed.add(Int(completion.result), ordering: .relaxed)
            submissions.append(
                Submission(
                    .sendNow, fd: fd,
                    token: Token(slot: completion.token.slot, generation: 0, operation: 2),
                    address: UInt(bitPattern: buffers.bytes(of: completion.buffer)),
                    count: UInt32(completion.result)))
            if !completion.hasMore {
                submissions.append(Submission(.receiveMany, fd: fd, token: completion.token))
            }
        }
    }

    mutating func handle(
        _ parcel: borrowing Parcel, at now: Instant, into submissions: inout SubmissionQueue
    ) {
        for record in parcel.records {
            if record.kind == Self.stopKind {
                isFinished = true
            } else if record.kind == Self.socketKind {
                inFlight += 1
                let fd = UInt32(record.argument)
                submissions.append(
                    Submission(
                        .receiveMany, fd: Int32(fd),
                        token: Token(slot: fd, generation: 0, operation: 1)))
            } else {
                let sender = Int(record.kind)
                if record.argument != last[sender] + 1 { seen.disorders.add(1, ordering: .relaxed) }
                last[sender] = record.argument
                seen.records.add(1, ordering: .relaxed)
            }
        }
    }

    mutating func endTurn(at now: Instant, into submissions: inout SubmissionQueue) {
        seen.turns.add(1, ordering: .relaxed)
        while wheel.popDue(at: now) != nil {
            seen.timers.add(1, ordering: .relaxed)
            wheel.schedule(0, at: now.advanced(byMilliseconds: 20))
        }
    }

    mutating func submitted() {
        for (buffer, _) in echoing { buffers.recycle(buffer) }
        echoing.removeAll(keepingCapacity: true)
    }

    var deadline: Instant? { wheel.next }
}

@Suite(.timeLimit(.minutes(2)))
struct LoopTests {
    func start(
        _ tenant: Tenant, _ inbox: Inbox, _ seen: Observations, ticks: Bool = true
    ) throws -> PinnedThread {
        try PinnedThread.start(name: "witness") {
            var options = RingOptions()
            options.plain = tenant == .plain
            do {
                if tenant == .epoll {
                    let ring = try EpollRing.make(options)
                    let machine = Witness(seen: seen, buffers: ring.buffers, ticks: ticks)
                    var loop = Loop(ring: ring, machine: machine, inbox: inbox)
                    loop.run()
                } else {
                    let ring = try URing.make(options)
                    let machine = Witness(seen: seen, buffers: ring.buffers, ticks: ticks)
                    var loop = Loop(ring: ring, machine: machine, inbox: inbox)
                    loop.run()
                }
            } catch {
                Issue.record(error)
            }
        }
    }

    func waitUntil(_ condition: () -> Bool) -> Bool {
        let end = Instant.now().advanced(bySeconds: 30)
        while !condition() {
            if Instant.now() > end { return false }
            usleep(500)
        }
        return true
    }

    /// Senders that pause now and then, so that the loop parks and has to be woken, many times.
    @Test(arguments: Tenant.allCases)
    func losesNothingFromSeveralSenders(_ tenant: Tenant) throws {
        let inbox = Inbox()
        let seen = Observations()
        let loop = try start(tenant, inbox, seen)
        let perSender: UInt64 = 30_000
        var senders: [PinnedThread] = []
        for sender in UInt16(0)..<3 {
            senders.append(
                try PinnedThread.start(name: "sender") {
                    var outbox = Outbox(
                        targets: [inbox], pool: ParcelPool(parcelsMax: 8, smallParcelsMax: 8))
                    var random = Random(seed: UInt64(sender) + 1)
                    var number: UInt64 = 1
                    while number <= perSender {
                        let burst = UInt64.random(in: 1...40, using: &random)
                        for _ in 0..<min(burst, perSender + 1 - number) {
                            let bytes = outbox.append(
                                to: 0, kind: sender, argument: number, payloadBytes: 24)
                            if bytes == nil { break }
                            number += 1
                        }
                        outbox.flush()
                        if Int.random(in: 0..<20, using: &random) == 0 {
                            usleep(UInt32.random(in: 0..<300, using: &random))
                        }
                    }
                })
        }
        // And someone without a loop.
        var posted: UInt64 = 0
        while posted < 2000 {
            if inbox.post(kind: 3, argument: posted + 1, payload: [1]) { posted += 1 }
            if posted % 100 == 0 { usleep(200) }
        }
        senders.forEach { $0.join() }
        let total = 3 * Int(perSender) + 2000
        let isComplete = waitUntil { seen.records.load(ordering: .relaxed) == total }
        #expect(isComplete)
        #expect(seen.disorders.load(ordering: .relaxed) == 0)
        _ = inbox.post(kind: Witness.stopKind)
        loop.join()
        #expect(inbox.depth == Inbox.Depth(parcels: 0, records: 0))
    }

    /// Without a deadline nothing but the push itself ends the sleep: one wake-up missed is a hang.
    @Test(arguments: Tenant.allCases)
    func missesNoWakeUp(_ tenant: Tenant) throws {
        let inbox = Inbox()
        let seen = Observations()
        let loop = try start(tenant, inbox, seen, ticks: false)
        for round in 1...2000 {
            _ = inbox.post(kind: 2, argument: UInt64(round))
            let start = Instant.now()
            while seen.records.load(ordering: .relaxed) < round {
                // At times in the middle of its going to sleep, at times long after.
                if round % 3 == 0 { usleep(100) }
                try #require(Instant.now().milliseconds(since: start) < 5000, "asleep")
            }
        }
        let turns = seen.turns.load(ordering: .relaxed)
        #expect(turns < 3 * 2000 + 10)
        _ = inbox.post(kind: Witness.stopKind)
        loop.join()
    }

    @Test(arguments: Tenant.allCases)
    func neitherSpinsNorOversleeps(_ tenant: Tenant) throws {
        let inbox = Inbox()
        let seen = Observations()
        let began = Instant.now()
        let loop = try start(tenant, inbox, seen)
        let ticked = waitUntil { seen.timers.load(ordering: .relaxed) >= 10 }
        #expect(ticked)
        // Turns first: those that end meanwhile have ticked too.
        let turns = seen.turns.load(ordering: .relaxed)
        let timers = seen.timers.load(ordering: .relaxed)
        let most = Int(Instant.now().milliseconds(since: began)) / 20 + 2
        #expect(timers <= most)
        #expect(turns <= timers + 5)
        _ = inbox.post(kind: Witness.stopKind)
        loop.join()
    }

    @Test(arguments: Tenant.allCases)
    func servesSocketsBesideParcels(_ tenant: Tenant) throws {
        let inbox = Inbox()
        let seen = Observations()
        let loop = try start(tenant, inbox, seen)
        var peers: [Peer] = []
        for _ in 0..<8 {
            let (mine, peer) = try Peer.connected()
            peers.append(peer)
            _ = inbox.post(kind: Witness.socketKind, argument: UInt64(mine))
        }
        for round in 0..<200 {
            for (index, peer) in peers.enumerated() { peer.write([UInt8(index), UInt8(round)]) }
            for (index, peer) in peers.enumerated() {
                let heard = peer.read(2)
                try #require(heard == [UInt8(index), UInt8(round)])
            }
        }
        #expect(seen.echoed.load(ordering: .relaxed) == 200 * 8 * 2)
        peers.forEach { $0.close() }
        usleep(20_000)
        _ = inbox.post(kind: Witness.stopKind)
        loop.join()
    }

    /// Posts that race with the end of the loop are accepted or refused, and never touch a ring
    /// that is gone.
    @Test(arguments: Tenant.allCases)
    func endsWhileOthersPush(_ tenant: Tenant) throws {
        for _ in 0..<20 {
            let inbox = Inbox()
            let seen = Observations()
            let loop = try start(tenant, inbox, seen)
            let pusher = try PinnedThread.start(name: "pusher") {
                var number: UInt64 = 1
                while !seen.stop.load(ordering: .relaxed) {
                    if inbox.post(kind: 5, argument: number) { number += 1 }
                    if number % 16 == 0 { usleep(50) }
                }
            }
            usleep(1000)
            _ = inbox.post(kind: Witness.stopKind)
            loop.join()
            seen.stop.store(true, ordering: .relaxed)
            pusher.join()
            #expect(seen.disorders.load(ordering: .relaxed) == 0)
        }
    }
}
