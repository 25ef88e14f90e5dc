// That log lines are one line each whatever is in them, and that nobody waits for their writing.

import Dispatch
import Foundation
import Logging
import Skein
import SkeinNode
import Synchronization
import Testing

@Suite struct LogTests {
    private let line = LogLine(
        millisecondsSince1970: 1_700_000_000_123, level: .warning, message: "a \"b\"\nc",
        fields: [(key: "user", value: "x y"), (key: "n", value: "1\u{1B}[2J")])

    @Test func text() {
        #expect(
            line.write(as: .text)
                == #"2023-11-14T22:13:20.123Z WARNING  a \"b\"\nc user="x y" n="1\u001b[2J""#)
    }

    @Test func json() throws {
        let text = line.write(as: .json)
        let parsed = try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: String]
        #expect(parsed?["message"] == "a \"b\"\nc")
        #expect(parsed?["time"] == "2023-11-14T22:13:20.123Z")
        #expect(parsed?["level"] == "warning")
        #expect(parsed?["n"] == "1\u{1B}[2J")
        #expect(!text.contains("\n"))
    }

    @Test func theLevelFilters() {
        let written = Mutex("")
        let queue = LogQueue(LogSettings(), write: { text in
            written.withLock { $0 += text }
            return true
        })
        queue.push(Skein.LogEvent(level: .debug, message: "unseen", fields: []))
        queue.push(Skein.LogEvent(level: .info, message: "seen", fields: [("k", "v")]))
        queue.flush()
        let text = written.withLock { $0 }
        #expect(text.hasSuffix("INFO     seen k=v\n"))
        #expect(!text.contains("unseen"))
    }

    @Test func aFullQueueDropsAndCounts() {
        let gate = DispatchSemaphore(value: 0)
        let written = Mutex("")
        var settings = LogSettings()
        settings.queueLinesMax = 10
        let queue = LogQueue(
            settings,
            write: { text in
                gate.wait()
                written.withLock { $0 += text }
                return true
            })
        // The writer is stuck from its first batch on: at most that and ten more are kept.
        for index in 0..<100 { queue.push(.info, "line \(index)") }
        #expect(queue.droppedCount >= 80)
        for _ in 0..<100 { gate.signal() }
        queue.flush()
        queue.push(.info, "last")
        queue.flush()
        let text = written.withLock { $0 }
        #expect(text.contains("droppedTotal=\(queue.droppedCount)"))
        #expect(text.contains("last\n"))
    }

    /// As on a full disk: told as soon as there is room again.
    @Test func whatStderrDoesNotTakeIsCounted() {
        let written = Mutex("")
        let isFull = Mutex(true)
        let queue = LogQueue(LogSettings(), write: { text in
            guard !isFull.withLock({ $0 }) else { return false }
            written.withLock { $0 += text }
            return true
        })
        for index in 0..<3 {
            queue.push(.info, "line \(index)")
            queue.flush()
        }
        #expect(queue.droppedCount == 3)
        isFull.withLock { $0 = false }
        queue.push(.info, "last")
        queue.flush()
        let text = written.withLock { $0 }
        #expect(text.contains("droppedTotal=3") && text.contains("last\n"))
        #expect(!text.contains("line 0"))
    }
}
