// What every ring promises of sending, at once and when there is room.

import Glibc
import SkeinIO
import Testing

@Suite(.timeLimit(.minutes(1)))
struct RingSendingTests {
    @Test(arguments: Tenant.allCases)
    func sendsNowWithoutAWord(_ tenant: Tenant) throws {
        var driver = try Driver(tenant)
        let (mine, peer) = try Peer.connected()
        defer { peer.close() }
        let block = Block(1000)
        for _ in 0..<3 {
            driver.ask(.sendNow, mine, tag: 1, address: block.address, count: block.count)
        }
        let came = driver.turn()
        #expect(came.isEmpty)
        let heard = peer.read(3000)
        #expect(heard == block.array + block.array + block.array)
        let later = driver.quiet()
        #expect(later.isEmpty)
    }

    /// The promise that a whole turn's batch rests on: a full send is silent, a partial one counts,
    /// one that does not fit says so, all in the very next reap.
    @Test(arguments: Tenant.allCases, [false, true])
    func sendsNowWhatFits(_ tenant: Tenant, asVector: Bool) throws {
        var driver = try Driver(tenant)
        let (mine, peer) = try Peer.connected()
        defer { peer.close() }
        Sockets.setSendBuffer(mine, bytes: 20_000)
        Sockets.setReceiveBuffer(peer.fd, bytes: 20_000)
        let block = Block(400_000)
        var vectors = [
            iovec(iov_base: UnsafeMutableRawPointer(bitPattern: block.address), iov_len: 100_000),
            iovec(
                iov_base: UnsafeMutableRawPointer(bitPattern: block.address + 100_000),
                iov_len: 300_000),
        ]
        try vectors.withUnsafeMutableBytes { vectors in
            let address = UInt(bitPattern: vectors.baseAddress)
            driver.ask(
                asVector ? .sendVectorNow : .sendNow, mine, tag: 1,
                address: asVector ? address : block.address, count: asVector ? 2 : block.count)
            let came = driver.turn()
            try #require(came.count == 1)
            #expect(came[0].token.slot == 1 && !came[0].hasMore && !came[0].hasBuffer)
            let sent = Int(came[0].result)
            try #require(sent > 0 && sent < block.count)

            // Nothing more fits.
            driver.ask(
                asVector ? .sendVectorNow : .sendNow, mine, tag: 2,
                address: asVector ? address : block.address, count: asVector ? 2 : block.count)
            var again = driver.turn()
            #expect(again.count == 1)
            // The peer may have taken some more meanwhile; then that much went.
            let more = max(0, again.first.map { Int($0.result) } ?? 0)
            #expect(again.first?.result == -EAGAIN || more > 0)

            let heard = peer.read(sent + more)
            #expect(heard.count == sent + more)
            let whole = block.array
            #expect(Array(heard.prefix(sent)) == Array(whole.prefix(sent)))
            #expect(Array(heard.dropFirst(sent)) == Array(whole.prefix(more)))
            again = driver.quiet()
            #expect(again.isEmpty)
        }
    }

    @Test(arguments: Tenant.allCases)
    func sendsVectorsWhole(_ tenant: Tenant) throws {
        var driver = try Driver(tenant)
        let (mine, peer) = try Peer.connected()
        defer { peer.close() }
        let block = Block(300)
        var vectors = (0..<3).map {
            iovec(
                iov_base: UnsafeMutableRawPointer(bitPattern: block.address + UInt($0 * 100)),
                iov_len: 100)
        }
        vectors.withUnsafeMutableBytes {
            driver.ask(
                .sendVectorNow, mine, tag: 1, address: UInt(bitPattern: $0.baseAddress), count: 3)
            let came = driver.turn()
            #expect(came.isEmpty)
        }
        let heard = peer.read(300)
        #expect(heard == block.array)
    }

    @Test(arguments: Tenant.allCases)
    func sendsWhenThereIsRoom(_ tenant: Tenant) throws {
        var driver = try Driver(tenant)
        let (mine, peer) = try Peer.connected()
        defer { peer.close() }
        Sockets.setSendBuffer(mine, bytes: 20_000)
        Sockets.setReceiveBuffer(peer.fd, bytes: 20_000)
        let block = Block(2_000_000)
        // Until full, and until the peer's window has settled.
        var sent = 0
        while true {
            driver.ask(
                .sendNow, mine, tag: 1, address: block.address + UInt(sent),
                count: block.count - sent)
            let came = driver.turn()
            try #require(came.count == 1)
            if came[0].result < 0 {
                #expect(came[0].result == -EAGAIN)
                if driver.quiet(milliseconds: 20).isEmpty, peerIsFull(mine) { break }
                continue
            }
            sent += Int(came[0].result)
        }
        // Each completion tells of progress, until all is through, in order; the peer sleeps first.
        driver.ask(
            .sendWhenPossible, mine, tag: 2, address: block.address + UInt(sent),
            count: block.count - sent)
        var heard: [UInt8] = []
        let start = Instant.now()
        while heard.count < block.count && Instant.now() < start.advanced(bySeconds: 10) {
            if Instant.now() > start.advanced(byMilliseconds: 30) { heard += peer.drain() }
            for completion in driver.turn(.until(Instant.now().advanced(byMilliseconds: 2))) {
                #expect(completion.token.slot == 2 && completion.result > 0)
                sent += max(0, Int(completion.result))
                guard sent < block.count && completion.result > 0 else { continue }
                driver.ask(
                    .sendWhenPossible, mine, tag: 2, address: block.address + UInt(sent),
                    count: block.count - sent)
            }
        }
        #expect(sent == block.count)
        #expect(heard == block.array)
    }

    private func peerIsFull(_ fd: Int32) -> Bool {
        var question = pollfd(fd: fd, events: Int16(POLLOUT), revents: 0)
        return poll(&question, 1, 0) == 0
    }

    @Test(arguments: Tenant.allCases)
    func tellsOfADeadPeer(_ tenant: Tenant) throws {
        var driver = try Driver(tenant)
        let (mine, peer) = try Peer.connected()
        defer { peer.close() }
        driver.ask(.receiveMany, mine, tag: 1)
        _ = driver.turn()
        Sockets.setResetOnClose(peer.fd)
        peer.close()
        let read = driver.turns(1)
        #expect(read.map(\.result) == [-ECONNRESET])
        #expect(read.first?.hasMore == false)
        let block = Block(10)
        driver.ask(.sendNow, mine, tag: 2, address: block.address, count: 10)
        let write = driver.turn()
        #expect(write.map(\.result) == [-EPIPE])
        driver.ask(.sendWhenPossible, mine, tag: 3, address: block.address, count: 10)
        let later = driver.turns(1)
        #expect(later.map(\.result) == [-EPIPE])
        driver.ask(.close, mine, tag: 0)
        let closed = driver.turn()
        #expect(closed.isEmpty)
    }
}
