// Runs the micro benchmarks: under callgrind, which does the counting (`Benchmarks/micro`), or with
// `--time` by the clock, which is told and never gated.
//
//   Micro [--time] [PATTERN]

import Glibc

let arguments = CommandLine.arguments.dropFirst()
let isTimed = arguments.contains("--time")
let pattern = arguments.first { !$0.hasPrefix("--") }

for benchmark in controls + wireBenchmarks + machineryBenchmarks + shardBenchmarks {
    if let pattern, !benchmark.name.contains(pattern) { continue }
    let body = benchmark.prepare()
    body(benchmark.operations)
    if isTimed {
        print("\(benchmark.name)\t\(nanoseconds(body, benchmark.operations))")
    } else {
        measure(body, benchmark.operations)
        print("\(benchmark.name)\t\(benchmark.operations)")
    }
}

/// Of one operation: the best of ten goes, which is the one that was disturbed least.
func nanoseconds(_ body: @escaping (Int) -> Void, _ operations: Int) -> Double {
    var best = Double.infinity
    for _ in 0..<10 {
        var start = timespec(), end = timespec()
        clock_gettime(CLOCK_MONOTONIC, &start)
        for _ in 0..<10 { measure(body, operations) }
        clock_gettime(CLOCK_MONOTONIC, &end)
        let elapsed = (end.tv_sec - start.tv_sec) * 1_000_000_000 + end.tv_nsec - start.tv_nsec
        best = min(best, Double(elapsed) / Double(operations * 10))
    }
    return best
}
