// `Simulate`: one seed or many, and what they reached. A failure ends with the one line that runs it
// again.

import Glibc
import SkeinIO
import SkeinSimulation
import Synchronization

struct Options {
    var seed: UInt64?
    var seeds = 1_000
    var from: UInt64 = 1
    var jobs = 1
    var seconds = Double.infinity
    var nodes: Int?
    var plant: Plant?
    var isTraced = false

    static let usage = """
        Usage: Simulate [--seed N] [--trace]
               Simulate [--seeds COUNT] [--from N] [--jobs J] [--seconds S]
               either with [--nodes 1-3], on one Redis, where the seed is not to choose,
               and with [--plant NAME]: \(Plant.allCases.map(\.rawValue).joined(separator: ", "))
        """

    init() {
        var words = Array(CommandLine.arguments.dropFirst())[...]
        while let word = words.popFirst() {
            switch word {
            case "--seed": seed = Self.number(words.popFirst())
            case "--seeds": seeds = Int(Self.number(words.popFirst()))
            case "--from": from = Self.number(words.popFirst())
            case "--jobs": jobs = max(1, Int(Self.number(words.popFirst())))
            case "--seconds": seconds = Double(Self.number(words.popFirst()))
            case "--nodes":
                let count = Int(Self.number(words.popFirst()))
                guard 1...3 ~= count else { Self.giveUp() }
                nodes = count
            case "--plant": plant = words.popFirst().flatMap(Plant.init(rawValue:))
            case "--trace": isTraced = true
            default: Self.giveUp()
            }
        }
    }

    private static func number(_ word: String?) -> UInt64 {
        guard let word, let number = UInt64(word) else { giveUp() }
        return number
    }

    private static func giveUp() -> Never {
        print(usage)
        exit(2)
    }
}

func line(_ seed: UInt64, _ options: Options) -> String {
    "swift run Simulate --seed \(seed)" + (options.nodes.map { " --nodes \($0)" } ?? "")
        + (options.plant.map { " --plant \($0.rawValue)" } ?? "")
}

func seconds() -> Double { Double(Instant.now().nanoseconds) / 1e9 }

/// The seeds that are being run, for the word that a trap leaves no time to compose.
let running = SeedBoard()
running.listen()

let options = Options()

if let seed = options.seed {
    running.set(0, seed)
    let outcome = Simulation(
        seed: seed, nodes: options.nodes, plant: options.plant, isTraced: options.isTraced
    ).run()
    for line in outcome.lastSteps + outcome.notes { print(line) }
    let hash = String(outcome.hash, radix: 16)
    print("steps \(outcome.steps), simulated \(outcome.simulatedSeconds) s, hash \(hash)")
    if let failure = outcome.failure {
        print("FAILED: \(failure)\n\(line(seed, options))")
        exit(1)
    }
    exit(0)
}

struct Tally: Sendable {
    var reached = Reached()
    var runs = 0
    var steps = 0
    var simulated = 0.0
    var failures: [(UInt64, String)] = []
}

let tally = Mutex(Tally())
let next = Atomic<UInt64>(options.from)
let began = seconds()
let last = options.from + UInt64(options.seeds)

/// A run that is stopped says what it has seen.
let isStopped = Atomic(false)
for number in [SIGINT, SIGTERM] {
    signal(number) { _ in isStopped.store(true, ordering: .relaxed) }
}

let progressEvery = 10_000

var threads: [PinnedThread] = []
for job in 0..<options.jobs {
    let thread = try PinnedThread.start(name: "simulate-\(job)", stackBytes: 8 << 20) {
        while seconds() - began < options.seconds, !isStopped.load(ordering: .relaxed) {
            let seed = next.add(1, ordering: .relaxed).oldValue
            guard seed < last else { return }
            running.set(job, seed)
            let outcome = Simulation(seed: seed, nodes: options.nodes, plant: options.plant).run()
            let isEnough = tally.withLock { tally in
                tally.reached.add(outcome.reached)
                tally.runs += 1
                tally.steps += outcome.steps
                tally.simulated += outcome.simulatedSeconds
                if let failure = outcome.failure { tally.failures.append((seed, failure)) }
                if tally.runs.isMultiple(of: progressEvery) {
                    let text = "\(tally.runs) seeds in \(Int(seconds() - began)) s, \(tally.failures.count) failed\n"
                    _ = text.withCString { write(STDERR_FILENO, $0, strlen($0)) }
                }
                return tally.failures.count >= (options.plant == nil ? 20 : 1)
            }
            if isEnough { return }
        }
    }
    threads.append(thread)
}
for thread in threads { thread.join() }
let spent = seconds() - began
let computed = Double(clock()) / Double(1_000_000)

let sum = tally.withLock { $0 }
for path in Path.allCases {
    let count = sum.reached[path]
    print("\(count == 0 ? "blind" : "\(count)")".padded(10) + " \(path)")
}
print("""
    \(sum.runs) seeds in \(Int(spent)) s on \(options.jobs): \(Int(Double(sum.runs) / spent)) a second, \
    \(Int(Double(sum.runs) / computed)) a second of one core, \
    \(sum.steps / max(1, sum.runs)) steps each, \(Int(sum.simulated)) s simulated
    """)
for (seed, failure) in sum.failures.sorted(by: { $0.0 < $1.0 }) {
    print("FAILED: \(failure)\n\(line(seed, options))")
}
exit(sum.failures.isEmpty ? 0 : 1)

extension String {
    func padded(_ width: Int) -> String { String(repeating: " ", count: max(0, width - count)) + self }
}
