// fanout: one publisher, on the first thread, and receivers on all of them. A message is under way until every
// receiver has it.

internal import SkeinIO
internal import SkeinWire
internal import Synchronization

extension Worker {
    /// Closed loop: `depth` messages in flight until every receiver has one; open loop: those that are due.
    mutating func publishDue() {
        guard number == 0 else { return }
        let board = shared.board
        let publisher = UInt32(count)
        guard connections[publisher].state == .open else { return }
        if duePeriod == 0 {
            while board.published.load(ordering: .relaxed) - board.completed.load(ordering: .acquiring)
                < depth
            {
                guard publish(publisher, dueAt: now) else { return }
            }
            return
        }
        var dueAt = dueAt(due)
        while dueAt <= now {
            if !publish(publisher, dueAt: dueAt) { result.notSentInTime += 1 }
            due &+= 1
            dueAt = self.dueAt(due)
        }
    }

    private mutating func publish(_ publisher: UInt32, dueAt: Int64) -> Bool {
        let board = shared.board
        let number = board.published.load(ordering: .relaxed)
        guard number - board.completed.load(ordering: .acquiring) < board.count else { return false }
        let stream = UInt32(truncatingIfNeeded: total)
        let short = UInt32(truncatingIfNeeded: number)
        let isSent = connections[publisher].flags.contains(.redis)
            ? publishToRedis(messages.entry(Int(publisher), .message), number: short, stream: stream)
            : sendMessage(publisher, .message, number: short, stream: stream)
        guard isSent else { return false }
        // Nobody has it before this turn's flush.
        board.publish(number, dueAt: dueAt)
        result.sent &+= 1
        return true
    }

    mutating func fannedOut(_ slot: UInt32, _ marker: Marker) {
        let board = shared.board
        let published = board.published.load(ordering: .acquiring)
        guard marker.stream == UInt32(truncatingIfNeeded: total), Int(marker.number) < published else {
            result.deliveries.misrouted += 1
            return
        }
        if connections[slot].flags.contains(.publisher) {
            // What its server confirms to it.
            _ = streams[Int(slot)].confirmed.accept(marker.number, &result.confirmations)
            return
        }
        guard streams[Int(slot)].received.accept(marker.number, &result.deliveries) else { return }
        let dueAt = board.dueAt(Int(marker.number))
        if dueAt >= recordsFrom { result.latency.record(now &- dueAt) }
        if board.received(Int(marker.number), of: total), number != 0, duePeriod == 0 {
            _ = publisherInbox?.post(kind: 1)
        }
    }

    /// - Parameter channel: the plan's, without any.
    /// - Returns: false where the connection holds all that it may.
    mutating func publishToRedis(
        _ entry: MessageStore.Entry, on channel: String? = nil, number: UInt32 = 0, stream: UInt32 = 0
    ) -> Bool {
        guard case .redis(_, let usual) = shared.plan.publisher else { return false }
        let channel = channel ?? usual
        let publisher = UInt32(count)
        let record = unsafe connections.pointer(to: publisher)
        let held = unsafe record.pointee.out.count + record.pointee.waiting.count
        guard held + entry.count < BenchPlan.Limits.outBytesMax else { return false }
        let isAside = writesAside(publisher)
        var buffer = unsafe isAside ? record.pointee.waiting : record.pointee.out
        buffer.write(room: 96 + channel.utf8.count) { writer in
            writer.append("*3\r\n$7\r\nPUBLISH\r\n$")
            writer.appendDecimal(channel.utf8.count)
            writer.append("\r\n")
            for byte in channel.utf8 { writer.append(byte) }
            writer.append("\r\n$")
            writer.appendDecimal(entry.count)
            writer.append("\r\n")
        }
        messages.writePayload(entry, number: number, stream: stream, to: &buffer)
        buffer.write(room: 2) { $0.append("\r\n") }
        if isAside { unsafe record.pointee.waiting = buffer } else { unsafe record.pointee.out = buffer }
        touch(publisher)
        return true
    }

    /// Numbers of receivers, a line each; what begins with a dash is a refusal.
    mutating func redisReplied(_ bytes: Span<UInt8>) -> Int {
        var start = 0
        for index in 0..<bytes.count where bytes[index] == 0x0A {
            if bytes[start] == 0x2D {
                result.redisErrors += 1
                if result.firstError == nil {
                    result.firstError = String(decoding: (start..<index).map { bytes[$0] }, as: UTF8.self)
                }
            }
            start = index + 1
        }
        // No answer to a PUBLISH is as long.
        if bytes.count - start > 65_536 {
            result.redisErrors += 1
            return bytes.count
        }
        return start
    }
}
