import Testing

@testable import Skein

@Suite("UserTable")
struct UserTableTests {
    /// Beside a dictionary, with hashes that collide on purpose, short IDs and long ones. Compared without
    /// `#expect`, which costs more than the table: under a sanitizer, minutes.
    @Test(arguments: [UInt64.max, 0xFF, 0x7])
    func matchesAModel(mask: UInt64) {
        var random = SeededGenerator(seed: mask)
        var table = UserTable<UserRecord>(usersMax: 5_000)
        var model: [String: UInt32] = [:]
        func name(_ number: Int) -> String {
            number % 3 == 0 ? "user-\(number)" : String(repeating: "x", count: 39 + number % 60) + "\(number)"
        }
        for _ in 0..<20_000 {
            let id = name(Int.random(in: 0..<2_500, using: &random))
            withBytes(id) { bytes in
                let hash = UserHash.of(bytes) & mask
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
                    model[id] = table.insert(UserRecord(id: StoredUserID(copying: bytes), hash: hash))
                }
            }
            let count = table.count
            if count != model.count { Issue.record("\(count) users, not \(model.count)") }
        }
        for (id, slot) in model {
            withBytes(id) { bytes in
                let found = table.find(bytes, hash: UserHash.of(bytes) & mask)
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
                slots.append(table.insert(UserRecord(id: StoredUserID(copying: bytes), hash: UserHash.of(bytes))))
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
