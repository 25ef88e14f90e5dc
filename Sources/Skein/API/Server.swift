// A broker in one process: the shards, the router, and the way to them for whoever embeds it.

internal import Dispatch
internal import Glibc
package import SkeinIO
internal import SkeinWire
internal import Synchronization

/// Accepts WebSocket connections and moves messages between their users.
///
/// Any thread may call any method. Make it, ``start()`` it, and end it with ``drain(_:)`` or
/// ``close()``; it starts once.
public final class Server: Sendable {
    let configuration: ServerConfiguration
    let shared: ServerShared
    let dialects: [DialectFactory]
    let dialectNames: [String]
    let shardMetrics: [Shared<ShardMetrics>]
    let routerMetrics: Shared<RouterMetrics>
    let reason = BackplaneReason()
    let node: UInt64
    let started: Instant
    let lifecycle = Mutex(Lifecycle())

    struct Lifecycle {
        var threads: [PinnedThread] = []
        var address = ""
        var io = ""
        var cores: [Int?] = []
        var isStarted = false
        var runningShards = 0
        var hasEnded = false
        var drain: (plan: DrainPlan, began: Instant)?
        var waiters: [CheckedContinuation<DrainReport, Never>] = []
    }

    /// - Throws: where the configuration contradicts itself; says what to change.
    public convenience init(
        _ configuration: ServerConfiguration, authenticator: any Authenticator,
        dialects: [DialectFactory], log: @escaping @Sendable (LogEvent) -> Void
    ) throws(ServerError) {
        try self.init(
            configuration, authenticator: authenticator, dialects: dialects, host: SystemHost(), log: log)
    }

    package init(
        _ configuration: ServerConfiguration, authenticator: any Authenticator,
        dialects: [DialectFactory], host: any Host, log: @escaping @Sendable (LogEvent) -> Void
    ) throws(ServerError) {
        precondition(TLSLibrary.isReady, "OpenSSL could not be started")
        var dialects = dialects
        if let path = configuration.echoPath {
            let isOpen = configuration.echoIsOpen
            dialects.append(DialectFactory { EchoDialect(path: path, isOpen: isOpen) })
        }
        let samples = dialects.map { $0.make() }
        guard samples.count <= ShardMetrics.dialectsMax else {
            throw ServerError("At most \(ShardMetrics.dialectsMax) endpoints fit one server.")
        }
        guard Set(samples.map(\.path)).count == samples.count else {
            throw ServerError("Two endpoints share one path: \(samples.map(\.path).joined(separator: ", ")).")
        }
        guard configuration.redisPrefix.utf8.count <= ServerConfiguration.redisPrefixBytesMax else {
            throw ServerError("The prefix in Redis has at most \(ServerConfiguration.redisPrefixBytesMax) bytes.")
        }
        let proxies = try ProxyTrust(configuration)
        let cores = CPUSet.allowed()
        let shardCount = configuration.shardCount > 0 ? configuration.shardCount : max(1, cores.count)
        guard shardCount <= 128 else { throw ServerError("At most 128 shards; asked for \(shardCount).") }
        self.configuration = configuration
        self.dialects = dialects
        dialectNames = samples.map(\.name)
        node = max(1, host.random())
        started = host.clock.now()
        let digits = String(node, radix: 16)
        let nodeID = String(repeating: "0", count: 16 - digits.count) + digits
        shardMetrics = (0..<shardCount).map { _ in Shared(ShardMetrics()) }
        routerMetrics = Shared(RouterMetrics())
        let health = HealthSource()
        shared = ServerShared(
            configuration, proxies: proxies, nodeID: nodeID, shardCount: shardCount,
            authenticator: authenticator, host: host,
            tls: try configuration.tls.map { tls throws(ServerError) in try TLSService(tls) },
            log: log, health: { health.text() })
        health.server = { [weak self] in self?.healthText() ?? "{}" }
    }

    deinit {
        for metrics in shardMetrics { metrics.destroy() }
        routerMetrics.destroy()
    }

    /// Unique per start.
    public var nodeID: String { shared.nodeID }

    /// Where it listens, with the real port; empty before the start.
    public var listenAddress: String { lifecycle.withLock { $0.address } }

    /// Starts the router and the shards, and returns when every listener accepts.
    ///
    /// - Throws: a port in use, io_uring asked for and denied, and the like; says what to do.
    public func start() throws(ServerError) {
        let isFirst = lifecycle.withLock { state in
            defer { state.isStarted = true }
            return !state.isStarted
        }
        guard isFirst else { throw ServerError("This server was started before; make a new one.") }
        let descriptors = Sockets.raiseFileDescriptorLimit()
        let kind = try chooseIO()
        let (listeners, address) = try listen()
        let cores = placement()
        lifecycle.withLock { state in
            state.address = address
            state.io = kind.rawValue
            state.cores = cores
            state.runningShards = listeners.count
        }
        let startup = Startup(count: listeners.count + 1)
        do throws(SystemError) {
            for (index, listener) in listeners.enumerated() {
                let thread = try PinnedThread.start(name: "skein-shard-\(index)", core: cores[index]) {
                    self.runShard(index, kind, listener, startup)
                }
                lifecycle.withLock { $0.threads.append(thread) }
            }
            let thread = try PinnedThread.start(name: "skein-router") { self.runRouter(kind, startup) }
            lifecycle.withLock { $0.threads.append(thread) }
        } catch {
            throw ServerError("A thread could not be started: \(error).")
        }
        if let failure = startup.wait() {
            throw ServerError("The event loops could not be started: \(failure). Try --io epoll.")
        }
        shared.log(
            LogEvent(
                level: .info, message: "sockets listener accepts",
                fields: [
                    ("address", address), ("shards", "\(listeners.count)"), ("io", kind.rawValue),
                    ("descriptors", "\(descriptors)"), ("node", nodeID),
                ]))
    }

    private func chooseIO() throws(ServerError) -> RingKind {
        let choice = SkeinIO.IOChoice(rawValue: configuration.io.rawValue) ?? .auto
        do throws(RingError) {
            let (kind, denied) = try choice.resolve()
            if let denied {
                shared.log(
                    LogEvent(
                        level: .warning,
                        message: """
                            io_uring is not to be had (\(denied)); using epoll. Allow it with \
                            kernel.io_uring_disabled=0 or a seccomp profile that lets io_uring_setup pass.
                            """))
            }
            return kind
        } catch {
            throw ServerError(
                "io_uring cannot be used: \(error). Use --io auto or --io epoll, or allow io_uring_setup.")
        }
    }

    private func listen() throws(ServerError) -> ([Int32], String) {
        let wanted = try listenAddress(of: configuration.listen)
        var listeners: [Int32] = []
        var address = wanted
        do throws(SystemError) { try Sockets.checkFree(wanted) } catch {
            throw ServerError(
                "The sockets listener failed: \(error). Stop what uses it or choose another with --listen.")
        }
        do throws(SystemError) {
            for _ in 0..<shared.shardCount {
                let (fd, real) = try Sockets.listen(on: address)
                // Accepted sockets inherit it.
                Sockets.setUserTimeout(fd, milliseconds: Int(configuration.limits.pongTimeout.milliseconds))
                listeners.append(fd)
                address = real
            }
        } catch {
            for fd in listeners { Sockets.close(fd) }
            throw ServerError(
                "The sockets listener failed: \(error). Stop what uses it or choose another with --listen.")
        }
        return (listeners, address.description)
    }

    /// `host:port`, `:port` for every address, or a name that is looked up.
    private func listenAddress(of text: String) throws(ServerError) -> SocketAddress {
        if let address = SocketAddress(parsing: text.hasPrefix(":") ? "0.0.0.0" + text : text) {
            return address
        }
        guard let (host, port) = SocketAddress.split(text) else {
            throw ServerError("\(text) is not an address; write host:port, such as 0.0.0.0:8080.")
        }
        do throws(SystemError) {
            let found = try SocketAddress.resolve(host: host, port: port)
            // `localhost` has two; the one that most clients mean is IPv4's.
            guard let address = found.first(where: { $0.family == AF_INET }) ?? found.first else {
                throw SystemError(call: "look-up of \(host)", errno: ENOENT)
            }
            return address
        } catch {
            throw ServerError("\(text) cannot be listened on: \(error). Write an IP address of this machine.")
        }
    }

    private func placement() -> [Int?] {
        let count = shared.shardCount
        switch configuration.pinning {
        case .none: return Array(repeating: nil, count: count)
        case .cores(let cores): return (0..<count).map { cores.isEmpty ? nil : cores[$0 % cores.count] }
        case .auto:
            let allowed = CPUSet.allowed()
            // One core has nothing to choose; fewer cores than shards have no fair place for all.
            guard allowed.count >= count, allowed.count > 1 else {
                return Array(repeating: nil, count: count)
            }
            return (0..<count).map { allowed[$0] }
        }
    }

    // MARK: Threads

    private func runShard(_ index: Int, _ kind: RingKind, _ listener: Int32, _ startup: Startup) {
        do throws(RingError) {
            switch kind {
            case .uring: try runShard(URing.self, index, listener, startup)
            case .epoll: try runShard(EpollRing.self, index, listener, startup)
            }
        } catch {
            startup.report("\(error)")
        }
        shardEnded()
    }

    func shardEnded() {
        let isLast = lifecycle.withLock { state in
            state.runningShards -= 1
            return state.runningShards == 0
        }
        guard isLast else { return }
        for inbox in shared.shardInboxes { ShardCore.abandonStranded(in: inbox, at: shared.host) }
        _ = LoopTask<RouterCore>.post(
            to: shared.routerInbox, kind: RouterRecord.task.rawValue, always: true
        ) { $0.finish() }
    }

    private func runShard<R: Ring & ~Copyable>(
        _ type: R.Type, _ index: Int, _ listener: Int32, _ startup: Startup
    ) throws(RingError) {
        var loop = makeShardLoop(index, try R.make(ringOptions), listener)
        startup.report(nil)
        loop.run(mayBeLent: shared.shardCount > 1)
    }

    func makeShardLoop<R: Ring & ~Copyable>(
        _ index: Int, _ ring: consuming R, _ listener: Int32
    ) -> Loop<R, Shard> {
        let state = ShardState(
            index: index, shared: shared, configuration: configuration, metrics: shardMetrics[index],
            dialects: dialects.map { $0.make() }, buffers: ring.buffers,
            counters: ring.counters, listener: listener)
        return Loop(
            ring: ring, machine: Shard(state), inbox: shared.shardInboxes[index], clock: shared.host.clock)
    }

    var ringOptions: RingOptions {
        var options = RingOptions()
        options.buffers = configuration.limits.receiveBuffersCount
        options.bufferBytes = configuration.limits.receiveBufferBytes
        return options
    }

    private func runRouter(_ kind: RingKind, _ startup: Startup) {
        do throws(RingError) {
            switch kind {
            case .uring: try runRouter(URing.self, startup)
            case .epoll: try runRouter(EpollRing.self, startup)
            }
        } catch {
            startup.report("\(error)")
        }
        routerEnded()
    }

    func routerEnded() {
        let waiters = lifecycle.withLock { state in
            state.hasEnded = true
            defer { state.waiters = [] }
            return state.waiters
        }
        for waiter in waiters { waiter.resume(returning: report()) }
    }

    private func runRouter<R: Ring & ~Copyable>(_ type: R.Type, _ startup: Startup) throws(RingError) {
        var loop = makeRouterLoop(try R.make(ringOptions))
        startup.report(nil)
        loop.run()
    }

    func makeRouterLoop<R: Ring & ~Copyable>(_ ring: consuming R) -> Loop<R, Router> {
        let state = RouterState(
            shared: shared, configuration: configuration, metrics: routerMetrics, reason: reason,
            buffers: ring.buffers, node: node, address: advertisedAddress,
            load: { [weak self] in self?.load() ?? NodeLoad() })
        let router = Router(state)
        router.core.begin(shared.host.clock.now())
        router.core.start()
        return Loop(ring: ring, machine: router, inbox: shared.routerInbox, clock: shared.host.clock)
    }
}

/// Breaks the circle of a server that is asked, by what it owns, how it is.
private final class HealthSource: Sendable {
    private let source = Mutex<@Sendable () -> String>({ "{}" })

    var server: @Sendable () -> String {
        get { source.withLock { $0 } }
        set { source.withLock { $0 = newValue } }
    }

    func text() -> String { server() }
}

/// Waits until every loop runs, or one could not be made.
private final class Startup: Sendable {
    private let semaphore = DispatchSemaphore(value: 0)
    private let failure = Mutex<String?>(nil)
    private let count: Int

    init(count: Int) { self.count = count }

    func report(_ error: String?) {
        if let error { failure.withLock { $0 = $0 ?? error } }
        semaphore.signal()
    }

    func wait() -> String? {
        for _ in 0..<count { semaphore.wait() }
        return failure.withLock { $0 }
    }
}
