@testable import Skein
import Testing

@Suite("Revocation table")
struct RevocationTableTests {
    private func user(_ name: String, before: Int64 = 1_000, until: Int64 = 10_000) -> Revocation {
        Revocation(.user(UserID(name)!), beforeMilliseconds: before, expiresAtMilliseconds: until)
    }

    private func token(_ id: String, until: Int64 = 10_000) -> Revocation {
        Revocation(.token(id), beforeMilliseconds: 0, expiresAtMilliseconds: until)
    }

    private func identity(_ name: String, issued: Int64? = nil, token: String? = nil) -> Identity {
        Identity(userID: UserID(name)!, issuedAtMilliseconds: issued, tokenID: token)
    }

    @Test("covers what was issued before, and what does not say when")
    func users() {
        let table = RevocationTable(countMax: 10)
        #expect(!table.covers(identity("a"), at: 5_000))
        #expect(table.insert(user("a"), at: 5_000) == .new)
        #expect(table.covers(identity("a", issued: 999), at: 5_000))
        #expect(!table.covers(identity("a", issued: 1_000), at: 5_000))
        #expect(table.covers(identity("a"), at: 5_000))
        #expect(!table.covers(identity("b"), at: 5_000))
        #expect(!table.covers(identity("a"), at: 10_000))
    }

    @Test("covers one token, whoever shows it")
    func tokens() {
        let table = RevocationTable(countMax: 10)
        #expect(table.insert(token("t"), at: 5_000) == .new)
        #expect(table.covers(identity("a", issued: 9_000, token: "t"), at: 5_000))
        #expect(!table.covers(identity("a", issued: 9_000, token: "u"), at: 5_000))
        #expect(!table.covers(identity("a", issued: 9_000), at: 5_000))
        #expect(!table.covers(identity("a", token: "t"), at: 10_000))
    }

    @Test("a second revocation only ever adds")
    func merging() {
        let table = RevocationTable(countMax: 10)
        #expect(table.insert(user("a", before: 1_000, until: 9_000), at: 0) == .new)
        #expect(table.insert(user("a", before: 1_000, until: 9_000), at: 0) == .known)
        #expect(table.insert(user("a", before: 900, until: 8_000), at: 0) == .known)
        #expect(table.insert(user("a", before: 900, until: 9_500), at: 0) == .new)
        #expect(table.covers(identity("a", issued: 950), at: 9_400))
        #expect(table.insert(user("a", before: 1_100, until: 1), at: 0) == .new)
        #expect(table.covers(identity("a", issued: 1_050), at: 9_400))
        // One that has expired leaves nothing of itself in the next.
        #expect(table.insert(user("a", before: 10, until: 20_000), at: 9_600) == .new)
        #expect(!table.covers(identity("a", issued: 15), at: 9_700))
        #expect(table.insert(user("b", until: 100), at: 100) == .known)
        #expect(!table.covers(identity("b"), at: 100))
    }

    @Test("full is said, and expiry makes room")
    func bound() {
        let table = RevocationTable(countMax: 3)
        #expect(table.insert(user("a", until: 2_000), at: 0) == .new)
        #expect(table.insert(user("b"), at: 0) == .new)
        #expect(table.insert(token("t"), at: 0) == .new)
        #expect(table.insert(user("c"), at: 0) == .full)
        #expect(table.insert(token("u"), at: 0) == .full)
        #expect(!table.covers(identity("c"), at: 0))
        // What is known already needs no room.
        #expect(table.insert(user("b", before: 2_000), at: 0) == .new)
        #expect(table.insert(user("c"), at: 2_000) == .new)
        #expect(table.count == 3)
        #expect(table.list(at: 2_000).count == 3)
        #expect(table.list(at: 10_000).isEmpty)
    }

    @Test("texts in Redis come back as what they were", arguments: [
        Revocation(.user(UserID("a:b")!), beforeMilliseconds: -5, expiresAtMilliseconds: 7),
        Revocation(.token("t:\"1\" ü"), beforeMilliseconds: 0, expiresAtMilliseconds: 7),
    ])
    func texts(revocation: Revocation) {
        let text = String(decoding: RevocationText.member(revocation), as: UTF8.self)
        #expect(RevocationText.parse(text, expiresAt: 7) == revocation)
    }

    @Test("texts that are none", arguments: ["", "u", "u:", "u:1", "u:1:", "u:x:a", "u:1:a b", "t:", "x:1"])
    func noTexts(text: String) {
        #expect(RevocationText.parse(text, expiresAt: 7) == nil)
    }
}
