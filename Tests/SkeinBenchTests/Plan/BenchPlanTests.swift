import SkeinBench
import SkeinIO
import Testing

@Suite("BenchPlan")
struct BenchPlanTests {
    static func plan(_ scenario: Scenario = .pair) -> BenchPlan {
        let target = BenchTarget(
            address: SocketAddress(host: "127.0.0.1", port: 1)!, authority: "127.0.0.1:1", target: "/ws",
            isSecure: false, serverName: "127.0.0.1")
        var plan = BenchPlan(scenario: scenario, targets: [target])
        plan.rate = 100
        return plan
    }

    @Test("each problem is named")
    func problems() {
        #expect(Self.plan().problem == nil)
        let cases: [(change: (inout BenchPlan) -> Void, word: String)] = [
            ({ $0.connections = 101 }, "even"), ({ $0.connections = 0 }, "--connections"),
            ({ $0.threads = 0 }, "--threads"), ({ $0.threads = 60 }, "--threads"),
            ({ $0.depth = 0 }, "--depth"), ({ $0.payloadBytes = 1 << 21 }, "--payload"),
            ({ $0.seconds = 0 }, "--seconds"), ({ $0.rate = -1 }, "--rate"), ({ $0.rate = .nan }, "--rate"),
            ({ $0.connectConcurrency = 0 }, "--connect-concurrency"), ({ $0.targets = [] }, "--url"),
        ]
        for (change, word) in cases {
            var plan = Self.plan()
            change(&plan)
            #expect(plan.problem?.contains(word) == true)
        }
    }

    @Test("a rate of messages is refused where none are sent at one")
    func needlessRates() {
        for scenario in [Scenario.connect, .storm] {
            var plan = Self.plan(scenario)
            #expect(plan.problem?.contains("--connect-rate") == true)
            plan.rate = 0
            #expect(plan.problem == nil)
        }
    }

    @Test("a message has to be known again, and some scenarios need a rate")
    func needs() {
        var plan = Self.plan(.echo)
        plan.message = Template("hello")
        #expect(plan.problem?.contains("%marker%") == true)
        for scenario in [Scenario.hold, .chat, .drain] {
            var plan = Self.plan(scenario)
            plan.rate = 0
            #expect(plan.problem?.contains("--rate") == true)
        }
    }

    @Test("threads share connections by pairs, and lose none", arguments: [1, 2, 3, 4, 7])
    func shares(threads: Int) {
        for total in [14, 15, 16, 100, 101, 1_000] {
            let shares = (0..<threads).map { BenchPlan.share(of: total, number: $0, threads: threads) }
            #expect(shares.reduce(0, +) == total)
            if total % 2 == 0 { #expect(shares.allSatisfy { $0 % 2 == 0 }) }
            #expect(shares.max()! - shares.min()! <= 2)
        }
    }
}
