// Before a shard tells clients to leave, it asks for a fence: an answer that comes behind everything
// that was accepted anywhere on this node before it was asked for. Every shard passes the question on
// to the router behind what it has accepted, and the router sends a mark through Redis behind that. When
// the mark is back and no history is being read for the shard's devices, the router answers.

internal import SkeinIO
internal import SkeinWire

/// One shard's question, as it stands with the router.
struct RouterFence: BitwiseCopyable {
    enum Step: UInt8 {
        /// Shards are still to pass it on.
        case asked
        /// A mark is to be sent behind what was accepted before.
        case complete
        case marked
        /// The mark is back, or Redis is not waited for.
        case back
        case answered
    }
    var ticket: UInt32 = 0
    var step = Step.asked
    /// Shards that have passed it on.
    var count = 0
    /// The last event that was accepted before.
    var through: UInt64 = 0
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
            // A shard that stood still passes on also what nobody waits for any more.
            let isNewer = Int32(bitPattern: ticket.number &- state.fences[ticket.shard].ticket) > 0
            guard isNewer else { return }
            state.fences[ticket.shard] = RouterFence(ticket: ticket.number)
        }
        state.fences[ticket.shard].count += 1
        guard state.fences[ticket.shard].count == state.shardCount else { return }
        state.fences[ticket.shard].through = state.journal.nextSequence - 1
        state.fences[ticket.shard].step = state.isLocal ? .back : .complete
    }

    /// Marks go out behind the last event that they stand for.
    func sendMarks() {
        guard state.links[.publish].isReady else { return }
        for shard in 0..<state.fences.count
        where state.fences[shard].step == .complete && state.sentSequence >= state.fences[shard].through {
            let ticket = FenceTicket(shard: shard, number: state.fences[shard].ticket)
            state.fences[shard].step = .marked
            publishOnCanary { writer in
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
        if ticket.shard < state.shardCount, state.fences[ticket.shard].ticket == ticket.number,
            state.fences[ticket.shard].step == .marked
        {
            state.fences[ticket.shard].step = .back
        }
        return true
    }

    /// Redis is not waited for: what this node accepted has been delivered here.
    func releaseFences() {
        for shard in 0..<state.fences.count {
            switch state.fences[shard].step {
            case .complete, .marked: state.fences[shard].step = .back
            case .asked, .back, .answered: break
            }
        }
    }

    /// Answers whose marks are back, once nothing for devices there waits for a read and nobody is still to be
    /// told to return.
    func answerFences() {
        for shard in 0..<state.fences.count where state.fences[shard].step == .back {
            // Redis may have refused an event and not the mark behind it.
            guard state.isLocal || state.acknowledgedSequence >= state.fences[shard].through,
                !isReading(for: shard), payReturns(on: shard)
            else { continue }
            state.fences[shard].step = .answered
            let ticket = FenceTicket(shard: shard, number: state.fences[shard].ticket)
            let memory = unsafe state.outbox.append(
                to: shard, kind: ShardRecord.fenced.rawValue, argument: ticket.rawValue)
            // Without room the shard goes on when its patience ends.
            if unsafe memory == nil { metrics.overload.add() }
        }
    }

    /// Whether a read is to bring devices of the shard what they have not been given: what was left to it, or
    /// published while nobody listened. Most scans end with the shard's first.
    private func isReading(for shard: Int) -> Bool {
        func isOwed(_ read: HistoryRead) -> Bool {
            guard state.users.isLive(read.user, generation: read.generation),
                state.home(of: state.users.hash(of: read.user)) == shard, state.users[read.user].isPlaced
            else { return false }
            return read.waiter == ConnectionRecord.none
                || state.users[read.user].left > state.users[read.user].last
        }
        for index in 0..<state.readsOut.count where isOwed(state.readsOut[index]) { return true }
        for index in 0..<state.toRead.count where isOwed(state.toRead[index]) { return true }
        return false
    }
}
