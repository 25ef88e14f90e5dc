// What the threads of a run share: where it stands, what each worker has done so far, and for fan-out when
// each message was due. The coordinator writes the phase and workers read it once a turn; workers write
// their own figures and the coordinator reads them for its progress line.

internal import SkeinIO
internal import Synchronization

enum Phase: UInt8, Sendable {
    /// Connections are made, and rest.
    case connecting
    /// Messages are sent.
    case running
    /// storm: everyone is cut off, and comes back.
    case storming
    /// One message of each to its partner.
    case verifying
    /// Nothing new; what is missing may still come.
    case stopping
    case leaving
}

final class BenchControl: Sendable {
    private let phaseWord = Atomic<UInt8>(Phase.connecting.rawValue)
    /// How many phases there were: the same one may come again.
    private let stepWord = Atomic<Int>(0)
    /// Connections that may be begun, over all workers.
    let connectMax: Atomic<Int>
    /// When the first message is due.
    let startsAt = Atomic<Int64>(0)
    /// What was due earlier belongs to the warm-up.
    let recordsFrom = Atomic<Int64>(.max)

    init(connectMax: Int) { self.connectMax = Atomic(connectMax) }

    var phase: Phase { Phase(rawValue: phaseWord.load(ordering: .acquiring)) ?? .leaving }
    var step: Int { stepWord.load(ordering: .acquiring) }

    /// Instants that belong to the phase are stored before.
    func enter(_ phase: Phase) {
        // Releasing: pairs with the acquiring loads, so that a worker that sees the phase sees its instants.
        phaseWord.store(phase.rawValue, ordering: .releasing)
        stepWord.add(1, ordering: .releasing)
    }
}

/// One worker's, written by it alone.
final class WorkerFigures: Sendable {
    let opened = Atomic<UInt64>(0)
    let openNow = Atomic<Int>(0)
    let pending = Atomic<Int>(0)
    let refused = Atomic<UInt64>(0)
    let closes = Atomic<UInt64>(0)
    let sent = Atomic<UInt64>(0)
    let delivered = Atomic<UInt64>(0)
    /// Sent and not delivered; in `connect`, handshakes under way.
    let missing = Atomic<Int>(0)
    /// The step that it has come to.
    let step = Atomic<Int>(0)
    let lastArrival = Atomic<Int64>(0)
    let cpuNanoseconds = Atomic<Int64>(0)
    let firstRefusal = Atomic<Int>(0)
    let failed = Atomic<Bool>(false)
}

/// fanout: when each message was due, and how many have it.
// Unchecked: `slots` places of atomics, never moved, freed with the last reference.
@safe
final class FanoutBoard: @unchecked Sendable {
    private struct Slot: ~Copyable {
        let dueAt = Atomic<Int64>(0)
        let received = Atomic<Int>(0)
    }

    private let slots: UnsafeMutablePointer<Slot>
    let count: Int
    let published = Atomic<Int>(0)
    let completed = Atomic<Int>(0)

    init(count: Int = BenchPlan.Limits.fanoutSlots) {
        self.count = count
        unsafe slots = .allocate(capacity: count)
        for index in 0..<count { unsafe (slots + index).initialize(to: Slot()) }
    }

    deinit {
        unsafe slots.deinitialize(count: count)
        unsafe slots.deallocate()
    }

    /// By the publisher, before it sends.
    func publish(_ number: Int, dueAt: Int64) {
        let slot = unsafe slots + number % count
        unsafe slot.pointee.dueAt.store(dueAt, ordering: .relaxed)
        unsafe slot.pointee.received.store(0, ordering: .relaxed)
        published.store(number + 1, ordering: .releasing)
    }

    func dueAt(_ number: Int) -> Int64 {
        unsafe slots[number % count].dueAt.load(ordering: .relaxed)
    }

    /// - Returns: whether this was the last of `receivers`.
    func received(_ number: Int, of receivers: Int) -> Bool {
        let count = unsafe slots[number % count].received.add(1, ordering: .relaxed).newValue
        guard count == receivers else { return false }
        completed.add(1, ordering: .releasing)
        return true
    }
}
