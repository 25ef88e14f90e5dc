// What a worker tells while it runs, and its verdict at the end.

internal import SkeinIO
internal import SkeinWire
internal import Synchronization

extension Worker {
    mutating func publishFigures() {
        figures.opened.store(result.opened, ordering: .relaxed)
        figures.openNow.store(openCount, ordering: .relaxed)
        figures.pending.store(pendingCount, ordering: .relaxed)
        figures.refused.store(result.refused, ordering: .relaxed)
        figures.closes.store(UInt64(result.closes.count), ordering: .relaxed)
        figures.sent.store(result.sent, ordering: .relaxed)
        let delivered = scenario == .connect ? result.countedOpens : result.deliveries.delivered
        if figures.delivered.load(ordering: .relaxed) != delivered {
            figures.delivered.store(delivered, ordering: .relaxed)
            figures.lastArrival.store(now, ordering: .relaxed)
        }
        if result.firstRefusal != 0 { figures.firstRefusal.store(result.firstRefusal, ordering: .relaxed) }
        if result.closedEarly > 0 { figures.failed.store(true, ordering: .relaxed) }
        guard now - cpuReadAt > Self.cpuNanoseconds else { return }
        cpuReadAt = now
        figures.cpuNanoseconds.store(PinnedThread.cpuNanoseconds(), ordering: .relaxed)
        if scenario == .chat, phase == .running { dismissQuiet() }
    }

    private static var cpuNanoseconds: Int64 { 10_000_000 }

    /// After the last turn: what never came.
    mutating func conclude() -> WorkerResult {
        if scenario == .connect { result.unanswered = UInt64(max(0, pendingCount)) }
        for slot in 0..<UInt32(count) where scenario.comesBack {
            if connections[slot].state != .open { result.stillAway += 1 }
            if scenario.keepsNumbers { judge(slot) }
        }
        if !scenario.keepsNumbers, scenario != .fanout, scenario != .connect {
            result.lost = result.sent - result.deliveries.delivered
        }
        return result
    }

    /// Of what one connection sent: what its sender saw confirmed has to have reached its receiver, unless
    /// that was away and knows that it may have missed something.
    private mutating func judge(_ slot: UInt32) {
        let index = Int(slot)
        let receiver = connections[slot ^ 1]
        let next = streams[index].received.next
        let isConfirming = result.confirmations.delivered > 0
        let isSenderThrough = connections[slot].state == .open && !connections[slot].flags.contains(.told)
        for number in 0..<streams[index].sent where !arrived[index].contains(number) {
            // Without confirmations, what a connection sent that never ended was accepted.
            guard isConfirming ? accepted[index].contains(number) : isSenderThrough else {
                result.notAccepted += 1
                continue
            }
            let isThere = receiver.state == .open || number < next
            if isThere, !receiver.flags.contains(.mayMiss) {
                result.acceptedLost += 1
            } else {
                result.acceptedForAbsent += 1
            }
        }
    }
}
