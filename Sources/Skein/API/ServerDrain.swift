// How a server ends: by a drain, whose progress and report are here, or at once.

internal import SkeinIO
internal import Synchronization

extension Server {
    /// Begins to leave: see ``DrainPlan``. A second call changes nothing.
    public func drain(_ plan: DrainPlan) {
        let isFirst = lifecycle.withLock { state in
            guard state.drain == nil, state.runningShards > 0 else { return false }
            state.drain = (plan, shared.host.clock.now())
            return true
        }
        guard isFirst else { return }
        shared.log(LogEvent(level: .info, message: "drain begins"))
        tellRouter(isDraining: true)
        tellShards { $0.startDrain(plan) }
    }

    /// Goes on as if nothing had been. - Returns: false once the listeners are closed.
    public func cancelDrain() -> Bool {
        let isEarly = lifecycle.withLock { state in
            guard let drain = state.drain,
                shared.host.clock.now() < drain.began.advanced(by: drain.plan.preStop)
            else { return false }
            state.drain = nil
            return true
        }
        if isEarly {
            tellShards { _ = $0.cancelDrain() }
            tellRouter(isDraining: false)
        }
        return isEarly
    }

    /// Ends at once: connections are reset, loops end.
    public func close() { tellShards { $0.stop() } }

    /// Waits until every loop has ended.
    public func drained() async -> DrainReport {
        await withCheckedContinuation { continuation in
            let hasEnded = lifecycle.withLock { state in
                guard !state.hasEnded else { return true }
                state.waiters.append(continuation)
                return false
            }
            if hasEnded { continuation.resume(returning: report()) }
        }
    }

    private func tellShards(_ body: @escaping @Sendable (ShardCore) -> Void) {
        for inbox in shared.shardInboxes {
            _ = LoopTask<ShardCore>.post(to: inbox, kind: ShardRecord.task.rawValue, always: true, body)
        }
    }

    private func tellRouter(isDraining: Bool) {
        _ = LoopTask<RouterCore>.post(
            to: shared.routerInbox, kind: RouterRecord.task.rawValue, always: true
        ) { $0.setDraining(isDraining) }
    }

    func drainProgress() -> DrainProgress {
        let (drain, hasEnded) = lifecycle.withLock { ($0.drain, $0.hasEnded) }
        var progress = DrainProgress(phase: .running, remaining: 0, told: 0, waves: 0)
        for metrics in shardMetrics {
            progress.remaining += Int(metrics.value.alive.count)
            progress.told += Int(metrics.value.told.count)
            progress.waves = max(progress.waves, Int(metrics.value.waves.count))
        }
        guard let drain else { return progress }
        progress.fencesLate = shared.pace.fencesLate
        progress.peers = shared.pace.peers
        progress.perSecond = shared.pace.perSecond
        progress.pacedBy = shared.pace.pacedBy
        let now = shared.host.clock.now()
        let wavesBegin = drain.began.advanced(by: drain.plan.preStop)
        if hasEnded {
            progress.phase = .done
        } else if now < wavesBegin {
            progress.phase = .preStop
        } else {
            progress.phase = now < wavesBegin.advanced(by: drain.plan.deadline) ? .waves : .deadline
        }
        return progress
    }

    func report() -> DrainReport {
        var report = DrainReport()
        for metrics in shardMetrics {
            report.told += Int(metrics.value.told.count)
            report.moved += Int(metrics.value.moved.count)
            report.closedAtDeadline += Int(metrics.value.closedAtDeadline.count)
            report.eventsFlushed += Int(metrics.value.eventsFlushed.count)
            report.eventsLeft += Int(metrics.value.eventsLeft.count)
            report.waves = max(report.waves, Int(metrics.value.waves.count))
        }
        report.peers = shared.pace.peers
        report.pacedBy = shared.pace.pacedBy
        report.fencesLate = shared.pace.fencesLate
        let began = lifecycle.withLock { $0.drain?.began }
        if let began { report.seconds = Double(shared.host.clock.now().nanoseconds(since: began)) / 1e9 }
        return report
    }
}
