// Messages: when they are sent, and what becomes of them. Connection i sends to i ^ 1; each message is
// followed from the moment at which it was due to its delivery, and to the confirmation that its sender gets
// where the server gives one.

internal import SkeinClient
internal import SkeinIO
internal import SkeinWire
internal import Synchronization

extension Worker {
    /// In an open loop, of this worker's message `number`: threads share the rate, each a bit later.
    func dueAt(_ number: UInt64) -> Int64 { dueStart &+ Int64(Double(number) * duePeriod) }

    mutating func followPhase(_ submissions: inout SubmissionQueue) {
        let step = shared.control.step
        guard step != self.step else { return }
        self.step = step
        let before = phase
        phase = shared.control.phase
        recordsFrom = shared.control.recordsFrom.load(ordering: .relaxed)
        switch phase {
        case .connecting, .stopping: break
        case .running: start()
        case .storming: cutAll(&submissions)
        case .verifying: for slot in 0..<UInt32(count) { _ = send(slot, .message, dueAt: now) }
        case .leaving: if before != .leaving { finish() }
        }
        figures.step.store(step, ordering: .releasing)
    }

    private mutating func start() {
        let startsAt = shared.control.startsAt.load(ordering: .relaxed)
        dueStart = startsAt + Int64(duePeriod * Double(number) / Double(shared.plan.threads))
        due = 0
        pacedFrom = 0
        if scenario == .chat, shared.plan.churn > 0 { churnAt = now + churnPeriod }
        guard duePeriod == 0, scenario != .connect, scenario != .fanout else { return }
        for slot in 0..<UInt32(count) {
            for _ in 0..<depth { _ = send(slot, .message, dueAt: now) }
        }
    }

    var churnPeriod: Int64 {
        Int64(1e9 / max(1e-6, shared.plan.churn * Double(max(1, count))))
    }

    // Sending.

    mutating func sendDue() {
        guard phase == .running, scenario != .connect else { return }
        if scenario == .fanout {
            publishDue()
            return
        }
        if scenario == .chat, now >= churnAt { partSome() }
        guard duePeriod > 0, count > 0 else { return }
        var dueAt = dueAt(due)
        while dueAt <= now {
            sendNext(dueAt)
            due &+= 1
            dueAt = self.dueAt(due)
        }
    }

    private mutating func sendNext(_ dueAt: Int64) {
        let slot = UInt32(nextSender)
        nextSender = nextSender &+ 1 == count ? 0 : nextSender &+ 1
        guard scenario == .chat else {
            _ = send(slot, .message, dueAt: dueAt)
            return
        }
        // Of twenty: fourteen messages, three receipts, two that type, one ping.
        switch nextRandom() % 20 {
        case 0..<14: _ = send(slot, .message, dueAt: dueAt)
        case 14..<17: _ = send(slot, .receipt, dueAt: dueAt)
        case 17..<19:
            guard mayTalk(slot), sendMessage(slot, .typing, number: 0, stream: 0) else { return }
            connections[slot ^ 1].unnumbered += 1
            result.typingSent += 1
        default:
            guard mayTalk(slot), sendMessage(slot, .ping, number: 0, stream: 0) else { return }
            connections[slot].unnumbered += 1
            result.pingsSent += 1
        }
    }

    /// Both ends are there, and stay.
    private func mayTalk(_ slot: UInt32) -> Bool {
        guard connections[slot].state == .open else { return false }
        guard scenario == .chat else { return true }
        let partner = slot ^ 1
        return connections[partner].state == .open
            && !connections[slot].flags.contains(.parting) && !connections[partner].flags.contains(.parting)
    }

    mutating func send(_ slot: UInt32, _ kind: MessageStore.Kind, dueAt: Int64) -> Bool {
        guard mayTalk(slot) else {
            result.notSentForAbsent += 1
            return false
        }
        let index = Int(slot)
        let number = streams[index].sent
        if !scenario.keepsNumbers, number &- streams[index].received.next > ringMask {
            result.notSentInTime += 1
            return false
        }
        guard sendMessage(slot, kind, number: number, stream: UInt32(truncatingIfNeeded: global(slot))) else {
            result.notSentInTime += 1
            return false
        }
        dueTimes[index &* Int(ringMask &+ 1) &+ Int(number & ringMask)] = dueAt
        streams[index].sent &+= 1
        result.sent &+= 1
        if kind == .message {
            result.sentConfirmable &+= 1
            streams[index].confirmableEnd = number &+ 1
        }
        return true
    }

    // Receiving.

    /// A whole text or binary message.
    @inline(__always)
    mutating func message(_ slot: UInt32, _ bytes: Span<UInt8>, _ submissions: inout SubmissionQueue) {
        if connections[slot].state == .greeting {
            greeted(slot, bytes, &submissions)
            return
        }
        if scenario.comesBack, Int(slot) < clients.count { follow(slot, bytes) }
        guard let marker = Marker.find(in: bytes, hint: &connections[slot].hint) else {
            unmarked(slot, bytes)
            return
        }
        switch scenario {
        case .echo: echoed(slot, marker, bytes)
        case .fanout: fannedOut(slot, marker)
        case .pair, .hold, .chat, .storm, .drain: paired(slot, marker)
        case .connect: result.otherFrames += 1
        }
    }

    private mutating func greeted(_ slot: UInt32, _ bytes: Span<UInt8>, _ submissions: inout SubmissionQueue) {
        if scenario.comesBack, Int(slot) < clients.count { follow(slot, bytes) }
        guard let word = shared.plan.awaits, bytes.contains(quoted: word) else {
            if bytes.contains(text: "\"error\"") { unmarked(slot, bytes) }
            return
        }
        opened(slot, &submissions)
    }

    private mutating func follow(_ slot: UInt32, _ bytes: Span<UInt8>) {
        switch clients[Int(slot)].textReceived(bytes) {
        case .deliver, .duplicate, .connected(mayResume: true): break
        case .connected(mayResume: false):
            if connections[slot].flags.contains(.wasOpen) { connections[slot].flags.insert(.mayMiss) }
        case .resumed(let replayed):
            result.recovered += 1
            result.replayed += UInt64(replayed)
        case .reread:
            result.notRecovered += 1
            connections[slot].flags.insert(.mayMiss)
        }
    }

    private mutating func paired(_ slot: UInt32, _ marker: Marker) {
        let own = UInt32(truncatingIfNeeded: global(slot))
        let index = Int(slot)
        if marker.stream == own {
            guard marker.number < streams[index].sent else {
                result.confirmations.misrouted += 1
                return
            }
            guard streams[index].confirmed.accept(marker.number, &result.confirmations) else { return }
            if scenario.keepsNumbers { accepted[index].insert(marker.number) }
            return
        }
        let partner = index ^ 1
        guard marker.stream == own ^ 1, marker.number < streams[partner].sent else {
            result.deliveries.misrouted += 1
            return
        }
        guard streams[partner].received.accept(marker.number, &result.deliveries) else { return }
        if scenario.keepsNumbers { arrived[partner].insert(marker.number) }
        arrivedInTime(partner, marker.number)
        if phase == .running, duePeriod == 0 { _ = send(UInt32(partner), .message, dueAt: now) }
    }

    @inline(__always)
    private mutating func arrivedInTime(_ stream: Int, _ number: UInt32) {
        // Older than the ring: when it was due is forgotten.
        guard streams[stream].sent &- number <= ringMask &+ 1 else { return }
        let dueAt = dueTimes[stream &* Int(ringMask &+ 1) &+ Int(number & ringMask)]
        if dueAt >= recordsFrom, scenario != .storm { result.latency.record(now &- dueAt) }
    }

    private mutating func echoed(_ slot: UInt32, _ marker: Marker, _ bytes: Span<UInt8>) {
        let index = Int(slot)
        guard marker.stream == UInt32(truncatingIfNeeded: global(slot)), marker.number < streams[index].sent,
            messages.isIntact(messages.entry(index, .message), bytes)
        else {
            result.damaged += 1
            return
        }
        guard streams[index].received.accept(marker.number, &result.deliveries) else { return }
        arrivedInTime(index, marker.number)
        if phase == .running, duePeriod == 0 { _ = send(slot, .message, dueAt: now) }
    }

    @inline(never)
    private mutating func unmarked(_ slot: UInt32, _ bytes: Span<UInt8>) {
        if bytes.contains(text: "\"error\"") {
            result.errorFrames += 1
            if result.firstError == nil {
                result.firstError = String(decoding: bytes.indices.prefix(200).map { bytes[$0] }, as: UTF8.self)
            }
        } else if scenario == .chat {
            unnumbered(slot, bytes)
        } else {
            result.otherFrames += 1
        }
    }

    private mutating func unnumbered(_ slot: UInt32, _ bytes: Span<UInt8>) {
        if bytes.contains(text: "\"typing\"") {
            result.typingReceived += 1
        } else if bytes.contains(text: "\"user_o") {
            // Online, or offline.
            result.presenceReceived += 1
        } else if bytes.contains(text: "\"pong\"") {
            result.pongsReceived += 1
        } else {
            result.otherFrames += 1
            return
        }
        if connections[slot].unnumbered > 0 { connections[slot].unnumbered -= 1 }
    }
}

extension Span where Element == UInt8 {
    func contains(text: StaticString) -> Bool {
        let length = text.utf8CodeUnitCount
        var place = 0
        while place + length <= count {
            if extracting(place..<place + length).equals(text) { return true }
            place += 1
        }
        return false
    }

    /// Whether `"word"` occurs, quotes and all.
    func contains(quoted word: String) -> Bool {
        let wanted = Array("\"\(word)\"".utf8)
        var place = 0
        while place + wanted.count <= count {
            var index = 0
            while index < wanted.count, self[place + index] == wanted[index] { index += 1 }
            if index == wanted.count { return true }
            place += 1
        }
        return false
    }
}
