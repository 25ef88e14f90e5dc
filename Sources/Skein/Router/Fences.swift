// Before a shard tells clients to leave, it asks for a fence: an answer that comes behind everything
// that was accepted anywhere on this node before it was asked for. Every shard passes the question on
// to the router behind what it has accepted, the router sends a mark through Redis behind that, and
// what the mark brings back is the answer.

internal import SkeinIO
internal import SkeinWire

/// One shard's question, as it stands with the router.
struct RouterFence: BitwiseCopyable {
    var ticket: UInt32 = 0
    /// Shards that have passed it on.
    var count = 0
    /// The last event that was accepted before; `nil` unless a mark is to be sent behind it.
    var sequence: UInt64?
}

/// Who asks and which time, in 64 bits.
struct FenceTicket: Equatable {
    var shard: Int
    var number: UInt32

    init(shard: Int, number: UInt32) {
        self.shard = shard
        self.number = number
    }

    init(rawValue: UInt64) {
        shard = Int(rawValue >> 32)
        number = UInt32(truncatingIfNeeded: rawValue)
    }

    var rawValue: UInt64 { UInt64(shard) << 32 | UInt64(number) }
}

extension RouterCore {
    /// What the payload of a mark begins with, on the canary's channel.
    private static var mark: StaticString { "fence-" }

    func fence(_ ticket: FenceTicket) {
        guard ticket.shard < state.shardCount else { return }
        if state.fences[ticket.shard].ticket != ticket.number {
            state.fences[ticket.shard] = RouterFence(ticket: ticket.number)
        }
        state.fences[ticket.shard].count += 1
        guard state.fences[ticket.shard].count == state.shardCount else { return }
        state.fences[ticket.shard].sequence = state.journal.nextSequence - 1
        if state.isLocal { releaseFences() }
    }

    /// Marks go out behind the last event that they stand for.
    func sendMarks() {
        guard state.links[.publish].isReady else { return }
        for shard in 0..<state.fences.count {
            guard let sequence = state.fences[shard].sequence, state.sentSequence >= sequence else {
                continue
            }
            let ticket = FenceTicket(shard: shard, number: state.fences[shard].ticket)
            state.fences[shard].sequence = nil
            state.links[.publish].command(Awaited(kind: .canary), room: 256) { writer in
                RESPCommand.writeArray(3, into: &writer)
                writer.appendBulk("PUBLISH")
                RESPCommand.writeBulk(state.canaryChannel.span, into: &writer)
                RESPCommand.beginBulk(bytes: Self.mark.utf8CodeUnitCount + 16, into: &writer)
                writer.append(Self.mark)
                writer.appendHex(ticket.rawValue)
                writer.append("\r\n")
            }
        }
    }

    /// - Returns: false when it is no mark.
    func heardMark(_ payload: Bytes) -> Bool {
        guard let digits = payload.dropping(Self.mark), let raw = digits.hex(at: 0) else { return false }
        let ticket = FenceTicket(rawValue: raw)
        // Anyone can publish there: at worst a shard is told too early that nothing is on its way.
        if ticket.shard < state.shardCount, state.fences[ticket.shard].ticket == ticket.number {
            answerFence(ticket)
        }
        return true
    }

    /// Redis is not waited for: what it did not bring back has been delivered here.
    func releaseFences() {
        for shard in 0..<state.fences.count where state.fences[shard].count == state.shardCount {
            answerFence(FenceTicket(shard: shard, number: state.fences[shard].ticket))
        }
    }

    private func answerFence(_ ticket: FenceTicket) {
        state.fences[ticket.shard].count = 0
        state.fences[ticket.shard].sequence = nil
        let memory = unsafe state.outbox.append(
            to: ticket.shard, kind: ShardRecord.fenced.rawValue, argument: ticket.rawValue)
        // Without room the shard goes on when its patience ends.
        if unsafe memory == nil { metrics.overload.add() }
    }
}
