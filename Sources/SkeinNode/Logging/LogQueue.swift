// Log lines on their way from the loops to stderr. A loop never waits here: where the queue is full
// or busy the line is dropped and counted, as are those that stderr does not take, and the count is
// reported as soon as there is room. One serial queue formats and writes.

internal import Dispatch
internal import FoundationEssentials
package import Logging
package import Skein
internal import Synchronization

package final class LogQueue: Sendable {
    private struct State {
        var lines: [LogLine] = []
        var isScheduled = false
    }

    /// How often a producer tries for the lock before it drops its line. Those who hold it do so
    /// for an append or a swap, so a handful is plenty.
    private static let attempts = 64

    package let level: Logger.Level
    private let format: LogFormat
    private let linesMax: Int
    private let state = Mutex(State())
    private let lost = Atomic<UInt64>(0)
    /// How many of them a line has told of.
    private let reported = Atomic<UInt64>(0)
    private let writer = DispatchQueue(label: "skein-log")
    private let write: @Sendable (String) -> Bool

    package init(
        _ settings: LogSettings,
        write: @escaping @Sendable (String) -> Bool = { StandardStream.error.write($0) }
    ) {
        level = Logger.Level(rawValue: settings.level) ?? .info
        format = settings.format
        linesMax = settings.queueLinesMax
        self.write = write
    }

    /// Lines that were dropped since the start: by the queue, or with a batch that stderr did not take whole.
    package var droppedCount: UInt64 { lost.load(ordering: .relaxed) }

    package func push(_ line: LogLine) {
        guard line.level >= level else { return }
        for _ in 0..<Self.attempts {
            let outcome = state.withLockIfAvailable { state -> (taken: Bool, schedule: Bool) in
                guard state.lines.count < linesMax else { return (false, false) }
                state.lines.append(line)
                defer { state.isScheduled = true }
                return (true, !state.isScheduled)
            }
            guard let outcome else { continue }
            if !outcome.taken { break }
            if outcome.schedule { writer.async { self.drain() } }
            return
        }
        lost.add(1, ordering: .relaxed)
    }

    /// From a loop.
    package func push(_ event: Skein.LogEvent) {
        let level: Logger.Level =
            switch event.level {
            case .debug: .debug
            case .info: .info
            case .warning: .warning
            case .error: .error
            }
        guard level >= self.level else { return }
        push(
            LogLine(
                millisecondsSince1970: Self.now(), level: level, message: event.message,
                fields: event.fields.map { (key: $0.0, value: $0.1) }))
    }

    package func push(
        _ level: Logger.Level, _ message: String, _ fields: [(key: String, value: String)] = []
    ) {
        push(
            LogLine(
                millisecondsSince1970: Self.now(), level: level, message: message, fields: fields))
    }

    /// Waits until all that was pushed is written, at most `timeout` milliseconds: a reader that
    /// has stopped must not keep the node from ending.
    package func flush(timeout milliseconds: Int = 500) {
        let done = DispatchSemaphore(value: 0)
        writer.async {
            self.drain()
            done.signal()
        }
        _ = done.wait(timeout: .now() + .milliseconds(milliseconds))
    }

    static func now() -> Int64 { Int64(Date().timeIntervalSince1970 * 1_000) }
}

private extension LogQueue {
    func drain() {
        while true {
            let lines = state.withLock { state -> [LogLine] in
                var taken: [LogLine] = []
                swap(&taken, &state.lines)
                state.isScheduled = !taken.isEmpty
                return taken
            }
            guard !lines.isEmpty else { return }
            var text = ""
            for line in lines { text += line.write(as: format) + "\n" }
            let lost = droppedCount
            if lost != reported.exchange(lost, ordering: .relaxed) {
                let line = LogLine(
                    millisecondsSince1970: Self.now(), level: .warning,
                    message: "log lines were dropped: the queue was full (raise LOG_LEVEL or "
                        + "LOG_QUEUE_LINES), or stderr took nothing, as on a full disk",
                    fields: [(key: "droppedTotal", value: "\(lost)")])
                text += line.write(as: format) + "\n"
            }
            if !write(text) { self.lost.add(UInt64(lines.count), ordering: .relaxed) }
        }
    }
}
