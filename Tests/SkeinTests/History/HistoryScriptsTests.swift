import Testing

@testable import Skein

@Suite("What the append script says")
struct HistoryScriptsTests {
    @Test("how many it did, and why not all", arguments: [
        ("DONE 3 NOPERM this user", 3, "NOPERM this user"), ("DONE 0 OOM command", 0, "OOM command"),
        ("DONE 31 ", 31, ""),
    ])
    func partlyDone(error: String, done: Int, why: String) throws {
        let text = Array(error.utf8)
        let said = text.withUnsafeBufferPointer { buffer -> (Int, String)? in
            guard let base = buffer.baseAddress else { return nil }
            return HistoryScripts.partlyDone(Bytes(base, count: buffer.count)).map { ($0.done, $0.why.text) }
        }
        #expect(said?.0 == done)
        #expect(said?.1 == why)
    }

    @Test("anything else is Redis's own", arguments: [
        "NOSCRIPT No matching script", "DONE", "DONE ", "DONE x NOPERM", "DONE 31", "DONE 99999 OOM", "GAP the event",
    ])
    func notPartlyDone(error: String) {
        let text = Array(error.utf8)
        let isPartly = text.withUnsafeBufferPointer { buffer in
            buffer.baseAddress.map { HistoryScripts.partlyDone(Bytes($0, count: buffer.count)) != nil }
        }
        #expect(isPartly == false)
    }
}
