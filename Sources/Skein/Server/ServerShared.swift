// What the threads of one server have in common: constants, a few counters that several threads
// count, and the ways to one another's inboxes. Nothing here is on the path of a message.

internal import SkeinIO
internal import Synchronization

final class ServerShared: Sendable {
    let nodeID: String
    let host: any Host
    let version: String
    let startedAtMilliseconds: Int64
    let shardCount: Int
    let sessionRequired: Bool
    let allowedOrigins: [String]
    let proxies: ProxyTrust
    let tlsHints = LogPace()
    let proxyHints = LogPace()
    let shardInboxes: [Inbox]
    let routerInbox: Inbox
    let addresses: AddressTable
    let memory: MemoryGauge
    /// Where the sockets listener speaks TLS.
    let tls: TLSService?
    let revocations: RevocationTable
    let log: @Sendable (LogEvent) -> Void
    /// What the nodes say of themselves, and the pace of this one's drain.
    let board = NodeBoard()
    let pace = DrainPace()
    private let authentication: AuthenticationGate
    private let connectionCount = Atomic<Int>(0)
    let health: @Sendable () -> String

    /// The router's place in every shard's outbox: behind the shards.
    var routerIndex: Int { shardCount }

    init(
        _ configuration: ServerConfiguration, proxies: ProxyTrust, nodeID: String, shardCount: Int,
        authenticator: any Authenticator, host: any Host,
        tls: TLSService?, log: @escaping @Sendable (LogEvent) -> Void,
        health: @escaping @Sendable () -> String
    ) {
        self.tls = tls
        self.host = host
        self.nodeID = nodeID
        version = configuration.version
        startedAtMilliseconds = host.clock.wallMilliseconds()
        self.shardCount = shardCount
        sessionRequired = configuration.sessionRequired
        allowedOrigins = configuration.allowedOrigins
        self.proxies = proxies
        let postsMax = configuration.limits.postsMax
        shardInboxes = (0..<shardCount).map { _ in Inbox(postsMax: postsMax) }
        routerInbox = Inbox(postsMax: postsMax)
        addresses = AddressTable(start: host.clock.now())
        memory = MemoryGauge(limit: configuration.limits.memoryBytesMax)
        self.log = log
        self.health = health
        revocations = RevocationTable(countMax: configuration.limits.revocationsMax)
        authentication = AuthenticationGate(
            authenticator, inboxes: shardInboxes, revocations: revocations, host: host)
    }

    func home(of hash: UInt64) -> Int { Int(hash % UInt64(shardCount)) }

    /// Where connections are that a revocation may name: a user's meet on one shard, a token's may be
    /// anywhere.
    func shards(of subject: Revocation.Subject) -> Range<Int> {
        guard case .user(let user) = subject else { return 0..<shardCount }
        let hash = user.withBytes { id in
            unsafe id.withUnsafeBufferPointer { unsafe UserHash.of(Bytes($0.baseAddress!, count: $0.count)) }
        }
        return home(of: hash)..<home(of: hash) + 1
    }

    func authenticate(_ token: String, for reference: ConnectionReference) -> Bool {
        authentication.ask(token, for: reference)
    }

    func healthText() -> String { health() }

    /// - Returns: whether there is room for one more; it is counted either way.
    func connectionCame(max: Int) -> Bool {
        let count = connectionCount.add(1, ordering: .relaxed).newValue
        return max == 0 || count <= max
    }

    func connectionCame() { _ = connectionCame(max: 0) }

    /// On any shard, or on the way between two.
    var hasNoConnections: Bool { connectionCount.load(ordering: .relaxed) <= 0 }

    /// As many as there are in any state, about.
    var connectionTotal: Int { max(0, connectionCount.load(ordering: .relaxed)) }

    func connectionLeft() { connectionCount.subtract(1, ordering: .relaxed) }
}
