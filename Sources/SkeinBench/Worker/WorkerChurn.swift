// chat: people who leave and return. Nothing may be lost by it: they say goodbye when all that is under way
// has arrived. With a Redis, whom they talk with is told of it as a backend would.

internal import SkeinIO

extension Worker {
    /// The next in turn is to leave: nothing is sent to or by it from now on, and what is under way arrives
    /// first, so that whatever is missing afterwards was lost.
    mutating func partSome() {
        while churnAt <= now {
            churnAt += churnPeriod
            let slot = UInt32(churnNext)
            churnNext = (churnNext + 1) % count
            guard connections[slot].state == .open, !connections[slot].flags.contains(.parting) else { continue }
            connections[slot].flags.insert(.parting)
            connections[slot].since = now
        }
    }

    /// By a `PUBLISH` on the partner's channel, if the partner is there and stays.
    mutating func tellPartner(of slot: UInt32, _ presence: MessageStore.Kind) {
        let publisher = UInt32(count)
        let partner = slot ^ 1
        guard shared.plan.hasPresence, phase == .running, connections[publisher].state == .open,
            connections[partner].state == .open, !connections[partner].flags.contains(.parting)
        else { return }
        let channel = "user:\(shared.plan.tokens.user(Int(connections[partner].identity)))"
        guard publishToRedis(messages.entry(Int(slot), presence), on: channel) else { return }
        connections[partner].unnumbered += 1
        result.presenceSent += 1
    }

    /// Those of the leaving whose last message has arrived say goodbye. Once a turn would be too often.
    mutating func dismissQuiet() {
        for slot in 0..<UInt32(count)
        where connections[slot].flags.contains(.parting) && connections[slot].state == .open {
            let partner = Int(slot ^ 1)
            let index = Int(slot)
            let isQuiet = streams[partner].received.next == streams[partner].sent
                && streams[index].received.next == streams[index].sent
            // By a server that confirms.
            let isConfirmed = result.confirmations.delivered == 0
                || streams[index].confirmed.next >= streams[index].confirmableEnd
            // What is lost without a number must not keep it for ever: the verdict tells of that.
            let isAll = connections[slot].unnumbered == 0
                || now - connections[slot].since > BenchPlan.Limits.unnumberedNanoseconds
            if isQuiet, isConfirmed, isAll { sendClose(slot, code: 1000) }
        }
    }
}
