import Testing

@testable import Skein

/// What may be given to whom, of what Redis says of a user's history.
@Suite("HistoryPage")
struct HistoryPageTests {
    static func offset(_ first: UInt64, _ number: UInt64) -> Offset { Offset(first: first, number: number) }

    /// Five events of a user whose count began at 100; newest first, as Redis says them.
    static let events = [
        offset(140, 5), offset(130, 4), offset(130, 3), offset(120, 2), offset(100, 1),
    ]

    static func page(
        _ position: String = "140-5-100", now: UInt64 = 150, _ offsets: [Offset] = events, eventsMax: Int = 10,
        age: UInt64 = 1_000
    ) -> HistoryPage? {
        withBytes(position) {
            HistoryPage(
                position: $0, now: now, offsets: offsets, eventsMax: eventsMax, ageMilliseconds: age)
        }
    }

    static let cases: [(asked: Offset, missed: Int?, why: String)] = [
        (offset(140, 5), 0, "it has all"),
        (offset(130, 4), 1, "it missed the last"),
        (offset(130, 3), 2, "two of one millisecond"),
        (offset(100, 1), 4, "all but the first"),
        (offset(90, 0), 5, "it was there before anything happened"),
        (offset(100, 0), 5, "in the very millisecond"),
        (offset(110, 0), nil, "a place before all events, after the first of them"),
        (offset(90, 7), nil, "an event of a former life"),
        (offset(140, 6), nil, "never given"),
        (offset(135, 4), nil, "an event that was lost, whose number another has now"),
        (offset(200, 1), nil, "from the future"),
        (offset(150, 0), nil, "where it stood when nothing had happened, of a Redis that lost it"),
    ]

    @Test("whoever missed something is given all of it or nothing", arguments: cases)
    func missed(asked: Offset, missed: Int?, why: String) throws {
        let page = try #require(Self.page())
        #expect(page.missed(since: asked)?.count == missed, "\(why)")
    }

    @Test("what was trimmed is not there, however much Redis still has")
    func trimmed() throws {
        let few = try #require(Self.page(eventsMax: 2))
        #expect(few.missed(since: Self.offset(130, 3))?.count == 2)
        #expect(few.missed(since: Self.offset(120, 2)) == nil)
        #expect(few.missed(since: Self.offset(140, 5))?.count == 0)
        let young = try #require(Self.page(age: 20))
        #expect(young.missed(since: Self.offset(130, 3))?.count == 2)
        #expect(young.missed(since: Self.offset(120, 2))?.count == 3)
        #expect(young.missed(since: Self.offset(100, 1)) == nil)
        let old = try #require(Self.page(now: 10_000))
        #expect(old.missed(since: Self.offset(130, 4)) == nil)
        #expect(old.missed(since: Self.offset(140, 5))?.count == 0)
    }

    @Test("what Redis lost and gave another number shows where the page reaches back to it")
    func contradictions() throws {
        let page = try #require(Self.page())
        for place in Self.events { #expect(!page.contradicts(place)) }
        for place in [Self.offset(139, 5), Self.offset(135, 4), Self.offset(101, 1)] {
            #expect(page.contradicts(place), "\(place)")
        }
        for place in [Self.offset(90, 4), Self.offset(110, 0), Self.offset(150, 6)] {
            #expect(!page.contradicts(place), "\(place)")
        }
        // The last one that was read may be too old to be given away, and still is what it is.
        let young = try #require(Self.page(age: 5))
        #expect(young.offsets.isEmpty && young.contradicts(Self.offset(101, 1)))
        let trimmed = try #require(Self.page("140-5-100", [Self.offset(140, 5)]))
        #expect(!trimmed.contradicts(Self.offset(135, 4)))
        #expect(try !#require(Self.page("", [])).contradicts(Self.offset(90, 1)))
    }

    @Test("a hole is a hole, wherever it is")
    func holes() throws {
        for hole in 0..<Self.events.count {
            var offsets = Self.events
            offsets.remove(at: hole)
            let page = try #require(Self.page("140-5-100", offsets))
            for (place, asked) in Self.events.enumerated() {
                let isThere = place == 0 || place <= hole
                #expect((page.missed(since: asked) != nil) == isThere || place == 0, "hole \(hole), asked \(asked)")
            }
            #expect(page.missed(since: Self.offset(90, 0)) == nil)
        }
        let empty = try #require(Self.page("140-5-100", []))
        #expect(empty.missed(since: Self.offset(130, 4)) == nil)
        #expect(empty.missed(since: Self.offset(140, 5))?.count == 0)
    }

    @Test("a user to whom nothing ever happened stands at now")
    func nothing() throws {
        let page = try #require(Self.page("", []))
        #expect(page.tip == Self.offset(150, 0))
        #expect(page.missed(since: Self.offset(90, 0))?.count == 0)
        #expect(page.missed(since: Self.offset(90, 1)) == nil)
        #expect(page.missed(since: Self.offset(151, 0)) == nil)
    }

    @Test("what is no position, and numbers that lead nowhere", arguments: [
        "x", "1", "1-2", "-1-2", "1-2-", "1-2-x", "--", "1-2-3-4", "99999999999999999999-1-1",
    ])
    func malformed(position: String) {
        #expect(Self.page(position) == nil)
    }

    @Test func numbersFromOutsideDoNotTrap() throws {
        let page = try #require(Self.page("5-0-0", [Self.offset(5, 0), Self.offset(4, .max), Self.offset(3, 0)]))
        _ = page.missed(since: Self.offset(0, 0))
        _ = page.missed(since: Self.offset(4, 7))
    }
}
