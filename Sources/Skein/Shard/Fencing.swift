// A wave of a drain in two steps: its connections are chosen, and they are closed when all that was
// accepted for them before has arrived here, so that it goes out in front of their close frames.

internal import SkeinIO

/// What a shard waits for between the two.
struct ShardFence {
    var ticket: FenceTicket
    /// Answers that are still to come.
    var missing: Int
    /// When it waits no longer.
    var due: Instant
}

extension ShardCore {
    /// Asks all others whether anything is on its way. On Redis each passes the question on to the
    /// router, which answers once; in memory events go from shard to shard, and each answers itself.
    func askForFence(_ drain: inout ShardDrain) {
        guard state.usesBackplane || state.shardCount > 1 else {
            closeChosen()
            return
        }
        state.fenceNumber &+= 1
        let ticket = FenceTicket(shard: state.index, number: state.fenceNumber)
        drain.fence = ShardFence(
            ticket: ticket, missing: state.usesBackplane ? 1 : state.shardCount - 1,
            due: state.now.advanced(by: state.limits.drainFence))
        for shard in 0..<state.shardCount where shard != state.index {
            let memory = unsafe state.outbox.append(
                to: shard, kind: ShardRecord.fence.rawValue, argument: ticket.rawValue)
            if unsafe memory == nil { metrics.countDropped(.overload) }
        }
        if state.usesBackplane { passOnFence(ticket) }
    }

    /// Another shard asks: the answer goes behind all that was accepted here.
    func passOnFence(_ ticket: FenceTicket) {
        guard ticket.shard < state.shardCount else { return }
        let target = state.usesBackplane ? state.routerIndex : ticket.shard
        let kind = state.usesBackplane ? RouterRecord.fence.rawValue : ShardRecord.fenced.rawValue
        let memory = unsafe state.outbox.append(to: target, kind: kind, argument: ticket.rawValue)
        if unsafe memory == nil { metrics.countDropped(.overload) }
    }

    func fenced(_ ticket: FenceTicket) {
        guard let fence = state.drain?.fence, fence.ticket == ticket else { return }
        state.drain?.fence?.missing -= 1
        guard fence.missing == 1 else { return }
        state.drain?.fence = nil
        closeChosen()
    }

    /// The wave's connections are told, as far as they are still here.
    func closeChosen() {
        guard let drain = state.drain else { return }
        var told = 0
        for index in 0..<state.chosen.count {
            guard let slot = slot(of: state.chosen[index]), state.connections[slot].state == .open else {
                continue
            }
            tellToLeave(slot, drain)
            told += 1
        }
        state.chosen.removeAll()
        if told > 0 { metrics.waves.add() }
    }
}
