// Which seeds are being run, readable from a signal handler: a precondition of the broker's ends the
// process, and must not take the seed with it.

import Glibc
import Synchronization

final class SeedBoard: Sendable {
    private static let seeds = InlineSeeds()

    func set(_ job: Int, _ seed: UInt64) { Self.seeds.set(job, seed) }

    func listen() {
        Self.seeds.set(0, 0)
        for number in [SIGILL, SIGTRAP, SIGSEGV, SIGABRT, SIGBUS, SIGFPE] {
            signal(number) { number in
                SeedBoard.seeds.write()
                signal(number, SIG_DFL)
                raise(number)
            }
        }
    }
}

/// Unchecked: one atomic number for each job, made once and never freed.
private final class InlineSeeds: @unchecked Sendable {
    private static let count = 64
    private let seeds: UnsafeMutablePointer<Atomic<UInt64>>

    init() {
        seeds = .allocate(capacity: Self.count)
        for index in 0..<Self.count { (seeds + index).initialize(to: Atomic(0)) }
    }

    func set(_ job: Int, _ seed: UInt64) {
        seeds[job % Self.count].store(seed, ordering: .relaxed)
    }

    /// Only what a signal handler may do.
    func write() {
        for index in 0..<Self.count {
            var seed = seeds[index].load(ordering: .relaxed)
            guard seed > 0 else { continue }
            withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 24) { digits in
                var place = 23
                digits[place] = 10
                while seed > 0 {
                    place -= 1
                    digits[place] = UInt8(48 + seed % 10)
                    seed /= 10
                }
                let text: StaticString = "TRAPPED: swift run Simulate --seed "
                _ = Glibc.write(2, text.utf8Start, text.utf8CodeUnitCount)
                _ = Glibc.write(2, digits.baseAddress! + place, 24 - place)
            }
        }
    }
}
