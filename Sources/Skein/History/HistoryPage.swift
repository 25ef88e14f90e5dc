// What Redis says of one user's history at one moment: the position, and the offsets of the newest
// events. Whether that is all that somebody missed is decided here, by the same rules as in memory.

internal import SkeinWire

struct HistoryPage {
    /// Where the user stands.
    let tip: Offset
    /// When the user's count began; `nil` where there is no count.
    let born: UInt64?
    /// Of the events that are there and may still be given away, newest first.
    let offsets: [Offset]
    /// All that were read, also those that are too old to be given away.
    private let read: [Offset]

    /// - Parameters:
    ///   - position: as the append script writes it, or nothing.
    ///   - now: milliseconds, by the clock of Redis.
    init?(position: Bytes, now: UInt64, offsets: [Offset], eventsMax: Int, ageMilliseconds: UInt64) {
        if position.isEmpty {
            tip = Offset(first: now, number: 0)
            born = nil
            read = []
            self.offsets = []
            return
        }
        var end = position.count
        while end > 0, unsafe position.base[end - 1] != UInt8(ascii: "-") { end -= 1 }
        guard end > 1, let tip = Offset(parsing: position.slice(from: 0, count: end - 1)),
            let born = unsafe JSONNumber.integer(
                position.slice(from: end, count: position.count - end).buffer.span),
            born >= 0
        else { return nil }
        self.tip = tip
        self.born = UInt64(born)
        read = offsets
        // Redis trims in steps of its own; what is past the bounds counts as gone.
        let oldest = now > ageMilliseconds ? now - ageMilliseconds : 0
        self.offsets = Array(offsets.prefix(eventsMax).prefix { $0.first >= oldest })
    }

    /// Whether another event than `place` has its number: Redis lost that one and went on from before it, as
    /// after a failover, and how much is different since nobody knows.
    ///
    /// It is seen where the page reaches back to `place`; what was trimmed contradicts nobody, and neither does
    /// a life that began later.
    func contradicts(_ place: Offset) -> Bool {
        guard let born, place.number > 0, place.first >= born else { return false }
        func isAnother(_ offset: Offset) -> Bool { offset.number == place.number && offset != place }
        return isAnother(tip) || read.contains(where: isAnother)
    }

    /// The places of the events after `asked`, as they are listed: newest first; `nil` where not all of
    /// them are there, or where `asked` was never given.
    func missed(since asked: Offset) -> Range<Int>? {
        if asked == tip { return 0..<0 }
        guard !contradicts(asked) else { return nil }
        guard let born, asked < tip else {
            // Nothing ever happened, then and now.
            return born == nil && asked.number == 0 && asked.first <= tip.first ? 0..<0 : nil
        }
        // An event's offset is of this life or of another; a place before all events has to be older
        // than the life that followed.
        guard asked.number == 0 ? asked.first <= born : asked.first >= born else { return nil }
        var expected = tip.number
        var count = 0
        for offset in offsets {
            guard offset > asked else { break }
            guard offset.number == expected else { return nil }
            expected &-= 1
            count += 1
        }
        guard count > 0, offsets[0] == tip, expected == asked.number else { return nil }
        return 0..<count
    }
}
