// Files that somebody may be writing at this moment. One that was cut where it still reads well, and two
// of which one is new and the other old, look like what they are only a moment later.

internal import Foundation

enum Settling {
    private static let pause = Duration.milliseconds(250)
    /// Five seconds in all.
    private static let looksMax = 20

    /// Looks until two looks in a row have found the same and `check` takes it.
    ///
    /// - Throws: after five seconds, what was wrong the last time; `unsettled` where no two were alike.
    static func read<Value: Equatable & Sendable, Failure: Error>(
        unsettled: Failure, _ look: () throws(Failure) -> Value,
        check: (Value) throws(Failure) -> Void
    ) async throws(Failure) -> Value {
        var last: Value?
        var problem = unsettled
        for _ in 0..<looksMax {
            do throws(Failure) {
                let value = try look()
                if value == last {
                    try check(value)
                    return value
                }
                last = value
            } catch {
                problem = error
            }
            try? await Task.sleep(for: pause)
        }
        throw problem
    }

    /// As `read`, for one file and before anything runs: a shorter pause, and only until it stands still.
    /// - Throws: what `look` does. - Returns: nil where it is written without end.
    static func readAtStart<Failure: Error>(
        _ look: () throws(Failure) -> Data
    ) throws(Failure) -> Data? {
        var last = try look()
        for _ in 0..<looksMax {
            Thread.sleep(forTimeInterval: 0.05)
            let again = try look()
            if again == last { return again }
            last = again
        }
        return nil
    }
}
