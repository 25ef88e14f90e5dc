// What is revoked, by user and by token, for all threads of a server: asked once for each handshake
// and never for a message. Bounded; an entry counts until it expires, whether or not it was
// cleared away yet.

internal import SkeinIO
internal import Synchronization

/// A token's ID as 64 bits: what a connection keeps of it.
enum TokenMark {
    /// Of a token without an ID.
    static let none: UInt64 = 0

    static func of(_ tokenID: String) -> UInt64 {
        var tokenID = tokenID
        return tokenID.withUTF8 { text in
            guard let base = text.baseAddress, text.count <= Revocation.tokenIDBytesMax else { return none }
            // Seeded anew in every process, so that nobody can choose two IDs with one mark.
            return max(1, unsafe UserHash.of(Bytes(base, count: text.count)))
        }
    }
}

final class RevocationTable: Sendable {
    enum Insertion: Equatable {
        case new
        /// Another one says as much already.
        case known
        case full
    }

    private struct Entry {
        var before: Int64
        var expiresAt: Int64
    }

    private struct Contents {
        var users: [String: Entry] = [:]
        var tokens: [UInt64: (id: String, expiresAt: Int64)] = [:]
        /// Clearing away looks at everything, so it is done at most once a second.
        var cleanAt: Int64 = .min
        var count: Int { users.count + tokens.count }
    }

    private let countMax: Int
    private let contents = Mutex(Contents())
    /// Follows the contents, so that a node where nothing is revoked takes no lock.
    private let entryCount = Atomic<Int>(0)

    init(countMax: Int) { self.countMax = countMax }

    /// Entries, expired ones that still take room among them.
    var count: Int { entryCount.load(ordering: .relaxed) }

    func insert(_ revocation: Revocation, at now: Int64) -> Insertion {
        guard revocation.expiresAtMilliseconds > now else { return .known }
        return contents.withLock { contents in
            if contents.count >= countMax { clean(&contents, at: now) }
            defer { entryCount.store(contents.count, ordering: .sequentiallyConsistent) }
            switch revocation.subject {
            case .user(let user):
                return insert(user: user.description, revocation, into: &contents, at: now)
            case .token(let id):
                return insert(token: id, revocation, into: &contents)
            }
        }
    }

    func covers(_ identity: Identity, at now: Int64) -> Bool {
        guard count > 0 else { return false }
        let mark = identity.tokenID.map(TokenMark.of) ?? TokenMark.none
        return covers(
            user: identity.userID.description, mark: mark,
            issuedAt: identity.issuedAtMilliseconds ?? .min, at: now)
    }

    /// - Parameter issuedAt: milliseconds since 1970; the earliest there is where it is not known.
    func covers(user: String, mark: UInt64, issuedAt: Int64, at now: Int64) -> Bool {
        contents.withLock { contents in
            if mark != TokenMark.none, let token = contents.tokens[mark], token.expiresAt > now {
                return true
            }
            guard let entry = contents.users[user], entry.expiresAt > now else { return false }
            return issuedAt < entry.before
        }
    }

    /// The latest to expire first. What has expired is cleared away on the way.
    func list(at now: Int64) -> [Revocation] {
        let all = contents.withLock { contents in
            contents.cleanAt = .min
            clean(&contents, at: now)
            entryCount.store(contents.count, ordering: .sequentiallyConsistent)
            return contents.users.compactMap { id, entry in
                UserID(id).map {
                    Revocation(
                        .user($0), beforeMilliseconds: entry.before,
                        expiresAtMilliseconds: entry.expiresAt)
                }
            }
                + contents.tokens.values.map {
                    Revocation(.token($0.id), beforeMilliseconds: 0, expiresAtMilliseconds: $0.expiresAt)
                }
        }
        return all.sorted { $0.expiresAtMilliseconds > $1.expiresAtMilliseconds }
    }

    private func insert(
        user: String, _ revocation: Revocation, into contents: inout Contents, at now: Int64
    ) -> Insertion {
        guard let known = contents.users[user], known.expiresAt > now else {
            guard contents.count < countMax || contents.users[user] != nil else { return .full }
            contents.users[user] = Entry(
                before: revocation.beforeMilliseconds, expiresAt: revocation.expiresAtMilliseconds)
            return .new
        }
        guard revocation.beforeMilliseconds > known.before
            || revocation.expiresAtMilliseconds > known.expiresAt
        else { return .known }
        contents.users[user] = Entry(
            before: max(known.before, revocation.beforeMilliseconds),
            expiresAt: max(known.expiresAt, revocation.expiresAtMilliseconds))
        return .new
    }

    private func insert(
        token id: String, _ revocation: Revocation, into contents: inout Contents
    ) -> Insertion {
        let mark = TokenMark.of(id)
        if let known = contents.tokens[mark] {
            guard revocation.expiresAtMilliseconds > known.expiresAt else { return .known }
        } else if contents.count >= countMax {
            return .full
        }
        contents.tokens[mark] = (id, revocation.expiresAtMilliseconds)
        return .new
    }

    private func clean(_ contents: inout Contents, at now: Int64) {
        guard now >= contents.cleanAt else { return }
        contents.cleanAt = now + 1_000
        contents.users = contents.users.filter { $0.value.expiresAt > now }
        contents.tokens = contents.tokens.filter { $0.value.expiresAt > now }
    }
}
