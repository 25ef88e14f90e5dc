// Loops whose turns others run while they sleep: nothing may be lost, overtaken, or done by two at once.

import CSkein
import Glibc
import SkeinIO
import Synchronization
import Testing

/// What a test sees of a machine whose turns are anybody's.
final class LoanObservations: Sendable {
    let inside = Atomic<Int>(0)
    let collisions = Atomic<Int>(0)
    let turns = Atomic<Int>(0)
    let turnsElsewhere = Atomic<Int>(0)
    let shortSends = Atomic<Int>(0)
    /// 1: what is told next waits; 2: it does, on another thread; 3: it does, on the loop's own.
    let gate = Atomic<Int>(0)
}

/// Sends what it is told to one socket, as a shard does: at once, or behind what did not fit.
struct Copier: Machine, ~Copyable {
    static var numberKind: UInt16 { 1 }
    static var stopKind: UInt16 { 2 }

    let seen: LoanObservations
    let fd: Int32
    let home = pthread_self()
    /// What this turn sends, and what the last one sent.
    var bytes: [UnsafeMutablePointer<UInt8>] = [.allocate(capacity: 1 << 16), .allocate(capacity: 1 << 16)]
    var counts = [0, 0]
    var backlog: [UInt8] = []
    let flight = UnsafeMutablePointer<UInt8>.allocate(capacity: 1 << 16)
    var flightCount = 0
    var wheel = TimerWheel(start: .now())
    var isStopped = false

    init(seen: LoanObservations, fd: Int32) {
        self.seen = seen
        self.fd = fd
        wheel.schedule(0, at: .now())
    }

    deinit {
        for memory in bytes { memory.deallocate() }
        flight.deallocate()
    }

    mutating func handle(
        _ completions: Span<Completion>, at now: Instant, into submissions: inout SubmissionQueue
    ) {
        enter()
        for index in completions.indices {
            let completion = completions[index]
            let sent = max(0, Int(completion.result))
            if completion.token.operation == 1 {
                seen.shortSends.add(1, ordering: .relaxed)
                backlog.append(contentsOf: UnsafeBufferPointer(start: bytes[1] + sent, count: counts[1] - sent))
            } else {
                backlog.removeFirst(sent)
                flightCount = 0
            }
        }
        leave()
    }

    mutating func handle(
        _ parcel: borrowing Parcel, at now: Instant, into submissions: inout SubmissionQueue
    ) {
        enter()
        if seen.gate.load(ordering: .acquiring) == 1 {
            seen.gate.store(pthread_equal(pthread_self(), home) == 0 ? 2 : 3, ordering: .releasing)
            while seen.gate.load(ordering: .acquiring) != 0 { usleep(100) }
        }
        for record in parcel.records {
            if record.kind == Self.stopKind {
                isStopped = true
            } else if backlog.isEmpty {
                (bytes[0] + counts[0]).update(from: record.bytes, count: record.count)
                counts[0] += record.count
            } else {
                backlog.append(contentsOf: record.buffer)
            }
        }
        leave()
    }

    mutating func endTurn(at now: Instant, into submissions: inout SubmissionQueue) {
        enter()
        seen.turns.add(1, ordering: .relaxed)
        if pthread_equal(pthread_self(), home) == 0 { seen.turnsElsewhere.add(1, ordering: .relaxed) }
        while wheel.popDue(at: now) != nil { wheel.schedule(0, at: now.advanced(byMilliseconds: 3)) }
        if counts[0] > 0 {
            submissions.append(
                Submission(
                    .sendNow, fd: fd, token: Token(slot: 1, generation: 0, operation: 1),
                    address: UInt(bitPattern: bytes[0]), count: UInt32(counts[0])))
        }
        if !backlog.isEmpty, flightCount == 0 {
            flightCount = min(backlog.count, 1 << 16)
            flight.update(from: backlog, count: flightCount)
            submissions.append(
                Submission(
                    .sendWhenPossible, fd: fd, token: Token(slot: 1, generation: 0, operation: 2),
                    address: UInt(bitPattern: flight), count: UInt32(flightCount)))
        }
        leave()
    }

    mutating func submitted() {
        bytes.swapAt(0, 1)
        counts = [0, counts[0]]
    }

    var deadline: Instant? { wheel.next }
    var isFinished: Bool { isStopped && backlog.isEmpty && flightCount == 0 && counts[0] == 0 }

    private func enter() {
        if seen.inside.add(1, ordering: .relaxed).newValue != 1 { seen.collisions.add(1, ordering: .relaxed) }
    }

    private func leave() { seen.inside.subtract(1, ordering: .relaxed) }
}

@Suite(.timeLimit(.minutes(2)))
struct LoanTests {
    static func run<R: Ring & ~Copyable>(_ ring: consuming R, _ inbox: Inbox, _ seen: LoanObservations, _ fd: Int32) {
        var loop = Loop(ring: ring, machine: Copier(seen: seen, fd: fd), inbox: inbox)
        loop.run(mayBeLent: true)
    }

    func start(_ tenant: Tenant, _ inbox: Inbox, _ seen: LoanObservations, _ fd: Int32) throws -> PinnedThread {
        try PinnedThread.start(name: "copier") {
            var options = RingOptions()
            options.plain = tenant == .plain
            do {
                if tenant == .epoll {
                    Self.run(try EpollRing.make(options), inbox, seen, fd)
                } else {
                    Self.run(try URing.make(options), inbox, seen, fd)
                }
            } catch {
                Issue.record(error)
            }
        }
    }

    static func outbox(to inbox: Inbox) -> Outbox {
        Outbox(
            targets: [inbox], pool: ParcelPool(parcelsMax: 64, smallParcelsMax: 64),
            borrowing: Outbox.Borrowing(own: Inbox(), lightKind: Copier.numberKind))
    }

    /// One number, in a parcel of its own. False when too many are under way.
    static func tell(_ number: UInt64, _ outbox: inout Outbox) -> Bool {
        guard let room = outbox.append(to: 0, kind: Copier.numberKind, payloadBytes: 8) else { return false }
        UnsafeMutableRawPointer(room).storeBytes(of: number, as: UInt64.self)
        outbox.flush()
        return true
    }

    /// Two that push as soon as the loop sleeps, and a reader too slow for them at times, so that sends
    /// fall short in borrowed turns as in its own.
    @Test(arguments: Tenant.allCases)
    func losesAndOvertakesNothing(_ tenant: Tenant) throws {
        let inbox = Inbox()
        let seen = LoanObservations()
        let (mine, theirs) = try Sockets.pair()
        _ = Sockets.setSendBuffer(mine, bytes: 4_096)
        let loop = try start(tenant, inbox, seen, mine)
        let each: UInt64 = 60_000
        let borrowed = Atomic<Int>(0)
        let senders = try (UInt64(1)...2).map { sender in
            try PinnedThread.start(name: "sender") {
                var outbox = Self.outbox(to: inbox)
                var random = Random(seed: sender)
                var number: UInt64 = 1
                while number <= each {
                    if Self.tell(sender << 32 | number, &outbox) { number += 1 } else { usleep(50) }
                    outbox.flush()
                    if UInt64.random(in: 0..<40, using: &random) == 0 { usleep(100) }
                }
                borrowed.add(Int(outbox.turnsBorrowed), ordering: .relaxed)
            }
        }
        var last: [UInt64: UInt64] = [:]
        var disorders = 0
        var rest: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 2_048)
        var random = Random(seed: 7)
        while last.values.reduce(0, +) < 2 * each {
            let count = read(theirs, &chunk, chunk.count)
            try #require(count > 0)
            rest.append(contentsOf: chunk[..<count])
            var offset = 0
            while rest.count - offset >= 8 {
                let word = rest.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: offset, as: UInt64.self) }
                if word & 0xFFFF_FFFF != last[word >> 32, default: 0] + 1 { disorders += 1 }
                last[word >> 32] = word & 0xFFFF_FFFF
                offset += 8
            }
            rest.removeFirst(offset)
            if UInt64.random(in: 0..<300, using: &random) == 0 { usleep(2_000) }
        }
        senders.forEach { $0.join() }
        #expect(disorders == 0)
        #expect(seen.collisions.load(ordering: .relaxed) == 0)
        #expect(borrowed.load(ordering: .relaxed) > 0)
        #expect(seen.turnsElsewhere.load(ordering: .relaxed) >= borrowed.load(ordering: .relaxed))
        #expect(seen.shortSends.load(ordering: .relaxed) > 0)
        _ = inbox.post(kind: Copier.stopKind)
        loop.join()
        Sockets.close(mine)
        Sockets.close(theirs)
    }

    /// The loop's own timer ends its sleep in the midst of a turn that another thread takes long over.
    @Test(arguments: Tenant.allCases)
    func waitsForItsBorrower(_ tenant: Tenant) throws {
        let inbox = Inbox()
        let seen = LoanObservations()
        let (mine, theirs) = try Sockets.pair()
        let loop = try start(tenant, inbox, seen, mine)
        var whoWaited = 0
        for number in UInt64(1)...200 where whoWaited != 2 {
            usleep(1_000)
            seen.gate.store(1, ordering: .releasing)
            let sender = try PinnedThread.start(name: "sender") {
                var outbox = Self.outbox(to: inbox)
                #expect(Self.tell(number, &outbox))
            }
            repeat { whoWaited = seen.gate.load(ordering: .acquiring); usleep(100) } while whoWaited == 1
            let turns = seen.turns.load(ordering: .relaxed)
            // Ten of its ticks.
            usleep(30_000)
            #expect(seen.turns.load(ordering: .relaxed) == turns)
            seen.gate.store(0, ordering: .releasing)
            sender.join()
            while seen.turns.load(ordering: .relaxed) < turns + 3 { usleep(100) }
        }
        #expect(whoWaited == 2)
        #expect(seen.collisions.load(ordering: .relaxed) == 0)
        _ = inbox.post(kind: Copier.stopKind)
        loop.join()
        Sockets.close(mine)
        Sockets.close(theirs)
    }

    /// Who has much to pass on, or something that may take long, wakes the loop.
    @Test(arguments: [(5, Copier.numberKind), (1, UInt16(9))])
    func borrowsForLittleOnly(records: Int, kind: UInt16) throws {
        let inbox = Inbox()
        let seen = LoanObservations()
        let (mine, theirs) = try Sockets.pair()
        let loop = try start(.epoll, inbox, seen, mine)
        var outbox = Self.outbox(to: inbox)
        for _ in 0..<50 {
            usleep(500)
            for _ in 0..<records { _ = outbox.append(to: 0, kind: kind, payloadBytes: 8) }
            outbox.flush()
        }
        #expect(outbox.turnsBorrowed == 0)
        #expect(seen.turnsElsewhere.load(ordering: .relaxed) == 0)
        _ = inbox.post(kind: Copier.stopKind)
        loop.join()
        Sockets.close(mine)
        Sockets.close(theirs)
    }
}
