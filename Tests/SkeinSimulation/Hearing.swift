// What a client hears: it takes the node's answer and frames apart, holds every word against what the
// contract says of it, and passes what it was told on to the ledger.

extension Client {
    func read() {
        guard let stream else { return }
        let readable = stream.outbound.readable
        let count = readable > 1 && world.chance.oneIn(5) ? world.chance.within(1...readable) : readable
        if count > 0 { stream.peerReads(count, onto: &input) }
        if state == .handshaking { readAnswer() }
        while self.stream != nil, state == .open || state == .closing, readFrame() {}
        if head > 0, head == input.count {
            input.removeAll(keepingCapacity: true)
            head = 0
        }
        guard let stream = self.stream, stream.outbound.readable == 0 else { return }
        if stream.peerWasReset {
            left()
        } else if stream.outbound.hasEnded {
            ended()
        }
    }

    /// The node has ended the stream, in good order as it seems.
    private func ended() {
        if state == .open {
            world.reach(.endedUncleanly)
            let silence = world.now - lastWrote
            let patience = world.scenario.configuration.limits.pongTimeout
            if silence < patience.components.seconds * 500_000_000, !isSpoiled, !world.killed.contains(node) {
                world.fail("client \(number) saw the end of its stream without a close frame")
            }
        }
        stream?.peerCloses()
        left()
    }

    private func readAnswer() {
        guard let end = endOfHead() else { return }
        let status = input[head..<end].withUnsafeBufferPointer { ClientReader(bytes: $0) }
        guard status.starts(with: "HTTP/1.1 101") else {
            simulation.refused(status)
            wasRefused = true
            isSpoiled = true
            head = input.count
            return
        }
        head = end
        state = .open
        gaveUpAt = .max
        wakeAt = world.now + Int64(world.chance.within(1...world.scenario.pause))
        // What was to follow the request in slices follows now.
        stream?.peerWrites(unsent)
        unsent = []
    }

    private func endOfHead() -> Int? {
        guard input.count - head >= 4 else { return nil }
        for index in head...input.count - 4
        where input[index] == 13 && input[index + 1] == 10 && input[index + 2] == 13
            && input[index + 3] == 10
        {
            return index + 4
        }
        return nil
    }

    /// - Returns: false when no whole frame is there.
    private func readFrame() -> Bool {
        let available = input.count - head
        guard available >= 2 else { return false }
        let first = input[head]
        var count = Int(input[head + 1])
        var headBytes = 2
        if count == 126 {
            guard available >= 4 else { return false }
            count = Int(input[head + 2]) << 8 | Int(input[head + 3])
            headBytes = 4
        } else if count == 127 {
            guard available >= 10 else { return false }
            count = input[head + 2..<head + 10].reduce(0) { $0 << 8 | Int($1) }
            headBytes = 10
        }
        guard first & 0xF0 == 0x80, count < 1 << 24 else {
            world.fail("client \(number) was sent what is no frame of a server")
            return false
        }
        guard available >= headBytes + count else { return false }
        let start = head + headBytes
        head = start + count
        switch first & 0x0F {
        case 1, 2:
            if user < 0 {
                echoed(Array(input[start..<head]))
            } else {
                input.withUnsafeBufferPointer { input in
                    heard(ClientReader(bytes: UnsafeBufferPointer(rebasing: input[start..<start + count])))
                }
            }
        case 8: closed(Array(input[start..<head]))
        case 9:
            world.reach(.answeredPing)
            if !isSpoiled || state == .open { stream?.peerWrites(frame(10, Array(input[start..<head]))) }
            lastWrote = world.now
        case 10: break
        default: world.fail("client \(number) was sent a frame of unknown kind")
        }
        return stream != nil
    }

    private func closed(_ payload: [UInt8]) {
        let code = payload.count >= 2 ? Int(payload[0]) << 8 | Int(payload[1]) : 1_005
        simulation.closed(code)
        if code == 1_012, state == .open, told == nil, let device { checkFence(device, simulation.nodes[node]) }
        if code == 4_429 || code == 4_008 { wasRefused = true }
        device?.isOpen = false
        guard state == .open else {
            state = .closing
            return
        }
        state = .closing
        wakeAt = .max
        gaveUpAt = world.now + 15_000_000_000
        // A peer that does not answer costs the node its patience and nothing else.
        guard world.isCalm || !world.chance.oneIn(6) else { return }
        stream?.peerWrites(frame(8, payload.count >= 2 ? Array(payload[..<2]) : []))
    }

    /// A fence that came late holds nobody, and who was sent back before the drain for want of an event was
    /// told by the same words.
    private func checkFence(_ device: Device, _ node: Node) {
        guard let drained = node.drainedOrder, node.server.steppedReport.fencesLate == 0,
            node.server.snapshot().backplane.gaps == 0
        else { return }
        simulation.ledger.checkFence(device, drainedOrder: drained)
    }

    private func echoed(_ payload: [UInt8]) {
        // What broke the rules elsewhere may be a message here.
        guard !isSpoiled else { return }
        guard let expected = expectedEchoes.first, expected == payload else {
            world.fail("client \(number) was echoed \(payload.count) bytes that it had not said next")
            return
        }
        expectedEchoes.removeFirst()
        world.reach(.echoed)
    }

    private func heard(_ event: ClientReader) {
        if event.starts(with: "{\"type\":\"connected\"") {
            if device != nil { world.fail("client \(number) was told twice that it is connected") }
            connected(event)
            return
        }
        if event.starts(with: "{\"type\":\"resumed\"") {
            resumed(event)
            return
        }
        guard let device else {
            world.fail("client \(number) heard something before it was told that it is connected")
            return
        }
        if event.starts(with: "{\"type\":\"error\"") {
            failed(event)
            return
        }
        let isConfirmation = event.starts(with: "{\"type\":\"chat_message_sent\"")
        guard isConfirmation || event.starts(with: "{\"type\":\"chat_message\"")
            || event.starts(with: "{\"type\":\"note\"")
        else {
            world.fail("client \(number) heard an event of unknown type")
            return
        }
        guard let content = event.content() else {
            world.fail("client \(number) heard an event whose content is not what was said")
            return
        }
        world.record(.client, number, content.number << 16 | content.message << 1 | (isConfirmation ? 1 : 0))
        let offset = event.text(after: "\"offset\":\"")
        world.note(
            "client \(number) of user \(user) on node \(node) hears \(content.number):\(content.message) "
                + "\(isConfirmation ? "confirmed" : "") at \(offset ?? "no offset")")
        if told != nil {
            replayed += 1
            if offset == nil { world.fail("client \(number) was given what it missed without an offset") }
        }
        if let offset, let place {
            if !ClientWords.isLater(offset, than: place.offset) {
                world.fail("client \(number) heard offset \(offset) after \(place.offset)")
            }
            self.place = (place.epoch, offset)
        }
        simulation.ledger.hear(
            device, content.number, content.message, isConfirmation ? .confirmation : .event,
            hasOffset: offset != nil)
    }

    private func connected(_ event: ClientReader) {
        if device != nil { world.fail("client \(number) was told twice that it is connected") }
        world.reach(.connected)
        replayed = 0
        var now: (epoch: String, offset: String)?
        if let epoch = event.text(after: "\"epoch\":\""), let offset = event.text(after: "\"offset\":\"") {
            now = (epoch, offset)
        }
        world.note(
            "client \(number) of user \(user) on node \(node) is connected at \(now?.offset ?? "no offset")"
                + (hasAsked ? ", back from \(place?.offset ?? "nowhere")" : ""))
        if hasAsked, let former {
            // Who it is, it hears after what it missed.
            told = now ?? ("", "")
            device = former
            simulation.ledger.returned(former, to: node)
        } else {
            begin(now)
        }
        if state != .open { device?.isOpen = false }
    }

    /// A new device, which has seen nothing before.
    private func begin(_ now: (epoch: String, offset: String)?) {
        device = simulation.ledger.device(user: user, node: node)
        device?.isKept = now != nil
        place = now
    }

    private func resumed(_ event: ClientReader) {
        guard hasAsked, let told else {
            world.fail("client \(number) was told of a return that it did not ask for")
            return
        }
        self.told = nil
        guard var place = event.place(after: "\"replayed\":"), let count = event.number(at: &place),
            count == replayed
        else {
            world.fail("client \(number) was given \(replayed) events, and told of another number")
            return
        }
        if event.place(after: "\"recovered\":true") != nil {
            world.reach(.recovered)
            if count > 0 { world.reach(.replayed) }
            if told.epoch != self.place?.epoch { world.fail("client \(number) was recovered over epochs") }
            return
        }
        world.reach(.notRecovered)
        if count > 0 { world.fail("client \(number) was given a part of what it missed") }
        let isOpen = device?.isOpen ?? false
        device?.isOpen = false
        begin(told.epoch.isEmpty ? nil : told)
        device?.isOpen = isOpen
    }

    private func failed(_ event: ClientReader) {
        if event.place(after: "\"INTERNAL_ERROR\"") != nil {
            world.reach(.errorOverloaded)
        } else if event.place(after: "\"RATE_LIMITED\"") != nil {
            world.reach(.errorRateLimited)
        } else {
            world.reach(.errorOther)
        }
        guard var place = event.place(after: "\"requestId\":"), let request = event.number(at: &place),
            let sender
        else { return }
        simulation.ledger.reject(sender, request)
    }
}
