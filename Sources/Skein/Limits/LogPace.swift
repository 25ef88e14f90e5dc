// How often one thing is logged that a peer can cause at will: once in a while over all shards, so that
// an operator learns of it and nobody can fill a disk.

internal import SkeinIO
internal import Synchronization

final class LogPace: Sendable {
    private static let intervalSeconds = 60
    private let due = Atomic<Int64>(.min)

    /// Whether it is time for a line; the next is then due in a minute.
    func isDue(_ now: Instant) -> Bool {
        let old = due.load(ordering: .relaxed)
        guard now.nanoseconds >= old else { return false }
        let next = now.advanced(byMilliseconds: Self.intervalSeconds * 1_000).nanoseconds
        return due.compareExchange(expected: old, desired: next, ordering: .relaxed).exchanged
    }
}
