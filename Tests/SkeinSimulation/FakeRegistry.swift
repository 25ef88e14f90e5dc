// What the scripts do that nodes keep their registry and their devices with, said again in Swift. Each
// names itself in its first line.

import SkeinIO

struct FakeRegistry {
    /// By lease key, and until when it stands.
    var leases: [[UInt8]: (text: [UInt8], until: Int64)] = [:]
    /// By node, when its lease ends or ended, in milliseconds.
    var nodes: [[UInt8]: Int64] = [:]
    /// By key, when a node that is gone is to be looked at once more.
    var looks: [[UInt8]: Int64] = [:]
    /// By key, the users that a node has devices of.
    var users: [[UInt8]: Set<[UInt8]>] = [:]
    /// By key, the devices that were said lately.
    var said: [[UInt8]: Set<[UInt8]>] = [:]
    /// By key, the number of a node's latest restatement.
    var turns: [[UInt8]: Int] = [:]
    /// By key, who clears up after a node.
    var locks: [[UInt8]: [UInt8]] = [:]
}

extension FakeRedis {
    /// Keeps a script until it is forgotten, by what stands for its hash.
    func load(_ script: [UInt8], _ connection: RedisConnection) {
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        for byte in script { hash = (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01B3 }
        let text = String(hash, radix: 16)
        let name = String(repeating: "0", count: 40 - text.count) + text
        scripts[Array(name.utf8)] = script
        reply(connection, "$40\r\n\(name)\r\n")
    }

    /// `hash count keys… arguments…`
    func evaluateLoaded(_ words: [[UInt8]], _ connection: RedisConnection) {
        guard let script = scripts[words[0]] else {
            world.reach(.scriptMissing)
            reply(connection, "-NOSCRIPT No matching script. Please use EVAL.\r\n")
            return
        }
        evaluate([script] + words.dropFirst(), connection)
    }

    /// `script count keys… arguments…`
    func evaluate(_ words: [[UInt8]], _ connection: RedisConnection) {
        let script = String(decoding: words[0], as: UTF8.self)
        let count = number(words[1])
        let keys = Array(words[2..<2 + count])
        let arguments = Array(words[(2 + count)...])
        switch script.prefix(while: { $0 != "\n" }) {
        case "--skein append": append(keys, arguments, from: connection)
        case "--skein read":
            connection.stream.peerWrites(history.read(keys[0], from: arguments[0], countMax: arguments[1]))
        case "--skein crowded": reply(connection, isWithin(keys, arguments) ? ":1\r\n" : ":0\r\n")
        case "--skein named":
            if registry.nodes[arguments[0]] == nil {
                world.reach(.namedBeforeLease)
                registry.nodes[arguments[0]] = world.now / 1_000_000 + Int64(number(arguments[2]))
            }
            reply(connection, ":0\r\n")
        case "--skein quiet":
            registry.users[keys[3]]?.remove(arguments[1])
            reply(connection, ":0\r\n")
        case "--skein aside":
            let turn = number(arguments[1])
            guard turn >= registry.turns[keys[3]] ?? 0 else {
                world.reach(.lateRestatement)
                reply(connection, ":0\r\n")
                return
            }
            registry.turns[keys[3]] = turn
            registry.users[keys[1], default: []].formUnion(registry.users[keys[0]] ?? [])
            registry.users[keys[0]] = nil
            registry.said[keys[2]] = nil
            reply(connection, ":0\r\n")
        case "--skein sweep": reply(connection, sweep(keys, arguments))
        case "--skein beat":
            let was = lives(keys[0])
            let now = world.now / 1_000_000
            registry.leases[keys[0]] = (arguments[1], now + Int64(number(arguments[2])))
            registry.nodes[arguments[0]] = now + Int64(number(arguments[2]))
            reply(connection, was ? ":1\r\n" : ":0\r\n")
        case "--skein end":
            history.endEpoch(arguments[0], arguments[1])
            reply(connection, history.epochReply())
        case "--skein nodes": reply(connection, nodes(arguments))
        case "--skein clear": reply(connection, clear(keys, arguments))
        default: world.fail("a router sent Redis a script that it does not know: \(script.prefix(40))")
        }
    }

    /// What is left of a node's; `nil` when that is nothing.
    func remains(of node: String) -> String? {
        let id = Array(node.utf8)
        if let place = registry.nodes[id], !registry.looks.contains(where: { $0.key.contains(id) && $0.value == place }) {
            return "its place in the list"
        }
        if history.hasMark(of: id) { return "how far its events are appended" }
        for key in registry.leases.keys where key.suffix(16) == id[...] { return "its lease" }
        return devicesLeft(of: id)
    }

    /// Whether no other node has anything to do for one that is gone.
    func hasForgotten(_ node: String) -> Bool {
        let id = Array(node.utf8)
        return registry.nodes[id] == nil && devicesLeft(of: id) == nil
    }

    private func devicesLeft(of id: [UInt8]) -> String? {
        for (key, users) in registry.users where !users.isEmpty && key.contains(id) {
            return "\(users.count) users"
        }
        for (key, fields) in devices where fields.keys.contains(where: { $0.starts(with: id) }) {
            return "a field of \(String(decoding: key, as: UTF8.self))"
        }
        return nil
    }

    private func number(_ text: [UInt8]) -> Int { Int(String(decoding: text, as: UTF8.self)) ?? 0 }

    private func lives(_ lease: [UInt8]) -> Bool {
        (registry.leases[lease]?.until ?? 0) > world.now / 1_000_000
    }

    /// Whether a user's devices of living nodes are as many as may be: the newest goes otherwise.
    private func isWithin(_ keys: [[UInt8]], _ arguments: [[UInt8]]) -> Bool {
        var fields = devices[keys[0]] ?? [:]
        for field in fields.keys {
            let node = Array(field.prefix(16))
            if node != arguments[2], !lives(arguments[3] + node) { fields[field] = nil }
        }
        let isWithin = fields.count <= number(arguments[1])
        if !isWithin {
            world.reach(.refusedByAllNodes)
            fields[arguments[0]] = nil
        }
        devices[keys[0]] = fields
        return isWithin
    }

    /// `SADD key member`: of the users that a node has devices of, or of devices that were said.
    func add(_ member: [UInt8], to key: [UInt8]) {
        if key.ends(with: ":said") {
            registry.said[key, default: []].insert(member)
        } else {
            registry.users[key, default: []].insert(member)
        }
    }

    /// As many users as a step takes, or fewer: there may be none as large as a real one here.
    private func sweep(_ keys: [[UInt8]], _ arguments: [[UInt8]]) -> String {
        guard registry.turns[keys[2]] == number(arguments[4]) else { return ":0\r\n" }
        let said = registry.said[keys[1]] ?? []
        let users = (registry.users[keys[0]] ?? []).sorted { $0.lexicographicallyPrecedes($1) }
        let step = world.historyChance.oneIn(2) ? min(number(arguments[1]), 2) : number(arguments[1])
        for user in users.prefix(step) {
            let key = Array("presence:devices:".utf8) + user
            for field in (devices[key] ?? [:]).keys where field.starts(with: arguments[0]) {
                guard !said.contains(field), world.plant != .forgottenSweep else { continue }
                world.reach(.sweptDevice)
                devices[key]?[field] = nil
            }
        }
        guard users.count <= step else {
            registry.users[keys[0]]?.subtract(users.prefix(step))
            return ":1\r\n"
        }
        registry.users[keys[0]] = nil
        registry.said[keys[1]] = nil
        return ":0\r\n"
    }

    private func nodes(_ arguments: [[UInt8]]) -> String {
        guard !registry.nodes.isEmpty else { return "*0\r\n" }
        var text = "*\(registry.nodes.count * 3)\r\n"
        for (node, until) in registry.nodes.sorted(by: {
            $0.value == $1.value ? $0.key.lexicographicallyPrecedes($1.key) : $0.value < $1.value
        }) {
            let key = arguments[0] + node
            let lease = lives(key) ? registry.leases[key]?.text ?? [] : []
            text += "$\(node.count)\r\n\(String(decoding: node, as: UTF8.self))\r\n"
            text += ":\(until - world.now / 1_000_000)\r\n"
            text += "$\(lease.count)\r\n\(String(decoding: lease, as: UTF8.self))\r\n"
        }
        return text
    }

    private func clear(_ keys: [[UInt8]], _ arguments: [[UInt8]]) -> String {
        let node = arguments[0]
        let now = world.now / 1_000_000
        var isSecond = false
        if arguments[7] == Array("1".utf8) {
            registry.leases[keys[0]] = nil
            history.forgetMark(arguments[8])
        } else {
            guard let ends = registry.nodes[node], !lives(keys[0]), ends + Int64(number(arguments[2])) <= now,
                (registry.locks[keys[2]] ?? arguments[1]) == arguments[1]
            else { return "*4\r\n:-1\r\n:0\r\n:0\r\n:0\r\n" }
            isSecond = registry.looks[keys[7]] == ends
            world.reach(isSecond ? .lookedAgain : .clearedNode)
        }
        var gone = 0
        for user in (registry.users[keys[3]] ?? []).union(registry.users[keys[4]] ?? []) {
            let key = Array("presence:devices:".utf8) + user
            for field in (devices[key] ?? [:]).keys where field.starts(with: node) {
                devices[key]?[field] = nil
                gone += 1
            }
        }
        if isSecond, gone > 0 { world.reach(.foundAgain) }
        registry.users[keys[3]] = nil
        registry.users[keys[4]] = nil
        registry.locks[keys[2]] = nil
        registry.said[keys[5]] = nil
        registry.turns[keys[6]] = nil
        let wait = Int64(number(arguments[9]))
        let look = isSecond || wait == 0 ? nil : now + wait
        registry.nodes[node] = look
        registry.looks[keys[7]] = look
        return "*4\r\n:0\r\n:\(gone)\r\n:0\r\n:\(isSecond ? 1 : 0)\r\n"
    }
}

private extension Array where Element == UInt8 {
    func ends(with text: String) -> Bool { suffix(text.utf8.count).elementsEqual(text.utf8) }

    func contains(_ part: [UInt8]) -> Bool {
        guard count >= part.count else { return false }
        return (0...count - part.count).contains { self[$0..<$0 + part.count].elementsEqual(part) }
    }
}
