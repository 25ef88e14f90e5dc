// What a node reads again on SIGHUP: one pass at a time, and passes that are asked for meanwhile
// become one. Each part keeps what it had where the new files are no good.

internal import Logging

struct Reloading: Sendable {
    /// What is read again, and what it is called in a log line.
    struct Part: Sendable {
        let name: String
        let reload: @Sendable () async throws(ConfigurationProblem) -> Void
    }

    private let ask: AsyncStream<Void>.Continuation
    private let task: Task<Void, Never>

    init(_ parts: [Part], logs: LogQueue) {
        let (asked, ask) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
        self.ask = ask
        task = Task {
            for await _ in asked {
                logs.push(.notice, "SIGHUP: reading files again")
                for part in parts {
                    do throws(ConfigurationProblem) {
                        try await part.reload()
                    } catch {
                        logs.push(
                            .error,
                            "\(part.name) not reloaded, the old one stays in use: \(error.message) Then send "
                                + "SIGHUP again.")
                    }
                }
            }
        }
    }

    /// Returns at once.
    func request() { ask.yield() }

    func stop() { task.cancel() }
}
