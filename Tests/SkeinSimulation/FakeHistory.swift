// Users' histories in the Redis of one run: what the scripts do there, written again in Swift from what
// they are to do, and the mistakes that could be made in them.

final class FakeHistory {
    fileprivate struct Entry {
        var first: UInt64
        var number: UInt64
        var event: [UInt8]
        /// From when on it can be found: later than at once only by a planted mistake.
        var visibleAt: Int64 = 0

        var id: String { "\(first)-\(number)" }
    }

    fileprivate struct User {
        var born: UInt64
        var entries: [Entry] = []
        var last: UInt64 = 0
        var number: UInt64 = 0
    }

    enum Appended { case known, gap, appended([UInt8]) }

    private unowned(unsafe) let world: World
    /// What a replica has of it.
    struct Kept {
        fileprivate var users: [[UInt8]: User] = [:]
        /// By node, the last of its events that was appended.
        fileprivate var appended: [[UInt8]: [UInt8]] = [:]
        fileprivate var epoch: [UInt8]?
    }

    var kept = Kept()
    private var users: [[UInt8]: User] {
        get { kept.users }
        _modify { yield &kept.users }
    }
    private var appended: [[UInt8]: [UInt8]] {
        get { kept.appended }
        _modify { yield &kept.appended }
    }
    private var epoch: [UInt8]? {
        get { kept.epoch }
        set { kept.epoch = newValue }
    }

    init(_ world: World) { self.world = world }

    /// Redis has a clock of its own, which never jumps.
    private var now: UInt64 { UInt64(1_700_000_000_000 + world.now / 1_000_000) }

    private var eventsMax: Int { world.scenario.configuration.limits.historyEventsMax }

    private var oldest: UInt64 {
        let age = world.scenario.configuration.limits.historyAge.components
        return now - UInt64(age.seconds * 1_000 + age.attoseconds / 1_000_000_000_000_000)
    }

    func loseEverything() { kept = Kept() }

    func forgetMark(_ key: [UInt8]) { appended[key] = nil }
    func hasMark(of node: [UInt8]) -> Bool { appended.keys.contains { $0.suffix(node.count) == node[...] } }

    func isEpoch(_ key: [UInt8]) -> Bool { key == Array("ws:epoch".utf8) }
    func markReply(_ node: [UInt8]) -> String {
        guard let mark = appended[node] else { return "$-1\r\n" }
        return "$\(mark.count)\r\n\(String(decoding: mark, as: UTF8.self))\r\n"
    }

    func epochReply() -> String {
        guard let epoch else { return "$-1\r\n" }
        return "$\(epoch.count)\r\n\(String(decoding: epoch, as: UTF8.self))\r\n"
    }

    func endEpoch(_ old: [UInt8], _ new: [UInt8]) {
        guard epoch == old else { return }
        if !world.hasLostWrites { world.fail("a node ended an epoch of which nothing was lost") }
        world.reach(.epochEnded)
        epoch = new
    }

    func beginEpoch(_ new: [UInt8]) { if epoch == nil { epoch = new } }

    func append(
        _ stream: [UInt8], node: [UInt8], envelope: [UInt8], sequence: [UInt8], before: [UInt8]
    ) -> Appended {
        var user = users[stream] ?? User(born: now)
        let mark = appended[node] ?? []
        if !mark.lexicographicallyPrecedes(sequence) {
            world.reach(.appendRepeated)
            if world.plant != .repeatedAppend { return .known }
        }
        if before.contains(where: { $0 != 48 }), mark.lexicographicallyPrecedes(before) {
            world.reach(.appendGap)
            return .gap
        }
        appended[node] = sequence
        user.number += 1
        user.last = max(user.last, now)
        var entry = Entry(first: user.last, number: user.number, event: envelope)
        entry.event += Array(",\"offset\":\"\(entry.id)\"}".utf8)
        if world.plant == .publishedFirst { entry.visibleAt = world.now + 300_000_000 }
        user.entries.append(entry)
        // Redis trims when it likes: more may stay than was asked for.
        let slack = world.historyChance.below(8)
        if user.entries.count > eventsMax + slack {
            user.entries.removeFirst(user.entries.count - eventsMax - slack)
        }
        users[stream] = user
        return .appended(entry.event)
    }

    func read(_ stream: [UInt8], from: [UInt8], countMax: [UInt8]) -> [UInt8] {
        var reply = Array("*3\r\n".utf8)
        func bulk(_ bytes: [UInt8]) {
            reply += Array("$\(bytes.count)\r\n".utf8) + bytes + [13, 10]
        }
        guard let user = users[stream] else {
            bulk([])
            reply += Array(":\(now)\r\n*0\r\n".utf8)
            return reply
        }
        var entries = user.entries.filter { $0.visibleAt <= world.now }
        var tip = (first: user.last, number: user.number)
        let isStale = world.plant == .staleHistory && entries.count > 1
        if isStale { entries.removeLast() }
        if isStale || entries.count < user.entries.count, let last = entries.last {
            tip = (last.first, last.number)
        }
        bulk(Array("\(tip.first)-\(tip.number)-\(user.born)".utf8))
        reply += Array(":\(now)\r\n".utf8)
        let parts = String(decoding: from, as: UTF8.self).split(separator: "-").compactMap { UInt64($0) }
        guard parts.count == 2 else {
            if !from.isEmpty { world.fail("a router read a history from nowhere") }
            reply += Array("*0\r\n".utf8)
            return reply
        }
        let wanted = entries.reversed().prefix { ($0.first, $0.number) >= (parts[0], parts[1]) }
            .prefix(Int(String(decoding: countMax, as: UTF8.self)) ?? 0)
        reply += Array("*\(wanted.count)\r\n".utf8)
        for entry in wanted {
            reply += Array("*2\r\n".utf8)
            bulk(Array(entry.id.utf8))
            reply += Array("*2\r\n".utf8)
            bulk([UInt8(ascii: "e")])
            bulk(entry.event)
        }
        return reply
    }
}
