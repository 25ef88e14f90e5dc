// A run from its start to its report: threads, phases, and what is measured between two moments. It waits a
// lot and does little; all the work is the workers'.

internal import SkeinIO
internal import SkeinWire
internal import Synchronization

/// Why there is no result: one sentence that says what to do.
package struct BenchFailure: Error, Sendable {
    package let message: String
    /// 3: no connection, or out of time.
    package let status: Int32

    init(_ message: String, status: Int32 = 3) {
        self.message = message
        self.status = status
    }
}

/// Where a run stands, for a line on a terminal.
package struct BenchProgress: Sendable {
    package var phase: String
    package var open: Int
    package var wanted: Int
    package var sent: UInt64
    package var delivered: UInt64
    package var perSecond: Double
    package var refused: UInt64
    package var closes: UInt64
}

package struct BenchHooks: Sendable {
    /// About once a second.
    package var progress: (@Sendable (BenchProgress) -> Void)?
    /// When the measurement begins: what is to happen under load.
    package var measuring: (@Sendable () async -> Void)?
    /// True: end now, and report what there is.
    package var isInterrupted: @Sendable () -> Bool = { false }

    package init() {}
}

package struct Bench: Sendable {
    let plan: BenchPlan
    let hooks: BenchHooks

    package init(_ plan: BenchPlan, hooks: BenchHooks = BenchHooks()) {
        self.plan = plan
        self.hooks = hooks
    }

    package func run() async throws(BenchFailure) -> BenchReport {
        if let problem = plan.problem { throw BenchFailure(problem, status: 64) }
        let descriptors = Sockets.raiseFileDescriptorLimit()
        guard descriptors >= plan.descriptorsNeeded else {
            throw BenchFailure(
                "\(plan.connectionsAtOnce) connections need \(plan.descriptorsNeeded) file descriptors, and this "
                    + "process may have \(descriptors); raise the hard limit (ulimit -Hn), or take fewer.",
                status: 64)
        }
        let team = try Team(plan)
        let run = BenchRun(plan: plan, hooks: hooks, team: team)
        do throws(BenchFailure) {
            let report = try await run.conduct()
            return report
        } catch {
            team.disband()
            throw error
        }
    }
}

/// The threads of a run.
final class Team: Sendable {
    /// How a worker ended.
    private final class Outcome: Sendable {
        let result = Mutex<WorkerResult?>(nil)
        let failure = Mutex<String?>(nil)
    }

    let shared: RunShared
    let figures: [WorkerFigures]
    let io: RingKind
    private let outcomes: [Outcome]
    private let threads: [PinnedThread]

    init(_ plan: BenchPlan) throws(BenchFailure) {
        let kind: RingKind
        do throws(RingError) { kind = try plan.io.resolve().kind } catch {
            throw BenchFailure("There is no loop to run on (\(error)); try --io epoll.")
        }
        io = kind
        let baseline = BenchRun.baselineConnections(plan)
        let control = BenchControl(connectMax: baseline > 0 ? baseline : plan.connections)
        let shared = RunShared(plan: plan, control: control, tls: try Self.tls(plan))
        self.shared = shared
        let figures = (0..<plan.threads).map { _ in WorkerFigures() }
        let outcomes = (0..<plan.threads).map { _ in Outcome() }
        let inboxes = (0..<plan.threads).map { _ in Inbox() }
        self.figures = figures
        self.outcomes = outcomes
        var threads: [PinnedThread] = []
        for number in 0..<plan.threads {
            let core = plan.cores.isEmpty ? nil : plan.cores[number % plan.cores.count]
            do throws(SystemError) {
                threads.append(
                    try PinnedThread.start(name: "skein-bench-\(number)", core: core) {
                        Self.work(
                            shared, kind, number, figures[number], outcomes[number], inboxes[number],
                            number == 0 ? nil : inboxes[0])
                    })
            } catch {
                control.enter(.leaving)
                for thread in threads { thread.join() }
                throw BenchFailure("A thread could not be started (\(error)); take fewer --threads.")
            }
        }
        self.threads = threads
    }

    private static func work(
        _ shared: RunShared, _ kind: RingKind, _ number: Int, _ figures: WorkerFigures, _ outcome: Outcome,
        _ inbox: Inbox, _ publisherInbox: Inbox?
    ) {
        PinnedThread.makeTimersExact()
        var options = RingOptions()
        options.turnCompletionsMax = 512
        do throws(RingError) {
            switch kind {
            case .uring:
                work(try URing.make(options), shared, number, figures, outcome, inbox, publisherInbox)
            case .epoll:
                work(try EpollRing.make(options), shared, number, figures, outcome, inbox, publisherInbox)
            }
        } catch {
            outcome.failure.withLock { $0 = "\(error)" }
            figures.failed.store(true, ordering: .releasing)
        }
    }

    private static func work<R: Ring & ~Copyable>(
        _ ring: consuming R, _ shared: RunShared, _ number: Int, _ figures: WorkerFigures, _ outcome: Outcome,
        _ inbox: Inbox, _ publisherInbox: Inbox?
    ) {
        let worker = Worker(
            shared, number: number, figures: figures, buffers: ring.buffers, publisherInbox: publisherInbox)
        var loop = Loop(ring: ring, machine: worker, inbox: inbox)
        loop.run()
        let result = loop.state.machine.conclude()
        outcome.result.withLock { $0 = result }
    }

    var failure: String? { outcomes.lazy.compactMap { $0.failure.withLock { $0 } }.first }

    func disband() {
        shared.control.enter(.leaving)
        for thread in threads { thread.join() }
    }

    /// Ends the threads and adds up what they have.
    func collect() -> WorkerResult {
        disband()
        var total = WorkerResult()
        for outcome in outcomes { outcome.result.withLock { if let result = $0 { total.add(result) } } }
        return total
    }

    private static func tls(_ plan: BenchPlan) throws(BenchFailure) -> TLSContext? {
        let targets = plan.targets + (plan.publisherTarget.map { [$0] } ?? [])
        guard targets.contains(where: \.isSecure) else { return nil }
        var settings = TLSClientSettings()
        do throws(TLSSettingsError) {
            if let pem = plan.authorityPEM { settings.authority = try TLSAuthority(certificatePEM: pem) }
            settings.applicationProtocol = "http/1.1"
            return try TLSContext(settings)
        } catch {
            throw BenchFailure("--ca cannot be used (\(error)).", status: 64)
        }
    }
}

extension Team {
    struct Sum: Sendable {
        var opened: UInt64 = 0
        var openNow = 0
        var refused: UInt64 = 0
        var closes: UInt64 = 0
        var sent: UInt64 = 0
        var delivered: UInt64 = 0
        var lastArrival: Int64 = 0
        var pending = 0
        var firstRefusal = 0
        var isFailed = false
        var cpuNanoseconds: [Int64] = []
        var step = Int.max
    }

    var sum: Sum {
        var sum = Sum()
        for worker in figures {
            sum.opened += worker.opened.load(ordering: .relaxed)
            sum.openNow += worker.openNow.load(ordering: .relaxed)
            sum.refused += worker.refused.load(ordering: .relaxed)
            sum.closes += worker.closes.load(ordering: .relaxed)
            sum.sent += worker.sent.load(ordering: .relaxed)
            sum.delivered += worker.delivered.load(ordering: .relaxed)
            sum.pending += worker.pending.load(ordering: .relaxed)
            sum.lastArrival = max(sum.lastArrival, worker.lastArrival.load(ordering: .relaxed))
            sum.firstRefusal = Refusal.first(sum.firstRefusal, worker.firstRefusal.load(ordering: .relaxed))
            sum.isFailed = sum.isFailed || worker.failed.load(ordering: .acquiring)
            sum.cpuNanoseconds.append(worker.cpuNanoseconds.load(ordering: .relaxed))
            sum.step = min(sum.step, worker.step.load(ordering: .acquiring))
        }
        return sum
    }
}
