// Addresses in and out of text, listeners that share a port, and threads that stay where they are
// put.

import Glibc
import SkeinIO
import Testing

struct SocketTests {
    @Test(arguments: [
        ("127.0.0.1:80", "127.0.0.1:80", 80), ("0.0.0.0:0", "0.0.0.0:0", 0),
        ("[::1]:8080", "[::1]:8080", 8080), ("[2001:db8::7]:65535", "[2001:db8::7]:65535", 65535),
        ("unix:/run/skein.sock", "unix:/run/skein.sock", 0),
    ])
    func readsAddresses(_ text: String, _ expected: String, _ port: UInt16) throws {
        let address = try #require(SocketAddress(parsing: text))
        #expect(address.description == expected)
        #expect(address.port == port)
    }

    @Test(arguments: [
        "", ":", "80", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1", "::1:80",
        "[::1:80", "localhost:80", "1.2.3:80", "unix:",
    ])
    func refusesWhatIsNone(_ text: String) {
        #expect(SocketAddress(parsing: text) == nil)
    }

    @Test(arguments: [
        ("127.0.0.1:1", true), ("127.9.8.7:1", true), ("[::1]:1", true), ("128.0.0.1:1", false),
        ("[::2]:1", false), ("10.0.0.127:1", false),
    ])
    func knowsTheLoopback(_ text: String, _ isLoopback: Bool) throws {
        let address = try #require(SocketAddress(parsing: text))
        #expect(try #require(PeerAddress(address)).isLoopback == isLoopback)
    }

    @Test func connectsFromAnAddress() throws {
        let listener = try Sockets.listen(on: #require(SocketAddress(parsing: "127.0.0.1:0")))
        defer { Sockets.close(listener.fd) }
        let fd = try Sockets.stream(for: listener.address)
        defer { Sockets.close(fd) }
        try Sockets.bindWithoutPort(fd, to: #require(SocketAddress(host: "127.0.0.9", port: 0)))
        try Sockets.connect(fd, to: listener.address)
        let accepted = accept(listener.fd, nil, nil)
        defer { Sockets.close(accepted) }
        #expect(Sockets.peerAddress(of: accepted)?.host == "127.0.0.9")
    }

    @Test func resolvesNames() throws {
        let found = try SocketAddress.resolve(host: "localhost", port: 6379)
        #expect(found.contains { $0.port == 6379 })
        #expect(throws: SystemError.self) {
            _ = try SocketAddress.resolve(host: "no.such.name.invalid", port: 1)
        }
    }

    @Test(arguments: ["127.0.0.1", "::1"])
    func listensWhereItSays(_ host: String) throws {
        let wanted = try #require(SocketAddress(host: host, port: 0))
        let first = try Sockets.listen(on: wanted)
        defer { Sockets.close(first.fd) }
        #expect(first.address.port != 0)
        // Another shard on the same port.
        let second = try Sockets.listen(on: first.address)
        defer { Sockets.close(second.fd) }
        #expect(second.address == first.address)
        #expect(throws: SystemError.self) {
            _ = try Sockets.listen(on: first.address, reusePort: false)
        }
        let client = try Sockets.connect(to: first.address)
        defer { Sockets.close(client) }
        let peer = try #require(Sockets.peerAddress(of: client))
        #expect(peer.port == first.address.port && peer.host == host)
        #expect(peer.isV4 == (host == "127.0.0.1"))
        #expect(Sockets.setNoDelay(client) && Sockets.setResetOnClose(client))
        #expect(Sockets.setUserTimeout(client, milliseconds: 20_000))
        #expect(Sockets.setKeepAlive(client, idleSeconds: 30))
    }

    @Test func v4IsTheSameEitherWay() throws {
        let plain = try #require(SocketAddress(parsing: "10.1.2.3:9").flatMap(PeerAddress.init))
        let mapped = try #require(
            SocketAddress(parsing: "[::ffff:10.1.2.3]:9").flatMap(PeerAddress.init))
        #expect(plain == mapped && plain.host == "10.1.2.3")
    }

    @Test func unixSocketsWork() throws {
        let path = "/tmp/skein-io-test-\(getpid()).sock"
        defer { unlink(path) }
        let address = try #require(SocketAddress(path: path))
        let listener = try Sockets.listen(on: address)
        defer { Sockets.close(listener.fd) }
        let client = try Sockets.connect(to: address)
        #expect(Sockets.peerAddress(of: client) == nil)
        Sockets.close(client)
    }

    @Test func descriptorLimitsAreRaised() throws {
        let limit = Sockets.raiseFileDescriptorLimit()
        #expect(limit == Sockets.fileDescriptorLimit().hard)
        let reserve = try Sockets.openReserve()
        #expect(reserve >= 0)
        Sockets.close(reserve)
    }

    @Test func threadsStayWhereTheyArePut() throws {
        let cores = CPUSet.allowed()
        #expect(!cores.isEmpty)
        let core = try #require(cores.last)
        let seen = Flag()
        let thread = try PinnedThread.start(name: "pinned-with-a-long-name", core: core) {
            if CPUSet.allowed() == [core] { seen.set() }
        }
        thread.join()
        #expect(seen.isSet)
        // A core that does not exist leaves it free.
        try PinnedThread.start(name: "free", core: 1023) {}.join()
    }

    @Test func timeGoesOn() {
        let start = Instant.now()
        #expect(start.advanced(byMilliseconds: 1500).milliseconds(since: start) == 1500)
        #expect(start < start.advanced(bySeconds: 1))
        #expect(Instant.now() >= start)
        #expect(WallClock.millisecondsSince1970() > 1_700_000_000_000)
    }
}
