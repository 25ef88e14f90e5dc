// Verified tokens until they expire, in two generations: when the young one is full it becomes the
// old one and the old one is forgotten. So it is bounded, needs no list to keep an order, and
// whatever is in use stays. A token is known by its digest, so that an entry is small and the cache
// holds nothing that could be used to sign in.

internal import COpenSSL
internal import Skein
internal import Synchronization

final class TokenCache: Sendable {
    /// The first half of a token's SHA-256: who would be taken for another has to find 128 bits.
    private struct Digest: Hashable {
        let first, second: UInt64

        init(_ token: String) {
            var token = token
            var words: (UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0)
            token.withUTF8 { text in
                unsafe withUnsafeMutableBytes(of: &words) { memory in
                    let target = unsafe memory.assumingMemoryBound(to: UInt8.self).baseAddress
                    _ = unsafe EVP_Digest(text.baseAddress, text.count, target, nil, EVP_sha256(), nil)
                }
            }
            (first, second, _, _) = words
        }

        // One word is as good as any: the digest is uniform already.
        func hash(into hasher: inout Hasher) { hasher.combine(first) }
    }

    /// What few tokens say.
    private final class Extras: Sendable {
        let username: String?
        let role: String?
        let tokenID: String?

        init?(_ verified: VerifiedToken) {
            username = verified.identity.username
            role = verified.role
            tokenID = verified.identity.tokenID
            if username == nil, role == nil, tokenID == nil { return nil }
        }
    }

    /// A verified token, as small as it can be: there is one for each of many connections. The user's
    /// ID is a text, which is stored in place when it is short.
    private struct Entry {
        let userID: String
        let extras: Extras?
        /// `.max`: never.
        let expiresAt: Int64
        /// `.min`: it does not say.
        let issuedAt: Int64
        let until: Int64

        init(_ verified: VerifiedToken, until: Int64) {
            userID = verified.identity.userID.description
            extras = Extras(verified)
            expiresAt = verified.identity.expiresAtMilliseconds ?? .max
            issuedAt = verified.identity.issuedAtMilliseconds ?? .min
            self.until = until
        }

        var verified: VerifiedToken? {
            guard let user = UserID(userID) else { return nil }
            return VerifiedToken(
                identity: Identity(
                    userID: user, username: extras?.username,
                    expiresAtMilliseconds: expiresAt == .max ? nil : expiresAt,
                    issuedAtMilliseconds: issuedAt == .min ? nil : issuedAt, tokenID: extras?.tokenID),
                role: extras?.role)
        }
    }

    private struct Generations {
        var young: [Digest: Entry] = [:]
        var old: [Digest: Entry] = [:]
        /// Of the keys that all of these were verified with.
        var keys: UInt64 = 0
    }

    private let generations = Mutex(Generations())
    private let generationMax: Int

    /// - Parameter entriesMax: 0 remembers nothing.
    init(entriesMax: Int) { generationMax = entriesMax / 2 }

    var count: Int { generations.withLock { $0.young.count + $0.old.count } }

    /// - Parameter generation: of the keys; what older keys verified is forgotten.
    func find(_ token: String, at now: Int64, generation: UInt64) -> VerifiedToken? {
        guard generationMax > 0 else { return nil }
        let digest = Digest(token)
        var dropped: [Digest: Entry]?
        // What is dropped is freed after the lock, not under it.
        defer { withExtendedLifetime(dropped) {} }
        let found = generations.withLock { generations -> Entry? in
            guard generations.keys == generation else { return nil }
            if let entry = generations.young[digest] {
                guard entry.until > now else {
                    generations.young[digest] = nil
                    return nil
                }
                return entry
            }
            guard let entry = generations.old.removeValue(forKey: digest), entry.until > now else {
                return nil
            }
            dropped = insert(digest, entry, into: &generations)
            return entry
        }
        return found?.verified
    }

    func insert(_ token: String, _ verified: VerifiedToken, until: Int64, generation: UInt64) {
        guard generationMax > 0 else { return }
        let digest = Digest(token)
        let entry = Entry(verified, until: until)
        var dropped: [Digest: Entry]?
        generations.withLock { generations in
            // Verified with keys that others have replaced meanwhile.
            guard generations.keys <= generation else { return }
            if generations.keys < generation { generations = Generations(keys: generation) }
            dropped = insert(digest, entry, into: &generations)
        }
        withExtendedLifetime(dropped) {}
    }

    private func insert(
        _ digest: Digest, _ entry: Entry, into generations: inout Generations
    ) -> [Digest: Entry]? {
        var dropped: [Digest: Entry]?
        if generations.young.count >= generationMax {
            dropped = generations.old
            generations.old = generations.young
            generations.young = [:]
        }
        generations.young[digest] = entry
        return dropped
    }
}
