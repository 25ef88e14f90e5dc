// The course of a run, scenario by scenario: connect everyone, rest, measure, wait for what is missing.

internal import SkeinIO
internal import Synchronization

final class BenchRun: Sendable {
    struct Measurement: Sendable {
        var usage = CPUUsage()
        var delivered: UInt64 = 0
        /// The busiest worker's thread, of one core.
        var threadShareMax = 0.0
        var seconds: Double = 0
    }

    struct Connecting: Sendable {
        var seconds = 0.0
        var baseline = MemoryUsage()
        var idle = MemoryUsage()
        /// Connections between the two.
        var difference = 0
    }

    let plan: BenchPlan
    let hooks: BenchHooks
    let team: Team
    private let softirqThreads: [Int32]
    private let told = Atomic<Int64>(0)
    private let toldDelivered = Atomic<UInt64>(0)

    init(plan: BenchPlan, hooks: BenchHooks, team: Team) {
        self.plan = plan
        self.hooks = hooks
        self.team = team
        softirqThreads = ProcessFinder.softirqThreads(cores: plan.softirqCores)
    }

    private var control: BenchControl { team.shared.control }

    /// The first connections make a server allocate what it allocates once; bytes per connection are the slope
    /// after them. Of fewer than 2,000 it would be one page more or less.
    static func baselineConnections(_ plan: BenchPlan) -> Int {
        plan.scenario != .connect && plan.connections >= 2_000 && !plan.processes.isEmpty ? 1_000 : 0
    }

    func conduct() async throws(BenchFailure) -> BenchReport {
        var connecting = Connecting()
        var measurement: Measurement
        var rounds: [Double] = []
        if plan.scenario != .connect { connecting = try await connectAll() }
        if plan.scenario == .storm {
            (measurement, rounds) = try await stormRounds()
        } else {
            measurement = try await measure()
        }
        try await settle()
        let result = team.collect()
        return ReportBuilder(
            plan: plan, io: team.io, connecting: connecting, measurement: measurement, result: result,
            rounds: rounds
        ).report()
    }
}

private extension BenchRun {
    func sleep(milliseconds: Int) async {
        do { try await Task.sleep(for: .milliseconds(milliseconds)) } catch {}
    }

    func tell(_ phase: String, _ sum: Team.Sum) {
        guard let progress = hooks.progress else { return }
        let now = Instant.now().nanoseconds
        let before = told.load(ordering: .relaxed)
        guard now - before >= 500_000_000 else { return }
        told.store(now, ordering: .relaxed)
        let delivered = toldDelivered.exchange(sum.delivered, ordering: .relaxed)
        let perSecond = before == 0 ? 0 : Double(sum.delivered - delivered) * 1e9 / Double(now - before)
        progress(
            BenchProgress(
                phase: phase, open: sum.openNow, wanted: plan.connections, sent: sum.sent,
                delivered: sum.delivered, perSecond: perSecond, refused: sum.refused, closes: sum.closes))
    }

    func checkThreads() throws(BenchFailure) {
        guard let failure = team.failure else { return }
        throw BenchFailure("A loop could not be started (\(failure)); try --io epoll, or fewer --threads.")
    }

    // Connecting.

    func connectAll() async throws(BenchFailure) -> Connecting {
        var connecting = Connecting()
        connecting.baseline = MemoryUsage.read(processes: plan.processes)
        let baseline = Self.baselineConnections(plan)
        let wanted = UInt64(plan.connections + plan.publishers)
        var paused: Int64 = 0
        let started = Instant.now()
        if baseline > 0 {
            try await waitForOpen(UInt64(baseline), since: started)
            let pausedAt = Instant.now()
            await sleep(milliseconds: Int(plan.restSeconds * 1_000))
            connecting.baseline = MemoryUsage.read(processes: plan.processes)
            paused = Instant.now().nanoseconds(since: pausedAt)
            control.connectMax.store(.max, ordering: .relaxed)
        }
        try await waitForOpen(wanted, since: started)
        connecting.seconds = Double(Instant.now().nanoseconds(since: started) - paused) / 1e9
        connecting.difference = plan.connections - baseline
        await sleep(milliseconds: Int(plan.restSeconds * 1_000))
        connecting.idle = MemoryUsage.read(processes: plan.processes)
        return connecting
    }

    func waitForOpen(_ wanted: UInt64, since started: Instant) async throws(BenchFailure) {
        var lastOpened: UInt64 = 0
        var lastAt = Instant.now()
        var refusedAt: Instant?
        while true {
            let sum = team.sum
            try checkThreads()
            if sum.opened >= wanted { return }
            if sum.refused > 0 {
                // Behind a limit there may be a better reason, whose answer takes longer.
                let since = refusedAt ?? .now()
                refusedAt = since
                let isLimit = Refusal.isLimit(sum.firstRefusal)
                if !isLimit || Instant.now().milliseconds(since: since) > 500 { throw cannotConnect(sum, "refused") }
            }
            if sum.opened > lastOpened { (lastOpened, lastAt) = (sum.opened, .now()) }
            if Instant.now().milliseconds(since: lastAt) > 15_000 { throw cannotConnect(sum, "no answer") }
            if hooks.isInterrupted() { throw BenchFailure("Interrupted while connecting.", status: 130) }
            tell("connecting", sum)
            await sleep(milliseconds: 2)
        }
    }

    func cannotConnect(_ sum: Team.Sum, _ what: String) -> BenchFailure {
        BenchFailure(
            "\(sum.opened) of \(plan.connections) connections opened, then: "
                + (sum.firstRefusal == 0 ? what : Refusal.sentence(sum.firstRefusal)))
    }

    // Measuring.

    func usage() -> CPUUsage { CPUUsage.read(processes: plan.processes, softirqThreads: softirqThreads) }

    func measure() async throws(BenchFailure) -> Measurement {
        let start = Instant.now().advanced(byMilliseconds: 2)
        let opens = start.advanced(byNanoseconds: Int64(plan.warmupSeconds * 1e9))
        let ends = opens.advanced(byNanoseconds: Int64(plan.seconds * 1e9))
        control.startsAt.store(start.nanoseconds, ordering: .relaxed)
        control.recordsFrom.store(opens.nanoseconds, ordering: .relaxed)
        control.enter(.running)
        try await waitUntil(opens, "warming up")
        let before = usage()
        let sumBefore = team.sum
        if let measuring = hooks.measuring { await measuring() }
        try await waitUntil(ends, "measuring")
        let difference = usage() - before
        let sumAfter = team.sum
        control.enter(.stopping)
        return measurement(difference, since: before.instant, sumBefore, sumAfter)
    }

    func measurement(
        _ usage: CPUUsage, since before: Instant, _ sumBefore: Team.Sum, _ sumAfter: Team.Sum
    ) -> Measurement {
        var measurement = Measurement()
        measurement.usage = usage
        measurement.seconds = Double(usage.instant.nanoseconds(since: before)) / 1e9
        measurement.delivered = sumAfter.delivered - sumBefore.delivered
        let used = zip(sumAfter.cpuNanoseconds, sumBefore.cpuNanoseconds).map { Double($0 - $1) / 1e9 }
        measurement.threadShareMax = (used.max() ?? 0) / max(measurement.seconds, 1e-9)
        return measurement
    }

    /// Or until it makes no sense to go on.
    func waitUntil(_ instant: Instant, _ phase: String) async throws(BenchFailure) {
        let began = Instant.now()
        while Instant.now() < instant {
            let sum = team.sum
            try checkThreads()
            tell(phase, sum)
            if sum.isFailed || hooks.isInterrupted() { return }
            let quiet = max(sum.lastArrival, began.nanoseconds)
            let isStuck = Double(Instant.now().nanoseconds - quiet) / 1e9 > plan.graceSeconds
            let isClosedLoop = plan.rate == 0 && plan.scenario != .drain
            if isStuck, isClosedLoop { return }
            if plan.scenario == .connect, sum.refused > 0 { return }
            let isEmpty = sum.openNow == 0 && plan.targets.count == 1 && !plan.comesBack
            if plan.scenario == .drain, isEmpty { return }
            let left = instant.nanoseconds(since: .now()) / 1_000_000
            await sleep(milliseconds: Int(min(max(left, 1), 20)))
        }
    }

    // What is missing.

    /// Messages that somebody has yet to get.
    func missing(_ sum: Team.Sum) -> UInt64 {
        let expected = plan.scenario == .fanout ? sum.sent * UInt64(plan.connections) : sum.sent
        return expected > sum.delivered ? expected - sum.delivered : 0
    }

    func settle() async throws(BenchFailure) {
        let step = control.step
        let began = Instant.now().nanoseconds
        while true {
            let sum = team.sum
            try checkThreads()
            tell("waiting for what is missing", sum)
            let isDone = plan.scenario == .connect ? sum.pending == 0 : missing(sum) == 0
            let isBack = !plan.scenario.comesBack || sum.openNow == plan.connections
                || (plan.scenario == .drain && plan.targets.count == 1 && !plan.comesBack)
            // Before all workers have stopped, somebody may be about to leave.
            if isDone, isBack, sum.step >= step { break }
            let quiet = max(sum.lastArrival, began)
            if Double(Instant.now().nanoseconds - quiet) / 1e9 > plan.graceSeconds { break }
            // Handshakes under way are waited for all the same: they would count as unanswered.
            if sum.isFailed || (hooks.isInterrupted() && plan.scenario != .connect) { break }
            // The node is gone, and nobody goes elsewhere: nothing more can come.
            if plan.scenario == .drain, sum.openNow == 0, isBack { break }
            await sleep(milliseconds: 5)
        }
        // A second copy of the last message would come after it: leave it the time to.
        await sleep(milliseconds: plan.scenario == .connect ? 10 : 100)
    }

    // The storm.

    func stormRounds() async throws(BenchFailure) -> (Measurement, [Double]) {
        var rounds: [Double] = []
        var total: Measurement?
        try await verify()
        for _ in 0..<plan.rounds {
            let before = usage()
            let sumBefore = team.sum
            control.enter(.storming)
            try await waitForReturn(sumBefore)
            let sumAfter = team.sum
            var measured = measurement(usage() - before, since: before.instant, sumBefore, sumAfter)
            measured.delivered = sumAfter.opened - sumBefore.opened
            rounds.append(measured.seconds)
            total = total.map { Self.add($0, measured) } ?? measured
            try await verify()
            if hooks.isInterrupted() { break }
        }
        return (total ?? Measurement(), rounds)
    }

    static func add(_ first: Measurement, _ second: Measurement) -> Measurement {
        var sum = first
        sum.seconds += second.seconds
        sum.delivered += second.delivered
        sum.threadShareMax = max(sum.threadShareMax, second.threadShareMax)
        sum.usage.clientSeconds += second.usage.clientSeconds
        sum.usage.serverSeconds += second.usage.serverSeconds
        sum.usage.serverUserSeconds += second.usage.serverUserSeconds
        sum.usage.serverSystemSeconds += second.usage.serverSystemSeconds
        sum.usage.softirqSeconds += second.usage.softirqSeconds
        sum.usage.busySeconds += second.usage.busySeconds
        sum.usage.stolenSeconds += second.usage.stolenSeconds
        return sum
    }

    func waitForReturn(_ before: Team.Sum) async throws(BenchFailure) {
        let step = control.step
        let began = Instant.now()
        while Instant.now().nanoseconds(since: began) < Int64(plan.seconds * 1e9) {
            let sum = team.sum
            try checkThreads()
            tell("coming back", sum)
            let isThrough = sum.step >= step && sum.openNow == plan.connections
            if isThrough, sum.opened >= before.opened + UInt64(plan.connections) { return }
            if hooks.isInterrupted() { return }
            await sleep(milliseconds: 1)
        }
    }

    /// Each connection reaches its partner.
    func verify() async throws(BenchFailure) {
        control.enter(.verifying)
        let step = control.step
        let began = Instant.now().nanoseconds
        while true {
            let sum = team.sum
            try checkThreads()
            if sum.step >= step, missing(sum) == 0 { return }
            let quiet = Instant.now().nanoseconds - max(sum.lastArrival, began)
            if Double(quiet) / 1e9 > plan.graceSeconds { return }
            await sleep(milliseconds: 1)
        }
    }
}
