// Verified tokens until they expire, in two generations: when the young one is full it becomes the
// old one and the old one is forgotten. So it is bounded, needs no list to keep an order, and
// whatever is in use stays.

internal import Synchronization

final class TokenCache: Sendable {
    /// Longer tokens are verified each time, so that the cache is bounded in bytes too.
    private static let tokenBytesMax = 2_048

    private struct Entry {
        let verified: VerifiedToken
        let until: Int64
    }

    private struct Generations {
        var young: [String: Entry] = [:]
        var old: [String: Entry] = [:]
    }

    private let generations = Mutex(Generations())
    private let generationMax: Int

    /// - Parameter entriesMax: 0 remembers nothing.
    init(entriesMax: Int) { generationMax = entriesMax / 2 }

    var count: Int { generations.withLock { $0.young.count + $0.old.count } }

    func find(_ token: String, at now: Int64) -> VerifiedToken? {
        guard generationMax > 0 else { return nil }
        var dropped: [String: Entry]?
        // What is dropped is freed after the lock, not under it.
        defer { withExtendedLifetime(dropped) {} }
        return generations.withLock { generations -> VerifiedToken? in
            if let entry = generations.young[token] {
                guard entry.until > now else {
                    generations.young[token] = nil
                    return nil
                }
                return entry.verified
            }
            guard let entry = generations.old.removeValue(forKey: token), entry.until > now else {
                return nil
            }
            dropped = insert(token, entry, into: &generations)
            return entry.verified
        }
    }

    func insert(_ token: String, _ verified: VerifiedToken, until: Int64) {
        guard generationMax > 0, token.utf8.count <= Self.tokenBytesMax else { return }
        var dropped: [String: Entry]?
        generations.withLock { generations in
            dropped = insert(token, Entry(verified: verified, until: until), into: &generations)
        }
        withExtendedLifetime(dropped) {}
    }

    private func insert(
        _ token: String, _ entry: Entry, into generations: inout Generations
    ) -> [String: Entry]? {
        var dropped: [String: Entry]?
        if generations.young.count >= generationMax {
            dropped = generations.old
            generations.old = generations.young
            generations.young = [:]
        }
        generations.young[token] = entry
        return dropped
    }
}
