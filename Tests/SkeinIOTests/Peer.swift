// The other end of a connection: plain blocking sockets, outside every ring.

import CSkein
import Glibc
import SkeinIO
import Testing

final class Peer {
    let fd: Int32
    private var isClosed = false

    /// Two ends of a TCP connection: `mine` to be put into a ring, the other a peer.
    static func connected() throws -> (mine: Int32, peer: Peer) {
        let anywhere = try #require(SocketAddress(host: "127.0.0.1", port: 0))
        let listener = try Sockets.listen(on: anywhere)
        defer { Sockets.close(listener.fd) }
        let mine = try Sockets.connect(to: listener.address)
        let other = skein_accept(listener.fd)
        try #require(other >= 0)
        Sockets.setNoDelay(mine)
        Sockets.setNoDelay(other)
        return (mine, Peer(fd: other))
    }

    init(fd: Int32) { self.fd = fd }

    func close() {
        if !isClosed { Sockets.close(fd) }
        isClosed = true
    }

    func write(_ bytes: [UInt8]) {
        var sent = 0
        while sent < bytes.count {
            let count = bytes.withUnsafeBytes {
                send(
                    fd, $0.baseAddress.unsafelyUnwrapped + sent, bytes.count - sent,
                    Int32(bitPattern: skein_msg_nosignal()))
            }
            guard count > 0 else { return }
            sent += count
        }
    }

    /// Up to `count` bytes; fewer at the end of the stream, or after two seconds.
    func read(_ count: Int) -> [UInt8] {
        var limit = timeval(tv_sec: 2, tv_usec: 0)
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        var bytes = [UInt8](repeating: 0, count: count)
        var received = 0
        while received < count {
            let result = bytes.withUnsafeMutableBytes {
                recv(fd, $0.baseAddress.unsafelyUnwrapped + received, count - received, 0)
            }
            guard result > 0 else { break }
            received += result
        }
        return Array(bytes[..<received])
    }

    /// What is there now.
    func drain() -> [UInt8] {
        var buffer = [UInt8](repeating: 0, count: 65_536)
        var bytes: [UInt8] = []
        while true {
            let count = buffer.withUnsafeMutableBytes {
                recv(fd, $0.baseAddress, $0.count, skein_receive_flags())
            }
            guard count > 0 else { return bytes }
            bytes += buffer[..<count]
        }
    }

    /// Whether the other side has ended, after two seconds at most.
    var isEnded: Bool { read(1).isEmpty }
}

/// Bytes at an address that stays: what a send in flight needs.
final class Block {
    private let bytes: UnsafeMutableBufferPointer<UInt8>

    init(_ count: Int) {
        bytes = .allocate(capacity: count)
        for index in 0..<count { bytes[index] = Self.pattern(index) }
    }

    deinit { bytes.deallocate() }

    static func pattern(_ index: Int) -> UInt8 {
        UInt8(truncatingIfNeeded: index &* 131 &+ index >> 8)
    }

    var address: UInt { UInt(bitPattern: bytes.baseAddress) }
    var count: Int { bytes.count }
    var array: [UInt8] { Array(bytes) }
}
