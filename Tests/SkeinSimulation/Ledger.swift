// What was said, by whom, and who has heard it. Every promise about delivery is held here: order and
// at most once as each event arrives; nothing left out, when all is quiet.

/// One connection that says something, or a backend that publishes.
final class Sender {
    enum Status { case open, confirmed, rejected }

    struct Sent {
        /// The receiving user; -1: everyone.
        var receiver: Int
        var order: Int
        var status: Status
        /// When its sender knew that it was accepted.
        fileprivate(set) var confirmedOrder = Int.max
        /// It was confirmed while Redis was silent, and may have gone with its node.
        var isOnlyLocal = false
    }

    let number: Int
    /// -1: a backend, on no node.
    let user: Int
    let node: Int
    var sent: [Sent] = []

    init(number: Int, user: Int, node: Int) {
        self.number = number
        self.user = user
        self.node = node
    }
}

/// One connection that hears.
final class Device {
    let user: Int
    /// Where it is now, or was last.
    fileprivate(set) var node: Int
    let connectedOrder: Int
    /// When it came, or came back.
    fileprivate(set) var lastConnectedOrder: Int
    var isOpen = true
    /// It was told that it can come back, and until now it could: it has missed nothing that is kept.
    var isKept = false
    fileprivate(set) var returns = 0
    /// What it heard without an offset, after how many returns and on which node.
    fileprivate var unplaced: [Int: (returns: Int, node: Int)] = [:]
    fileprivate var last: [Int: Int] = [:]
    fileprivate var heard: Set<Int> = []

    init(user: Int, node: Int, connectedOrder: Int) {
        self.user = user
        self.node = node
        self.connectedOrder = connectedOrder
        lastConnectedOrder = connectedOrder
    }
}

final class Ledger {
    /// An event itself, or the word to its sender that it was accepted.
    enum Word: Int { case event, confirmation }

    private unowned(unsafe) let world: World
    private(set) var senders: [Sender] = []
    private(set) var devices: [Device] = []

    init(_ world: World) { self.world = world }

    func sender(user: Int, node: Int) -> Sender {
        let sender = Sender(number: senders.count, user: user, node: node)
        senders.append(sender)
        return sender
    }

    func device(user: Int, node: Int) -> Device {
        let device = Device(user: user, node: node, connectedOrder: world.order)
        devices.append(device)
        return device
    }

    /// A device has come back, and is told that it gets all it missed.
    func returned(_ device: Device, to node: Int) {
        device.node = node
        device.lastConnectedOrder = world.order
        device.isOpen = true
        device.returns += 1
    }

    /// - Returns: the message's number with its sender.
    func say(_ sender: Sender, to receiver: Int, _ status: Sender.Status = .open) -> Int {
        sender.sent.append(Sender.Sent(receiver: receiver, order: world.order, status: status))
        if status == .confirmed { sender.sent[sender.sent.count - 1].confirmedOrder = world.order }
        return sender.sent.count - 1
    }

    func reject(_ sender: Sender, _ message: Int) {
        guard sender.sent.indices.contains(message) else {
            world.fail("a client was told of a request that it never made: \(message)")
            return
        }
        if sender.sent[message].status == .open { sender.sent[message].status = .rejected }
    }

    func hear(_ device: Device, _ number: Int, _ message: Int, _ word: Word, hasOffset: Bool) {
        guard senders.indices.contains(number), senders[number].sent.indices.contains(message) else {
            world.fail("a device heard what nobody said: \(number):\(message)")
            return
        }
        let sender = senders[number]
        let isMeant = word == .event
            ? [device.user, -1].contains(sender.sent[message].receiver) : sender.user == device.user
        guard isMeant else {
            world.fail("a device of user \(device.user) heard what was for another: \(number):\(message)")
            return
        }
        let key = number * 2 + word.rawValue
        let last = device.last[key] ?? -1
        let mark = Self.mark(number, message, word)
        if message <= last, hasOffset, let before = device.unplaced[mark], before.returns < device.returns {
            // It was told while Redis was silent, and its place in history came later.
            world.reach(.heardAgainAfterOutage)
            device.unplaced[mark] = nil
            return
        }
        if message <= last, hasOffset, cameLate(device, mark, Self.mark(number, last, word)) {
            world.reach(.heardLateAfterLoss)
            device.heard.insert(mark)
            return
        }
        if message <= last, sender.user < 0,
            let before = device.unplaced[mark] ?? device.unplaced[Self.mark(number, last, word)],
            before.node != device.node
        {
            // A backend's word, which no history keeps, reaches a node sooner than another: who has moved
            // between them may get it from both, or behind a later one.
            world.reach(.heardAgainElsewhere)
            device.unplaced[mark] = (device.returns, device.node)
            return
        }
        guard message > last else {
            let isRepeated = device.heard.contains(Self.mark(number, message, word))
            world.fail("""
                user \(device.user) on node \(device.node) heard \(word) \(number):\(message) \
                \(isRepeated ? "twice" : "out of order"), after \(number):\(last)
                """)
            return
        }
        device.last[key] = message
        device.heard.insert(mark)
        if !hasOffset { device.unplaced[mark] = (device.returns, device.node) }
        if word == .confirmation {
            sender.sent[message].status = .confirmed
            sender.sent[message].confirmedOrder = min(world.order, sender.sent[message].confirmedOrder)
            sender.sent[message].isOnlyLocal = !hasOffset
        }
        if device.node != sender.node { world.reach(sender.user < 0 ? .heardBackend : .crossedNodes) }
        guard world.scenario.configuration.limits.messageRate == 0 else { return }
        for between in (last + 1)..<message where mustHear(device, sender, between, word) {
            guard sender.sent[between].status != .rejected,
                sender.sent[between].order > world.failedOverOrder
            else { continue }
            world.fail("""
                user \(device.user) on node \(device.node) heard \(word) \(number):\(message) of node \
                \(sender.node) and not \(number):\(between) before it
                """)
        }
    }

    private static func mark(_ number: Int, _ message: Int, _ word: Word) -> Int {
        number << 24 | message << 1 | word.rawValue
    }

    /// It was dropped for want of room while Redis was silent and others behind it were not; history had it
    /// when the device came back.
    private func cameLate(_ device: Device, _ mark: Int, _ last: Int) -> Bool {
        guard world.scenario.faults.isLossy, !device.heard.contains(mark) else { return false }
        return device.unplaced[last].map { $0.returns < device.returns } ?? false
    }

    /// The device was there, and nothing on the way from one to the other may have been lost.
    private func mustHear(_ device: Device, _ sender: Sender, _ message: Int, _ word: Word) -> Bool {
        guard !world.scenario.faults.isLossy, isDue(device, sender, message, word) else { return false }
        if isKept(device, sender) || device.node == sender.node { return true }
        if world.scenario.faults.redisIsSteady { return true }
        let isSteady = world.scenario.usesRedis
            && sender.sent[message].order > max(steadySince(device.node), steadySince(sender.node))
        if isSteady { world.reach(.dueSinceSteady) }
        return isSteady
    }

    /// What a client said is kept, wherever it and the device are.
    private func isKept(_ device: Device, _ sender: Sender) -> Bool {
        device.isKept && sender.user >= 0 && !world.leftEarly.contains(sender.node)
    }

    private func isDue(_ device: Device, _ sender: Sender, _ message: Int, _ word: Word) -> Bool {
        let sent = sender.sent[message]
        let since = isKept(device, sender) ? device.connectedOrder : device.lastConnectedOrder
        guard sent.order > since else { return false }
        guard word == .event else { return sender.user == device.user }
        return sent.receiver == device.user || sent.receiver == -1
    }

    /// When all is quiet: whoever is still there has everything since it came.
    func checkCompleteness() {
        for device in devices where device.isOpen {
            for sender in senders {
                for message in sender.sent.indices {
                    let sent = sender.sent[message]
                    guard sent.status == .confirmed, !sent.isOnlyLocal || !world.killed.contains(sender.node),
                        sent.order > world.failedOverOrder || !world.endedEarly.contains(sender.node)
                    else { continue }
                    for word in [Word.event, .confirmation] where mustHear(device, sender, message, word) {
                        if word == .confirmation && sender.user < 0 { continue }
                        let mark = Self.mark(sender.number, message, word)
                        guard !device.heard.contains(mark) else { continue }
                        world.fail("""
                            user \(device.user) on node \(device.node), open to the end, never heard \
                            \(word) \(sender.number):\(message) of node \(sender.node)
                            """)
                        return
                    }
                }
            }
        }
    }

    /// A device is told to leave: what was confirmed before its node began to drain has come before that.
    func checkFence(_ device: Device, drainedOrder: Int) {
        let heardSince = steadySince(device.node)
        guard !world.scenario.faults.isLossy, heardSince < drainedOrder else { return }
        for sender in senders {
            let publishedSince = max(device.lastConnectedOrder, steadySince(sender.node))
            for (message, sent) in sender.sent.enumerated()
            where sent.order > publishedSince && sent.confirmedOrder < drainedOrder
                && [device.user, -1].contains(sent.receiver)
            {
                // What a history keeps is read for those who are here when their node hears again.
                let isKept = device.isKept && sender.user >= 0 && sent.receiver >= 0
                guard isKept || sent.order > heardSince else { continue }
                if sent.order <= heardSince { world.reach(.fencedRead) }
                world.reach(.fenced)
                guard !device.heard.contains(Self.mark(sender.number, message, .event)) else { continue }
                world.fail("""
                    user \(device.user) on node \(device.node) was told to leave before it heard \
                    \(sender.number):\(message), confirmed before the drain
                    """)
                return
            }
        }
    }

    /// A backend's word is in Redis from the start, and so is all where there is no Redis.
    private func steadySince(_ node: Int) -> Int {
        world.scenario.usesRedis && node >= 0 ? world.steadySince[node] ?? .max : 0
    }

    /// Whoever is still there was answered on everything that it asked for.
    func checkAnswered(_ sender: Sender) {
        guard !world.scenario.faults.isLossy, sender.user >= 0 else { return }
        guard let message = sender.sent.firstIndex(where: { $0.status == .open }) else { return }
        world.fail("""
            user \(sender.user) on node \(sender.node), open to the end, was never answered on \
            \(sender.number):\(message)
            """)
    }
}
