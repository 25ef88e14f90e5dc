// The few things done to sockets outside the rings: making, naming, and setting them up.

private import CSkein
private import Glibc

package enum Sockets {
    /// A listening socket.
    /// - Returns: the descriptor, and where it really listens (port 0 takes any free one).
    package static func listen(
        on address: SocketAddress, backlog: Int = 4096, reusePort: Bool = true
    ) throws(SystemError) -> (fd: Int32, address: SocketAddress) {
        let fd = try stream(for: address)
        if !address.isLocal {
            setOption(fd, SOL_SOCKET, SO_REUSEADDR, 1)
            if reusePort { setOption(fd, SOL_SOCKET, SO_REUSEPORT, 1) }
            if address.family == AF_INET6 {
                setOption(fd, Int32(IPPROTO_IPV6), IPV6_V6ONLY, 0)
            }
        }
        var result = unsafe address.withSockAddress { unsafe bind(fd, $0, $1) }
        var call = "bind to \(address)"
        if result == 0 {
            result = Glibc.listen(fd, Int32(min(backlog, Int(Int32.max))))
            call = "listen on \(address)"
        }
        guard result == 0, let actual = localAddress(of: fd) else {
            let error = SystemError(call: call, errno: errno)
            close(fd)
            throw error
        }
        return (fd, actual)
    }

    /// A stream socket for `address`, not connected: for `.connect`.
    package static func stream(for address: SocketAddress) throws(SystemError) -> Int32 {
        let fd = socket(address.family, skein_sock_stream_cloexec(), 0)
        guard fd >= 0 else { throw SystemError(call: "socket", errno: errno) }
        return fd
    }

    /// Connects and waits for it: for tools and tests.
    package static func connect(to address: SocketAddress) throws(SystemError) -> Int32 {
        let fd = try stream(for: address)
        do throws(SystemError) { try connect(fd, to: address) } catch {
            close(fd)
            throw error
        }
        return fd
    }

    /// Connects a socket of ``stream(for:)`` and waits for it, as long as ``setTimeouts(_:milliseconds:)``
    /// says.
    package static func connect(_ fd: Int32, to address: SocketAddress) throws(SystemError) {
        let result = unsafe address.withSockAddress { unsafe Glibc.connect(fd, $0, $1) }
        guard result != 0 else { return }
        throw SystemError(
            call: "connect to \(address)", errno: errno == EINPROGRESS ? ETIMEDOUT : errno)
    }

    /// How long connecting, sending and receiving may wait: for threads that are no loop.
    package static func setTimeouts(_ fd: Int32, milliseconds: Int) {
        var time = timeval(tv_sec: milliseconds / 1_000, tv_usec: milliseconds % 1_000 * 1_000)
        for option in [SO_SNDTIMEO, SO_RCVTIMEO] {
            unsafe setsockopt(
                fd, SOL_SOCKET, option, &time, socklen_t(MemoryLayout<timeval>.size))
        }
    }

    /// Where connections of ours come from. The port is chosen when it connects, which knows the
    /// destination: each address then offers its whole range to each server.
    package static func bindWithoutPort(_ fd: Int32, to address: SocketAddress) throws(SystemError) {
        setOption(fd, Int32(IPPROTO_IP), IP_BIND_ADDRESS_NO_PORT, 1)
        let result = unsafe address.withSockAddress { unsafe bind(fd, $0, $1) }
        guard result == 0 else { throw SystemError(call: "bind to \(address)", errno: errno) }
    }

    /// Two connected stream sockets.
    package static func pair() throws(SystemError) -> (Int32, Int32) {
        var fds: (Int32, Int32) = (-1, -1)
        let result = unsafe withUnsafeMutableBytes(of: &fds) {
            unsafe socketpair(
                AF_UNIX, skein_sock_stream_cloexec(), 0, $0.bindMemory(to: Int32.self).baseAddress)
        }
        guard result == 0 else { throw SystemError(call: "socketpair", errno: errno) }
        return fds
    }

    package static func close(_ fd: Int32) { _ = Glibc.close(fd) }

    /// Carries out a `sendNow` or `sendVectorNow` by a call.
    /// - Returns: `nil` when all of it went out, else the result of its completion.
    static func send(_ submission: Submission) -> Int32? {
        var wanted = Int(submission.count)
        let sent: Int
        if submission.kind == .sendNow {
            let bytes = unsafe UnsafeRawPointer(bitPattern: submission.address)
            sent = unsafe Glibc.send(submission.fd, bytes, wanted, skein_send_flags())
        } else {
            let vectors = unsafe UnsafeMutablePointer<iovec>(bitPattern: submission.address)
            var message = unsafe msghdr()
            unsafe message.msg_iov = vectors
            unsafe message.msg_iovlen = wanted
            wanted = 0
            if let vectors = unsafe vectors {
                for index in 0..<Int(submission.count) { unsafe wanted += vectors[index].iov_len }
            }
            sent = unsafe sendmsg(submission.fd, &message, skein_send_flags())
        }
        if sent == wanted { return nil }
        return sent >= 0 ? Int32(truncatingIfNeeded: sent) : -errno
    }

    /// Listeners of several processes may share a port when all of them ask for it, and two nodes
    /// that take each other's connections are never meant: so look first, as one who does not
    /// share.
    package static func checkFree(_ address: SocketAddress) throws(SystemError) {
        guard address.port != 0 else { return }
        let (fd, _) = try listen(on: address, backlog: 1, reusePort: false)
        close(fd)
    }

    /// Ends both directions; what is in flight on it completes.
    package static func shutdown(_ fd: Int32) { _ = Glibc.shutdown(fd, Int32(SHUT_RDWR)) }

    /// Ends our direction: the peer reads what was sent, then the end of the stream.
    package static func shutdownSending(_ fd: Int32) { _ = Glibc.shutdown(fd, Int32(SHUT_WR)) }

    /// Small writes go out at once.
    @discardableResult
    package static func setNoDelay(_ fd: Int32) -> Bool {
        setOption(fd, Int32(IPPROTO_TCP), TCP_NODELAY, 1)
    }

    /// `close` will reset the connection and drop what was not sent.
    @discardableResult
    package static func setResetOnClose(_ fd: Int32) -> Bool {
        var value = linger(l_onoff: 1, l_linger: 0)
        return unsafe setsockopt(
            fd, SOL_SOCKET, SO_LINGER, &value, socklen_t(MemoryLayout<linger>.size)) == 0
    }

    /// How long sent bytes may stay unacknowledged: keep-alive does not look while data is in
    /// flight.
    @discardableResult
    package static func setUserTimeout(_ fd: Int32, milliseconds: Int) -> Bool {
        setOption(fd, Int32(IPPROTO_TCP), TCP_USER_TIMEOUT, Int32(clamping: milliseconds))
    }

    @discardableResult
    package static func setKeepAlive(
        _ fd: Int32, idleSeconds: Int, intervalSeconds: Int = 10, probes: Int = 3
    ) -> Bool {
        let tcp = Int32(IPPROTO_TCP)
        return setOption(fd, SOL_SOCKET, SO_KEEPALIVE, 1)
            && setOption(fd, tcp, TCP_KEEPIDLE, Int32(clamping: idleSeconds))
            && setOption(fd, tcp, TCP_KEEPINTVL, Int32(clamping: intervalSeconds))
            && setOption(fd, tcp, TCP_KEEPCNT, Int32(clamping: probes))
    }

    @discardableResult
    package static func setSendBuffer(_ fd: Int32, bytes: Int) -> Bool {
        setOption(fd, SOL_SOCKET, SO_SNDBUF, Int32(clamping: bytes))
    }

    @discardableResult
    package static func setReceiveBuffer(_ fd: Int32, bytes: Int) -> Bool {
        setOption(fd, SOL_SOCKET, SO_RCVBUF, Int32(clamping: bytes))
    }

    /// Where the other side is; `nil` when it is gone or has no internet address.
    package static func peerAddress(of fd: Int32) -> PeerAddress? {
        unsafe SocketAddress(from: fd, getpeername).flatMap(PeerAddress.init)
    }

    package static func localAddress(of fd: Int32) -> SocketAddress? {
        unsafe SocketAddress(from: fd, getsockname)
    }

    /// A descriptor to give up when there are no more, to be able to accept and refuse.
    package static func openReserve() throws(SystemError) -> Int32 {
        let fd = unsafe open("/dev/null", O_RDONLY | O_CLOEXEC)
        guard fd >= 0 else { throw SystemError(call: "open /dev/null", errno: errno) }
        return fd
    }

    /// Raises the soft limit to the hard one.
    /// - Returns: how many descriptors this process may have.
    package static func raiseFileDescriptorLimit() -> Int {
        let limit = fileDescriptorLimit()
        var raised = rlimit(rlim_cur: rlim_t(limit.hard), rlim_max: rlim_t(limit.hard))
        guard limit.soft < limit.hard,
            unsafe setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &raised) == 0
        else { return limit.soft }
        return limit.hard
    }

    package static func fileDescriptorLimit() -> (soft: Int, hard: Int) {
        var limit = rlimit()
        guard unsafe getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else {
            return (1024, 1024)
        }
        return (Int(clamping: limit.rlim_cur), Int(clamping: limit.rlim_max))
    }

    /// What went wrong on a socket since it was last asked, 0 for nothing.
    package static func pendingError(of fd: Int32) -> Int32 {
        var error: Int32 = 0
        var length = socklen_t(MemoryLayout<Int32>.size)
        let result = unsafe getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length)
        return result == 0 ? error : errno
    }

    @discardableResult
    private static func setOption(
        _ fd: Int32, _ level: Int32, _ option: Int32, _ value: Int32
    ) -> Bool {
        var value = value
        return unsafe setsockopt(
            fd, level, option, &value, socklen_t(MemoryLayout<Int32>.size)) == 0
    }
}
