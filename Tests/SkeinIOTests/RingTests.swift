// What every ring promises beside receiving and sending, held against each of them over real sockets.

import CSkein
import Glibc
import SkeinIO
import Testing

@Suite(.timeLimit(.minutes(1)))
struct RingTests {
    static let numeric = SocketAddress(host: "127.0.0.1", port: 0)

    @Test(arguments: Tenant.allCases)
    func acceptsUntilTold(_ tenant: Tenant) throws {
        var driver = try Driver(tenant)
        let listener = try Sockets.listen(on: try #require(Self.numeric))
        defer { Sockets.close(listener.fd) }
        driver.ask(.accept, listener.fd, tag: 1)
        let idle = driver.quiet()
        #expect(idle.isEmpty)
        var clients: [Int32] = []
        for _ in 0..<5 { clients.append(try Sockets.connect(to: listener.address)) }
        let came = driver.turns(5)
        #expect(came.count == 5)
        for completion in came {
            #expect(completion.result > 0 && completion.hasMore && !completion.hasBuffer)
            #expect(completion.token.slot == 1)
            let flags = skein_get_flags(completion.result)
            #expect(flags & O_NONBLOCK == 0)
            Sockets.close(completion.result)
        }
        clients.forEach(Sockets.close)
        driver.ask(.cancel, listener.fd, tag: 0)
        let last = driver.turns(1)
        #expect(last.map(\.result) == [-ECANCELED])
        #expect(last.first?.hasMore == false)
    }

    @Test(arguments: Tenant.allCases)
    func cancelsEverythingThenCloses(_ tenant: Tenant) throws {
        var driver = try Driver(tenant)
        let (mine, peer) = try Peer.connected()
        defer { peer.close() }
        Sockets.setSendBuffer(mine, bytes: 20_000)
        let block = Block(10_000_000)
        defer { withExtendedLifetime(block) {} }
        driver.ask(.receiveMany, mine, tag: 1)
        driver.ask(.sendNow, mine, tag: 3, address: block.address, count: block.count)
        var came = driver.turns(1)
        #expect(came.map(\.token.slot) == [3])
        driver.ask(.sendWhenPossible, mine, tag: 2, address: block.address, count: block.count)
        came = driver.quiet()
        while let completion = came.popLast() {
            // The peer's window was still growing.
            #expect(completion.token.slot == 2)
            driver.ask(.sendWhenPossible, mine, tag: 2, address: block.address, count: block.count)
            came += driver.quiet()
        }
        driver.ask(.cancel, mine, tag: 0)
        came = driver.turns(2)
        #expect(came.map(\.token.slot).sorted() == [1, 2])
        #expect(came.allSatisfy { $0.result == -ECANCELED && !$0.hasMore })
        driver.ask(.close, mine, tag: 9)
        came = driver.quiet()
        #expect(came.isEmpty)
        _ = peer.drain()
        let ended = peer.isEnded
        #expect(ended)
    }

    @Test(arguments: Tenant.allCases)
    func connects(_ tenant: Tenant) throws {
        var driver = try Driver(tenant)
        let listener = try Sockets.listen(on: try #require(Self.numeric))
        let memory = UnsafeMutableRawPointer.allocate(byteCount: 128, alignment: 8)
        defer { memory.deallocate() }
        let count = Int(listener.address.copy(to: memory))
        let fd = try Sockets.stream(for: listener.address)
        driver.ask(.connect, fd, tag: 1, address: UInt(bitPattern: memory), count: count)
        var came = driver.turns(1)
        #expect(came.map(\.result) == [0])
        let peer = Peer(fd: skein_accept(listener.fd))
        defer { peer.close() }
        peer.write([5])
        let heard = driver.receive(1, .receive, fd)
        #expect(heard == [5])
        driver.ask(.cancel, fd, tag: 0)
        _ = driver.quiet()

        // Nobody there any more.
        Sockets.close(listener.fd)
        let second = try Sockets.stream(for: listener.address)
        driver.ask(.connect, second, tag: 2, address: UInt(bitPattern: memory), count: count)
        came = driver.turns(1)
        #expect(came.map(\.result) == [-ECONNREFUSED])
        driver.ask(.close, fd, tag: 0)
        driver.ask(.close, second, tag: 0)
        came = driver.turn()
        #expect(came.isEmpty)
    }

    @Test(arguments: Tenant.allCases)
    func pollsOnce(_ tenant: Tenant) throws {
        var driver = try Driver(tenant)
        let (mine, peer) = try Peer.connected()
        defer { peer.close() }
        driver.ask(.pollReadable, mine, tag: 1)
        var came = driver.quiet()
        #expect(came.isEmpty)
        peer.write([1])
        came = driver.turns(1)
        #expect(came.count == 1 && came[0].result > 0 && !came[0].hasMore)
        came = driver.quiet()
        #expect(came.isEmpty)
        let heard = driver.receive(1, .receive, mine)
        #expect(heard == [1])
        driver.ask(.cancel, mine, tag: 0)
        _ = driver.quiet()
        driver.ask(.close, mine, tag: 0)
        _ = driver.turn()
    }

    @Test(arguments: Tenant.allCases)
    func wakesFromAnotherThread(_ tenant: Tenant) throws {
        var driver = try Driver(tenant)
        let waker = driver.waker
        for _ in 0..<20 {
            let thread = try PinnedThread.start(name: "waker") {
                usleep(2000)
                waker.wake()
            }
            let before = Instant.now()
            let came = driver.turn(.until(before.advanced(bySeconds: 5)))
            #expect(came.isEmpty)
            #expect(Instant.now().milliseconds(since: before) < 2000)
            thread.join()
        }
    }

    @Test(arguments: Tenant.allCases)
    func waitsAsLongAsTold(_ tenant: Tenant) throws {
        var driver = try Driver(tenant)
        for milliseconds in [1, 30] {
            let start = Instant.now()
            let deadline = start.advanced(byMilliseconds: milliseconds)
            // More than one turn only if something interrupts: a ring's own first wake-up, or the
            // remains of the ring that this thread had before.
            var turns = 0
            while Instant.now() < deadline {
                let came = driver.turn(.until(deadline))
                #expect(came.isEmpty)
                turns += 1
            }
            #expect(turns < 10)
            #expect(Instant.now().milliseconds(since: start) < 1000)
        }
        let past = driver.turn(.until(Instant.now().advanced(byMilliseconds: -5)))
        #expect(past.isEmpty)
    }

    /// More submissions than entries, and more failures than the kernel has room to answer at once.
    @Test(arguments: Tenant.allCases)
    func answersABatchOfAnySize(_ tenant: Tenant) throws {
        var options = RingOptions()
        options.submissions = 16
        options.completions = 32
        var driver = try Driver(tenant, options)
        let (mine, peer) = try Peer.connected()
        defer { peer.close() }
        Sockets.shutdown(mine)
        let block = Block(1)
        for tag in 0..<5000 {
            driver.ask(.sendNow, mine, tag: UInt32(tag), address: block.address, count: 1)
        }
        let came = driver.turn()
        #expect(came.count == 5000)
        #expect(came.allSatisfy { $0.result == -EPIPE })
        #expect(came.map(\.token.slot) == Array(0..<5000))
        _ = peer.drain()
    }

    /// More answers at once than the ring of them holds: what the kernel had to keep elsewhere comes too.
    @Test(arguments: Tenant.allCases)
    func losesNoAnswerForWantOfRoom(_ tenant: Tenant) throws {
        var options = RingOptions()
        options.submissions = 16
        options.completions = 16
        options.buffers = 256
        var driver = try Driver(tenant, options)
        var pairs: [(mine: Int32, peer: Peer)] = []
        defer { for pair in pairs { pair.peer.close() } }
        for tag in 1...200 {
            let (mine, peer) = try Peer.connected()
            pairs.append((mine, peer))
            driver.ask(.receive, mine, tag: UInt32(tag))
        }
        #expect(driver.quiet().isEmpty)
        for pair in pairs { pair.peer.write([7]) }
        let came = driver.turns(200)
        #expect(came.map(\.token.slot).sorted() == Array(1...200))
        #expect(came.map { driver.bytes($0) } == Array(repeating: [7], count: 200))
        #expect(driver.counters.current.overflows > 0 || tenant == .epoll)
        for pair in pairs { Sockets.close(pair.mine) }
    }

    @Test(arguments: Tenant.allCases)
    func cancelsByToken(_ tenant: Tenant) throws {
        var driver = try Driver(tenant)
        let (mine, peer) = try Peer.connected()
        defer { peer.close() }
        Sockets.setSendBuffer(mine, bytes: 20_000)
        let block = Block(10_000_000)
        defer { withExtendedLifetime(block) {} }
        driver.ask(.sendNow, mine, tag: 3, address: block.address, count: block.count)
        _ = driver.turns(1)
        driver.ask(.receiveMany, mine, tag: 1)
        driver.ask(.sendWhenPossible, mine, tag: 2, address: block.address, count: block.count)
        while let completion = driver.quiet().first {
            // The peer's window was still growing.
            #expect(completion.token.slot == 2)
            driver.ask(.sendWhenPossible, mine, tag: 2, address: block.address, count: block.count)
        }
        driver.ask(.cancel, mine, tag: 77)
        var came = driver.quiet()
        #expect(came.isEmpty)
        driver.ask(.cancel, mine, tag: 1)
        came = driver.turns(1)
        #expect(came.map(\.token.slot) == [1] && came.map(\.result) == [-ECANCELED])
        driver.ask(.cancel, mine, tag: 2)
        came = driver.turns(1)
        #expect(came.map(\.token.slot) == [2] && came.map(\.result) == [-ECANCELED])
        // It can go on.
        peer.write([8])
        let heard = driver.receive(1, .receive, mine)
        #expect(heard == [8])
        driver.ask(.close, mine, tag: 0)
        came = driver.quiet()
        #expect(came.isEmpty)
    }

    /// A connection moves home: what it was registered with forgets it.
    @Test(arguments: Tenant.allCases)
    func handsADescriptorOver(_ tenant: Tenant) throws {
        var old = try Driver(tenant)
        var new = try Driver(tenant)
        let (mine, peer) = try Peer.connected()
        defer { peer.close() }
        old.ask(.receive, mine, tag: 1)
        var came = old.quiet()
        #expect(came.isEmpty)
        peer.write([1])
        came = old.turns(1)
        let first = came.flatMap { old.bytes($0) }
        #expect(first == [1])
        old.ask(.release, mine, tag: 0)
        came = old.turn()
        #expect(came.isEmpty)
        new.ask(.receiveMany, mine, tag: 1)
        peer.write([2])
        came = new.turns(1)
        let second = came.flatMap { new.bytes($0) }
        #expect(second == [2])
        // One turn sleeps through: nothing of it comes here any more.
        let enters = old.counters.current.enters
        came = old.turn(.until(Instant.now().advanced(byMilliseconds: 20)))
        #expect(came.isEmpty)
        #expect(old.counters.current.enters == enters + 1)
        new.ask(.cancel, mine, tag: 0)
        _ = new.quiet()
        new.ask(.close, mine, tag: 0)
        _ = new.turn()
    }

    @Test func tellsWhatIsPossible() throws {
        #expect(URing.probe() == .available)
        #expect(try IOChoice.auto.resolve().kind == .uring)
        #expect(try IOChoice.epoll.resolve().kind == .epoll)
    }
}
