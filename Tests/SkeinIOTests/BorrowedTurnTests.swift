// One borrowed turn at a time, on a ring that does nothing: what is done where, and when the loop is woken.

import CSkein
import Glibc
import SkeinIO
import Testing

/// What happened, in order. Unchecked: everything runs on one thread.
private final class Diary: @unchecked Sendable {
    var events: [String] = []
    var rest: RestState = .settled
    /// What a send falls short with.
    var shortfall: Int32?
    /// While the loop is looked at by who is about to borrow it.
    var atRest: (() -> Void)?
}

private struct StillRing: Ring, ~Copyable {
    struct Rest: RingAtRest {
        let diary: Diary

        var state: RestState {
            diary.atRest?()
            return diary.rest
        }

        func send(_ submission: Submission) -> Int32? {
            diary.events.append("sent")
            return diary.shortfall
        }
    }

    let diary: Diary
    let waker: Waker
    let buffers = BufferPool.make(count: 2, bufferBytes: 64)
    let counters = RingCounters.make()
    var hasRest = true

    init(_ diary: Diary, _ wakeDescriptor: Int32) {
        self.diary = diary
        waker = Waker(way: .eventDescriptor, fd: wakeDescriptor)
    }

    deinit {
        buffers.destroy()
        counters.destroy()
    }

    static func make(_ options: RingOptions) throws(RingError) -> StillRing { preconditionFailure("made by hand") }

    mutating func give(_ queue: inout SubmissionQueue) {
        for index in 0..<queue.count { diary.events.append("given \(queue[index].kind)") }
        queue.removeAll()
    }

    mutating func wait(_ wait: Wait) {}
    var rest: Rest? { hasRest ? Rest(diary: diary) : nil }
    mutating func reap(into completions: inout CompletionQueue) -> Int { 0 }
}

/// Does what the kind of a record says.
private struct Errand: Machine, ~Copyable {
    static var send: UInt16 { 1 }
    static var close: UInt16 { 2 }
    static var hurry: UInt16 { 3 }
    static var end: UInt16 { 4 }
    static var passOn: UInt16 { 5 }
    static var sendToMany: UInt16 { 6 }
    static var keep: UInt16 { 7 }

    let diary: Diary
    var wanted: [Submission.Kind] = []
    var deadline: Instant?
    var isFinished = false
    /// To another loop.
    var outbox: Outbox?

    mutating func handle(
        _ completions: Span<Completion>, at now: Instant, into submissions: inout SubmissionQueue
    ) {
        for index in completions.indices { diary.events.append("outcome \(completions[index].result)") }
    }

    mutating func handle(
        _ parcel: borrowing Parcel, at now: Instant, into submissions: inout SubmissionQueue
    ) {
        for record in parcel.records {
            switch record.kind {
            case Self.send: wanted.append(.sendNow)
            case Self.close: wanted += [.sendNow, .close]
            case Self.hurry:
                wanted.append(.sendNow)
                deadline = now.advanced(bySeconds: 10)
            case Self.end: isFinished = true
            case Self.sendToMany: wanted += Array(repeating: .sendNow, count: 5)
            case Self.keep: break
            default:
                wanted.append(.sendNow)
                _ = outbox?.append(to: 0, kind: Self.send, payloadBytes: 8)
            }
        }
    }

    mutating func endTurn(at now: Instant, into submissions: inout SubmissionQueue) {
        diary.events.append("turn")
        for kind in wanted { submissions.append(Submission(kind, fd: 0, token: .ignored)) }
        wanted = []
        outbox?.flush()
    }

    mutating func submitted() { diary.events.append("submitted") }
}

/// A loop that sleeps, and the outbox of one that has something for it.
private final class Scene {
    let diary = Diary()
    let inbox = Inbox()
    let wakeDescriptor = eventfd(0, skein_eventfd_flags())
    let loop: UnsafeMutablePointer<Loop<StillRing, Errand>>
    /// Stands still until a test moves it.
    let time = UnsafeMutablePointer<SimulatedTime>.allocate(capacity: 1)

    /// - Parameter deadline: of the machine, in so many milliseconds.
    init(passingOnTo other: Inbox? = nil, deadline: Int? = nil, hasRest: Bool = true) {
        let now = Instant(nanoseconds: 1_000_000_000)
        time.initialize(to: SimulatedTime(now: now, wallMilliseconds: 0))
        var errand = Errand(diary: diary, deadline: deadline.map { now.advanced(byMilliseconds: $0) })
        if let other { errand.outbox = Self.outbox(to: other, of: inbox) }
        var ring = StillRing(diary, wakeDescriptor)
        ring.hasRest = hasRest
        loop = .allocate(capacity: 1)
        loop.initialize(to: Loop(ring: ring, machine: errand, inbox: inbox, clock: .simulated(by: time)))
        state.pointee.begin(loop.pointee.ring.waker, lending: Loop<StillRing, Errand>.loan(sleep, state))
        enter()
        diary.events = []
    }

    deinit {
        if state.pointee.isAsleep { turn() }
        Loop.finish(&loop.pointee.ring, state)
        loop.deinitialize(count: 1)
        loop.deallocate()
        time.deallocate()
        Sockets.close(wakeDescriptor)
    }

    static func outbox(to inbox: Inbox, of own: Inbox) -> Outbox {
        Outbox(
            targets: [inbox], pool: ParcelPool(parcelsMax: 8, smallParcelsMax: 8),
            borrowing: Outbox.Borrowing(own: own, lightKind: Errand.send))
    }

    func enter() { Loop.enter(&loop.pointee.ring, sleep, state) }
    func turn() { Loop.turn(&loop.pointee.ring, state) }

    var sleep: UnsafeMutablePointer<LoopSleep<StillRing.Rest>> {
        withUnsafeMutablePointer(to: &loop.pointee.sleep) { $0 }
    }

    var state: UnsafeMutablePointer<LoopState<Errand>> {
        withUnsafeMutablePointer(to: &loop.pointee.state) { $0 }
    }

    /// Whether it has been woken since this was last asked.
    var isWoken: Bool {
        var value: UInt64 = 0
        return read(wakeDescriptor, &value, 8) == 8
    }
}

/// An outbox in which every kind is light, to reach what the broker's own kinds never ask for.
private func tell(_ scene: Scene, _ kind: UInt16) -> UInt64 {
    var outbox = Outbox(
        targets: [scene.inbox], pool: ParcelPool(parcelsMax: 8, smallParcelsMax: 8),
        borrowing: Outbox.Borrowing(own: Inbox(), lightKind: kind))
    _ = outbox.append(to: 0, kind: kind, payloadBytes: 8)
    outbox.flush()
    return outbox.turnsBorrowed
}

struct BorrowedTurnTests {
    @Test func sendsAndSleepsOn() {
        let scene = Scene()
        for _ in 0..<3 {
            #expect(tell(scene, Errand.send) == 1)
            #expect(scene.diary.events == ["submitted", "turn", "sent"])
            #expect(!scene.isWoken)
            scene.diary.events = []
        }
        scene.turn()
        #expect(scene.diary.events == ["submitted", "turn"])
    }

    /// The loop's own sends may have fallen short, or something has come for it.
    @Test(arguments: [(RestState.busy, true), (.over, false)])
    func leavesALoopThatIsNotAtRest(_ rest: RestState, isWoken: Bool) {
        let scene = Scene()
        scene.diary.rest = rest
        #expect(tell(scene, Errand.send) == 0)
        #expect(scene.diary.events.isEmpty)
        #expect(scene.isWoken == isWoken)
        scene.turn()
        #expect(scene.diary.events == ["submitted", "turn"])
    }

    @Test func wakesALoopWhoseRingHasSomething() {
        let scene = Scene(hasRest: false)
        #expect(tell(scene, Errand.send) == 0)
        #expect(scene.isWoken)
        #expect(scene.diary.events.isEmpty)
    }

    /// What only the ring can do it does, with all that came before it in the turn, and before the
    /// machine hears that it was done.
    @Test func leavesToTheRingWhatIsNoSend() {
        let scene = Scene()
        #expect(tell(scene, Errand.close) == 0)
        #expect(scene.diary.events == ["submitted", "turn"])
        #expect(scene.isWoken)
        // Nobody borrows it a second time.
        #expect(tell(scene, Errand.send) == 0)
        #expect(scene.diary.events == ["submitted", "turn"])
        scene.diary.events = []
        scene.turn()
        #expect(scene.diary.events == ["given sendNow", "given close", "submitted", "turn"])
    }

    @Test func tellsTheMachineFirstWhatFellShort() {
        let scene = Scene()
        scene.diary.shortfall = -EAGAIN
        #expect(tell(scene, Errand.send) == 0)
        #expect(scene.isWoken)
        scene.diary.events = []
        scene.turn()
        #expect(scene.diary.events == ["submitted", "outcome \(-EAGAIN)", "turn"])
    }

    @Test(arguments: [nil, 60_000, 5_000] as [Int?])
    func wakesForAnEarlierDeadline(milliseconds: Int?) {
        let scene = Scene(deadline: milliseconds)
        let isEarly = milliseconds == 5_000
        #expect(tell(scene, Errand.hurry) == (isEarly ? 1 : 0))
        #expect(scene.isWoken == !isEarly)
    }

    /// What the timer is for may have come, unknown to the borrower.
    @Test func leavesATimerThatIsDueToTheLoop() {
        let scene = Scene(deadline: 10)
        scene.time.pointee.now = scene.time.pointee.now.advanced(byMilliseconds: 10)
        #expect(tell(scene, Errand.send) == 0)
        #expect(scene.isWoken)
        #expect(scene.diary.events.isEmpty)
    }

    /// Many sends are the ring's, in one call; and what was not sent may be behind what now can be.
    @Test(arguments: [Errand.sendToMany, Errand.keep])
    func wakesForManySendsAndForNone(kind: UInt16) {
        let scene = Scene()
        #expect(tell(scene, kind) == 0)
        #expect(scene.isWoken)
        #expect(scene.diary.events == ["submitted", "turn"])
        scene.diary.events = []
        scene.turn()
        #expect(scene.diary.events.count { $0 == "given sendNow" } == (kind == Errand.keep ? 0 : 5))
    }

    @Test func endsWithoutAnotherTurn() {
        let scene = Scene()
        #expect(tell(scene, Errand.end) == 0)
        #expect(scene.isWoken)
        scene.diary.events = []
        scene.turn()
        #expect(scene.diary.events.isEmpty)
    }

    /// What others have pushed meanwhile may take long, and is not waited for.
    @Test func carriesOutNothingButItsOwn() {
        let scene = Scene()
        scene.diary.atRest = { [unowned scene] in
            scene.diary.atRest = nil
            _ = scene.inbox.post(kind: Errand.end)
        }
        #expect(tell(scene, Errand.send) == 0)
        #expect(scene.diary.events.isEmpty)
        #expect(scene.isWoken)
    }

    /// Between its park and its wait.
    @Test func leavesALoopThatHoldsItself() {
        let scene = Scene()
        scene.turn()
        scene.diary.events = []
        #expect(scene.inbox.park())
        #expect(tell(scene, Errand.send) == 0)
        #expect(scene.isWoken)
        #expect(scene.diary.events.isEmpty)
    }

    /// Else one message could run through all loops on one thread.
    @Test func borrowsNothingInABorrowedTurn() {
        let far = Scene()
        let near = Scene(passingOnTo: far.inbox)
        #expect(tell(near, Errand.passOn) == 1)
        #expect(far.isWoken)
        #expect(far.diary.events.isEmpty)
    }
}
