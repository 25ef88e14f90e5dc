// One thing that is measured: how it is set up, and how it is done a number of times. What is counted is
// what happens inside `skein_measured_region`, by whoever watches the process: callgrind finds it by its name.

struct Benchmark: Sendable {
    let name: String
    /// How often a measurement does it, and as often before, so that every table and pool is warm.
    let operations: Int
    /// Sets up, and answers with what does it so many times.
    let prepare: @Sendable () -> (Int) -> Void

    init(_ name: String, operations: Int = 1_000, _ prepare: @escaping @Sendable () -> (Int) -> Void) {
        self.name = name
        self.operations = operations
        self.prepare = prepare
    }
}

/// Where results go, so that no work is found to be without use.
nonisolated(unsafe) var sink = 0

nonisolated(unsafe) private var measured: (Int) -> Void = { _ in }

func measure(_ body: @escaping (Int) -> Void, _ operations: Int) {
    measured = body
    measuredRegion(operations)
}

/// By a plain name, for whoever counts.
@_silgen_name("skein_measured_region")
@inline(never)
func measuredRegion(_ operations: Int) {
    measured(operations)
    // Something is left to do, so that the call is a call: callgrind sees a jump neither come nor go.
    sink &+= operations
}

/// What the counters themselves are held against: this allocates once and retains once each time.
let controls = [
    Benchmark("control: one allocation, one retain") {
        var kept = Kept(number: 0)
        var other: Kept?
        return { count in
            for index in 0..<count {
                kept = Kept(number: index)
                other = keep(kept)
            }
            sink &+= other?.number ?? 0
        }
    }
]

private final class Kept {
    let number: Int
    init(number: Int) { self.number = number }
}

@inline(never)
private func keep(_ kept: Kept) -> Kept { kept }
