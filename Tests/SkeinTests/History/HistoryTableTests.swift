import SkeinIO
import Testing

@testable import Skein

/// All that a user was ever sent, and all that it was ever told of where it stands.
private final class NaiveHistory {
    struct Event {
        var offset: Offset
        var data: String
        var at: Instant
    }
    var events: [Event] = []
    /// Offsets that were given, each with how many events had come.
    var given: [(offset: Offset, count: Int)] = []
}

@Suite("HistoryTable")
struct HistoryTableTests {
    static let roomy = HistoryLimits(
        eventsMax: 16, age: .seconds(60), userBytesMax: 1 << 20, bytesMax: 1 << 26, usersMax: 1_000)
    static let tight: [HistoryLimits] = [
        HistoryLimits(eventsMax: 16, age: .seconds(60), userBytesMax: 2_048, bytesMax: 1 << 20, usersMax: 1_000),
        HistoryLimits(eventsMax: 64, age: .seconds(60), userBytesMax: 8_192, bytesMax: 16_384, usersMax: 1_000),
        HistoryLimits(eventsMax: 8, age: .seconds(5), userBytesMax: 4_096, bytesMax: 1 << 20, usersMax: 5),
        HistoryLimits(eventsMax: 1, age: .seconds(1), userBytesMax: 512, bytesMax: 512, usersMax: 1),
    ]

    static func append(
        _ table: inout HistoryTable, to user: String, _ data: String, at now: Instant
    ) -> Offset {
        withBytes(user) { user in
            withBytes(data) { data in
                var event = EventView(type: Bytes("note"), data: data, timestamp: Bytes("now"))
                event.user = user
                event.userHash = UserHash.of(user)
                event.requestID = Bytes("17")
                event.origin = ConnectionReference(shard: 0, slot: 1, generation: 2)
                table.append(&event, at: now)
                return event.offset
            }
        }
    }

    /// What a user who stands at `asked` is given; `nil` when that is not everything.
    static func recover(
        _ table: inout HistoryTable, _ user: String, from asked: Offset, at now: Instant
    ) -> [(offset: Offset, data: String)]? {
        withBytes(user) { id in
            let hash = UserHash.of(id)
            guard let count = table.missed(since: asked, of: id, hash: hash, at: now) else { return nil }
            var events: [(Offset, String)] = []
            table.visit(last: count, of: id, hash: hash) { event in
                if !event.requestID.isEmpty || event.origin != .none {
                    Issue.record("whoever comes back is told who asked")
                }
                events.append((event.offset, event.data.text))
            }
            return events
        }
    }

    static func position(_ table: inout HistoryTable, _ user: String) -> Offset {
        withBytes(user) { table.position(of: $0, hash: UserHash.of($0)) }
    }

    /// Whatever is asked: all that came after, in order, or nothing. With room enough: all that the
    /// count and the age allow.
    @Test(arguments: 0..<30)
    func matchesAModel(seed: Int) {
        var random = SeededGenerator(seed: UInt64(seed))
        let limits = seed % 3 == 0 ? Self.roomy : Self.tight[seed % Self.tight.count]
        let isRoomy = seed % 3 == 0
        var table = HistoryTable(limits)
        var now = Instant(nanoseconds: 1_000_000_000)
        let users = (0..<12).map { "user-\($0)" }
        let models = users.map { _ in NaiveHistory() }
        for step in 0..<4_000 {
            let number = Int.random(in: 0..<users.count, using: &random)
            let user = users[number]
            let model = models[number]
            switch Int.random(in: 0..<10, using: &random) {
            case 0..<5:
                let size = [0, 10, 100, 300, 1_500].randomElement(using: &random)!
                let data = "\(step):" + String(repeating: "x", count: size)
                let offset = Self.append(&table, to: user, data, at: now)
                if let last = model.given.last, offset <= last.offset {
                    Issue.record("\(offset) came after \(last.offset)")
                }
                model.events.append(NaiveHistory.Event(offset: offset, data: data, at: now))
                model.given.append((offset, model.events.count))
            case 5:
                let offset = Self.position(&table, user)
                model.given.append((offset, model.events.count))
            case 6:
                now = now.advanced(byMilliseconds: [0, 1, 400, 3_000, 30_000].randomElement(using: &random)!)
                table.sweep(at: now)
            default:
                guard let asked = model.given.randomElement(using: &random) else { continue }
                let missed = Array(model.events[asked.count...])
                let found = Self.recover(&table, user, from: asked.offset, at: now)
                if let found {
                    if found.map(\.offset) != missed.map(\.offset) || found.map(\.data) != missed.map(\.data) {
                        Issue.record("after \(asked.offset): \(found.count) events, not \(missed.count)")
                    }
                } else {
                    let oldest = now.advanced(by: .zero - limits.age)
                    let isDue = isRoomy && missed.count <= limits.eventsMax && missed.allSatisfy { $0.at >= oldest }
                    if isDue { Issue.record("nothing after \(asked.offset), where \(missed.count) were due") }
                }
            }
            let bytes = table.bytes
            if bytes > limits.bytesMax { Issue.record("\(bytes) bytes are kept, of \(limits.bytesMax)") }
            let count = table.userCount
            if count > limits.usersMax { Issue.record("\(count) users are kept, of \(limits.usersMax)") }
        }
        now = now.advanced(by: limits.age).advanced(bySeconds: 1)
        for _ in 0..<4 { table.sweep(at: now.advanced(bySeconds: 1)) }
        let bytes = table.bytes
        #expect(bytes == 0)
        let due = table.sweepDue
        #expect(due == nil)
    }

    @Test("the position outlives the events, so nothing missed is recovered as nothing")
    func idle() {
        var table = HistoryTable(Self.roomy)
        let now = Instant(nanoseconds: 5)
        let offset = Self.append(&table, to: "alice", "{}", at: now)
        let later = now.advanced(bySeconds: 3_600)
        table.sweep(at: later)
        let bytes = table.bytes
        #expect(bytes == 0)
        let position = Self.position(&table, "alice")
        #expect(position == offset)
        let found = Self.recover(&table, "alice", from: offset, at: later)
        #expect(found?.isEmpty == true)
        let before = Self.recover(&table, "alice", from: .none, at: later)
        #expect(before == nil)
    }

    @Test("a user who was forgotten and came again is another one")
    func forgotten() {
        var limits = Self.roomy
        limits.usersMax = 1
        var table = HistoryTable(limits)
        let now = Instant(nanoseconds: 5)
        let start = Self.position(&table, "alice")
        let first = Self.append(&table, to: "alice", "1", at: now)
        _ = Self.append(&table, to: "bob", "2", at: now)
        let between = Self.position(&table, "alice")
        _ = Self.append(&table, to: "alice", "3", at: now)
        let second = Self.append(&table, to: "alice", "4", at: now)
        #expect(second.number == 2)
        let lost = Self.recover(&table, "alice", from: start, at: now)
        #expect(lost == nil)
        let since = Self.recover(&table, "alice", from: between, at: now)
        #expect(since?.map(\.data) == ["3", "4"])
        // All that came before is forgotten, and was seen; nothing in between was hers.
        let whole = Self.recover(&table, "alice", from: first, at: now)
        #expect(whole == nil || whole?.map(\.data) == ["3", "4"])
    }

    @Test("offsets that were never given recover nothing")
    func invented() {
        var table = HistoryTable(Self.roomy)
        let now = Instant(nanoseconds: 5)
        for number in 1...5 { _ = Self.append(&table, to: "alice", "\(number)", at: now) }
        for (first, number) in [(99, 1), (3, 9), (.max, .max), (4, 5), (0, 99)] as [(UInt64, UInt64)] {
            let found = Self.recover(&table, "alice", from: Offset(first: first, number: number), at: now)
            #expect(found == nil || first == 0, "\(first)-\(number)")
        }
    }

    @Test("an event larger than a user's whole history ends it, and the next begins one")
    func oversized() {
        var limits = Self.roomy
        limits.userBytesMax = 1_024
        var table = HistoryTable(limits)
        let now = Instant(nanoseconds: 5)
        let small = Self.append(&table, to: "alice", "1", at: now)
        let large = Self.append(&table, to: "alice", String(repeating: "x", count: 2_000), at: now)
        let next = Self.append(&table, to: "alice", "3", at: now)
        #expect(next.number == 3)
        let before = Self.recover(&table, "alice", from: small, at: now)
        #expect(before == nil)
        let after = Self.recover(&table, "alice", from: large, at: now)
        #expect(after?.map(\.data) == ["3"])
    }

    @Test("a node's limits are shared among its shards, and contradict one another nowhere")
    func shares() throws {
        var limits = Limits()
        limits.historyEventsMax = 256
        limits.historyBytesMax = 1 << 20
        limits.historyUserBytesMax = 3_000_000
        limits.historyUsersMax = 10
        let share = try #require(HistoryLimits(limits, shardCount: 3))
        #expect(share.bytesMax == (1 << 20) / 3)
        #expect(share.userBytesMax == 1 << 18)
        #expect(share.usersMax == 3)
        limits.historyEventsMax = 0
        #expect(HistoryLimits(limits, shardCount: 3) == nil)
    }
}
