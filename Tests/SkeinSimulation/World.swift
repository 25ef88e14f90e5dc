// What all parts of one simulated run share: its clock, its luck, its record of what was reached, and
// the first thing that was wrong.

import SkeinIO

/// One step of a run, for the last lines before a failure.
struct Step {
    enum Kind: UInt8 { case turn, enter, network, client, redis, answer, fault, time, connect }
    var kind: Kind
    var subject: Int
    var detail: Int
    var at: Int64

    var text: String {
        "\(Double(at / 1_000) / 1e6) s  \(kind) \(subject) \(detail)"
    }
}

final class World {
    var chance: Chance
    /// Draws of the broker's own: apart, so that it may draw more without changing all else.
    var brokerChance: Chance
    let time: UnsafeMutablePointer<SimulatedTime>
    var scenario: Scenario
    var faults: Faults
    /// Nothing goes wrong any more.
    var isCalm = false
    let plant: Plant?
    /// A planted mistake is made only while this is more than 0.
    var plantsLeft: Int
    var reached = Reached()
    private(set) var failure: String?
    var streams: [Stream] = []
    /// Grows with every step.
    private(set) var order = 0
    private(set) var hash: UInt64 = 0xCBF2_9CE4_8422_2325
    private(set) var steps: [Step] = []
    private let isTraced: Bool
    private(set) var notes: [String] = []
    var streamCount = 0

    /// Of what has to do with history alone.
    var historyChance: Chance
    /// Of how much a socket brings at once, where it brings more than one buffer.
    var burstChance: Chance
    let bursts: Bool
    /// Whether a shard that waits is lent to others: always so on threads; here some seeds do without.
    let lendsShards: Bool
    /// Nodes that ended with something for others that Redis had not taken.
    var leftEarly: Set<Int> = []
    var killed: Set<Int> = []
    /// Those, and nodes that drained while things went wrong: what Redis lost of theirs later, nobody knows.
    var endedEarly: Set<Int> = []
    /// By node, since when its events go through Redis; `.max` while they may not.
    var steadySince: [Int: Int] = [:]
    /// Redis has forgotten something that it had taken.
    var hasLostWrites = false
    /// When Redis last gave way to a replica.
    var failedOverOrder = 0

    init(seed: UInt64, nodes: Int?, plant: Plant?, isTraced: Bool) {
        lendsShards = seed % 4 != 0
        chance = Chance(seed: seed)
        brokerChance = Chance(seed: seed ^ 0xB20C_0000_0000)
        historyChance = Chance(seed: seed ^ 0x4157_0000_0000)
        burstChance = Chance(seed: seed ^ 0xB0F5_0000_0000)
        bursts = burstChance.oneIn(3)
        scenario = Scenario(&chance, history: &historyChance, nodes: nodes)
        faults = scenario.faults
        self.plant = plant
        plantsLeft = plant == nil ? 0 : 1_000
        self.isTraced = isTraced
        time = .allocate(capacity: 1)
        time.initialize(
            to: SimulatedTime(
                now: Instant(nanoseconds: 1_000_000_000_000), wallMilliseconds: 1_700_000_000_000))
    }

    deinit { time.deallocate() }

    var now: Int64 { time.pointee.now.nanoseconds }
    var clock: Clock { .simulated(by: time) }

    func advance(by nanoseconds: Int64) {
        let before = now / 1_000_000
        time.pointee.now = time.pointee.now.advanced(byNanoseconds: nanoseconds)
        time.pointee.wallMilliseconds += now / 1_000_000 - before
    }

    func fail(_ text: @autoclosure () -> String) {
        if failure == nil { failure = text() }
    }

    /// What a reader of a trace wants to know besides the steps; nothing else sees it.
    func note(_ text: @autoclosure () -> String) {
        guard isTraced else { return }
        if notes.count >= 4_000 { notes.removeFirst(2_000) }
        notes.append("\(Double(now) / 1e9) s  \(text())")
    }

    func reach(_ path: Path) { reached[path] += 1 }

    /// Once in so many times, and counted.
    func strikes(_ odds: Int, _ path: Path) -> Bool {
        guard chance.oneIn(odds) else { return false }
        reach(path)
        return true
    }

    func record(_ kind: Step.Kind, _ subject: Int, _ detail: Int = 0) {
        order += 1
        for value in [UInt64(kind.rawValue), UInt64(bitPattern: Int64(subject)),
            UInt64(bitPattern: Int64(detail)), UInt64(bitPattern: now)]
        {
            hash = (hash ^ value) &* 0x0000_0100_0000_01B3
        }
        guard isTraced else { return }
        if steps.count >= 400 { steps.removeFirst(200) }
        steps.append(Step(kind: kind, subject: subject, detail: detail, at: now))
    }
}
