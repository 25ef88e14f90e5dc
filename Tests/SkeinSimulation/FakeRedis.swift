// A Redis for the nodes of one run: pub/sub, the few keys that a router writes, and everything that
// can happen to a Redis. It reads its connections one at a time, as the scheduler picks, some commands
// of each.

import SkeinIO

final class RedisConnection {
    let stream: Stream
    let node: Int
    var input: [UInt8] = []
    var head = 0
    /// So much is there of a command whose end has not come; 0: nothing is known to be incomplete.
    var incomplete = 0
    var channels: Set<[UInt8]> = []
    var isCut = false
    /// Whether it names itself as one that listens.
    var listens: Bool { !channels.isEmpty }

    init(_ stream: Stream, node: Int) {
        self.stream = stream
        self.node = node
    }
}

final class FakeRedis {
    unowned(unsafe) let world: World
    private(set) var connections: [RedisConnection] = []
    private(set) var downUntil: Int64 = 0
    var stalledUntil: Int64 = 0
    /// Publishes to carry out before the link that brings the last of them is cut.
    var cutAfter: Int?
    var sessions: Set<[UInt8]> = []
    /// By key, what each device's field says.
    var devices: [[UInt8]: [[UInt8]: [UInt8]]] = [:]
    /// What nodes keep of themselves.
    var registry = FakeRegistry()
    /// What it was given to call by a hash.
    var scripts: [[UInt8]: [UInt8]] = [:]
    /// By channel, who hears it, in the order they asked.
    private var listeners: [[UInt8]: [RedisConnection]] = [:]
    /// Subscriptions that were confirmed and not carried out: a planted mistake.
    private var owed: [(channel: [UInt8], connection: RedisConnection, due: Int64)] = []
    /// Pushes that others overtake: a planted mistake.
    private var late: [(push: [UInt8], hearer: RedisConnection, due: Int64)] = []
    private(set) var replica: (devices: [[UInt8]: [[UInt8]: [UInt8]]], registry: FakeRegistry, history: FakeHistory.Kept)?
    let history: FakeHistory

    init(_ world: World) {
        self.world = world
        history = FakeHistory(world)
    }

    var isStalled: Bool { world.now < stalledUntil }
    var isDown: Bool { world.now < downUntil }

    // MARK: Connecting

    func accept(node: Int) -> Stream? {
        guard !isDown else {
            world.reach(.connectRefused)
            return nil
        }
        let stream = Stream(world, capacity: max(1_024, world.faults.socketBytes))
        connections.append(RedisConnection(stream, node: node))
        return stream
    }

    func cut(_ connection: RedisConnection) {
        guard !connection.isCut else { return }
        connection.isCut = true
        forget(connection)
        if world.chance.oneIn(2) { connection.stream.peerResets() } else { connection.stream.peerCloses() }
    }

    func cutOne() {
        guard !connections.isEmpty else { return }
        world.reach(.linkCut)
        cut(world.chance.pick(connections))
    }

    /// Everything is lost, but what others write again.
    func restart(for nanoseconds: Int64) {
        world.reach(.redisRestarted)
        for connection in connections { cut(connection) }
        downUntil = world.now + nanoseconds
        devices = [:]
        registry = FakeRegistry()
        if !world.scenario.faults.redisKeeps {
            world.hasLostWrites = true
            history.loseEverything()
        }
        scripts = [:]
    }

    /// From now on a replica has what there is.
    func follow() { replica = (devices, registry, history.kept) }

    /// The replica takes over, and what it does not have is lost.
    func failOver() {
        guard let replica else { return }
        world.reach(.failedOver)
        self.replica = nil
        world.hasLostWrites = true
        for connection in connections { cut(connection) }
        downUntil = world.now + Int64(world.historyChance.pick([1, 300])) * 1_000_000
        (devices, registry, history.kept) = replica
        scripts = [:]
    }

    private func forget(_ connection: RedisConnection) {
        for channel in connection.channels { listeners[channel]?.removeAll { $0 === connection } }
        connections.removeAll { $0 === connection }
    }

    // MARK: Serving

    func isReady(_ connection: RedisConnection) -> Bool {
        let stream = connection.stream
        return stream.outbound.readable > 0 || stream.outbound.hasEnded || stream.peerWasReset
            || connection.input.count - connection.head > connection.incomplete
    }

    func serve(_ connection: RedisConnection) {
        payOwed()
        let stream = connection.stream
        let readable = stream.outbound.readable
        if readable > 0 { stream.peerReads(readable, onto: &connection.input) }
        var left = world.chance.oneIn(3) ? world.chance.within(1...8) : .max
        while left > 0, !connection.isCut, let command = next(connection) {
            execute(command, connection)
            left -= 1
        }
        // Asked again only when more has come: a router may take long to send the rest.
        connection.incomplete = left > 0 ? connection.input.count - connection.head : 0
        if connection.head > 0, connection.head == connection.input.count {
            connection.input.removeAll(keepingCapacity: true)
            connection.head = 0
        }
        if stream.outbound.readable == 0, stream.outbound.hasEnded || stream.peerWasReset, left > 0 {
            connection.isCut = true
            forget(connection)
            stream.peerCloses()
        }
    }

    /// An array of bulk strings, as ranges of the input; `nil` when it has not all come.
    private func next(_ connection: RedisConnection) -> [Range<Int>]? {
        var at = connection.head
        guard let count = number(connection, &at, UInt8(ascii: "*")) else { return nil }
        var parts: [Range<Int>] = []
        parts.reserveCapacity(count)
        for _ in 0..<count {
            guard let length = number(connection, &at, UInt8(ascii: "$")),
                at + length + 2 <= connection.input.count
            else { return nil }
            parts.append(at..<at + length)
            at += length + 2
        }
        connection.head = at
        return parts
    }

    private func number(_ connection: RedisConnection, _ at: inout Int, _ mark: UInt8) -> Int? {
        let input = connection.input
        guard at < input.count else { return nil }
        guard input[at] == mark else {
            world.fail("a router sent Redis what is no command")
            return nil
        }
        var place = at + 1
        var value = 0
        while place < input.count, input[place] != 13 {
            value = value * 10 + Int(input[place]) - 48
            place += 1
        }
        guard place + 1 < input.count else { return nil }
        at = place + 2
        return value
    }

    private func execute(_ command: [Range<Int>], _ connection: RedisConnection) {
        let input = connection.input
        func argument(_ index: Int) -> [UInt8] { Array(input[command[index]]) }
        let name = command[0]
        switch (input[name.lowerBound], name.count) {
        case (UInt8(ascii: "P"), 7) where input[name.lowerBound + 1] == UInt8(ascii: "E"):
            reply(connection, ":1\r\n")
        case (UInt8(ascii: "P"), 7): publish(argument(1), argument(2), from: connection)
        case (UInt8(ascii: "R"), 4): reply(connection, "*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n")
        // Nobody revokes anything here.
        case (UInt8(ascii: "Z"), 16): reply(connection, "*0\r\n")
        case (UInt8(ascii: "P"), 4): reply(connection, "+PONG\r\n")
        case (UInt8(ascii: "S"), 9):
            for index in 1..<command.count { subscribe(argument(index), connection) }
        case (UInt8(ascii: "U"), 11):
            for index in 1..<command.count { unsubscribe(argument(index), connection) }
        case (UInt8(ascii: "S"), 6) where input[name.lowerBound + 1] == UInt8(ascii: "C"):
            load(argument(2), connection)
        case (UInt8(ascii: "G"), 3) where history.isEpoch(argument(1)):
            reply(connection, history.epochReply())
        case (UInt8(ascii: "G"), 3): reply(connection, history.markReply(argument(1)))
        case (UInt8(ascii: "S"), 3) where command.count == 4 && history.isEpoch(argument(1)):
            history.beginEpoch(argument(2))
            reply(connection, "+OK\r\n")
        case (UInt8(ascii: "S"), 6), (UInt8(ascii: "C"), 6), (UInt8(ascii: "S"), 3), (UInt8(ascii: "A"), 4):
            reply(connection, "+OK\r\n")
        case (UInt8(ascii: "H"), 4) where input[name.lowerBound + 1] == UInt8(ascii: "S"):
            devices[argument(1), default: [:]][argument(2)] = argument(3)
            reply(connection, ":1\r\n")
        case (UInt8(ascii: "H"), 4) where input[name.lowerBound + 1] == UInt8(ascii: "L"):
            reply(connection, ":\(devices[argument(1)]?.count ?? 0)\r\n")
        case (UInt8(ascii: "S"), 4):
            add(argument(2), to: argument(1))
            reply(connection, ":1\r\n")
        case (UInt8(ascii: "H"), 4):
            devices[argument(1)]?[argument(2)] = nil
            reply(connection, ":1\r\n")
        case (UInt8(ascii: "E"), 6) where input[name.lowerBound + 2] == UInt8(ascii: "I"):
            let isThere = sessions.contains(argument(1)) || registry.users[argument(1)]?.isEmpty == false
            reply(connection, isThere ? ":1\r\n" : ":0\r\n")
        case (UInt8(ascii: "E"), 7): evaluateLoaded((1..<command.count).map(argument), connection)
        case (UInt8(ascii: "E"), 4): evaluate((1..<command.count).map(argument), connection)
        case (UInt8(ascii: "E"), _): reply(connection, ":0\r\n")
        default:
            let text = String(decoding: argument(0), as: UTF8.self)
            world.fail("a router sent Redis a command that it does not know: \(text)")
        }
    }

    func reply(_ connection: RedisConnection, _ text: String) {
        connection.stream.peerWrites(Array(text.utf8))
    }

    // MARK: Pub/sub

    private func subscribe(_ channel: [UInt8], _ connection: RedisConnection) {
        if world.plant == .earlySubscribe, channel.starts(with: Array("user:".utf8)) {
            owed.append((channel, connection, world.now + 20_000_000))
        } else {
            hear(channel, connection)
        }
        confirm("subscribe", channel, connection)
    }

    private func hear(_ channel: [UInt8], _ connection: RedisConnection) {
        guard !connection.isCut, connection.channels.insert(channel).inserted else { return }
        listeners[channel, default: []].append(connection)
    }

    private func payOwed() {
        guard !owed.isEmpty else { return }
        for debt in owed where debt.due <= world.now { hear(debt.channel, debt.connection) }
        owed.removeAll { $0.due <= world.now }
    }

    private func unsubscribe(_ channel: [UInt8], _ connection: RedisConnection) {
        if connection.channels.remove(channel) != nil {
            listeners[channel]?.removeAll { $0 === connection }
        }
        confirm("unsubscribe", channel, connection)
    }

    private func confirm(_ kind: String, _ channel: [UInt8], _ connection: RedisConnection) {
        var push = Array("*3\r\n$\(kind.utf8.count)\r\n\(kind)\r\n$\(channel.count)\r\n".utf8)
        push += channel
        push += Array("\r\n:\(connection.channels.count)\r\n".utf8)
        deliver(push, to: connection)
    }

    private func publish(_ channel: [UInt8], _ payload: [UInt8], from connection: RedisConnection) {
        var payload = payload
        if world.plant == .ignoredWatermark { disguise(&payload) }
        let heard = publish(channel, payload)
        answer(connection, ":\(heard)\r\n", on: channel)
    }

    /// The append script.
    func append(_ keys: [[UInt8]], _ arguments: [[UInt8]], from connection: RedisConnection) {
        var count = 0
        var channel: [UInt8] = []
        for index in 0..<keys.count / 2 {
            channel = arguments[2 + 3 * index]
            var envelope = arguments[3 + 3 * index]
            if world.plant == .ignoredWatermark { disguise(&envelope) }
            // Those that follow have been sent in a row.
            let before = index == 0 ? arguments[1] : []
            switch history.append(
                keys[2 * index], node: arguments[0], envelope: envelope, sequence: arguments[4 + 3 * index],
                before: before)
            {
            case .known: break
            case .gap:
                reply(connection, "-GAP the event before this one is not in history\r\n")
                return
            case .appended(let event):
                publish(channel, event)
                count += 1
            }
        }
        if keys.count > 2 { world.reach(.appendedTogether) }
        answer(connection, ":\(count)\r\n", on: channel)
    }

    /// Tells that something was published, unless the link goes just before.
    private func answer(_ connection: RedisConnection, _ text: String, on channel: [UInt8]) {
        if let cutAfter {
            self.cutAfter = cutAfter - 1
            if cutAfter <= 0, channel.starts(with: Array("user:".utf8)) {
                self.cutAfter = nil
                world.reach(.linkCutAfterPublish)
                cut(connection)
                return
            }
        }
        reply(connection, text)
    }

    /// - Returns: how many heard it.
    @discardableResult
    func publish(_ channel: [UInt8], _ payload: [UInt8]) -> Int {
        guard let hearers = listeners[channel], !hearers.isEmpty else { return 0 }
        var push = Array("*3\r\n$7\r\nmessage\r\n$\(channel.count)\r\n".utf8)
        push += channel
        push += Array("\r\n$\(payload.count)\r\n".utf8)
        push += payload
        push += [13, 10]
        let isMark = payload.starts(with: Array("fence-".utf8))
        for hearer in hearers { deliver(push, to: hearer, isMark: isMark) }
        return hearers.count
    }

    private func deliver(_ push: [UInt8], to hearer: RedisConnection, isMark: Bool = false) {
        guard world.plant == .forgottenFence, !isMark else {
            hearer.stream.peerWrites(push)
            return
        }
        late.append((push, hearer, world.now + 200_000_000))
    }

    /// When a push is due that a planted mistake holds back.
    var lateDue: Int64 { late.first?.due ?? .max }

    func deliverLate() {
        while let first = late.first, first.due <= world.now {
            late.removeFirst()
            if !first.hearer.isCut { first.hearer.stream.peerWrites(first.push) }
        }
    }

    /// The mark that a repeated event would be known by is spoiled.
    private func disguise(_ payload: inout [UInt8]) {
        let mark = Array("\"via\":\"".utf8)
        guard payload.count > 100 else { return }
        for start in stride(from: payload.count - 70, through: max(0, payload.count - 100), by: -1)
        where payload[start..<start + mark.count].elementsEqual(mark) {
            payload[start + 1] = UInt8(ascii: "x")
            return
        }
    }
}
