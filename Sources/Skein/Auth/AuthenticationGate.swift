// The way out of a loop and back for what must wait: a token goes to the authenticator on the
// cooperative pool, the answer comes into the shard's inbox. How many may be out is bounded.

internal import SkeinIO
internal import Synchronization

final class AuthenticationGate: Sendable {
    /// Questions out at once. Past it a handshake is answered 503.
    static let outstandingMax = 8_192

    private let authenticator: any Authenticator
    private let inboxes: [Inbox]
    private let revocations: RevocationTable
    private let clock: Clock
    private let executor: (any TaskExecutor)?
    private let outstanding = Atomic<Int>(0)

    init(
        _ authenticator: any Authenticator, inboxes: [Inbox], revocations: RevocationTable, host: any Host
    ) {
        clock = host.clock
        executor = host.executor
        self.authenticator = authenticator
        self.revocations = revocations
        self.inboxes = inboxes
    }

    /// Called on a shard's thread; returns at once.
    ///
    /// - Returns: false when too many questions are out: there will be no answer.
    func ask(_ token: String, for reference: ConnectionReference) -> Bool {
        guard outstanding.add(1, ordering: .relaxed).newValue <= Self.outstandingMax else {
            outstanding.subtract(1, ordering: .relaxed)
            return false
        }
        Task.detached(executorPreference: executor) {
            let answer: [UInt8]
            do throws(AuthenticationFailure) {
                let identity = try await self.authenticator.authenticate(token: token)
                guard !self.revocations.covers(identity, at: self.clock.wallMilliseconds()) else {
                    throw AuthenticationFailure.revoked
                }
                answer = Self.encode(identity)
            } catch {
                answer = [0, error == .overloaded ? 1 : 0]
            }
            // A full inbox loses the answer; the handshake's deadline ends it then.
            _ = self.inboxes[reference.shard].post(
                kind: ShardRecord.authenticated.rawValue, argument: reference.rawValue,
                payload: answer)
            self.outstanding.subtract(1, ordering: .relaxed)
        }
        return true
    }

    private static func encode(_ identity: Identity) -> [UInt8] {
        var bytes: [UInt8] = [1]
        let expiresAt = identity.expiresAtMilliseconds ?? .max
        let issuedAt = identity.issuedAtMilliseconds ?? .min
        let mark = identity.tokenID.map(TokenMark.of) ?? TokenMark.none
        unsafe withUnsafeBytes(of: (expiresAt, issuedAt, mark)) { unsafe bytes.append(contentsOf: $0) }
        func append(_ text: [UInt8]) {
            unsafe withUnsafeBytes(of: UInt16(text.count)) { unsafe bytes.append(contentsOf: $0) }
            bytes.append(contentsOf: text)
        }
        append(Array(identity.userID.description.utf8))
        append(Array((identity.username ?? "").utf8.prefix(OwnedText.countMax)))
        return bytes
    }
}
