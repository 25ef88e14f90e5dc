// A TCP connection for tools that do one thing at a time: every call waits, but never longer than
// the socket's timeout. Closed when it goes out of use.

internal import Glibc

struct SocketFailure: Error {
    /// What happened, without an address: `connection refused`.
    let reason: String

    static func last() -> SocketFailure { SocketFailure(reason: describe(errno)) }

    static func describe(_ code: Int32) -> String {
        switch code {
        case ECONNREFUSED: "connection refused"
        case ECONNRESET, EPIPE: "connection reset"
        case ETIMEDOUT, EAGAIN, EINPROGRESS: "no answer in time"
        case EHOSTUNREACH, ENETUNREACH: "no route to it"
        default: "error \(code)"
        }
    }
}

struct BlockingSocket: ~Copyable {
    let descriptor: Int32

    /// - Parameter timeoutSeconds: of connecting and of every later call.
    static func connect(
        host: String, port: Int, timeoutSeconds: Int = 10
    ) throws(SocketFailure) -> BlockingSocket {
        var hints = unsafe addrinfo()
        unsafe hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        var list: UnsafeMutablePointer<addrinfo>?
        guard unsafe getaddrinfo(host, String(port), &hints, &list) == 0 else {
            throw SocketFailure(reason: "no such host")
        }
        // The list is ours until it is freed here; every node of it is read before that.
        defer { unsafe freeaddrinfo(list) }
        var failure = SocketFailure(reason: "no address")
        var next = unsafe list
        while let address = unsafe next?.pointee {
            unsafe next = address.ai_next
            let descriptor = unsafe socket(
                address.ai_family, address.ai_socktype | Int32(SOCK_CLOEXEC.rawValue),
                address.ai_protocol)
            guard descriptor >= 0 else { throw .last() }
            let made = BlockingSocket(descriptor: descriptor)
            made.setTimeouts(timeoutSeconds)
            if unsafe Glibc.connect(descriptor, address.ai_addr, address.ai_addrlen) == 0 {
                return made
            }
            failure = .last()
        }
        throw failure
    }

    deinit { _ = Glibc.close(descriptor) }

    borrowing func write(_ bytes: [UInt8]) throws(SocketFailure) {
        var start = 0
        while start < bytes.count {
            // The buffer is only read, and only within the call.
            let sent = unsafe bytes[start...].withUnsafeBytes { buffer in
                unsafe send(descriptor, buffer.baseAddress, buffer.count, Int32(MSG_NOSIGNAL))
            }
            if sent < 0, errno == EINTR { continue }
            guard sent > 0 else { throw .last() }
            start += sent
        }
    }

    /// - Returns: what came, at most `max` bytes; empty at the end of the stream.
    borrowing func read(max: Int = 65_536) throws(SocketFailure) -> [UInt8] {
        var failure: SocketFailure?
        // The kernel writes at most `max` bytes, and the buffer has room for as many.
        let bytes = unsafe [UInt8](unsafeUninitializedCapacity: max) { buffer, count in
            repeat {
                count = unsafe recv(descriptor, buffer.baseAddress, max, 0)
            } while count < 0 && errno == EINTR
            if count < 0 {
                failure = .last()
                count = 0
            }
        }
        if let failure { throw failure }
        return bytes
    }

    private borrowing func setTimeouts(_ seconds: Int) {
        var time = timeval(tv_sec: seconds, tv_usec: 0)
        let size = socklen_t(MemoryLayout<timeval>.size)
        // The option's value is read within the calls.
        _ = unsafe setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &time, size)
        _ = unsafe setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &time, size)
    }
}

/// Which of two descriptors have something to say.
struct Readiness {
    let first: Bool
    let second: Bool

    /// - Parameter second: may be -1 for none.
    static func wait(_ first: Int32, _ second: Int32, milliseconds: Int) -> Readiness {
        var watched = [
            pollfd(fd: first, events: Int16(POLLIN), revents: 0),
            pollfd(fd: second, events: Int16(POLLIN), revents: 0),
        ]
        // Two entries, written within the call.
        let count = unsafe poll(&watched, 2, Int32(clamping: milliseconds))
        guard count > 0 else { return Readiness(first: false, second: false) }
        return Readiness(first: watched[0].revents != 0, second: watched[1].revents != 0)
    }
}

enum StandardInput {
    static let descriptor: Int32 = 0

    /// - Returns: what is there, empty at the end.
    static func read() -> [UInt8] {
        // The kernel writes at most as much as the buffer has room for.
        unsafe [UInt8](unsafeUninitializedCapacity: 65_536) { buffer, count in
            count = max(0, unsafe Glibc.read(descriptor, buffer.baseAddress, 65_536))
        }
    }
}
