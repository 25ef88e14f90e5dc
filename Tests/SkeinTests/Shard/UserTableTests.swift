import Testing

@testable import Skein

@Suite("UserTable")
struct UserTableTests {
    /// Beside a dictionary, with hashes that collide on purpose, short IDs and long ones. Compared without
    /// `#expect`, which costs more than the table: under a sanitizer, minutes.
    @Test func matchesAModel() {
        compareWithAModel(of: UserRecord.self, seed: 1)
        compareWithAModel(of: SomeCollide.self, seed: 2)
        compareWithAModel(of: MostCollide.self, seed: 3)
    }

    private func compareWithAModel<Record: TestRecord>(of: Record.Type, seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        var table = UserTable<Record>(usersMax: 5_000)
        var model: [String: UInt32] = [:]
        func name(_ number: Int) -> String {
            number % 3 == 0 ? "user-\(number)" : String(repeating: "x", count: 40 + number % 60) + "\(number)"
        }
        for _ in 0..<20_000 {
            let id = name(Int.random(in: 0..<2_500, using: &random))
            withBytes(id) { bytes in
                let hash = Record.hash(of: bytes)
                let found = table.find(bytes, hash: hash)
                if found != model[id] { Issue.record("\(id) is at \(found as Any), not \(model[id] as Any)") }
                if let found {
                    let stored = table.id(of: found).text
                    if stored != id { Issue.record("\(id) is stored as \(stored)") }
                    if Int.random(in: 0..<3, using: &random) == 0 {
                        table.remove(found)
                        model[id] = nil
                    }
                } else {
                    model[id] = table.insert(Record(StoredUserID(copying: bytes)), hash: hash)
                }
            }
            let count = table.count
            if count != model.count { Issue.record("\(count) users, not \(model.count)") }
        }
        for (id, slot) in model {
            withBytes(id) { bytes in
                let found = table.find(bytes, hash: Record.hash(of: bytes))
                #expect(found == slot)
            }
        }
    }

    @Test func fullTableRefuses() {
        var table = UserTable<UserRecord>(usersMax: 2)
        var slots: [UInt32?] = []
        // The last one's ID has memory of its own, which LeakSanitizer wants back.
        for id in ["a", "b", String(repeating: "c", count: 100)] {
            withBytes(id) { bytes in
                let record = UserRecord(id: StoredUserID(copying: bytes))
                slots.append(table.insert(record, hash: UserHash.of(bytes)))
            }
        }
        #expect(slots[0] != nil && slots[1] != nil)
        #expect(slots[2] == nil)
    }

    @Test func userIDsAreOneTo128VisibleCharacters() {
        #expect(UserID("") == nil)
        #expect(UserID("a b") == nil)
        #expect(UserID("é") == nil)
        #expect(UserID("tab\t") == nil)
        #expect(UserID(String(repeating: "a", count: 129)) == nil)
        #expect(UserID(String(repeating: "a", count: 128))?.count == 128)
        #expect(UserID("~!\"\\")?.description == "~!\"\\")
        #expect(UserID("alice") == UserID("alice"))
        #expect(UserID("alice") != UserID("alicf"))
    }
}

private protocol TestRecord: UserKeyed {
    init(_ id: StoredUserID)
}

extension UserRecord: TestRecord {
    fileprivate init(_ id: StoredUserID) { self.init(id: id) }
}

private struct SomeCollide: TestRecord {
    var id: StoredUserID
    init(_ id: StoredUserID) { self.id = id }
    static var idOffset: Int { 0 }
    static func hash(of id: Bytes) -> UInt64 { UserHash.of(id) & 0xFF }
}

private struct MostCollide: TestRecord {
    var id: StoredUserID
    init(_ id: StoredUserID) { self.id = id }
    static var idOffset: Int { 0 }
    static func hash(of id: Bytes) -> UInt64 { UserHash.of(id) & 0x7 }
}
