import SkeinIO
import SkeinSimulation
import Testing

/// Runs on a thread of its own, with a stack of its own: whole nodes live on it.
private func onThread<R: Sendable>(_ body: @escaping @Sendable () -> R) async throws -> R {
    try await withCheckedThrowingContinuation { continuation in
        do {
            _ = try PinnedThread.start(name: "simulation", stackBytes: 8 << 20) {
                continuation.resume(returning: body())
            }
        } catch {
            continuation.resume(throwing: error)
        }
    }
}

/// Whole nodes, a Redis and clients on one thread, from one seed.
@Suite("Simulation", .serialized)
struct SimulationTests {
    /// Seeds that have found something, and what.
    static let found: [(seed: UInt64, what: String)] = [
        (668, "a connection moved to a shard that had ended was never closed"),
        (1262, "the same, with another shard still draining"),
        (1051, "a connection accepted as its shard ended was never closed"),
        (3247, "a drain after a shortage of descriptors spun, for its pause was never over"),
        (1590, "a drain that met a full inbox never reached that shard"),
        (669, "a node that ended before its first lease left its devices in Redis"),
        (44017, "an event read from history was taken for a sign that pushes before it had come"),
        (53379, "a device without offsets was given again what Redis had lost and was sent anew"),
        (141486, "events that Redis lost and numbered anew were taken for those that had been heard"),
        (208632, "what was left to a read was taken for delivered while the answer was taken apart"),
        (4008226, "a drain closed a device before an event that a read of its history was to bring"),
        (8010837, "a node left without ending an epoch of which it alone had seen that events were lost"),
        (8030956, "an event of this node's, given to a Redis that had lost it, was heard a second time"),
        (60167364, "a first device was told a place before an event that was answered for and still on its way back"),
        (76000517, "a Redis that had stood still wrote a departed device from the lost link, after the next one's sweep"),
        (53542, "a device let in while Redis was silent was refused by it later, and never written"),
    ]

    /// And of runs in which every seed has three nodes.
    static let foundOnThreeNodes: [(seed: UInt64, what: String)] = [
        (6050858, "a replica of before a loss of all brought back an epoch, and places in it were believed")
    ]

    @Test func seedsThatFoundSomething() async throws {
        for (seed, what) in Self.foundOnThreeNodes {
            let outcome = try await onThread { Simulation(seed: seed, nodes: 3).run() }
            #expect(outcome.failure == nil, "swift run Simulate --seed \(seed) --nodes 3: \(what)")
        }
        for (seed, what) in Self.found {
            let outcome = try await onThread { Simulation(seed: seed).run() }
            #expect(outcome.failure == nil, "swift run Simulate --seed \(seed): \(what)")
        }
    }

    @Test func freshSeeds() async throws {
        let from = UInt64.random(in: 1_000_000...1_000_000_000)
        for seed in from..<from + 200 {
            let outcome = try await onThread { Simulation(seed: seed).run() }
            #expect(outcome.failure == nil, "swift run Simulate --seed \(seed)")
            #expect(outcome.steps > 0)
        }
    }

    @Test func theSameSeedIsTheSameRun() async throws {
        for seed in [3, 58, 907] as [UInt64] {
            let first = try await onThread { Simulation(seed: seed).run() }
            let second = try await onThread { Simulation(seed: seed).run() }
            #expect(first.hash == second.hash)
            #expect(first.steps == second.steps)
            #expect(first.reached.counts == second.reached.counts)
        }
    }

    /// A simulator that does not see a mistake made on purpose would see no other.
    @Test(arguments: Plant.allCases)
    func plantedMistakesAreFound(plant: Plant) async throws {
        let outcomes = try await onThread {
            (1...Self.seedsToFind as ClosedRange<UInt64>).lazy
                .map { Simulation(seed: $0, plant: plant).run() }
                .first { $0.failure != nil }
        }
        #expect(outcomes?.failure != nil, "\(plant) was not found within \(Self.seedsToFind) seeds")
    }

    static let seedsToFind: UInt64 = 1_000
}
