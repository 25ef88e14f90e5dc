// What the users of one shard were sent of late, whether they were here or not: for each the position
// and a ring of events, within a bound of its own and one of the shard. A user who was sent nothing
// for the longest time goes first: the events before the position, the position last of all. Whoever
// asks for more than is here is told so; nobody is ever given a part.

internal import SkeinIO

struct HistoryUser: UserKeyed {
    var id: StoredUserID
    /// The newest event's offset.
    var position: Offset
    /// What had been appended when this record was made.
    var born: UInt64
    var ring = HistoryRing()
    var appendedAt = Instant(nanoseconds: 0)
    // The list of all, by their last append.
    var older = UInt32.max
    var newer = UInt32.max

    static var idOffset: Int { MemoryLayout<HistoryUser>.offset(of: \.id)! }
}

struct HistoryLimits: Equatable {
    /// Of one user.
    var eventsMax: Int
    var age: Duration
    /// Of one user, a power of two.
    var userBytesMax: Int
    // Of one shard.
    var bytesMax: Int
    var usersMax: Int
}

/// Why events are not kept any more.
enum HistoryLoss: Int, CaseIterable {
    case count, age, userBytes, bytes, users

    var name: String {
        switch self {
        case .count: "count"
        case .age: "age"
        case .userBytes: "user_bytes"
        case .bytes: "bytes"
        case .users: "users"
        }
    }
}

@safe
struct HistoryTable: ~Copyable {
    private static let none = UInt32.max
    /// Rings that one sweep frees at most.
    private static let sweepMax = 256
    private static let sweepMilliseconds = 250

    let limits: HistoryLimits
    private var users: UserTable<HistoryUser>
    private var oldest = none
    private var newest = none
    /// The oldest that has a ring; all before it have none.
    private var oldestHolder = none
    /// The latest position of a user who was forgotten whole. What is not later may not be trusted to
    /// have been followed by nothing.
    private var forgottenThrough: UInt64 = 0
    /// Events so far, of all users.
    private(set) var appended: UInt64 = 0
    /// Of all rings.
    private(set) var bytes = 0
    /// Events that went, by why.
    private(set) var losses: InlineArray<5, UInt64> = InlineArray(repeating: 0)
    /// When rings may be due to be freed.
    private(set) var sweepDue: Instant?

    var userCount: Int { users.count }
    /// With the records of users.
    var bytesHeld: Int { bytes + users.count * MemoryLayout<HistoryUser>.stride }

    init(_ limits: HistoryLimits) {
        precondition(limits.userBytesMax.nonzeroBitCount == 1, "rings are powers of two")
        precondition(limits.userBytesMax <= limits.bytesMax, "one user's history is larger than all")
        self.limits = limits
        users = UserTable(usersMax: limits.usersMax)
    }

    deinit {
        for user in 0..<UInt32(users.highWater) where users.isLive(user) {
            var ring = users[user].ring
            ring.free()
        }
    }

    // MARK: Appending

    /// Gives an event its offset and keeps it.
    mutating func append(_ event: inout EventView, at now: Instant) {
        appended &+= 1
        let user = touch(event.user, event.userHash, now)
        event.offset = Offset(first: appended, number: users[user].position.number &+ 1)
        users[user].position = event.offset
        trim(user, now, room: 1)
        keep(event, user, now)
        if oldestHolder == Self.none, users[user].ring.exists { oldestHolder = user }
        if sweepDue == nil, oldestHolder != Self.none { sweepDue = dueSweep(after: now) }
    }

    private mutating func touch(_ id: Bytes, _ hash: UInt64, _ now: Instant) -> UInt32 {
        let user: UInt32
        if let known = users.find(id, hash: hash) {
            user = known
            unlink(user)
        } else {
            if users.count == limits.usersMax { forget(oldest) }
            let record = HistoryUser(id: StoredUserID(copying: id), position: .none, born: appended &- 1)
            guard let new = users.insert(record, hash: hash) else {
                preconditionFailure("a table of users has no room for its own number")
            }
            user = new
        }
        users[user].appendedAt = now
        users[user].older = newest
        users[user].newer = Self.none
        if newest == Self.none { oldest = user } else { users[newest].newer = user }
        newest = user
        return user
    }

    private mutating func keep(_ event: EventView, _ user: UInt32, _ now: Instant) {
        // Whose it is, is known; who asked for it is of no use to anyone who comes back.
        var kept = event
        kept.user = .empty
        kept.requestID = .empty
        kept.origin = .none
        let record = kept.recordBytes
        guard HistoryRing.bytes(record: record) <= limits.userBytesMax else {
            lose(.userBytes, Int(users[user].ring.count) + 1)
            users[user].ring.removeAll()
            return
        }
        while !users[user].ring.fits(record: record) {
            if Int(users[user].ring.capacity) < limits.userBytesMax {
                grow(user, record)
            } else {
                lose(.userBytes, 1)
                users[user].ring.removeFirst()
            }
        }
        users[user].ring.append(kept, at: now)
    }

    private mutating func grow(_ user: UInt32, _ record: Int) {
        let before = Int(users[user].ring.capacity)
        var size = max(HistoryRing.bytesMin, before * 2)
        while size < HistoryRing.bytes(record: record) { size *= 2 }
        size = min(size, limits.userBytesMax)
        // Others make room. The one at hand is the newest, and alone it is within the bound.
        while bytes - before + size > limits.bytesMax, oldestHolder != Self.none, oldestHolder != user {
            evict(oldestHolder, .bytes)
        }
        users[user].ring.grow(to: size)
        bytes += size - before
    }

    // MARK: Letting go

    /// Drops what is too old, and what is too much once `room` more have come.
    private mutating func trim(_ user: UInt32, _ now: Instant, room: Int) {
        let from = now.advanced(by: .zero - limits.age)
        while users[user].ring.count > 0, users[user].ring.oldestAt < from {
            users[user].ring.removeFirst()
            lose(.age, 1)
        }
        while Int(users[user].ring.count) + room > limits.eventsMax, users[user].ring.count > 0 {
            users[user].ring.removeFirst()
            lose(.count, 1)
        }
    }

    private mutating func lose(_ why: HistoryLoss, _ count: Int) {
        losses[why.rawValue] &+= UInt64(count)
    }

    /// Drops a user's events; the position stays.
    private mutating func evict(_ user: UInt32, _ why: HistoryLoss) {
        lose(why, Int(users[user].ring.count))
        bytes -= Int(users[user].ring.capacity)
        users[user].ring.free()
        if oldestHolder == user { passHolder() }
    }

    private mutating func forget(_ user: UInt32) {
        evict(user, .users)
        forgottenThrough = max(forgottenThrough, users[user].position.first)
        unlink(user)
        users.remove(user)
    }

    /// The next newer one that has a ring.
    private mutating func passHolder() {
        while oldestHolder != Self.none, !users[oldestHolder].ring.exists {
            oldestHolder = users[oldestHolder].newer
        }
    }

    private mutating func unlink(_ user: UInt32) {
        let older = users[user].older
        let newer = users[user].newer
        if older == Self.none { oldest = newer } else { users[older].newer = newer }
        if newer == Self.none { newest = older } else { users[newer].older = older }
        guard oldestHolder == user else { return }
        oldestHolder = newer
        passHolder()
    }

    private func dueSweep(after now: Instant) -> Instant {
        max(
            users[oldestHolder].appendedAt.advanced(by: limits.age),
            now.advanced(byMilliseconds: Self.sweepMilliseconds))
    }

    /// Frees the rings of users who were sent nothing for as long as events are kept.
    mutating func sweep(at now: Instant) {
        guard let due = sweepDue, now >= due else { return }
        var left = Self.sweepMax
        while oldestHolder != Self.none, left > 0,
            users[oldestHolder].appendedAt.advanced(by: limits.age) < now
        {
            evict(oldestHolder, .age)
            left -= 1
        }
        sweepDue = oldestHolder == Self.none ? nil : dueSweep(after: now)
    }

    // MARK: Coming back

    /// Where a user stands, known here or not.
    func position(of id: Bytes, hash: UInt64) -> Offset {
        guard let user = users.find(id, hash: hash) else { return Offset(first: appended, number: 0) }
        return users[user].position
    }

    /// How many events a user was sent after `asked`; `nil` where not all of them are here, or where
    /// `asked` was never given.
    mutating func missed(since asked: Offset, of id: Bytes, hash: UInt64, at now: Instant) -> Int? {
        guard asked.first <= appended else { return nil }
        guard let user = users.find(id, hash: hash) else {
            return asked.first >= forgottenThrough ? 0 : nil
        }
        trim(user, now, room: 0)
        let position = users[user].position
        let kept = UInt64(users[user].ring.count)
        if asked.first > users[user].born {
            // Of this record's own life: numbers tell how many came after it.
            guard asked <= position, asked.number <= position.number,
                (asked.number == position.number) == (asked == position),
                position.number - asked.number <= kept
            else { return nil }
            return Int(position.number - asked.number)
        }
        // From before this record: all that it ever had came after, and nothing else did unless the
        // user was forgotten in between.
        guard asked.first >= forgottenThrough, kept == position.number else { return nil }
        return Int(kept)
    }

    /// The newest `count` events of a user, in order.
    func visit(last count: Int, of id: Bytes, hash: UInt64, _ body: (EventView) -> Void) {
        guard count > 0, let user = users.find(id, hash: hash) else { return }
        users[user].ring.visit(last: count) { body(EventView(record: $0)) }
    }
}
