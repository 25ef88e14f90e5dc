// What every ring promises of receiving.

import Glibc
import SkeinIO
import Testing

@Suite(.timeLimit(.minutes(1)))
struct RingReceivingTests {
    @Test(arguments: Tenant.allCases)
    func receivesOnce(_ tenant: Tenant) throws {
        var driver = try Driver(tenant)
        let (mine, peer) = try Peer.connected()
        defer { peer.close() }
        driver.ask(.receive, mine, tag: 3)
        peer.write([1, 2, 3])
        let first = driver.turns(1)
        #expect(first.count == 1 && first[0].result == 3 && first[0].hasBuffer && !first[0].hasMore)
        let lent = driver.buffers.lent
        #expect(lent == 1)
        let bytes = driver.bytes(first[0])
        #expect(bytes == [1, 2, 3])
        peer.write([4])
        let unasked = driver.quiet()
        #expect(unasked.isEmpty)
        driver.ask(.receive, mine, tag: 3)
        let second = driver.turns(1)
        #expect(second.map(\.result) == [1])
        second.forEach { _ = driver.bytes($0) }
        driver.ask(.close, mine, tag: 0)
        _ = driver.turn()
        let ended = peer.isEnded
        #expect(ended)
    }

    @Test(arguments: Tenant.allCases)
    func receivesManyUntilTheEnd(_ tenant: Tenant) throws {
        var driver = try Driver(tenant)
        let (mine, peer) = try Peer.connected()
        defer { peer.close() }
        driver.ask(.receiveMany, mine, tag: 4)
        var heard: [UInt8] = []
        for byte in UInt8(0)..<20 {
            peer.write([byte])
            let came = driver.turns(1)
            for completion in came {
                #expect(completion.result == 1)
                #expect(completion.hasMore == (tenant != .plain))
                heard += driver.bytes(completion)
                if !completion.hasMore { driver.ask(.receiveMany, mine, tag: 4) }
            }
        }
        #expect(heard == Array(0..<20))
        Sockets.shutdown(peer.fd)
        let end = driver.turns(1)
        #expect(end.map(\.result) == [0])
        #expect(end.first?.hasMore == false && end.first?.hasBuffer == false)
        driver.ask(.close, mine, tag: 0)
        _ = driver.turn()
    }

    @Test(arguments: Tenant.allCases)
    func receivesWhatWasThereBeforeAndTheEndBehindIt(_ tenant: Tenant) throws {
        var driver = try Driver(tenant)
        let (mine, peer) = try Peer.connected()
        defer { peer.close() }
        let text = [UInt8](repeating: 7, count: 50_000)
        peer.write(text)
        Sockets.shutdown(peer.fd)
        let heard = driver.receive(text.count, .receive, mine)
        #expect(heard == text)
        driver.ask(.receive, mine, tag: 5)
        let end = driver.turns(1)
        #expect(end.last?.result == 0)
        driver.ask(.close, mine, tag: 0)
        _ = driver.turn()
    }

    @Test(arguments: Tenant.allCases)
    func tellsWhenBuffersAreOutAndLosesNothing(_ tenant: Tenant) throws {
        var options = RingOptions()
        options.buffers = 2
        options.bufferBytes = 1000
        var driver = try Driver(tenant, options)
        let (mine, peer) = try Peer.connected()
        defer { peer.close() }
        let sent = (0..<10_000).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ $0 >> 8) }
        peer.write(sent)
        var heard: [UInt8] = []
        var held: [Completion] = []
        var shortages = 0
        driver.ask(.receiveMany, mine, tag: 6)
        let end = Instant.now().advanced(bySeconds: 5)
        while heard.count + held.count * 1000 < sent.count && Instant.now() < end {
            for completion in driver.turns(1) {
                if completion.hasBuffer { held.append(completion) }
                if completion.hasMore { continue }
                if completion.result == -ENOBUFS {
                    shortages += 1
                    let lent = driver.buffers.lent
                    #expect(lent == 2)
                    for completion in held { heard += driver.bytes(completion) }
                    held = []
                } else {
                    #expect(completion.result > 0)
                }
                driver.ask(.receiveMany, mine, tag: 6)
            }
        }
        for completion in held { heard += driver.bytes(completion) }
        #expect(heard.count == sent.count)
        #expect(heard == sent)
        #expect(shortages >= 4)
    }
}
