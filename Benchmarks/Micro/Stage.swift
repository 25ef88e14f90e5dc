// A whole server on one thread: its shards and its router, on rings without a kernel, under a clock that
// the stage moves. Devices are connected by real handshakes before anything is measured.

import Glibc
import Skein
import SkeinIO
import SkeinServices

final class Stage {
    /// One for each shard.
    let kernels: [UnsafeMutablePointer<StubKernel>]
    /// Of the first shard, which accepts.
    var kernel: UnsafeMutablePointer<StubKernel> { kernels[0] }
    private let routerKernel = StubKernel.make()
    private let time: UnsafeMutablePointer<SimulatedTime>
    private let host: StubHost
    private let server: Server
    private let shards: [any SteppedLoop]
    private let shard: any SteppedLoop
    private let router: any SteppedLoop
    private let buffers: BufferPool
    private var nextDescriptor: Int32 = 16

    init(echo: Bool = false, shardCount: Int = 1) {
        kernels = (0..<shardCount).map { _ in StubKernel.make() }
        time = .allocate(capacity: 1)
        time.initialize(
            to: SimulatedTime(now: Instant(nanoseconds: 1_000_000_000), wallMilliseconds: 1_767_000_000_000))
        host = StubHost(time)
        var configuration = ServerConfiguration()
        configuration.shardCount = shardCount
        configuration.limits.handshakeRate = 0
        configuration.limits.connectionsPerAddressMax = 0
        configuration.limits.connectionsPerUserMax = 0
        // In force, and never met: what it costs is part of every message.
        configuration.limits.messageRate = 1_000_000
        configuration.limits.messageBurst = 1_000_000
        configuration.limits.historyEventsMax = 0
        if echo {
            configuration.echoPath = "/echo"
            configuration.echoIsOpen = true
        }
        do {
            server = try Server(
                configuration, authenticator: OpenDoor(), dialects: [relayDialect()], host: host,
                log: { _ in })
        } catch { fatalError("\(error)") }
        server.startStepped()
        let ring = StubRing(kernels[0])
        buffers = ring.buffers
        shard = server.makeSteppedShard(0, ring: ring, listener: 15, mayBeLent: shardCount > 1)
        shards = [shard] + (1..<shardCount).map { [server, kernels] index in
            server.makeSteppedShard(index, ring: StubRing(kernels[index]), listener: 15, mayBeLent: true)
        }
        router = server.makeSteppedRouter(ring: StubRing(routerKernel))
        for shard in shards { shard.begin() }
        router.begin()
        settle()
    }

    /// Someone who lives on that shard.
    func user(onShard index: Int) -> String {
        (0...).lazy.map { "user\($0)" }.first { self.server.home(ofUser: $0) == index }!
    }

    /// A device of `user`: its descriptor.
    func connect(_ user: String, path: String = "/ws") -> Int32 {
        let fd = nextDescriptor
        nextDescriptor += 1
        kernel.pointee.complete(
            Completion(token: kernel.pointee.acceptToken, result: fd, flags: .hasMore))
        settle()
        let request = """
            GET \(path)?token=\(user) HTTP/1.1\r\nHost: skein\r\nUpgrade: websocket\r\nConnection: Upgrade\r
            Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n
            """
        let before = sends
        receive(Block(request), on: fd)
        settle()
        precondition(sends > before, "the handshake was not answered")
        return fd
    }

    /// Of all shards.
    private var sends: Int { kernels.reduce(0) { $0 + $1.pointee.sends } }

    /// Bytes have come from a client of the first shard.
    @inline(__always)
    func receive(_ block: Block, on fd: Int32) {
        guard let buffer = buffers.takeRecycled() else { fatalError("no buffer left") }
        buffers.bytes(of: buffer).update(from: block.base, count: block.count)
        kernel.pointee.complete(
            Completion(
                token: kernel.pointee.receiveTokens[Int(fd)], result: Int32(block.count), buffer: buffer,
                flags: [.hasBuffer, .hasMore]))
    }

    /// One turn of the first shard, to the submission of what it sends, 10 µs later.
    @inline(__always)
    func turn() {
        time.pointee.now = time.pointee.now.advanced(byNanoseconds: 10_000)
        shard.turn()
        shard.enter()
    }

    /// The peer of `fd` reads again: all that waits in the kernel goes out.
    func resume(_ fd: Int32) {
        kernel.pointee.isStalled[Int(fd)] = false
        kernel.pointee.complete(
            Completion(
                token: kernel.pointee.sendTokens[Int(fd)], result: kernel.pointee.sendBytes[Int(fd)]))
    }

    /// Until nothing more comes of anything, other threads' work included.
    private func settle() {
        for _ in 0..<8 {
            turn()
            for shard in shards.dropFirst() {
                shard.turn()
                shard.enter()
            }
            router.turn()
            router.enter()
            host.jobs.runAll()
        }
    }
}

private struct OpenDoor: Authenticator {
    func authenticate(token: String) async throws(AuthenticationFailure) -> Identity {
        guard let user = UserID(token) else { throw .malformed }
        return Identity(userID: user)
    }
}

/// Unchecked: everything runs on one thread.
private final class StubHost: Host, @unchecked Sendable {
    let clock: Clock
    let jobs = StubExecutor()
    private var state: UInt64 = 1

    init(_ time: UnsafeMutablePointer<SimulatedTime>) { clock = .simulated(by: time) }

    var executor: (any TaskExecutor)? { jobs }

    func random() -> UInt64 {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return state
    }

    func stream(for address: SocketAddress) throws(SystemError) -> Int32 {
        throw SystemError(call: "socket", errno: EMFILE)
    }
    func peerAddress(of fd: Int32) -> PeerAddress? {
        PeerAddress(high: 0, low: 0xFFFF_7F00_0000 | UInt64(fd), port: 4_711)
    }
    func setNoDelay(_ fd: Int32) {}
    func setResetOnClose(_ fd: Int32) {}
    func shutdownSending(_ fd: Int32) {}
    func openReserve() throws(SystemError) -> Int32 { 14 }
    func close(_ fd: Int32) {}
}

/// Unchecked: as above.
private final class StubExecutor: TaskExecutor, @unchecked Sendable {
    private var jobs: [UnownedJob] = []

    func enqueue(_ job: consuming ExecutorJob) { jobs.append(UnownedJob(job)) }

    func runAll() {
        while !jobs.isEmpty { jobs.removeFirst().runSynchronously(on: asUnownedTaskExecutor()) }
    }
}
