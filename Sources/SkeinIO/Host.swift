// The machine under the loops, apart from their rings: clocks, chance, and the few calls on sockets
// that are no submissions. All of it is rare, so it is asked through a reference; a simulator brings
// a machine of its own.

package protocol Host: AnyObject, Sendable {
    var clock: Clock { get }
    /// Where what a loop must wait for is computed; `nil`: Swift's own pool.
    var executor: (any TaskExecutor)? { get }

    func random() -> UInt64

    // As in `Sockets`.
    func stream(for address: SocketAddress) throws(SystemError) -> Int32
    func peerAddress(of fd: Int32) -> PeerAddress?
    func setNoDelay(_ fd: Int32)
    func setResetOnClose(_ fd: Int32)
    func shutdownSending(_ fd: Int32)
    func openReserve() throws(SystemError) -> Int32
    /// Of a descriptor that no ring knows.
    func close(_ fd: Int32)
}

extension Host {
    /// Evenly spread enough for waits and jitter.
    package func random(in range: ClosedRange<Int64>) -> Int64 {
        let span = UInt64(bitPattern: range.upperBound &- range.lowerBound)
        guard span < .max else { return Int64(bitPattern: random()) }
        return range.lowerBound &+ Int64(bitPattern: random() % (span &+ 1))
    }
}

package final class SystemHost: Host {
    package init() {}

    package var clock: Clock { .system }
    package var executor: (any TaskExecutor)? { nil }
    package func random() -> UInt64 { .random(in: .min ... .max) }

    package func stream(for address: SocketAddress) throws(SystemError) -> Int32 {
        try Sockets.stream(for: address)
    }
    package func peerAddress(of fd: Int32) -> PeerAddress? { Sockets.peerAddress(of: fd) }
    package func setNoDelay(_ fd: Int32) { Sockets.setNoDelay(fd) }
    package func setResetOnClose(_ fd: Int32) { Sockets.setResetOnClose(fd) }
    package func shutdownSending(_ fd: Int32) { Sockets.shutdownSending(fd) }
    package func openReserve() throws(SystemError) -> Int32 { try Sockets.openReserve() }
    package func close(_ fd: Int32) { Sockets.close(fd) }
}
