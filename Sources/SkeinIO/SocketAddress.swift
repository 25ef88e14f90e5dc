// Addresses as values: what to listen on and connect to, and who is on the other side.

package import CSkein
import Glibc

/// An IPv4, IPv6 or Unix socket's address.
package struct SocketAddress: Sendable, Equatable, CustomStringConvertible {
    private var storage: sockaddr_storage
    package let length: UInt32

    package var family: Int32 { Int32(storage.ss_family) }
    package var isLocal: Bool { family == AF_UNIX }

    /// A numeric host, v4 or v6, or a `/path`.
    package init?(host: String, port: UInt16) {
        var v4 = sockaddr_in()
        var v6 = sockaddr_in6()
        if host.hasPrefix("/") {
            self.init(path: host)
        } else if unsafe inet_pton(AF_INET, host, &v4.sin_addr) == 1 {
            v4.sin_family = sa_family_t(AF_INET)
            v4.sin_port = port.bigEndian
            self.init(plain: v4)
        } else if unsafe inet_pton(AF_INET6, host, &v6.sin6_addr) == 1 {
            v6.sin6_family = sa_family_t(AF_INET6)
            v6.sin6_port = port.bigEndian
            self.init(plain: v6)
        } else {
            return nil
        }
    }

    private init<Address>(plain address: Address) {
        storage = sockaddr_storage()
        length = UInt32(MemoryLayout<Address>.size)
        unsafe withUnsafeMutableBytes(of: &storage) { storage in
            unsafe withUnsafeBytes(of: address) { unsafe storage.copyMemory(from: $0) }
        }
    }

    /// `host:port` and `[v6]:port` with numeric hosts, or `unix:/path`.
    package init?(parsing text: String) {
        if text.hasPrefix("unix:") {
            self.init(path: String(text.dropFirst(5)))
            return
        }
        guard let parts = Self.split(text) else { return nil }
        self.init(host: parts.host, port: parts.port)
    }

    /// `host:port` in its two halves; the host without brackets.
    package static func split(_ text: String) -> (host: String, port: UInt16)? {
        guard let colon = text.lastIndex(of: ":"),
            let port = UInt16(text[text.index(after: colon)...])
        else { return nil }
        var host = text[..<colon]
        if host.hasPrefix("[") {
            guard host.hasSuffix("]") else { return nil }
            host = host.dropFirst().dropLast()
        } else if host.contains(":") {
            return nil
        }
        return host.isEmpty ? nil : (String(host), port)
    }

    package init?(path: String) {
        var local = sockaddr_un()
        local.sun_family = sa_family_t(AF_UNIX)
        let bytes = Array(path.utf8)
        let room = MemoryLayout.size(ofValue: local.sun_path)
        guard !bytes.isEmpty, bytes.count < room, !bytes.contains(0) else { return nil }
        unsafe withUnsafeMutableBytes(of: &local.sun_path) { unsafe $0.copyBytes(from: bytes) }
        self.init(plain: local)
    }

    /// All addresses of a name. Asks the resolver and waits for it: never on a loop.
    package static func resolve(host: String, port: UInt16) throws(SystemError) -> [SocketAddress] {
        if let numeric = SocketAddress(host: host, port: port) { return [numeric] }
        var hints = unsafe addrinfo()
        unsafe hints.ai_family = AF_UNSPEC
        unsafe hints.ai_socktype = skein_sock_stream()
        var list: UnsafeMutablePointer<addrinfo>?
        let result = unsafe getaddrinfo(host, String(port), &hints, &list)
        guard result == 0 else {
            // The resolver has numbers of its own, all below zero.
            let reason = unsafe gai_strerror(result).map { unsafe String(cString: $0) } ?? ""
            throw SystemError(
                call: "resolve \(host) (\(reason))",
                errno: result == EAI_SYSTEM ? Glibc.errno : ENOENT)
        }
        defer { unsafe freeaddrinfo(list) }
        var found: [SocketAddress] = []
        var entry = unsafe list
        while let here = unsafe entry {
            if let address = unsafe here.pointee.ai_addr {
                found.append(unsafe SocketAddress(address, here.pointee.ai_addrlen))
            }
            unsafe entry = here.pointee.ai_next
        }
        return found
    }

    package init(_ address: UnsafePointer<sockaddr>, _ length: UInt32) {
        storage = sockaddr_storage()
        self.length = min(length, UInt32(MemoryLayout<sockaddr_storage>.size))
        unsafe withUnsafeMutableBytes(of: &storage) {
            let bytes = unsafe UnsafeRawBufferPointer(start: address, count: Int(self.length))
            unsafe $0.copyMemory(from: bytes)
        }
    }

    /// As `getsockname` or `getpeername` say.
    init?(
        from fd: Int32,
        _ name: (Int32, UnsafeMutablePointer<sockaddr>?, UnsafeMutablePointer<socklen_t>?) -> Int32
    ) {
        var storage = sockaddr_storage()
        var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
        let result = unsafe withUnsafeMutableBytes(of: &storage) {
            unsafe name(fd, $0.bindMemory(to: sockaddr.self).baseAddress, &length)
        }
        guard result == 0 else { return nil }
        self.storage = storage
        self.length = min(length, UInt32(MemoryLayout<sockaddr_storage>.size))
    }

    package var port: UInt16 {
        switch family {
        case AF_INET: v4.map { UInt16(bigEndian: $0.sin_port) } ?? 0
        case AF_INET6: v6.map { UInt16(bigEndian: $0.sin6_port) } ?? 0
        default: 0
        }
    }

    var v4: sockaddr_in? {
        guard family == AF_INET else { return nil }
        return unsafe withUnsafeBytes(of: storage) { unsafe $0.load(as: sockaddr_in.self) }
    }

    var v6: sockaddr_in6? {
        guard family == AF_INET6 else { return nil }
        return unsafe withUnsafeBytes(of: storage) { unsafe $0.load(as: sockaddr_in6.self) }
    }

    @unsafe
    package func withSockAddress<Result>(
        _ body: (UnsafePointer<sockaddr>, socklen_t) -> Result
    ) -> Result {
        unsafe withUnsafePointer(to: storage) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe body($0, length)
            }
        }
    }

    /// The bytes for `.connect`, to where they can stay until it completes.
    /// - Returns: how many; at most 128.
    @unsafe
    package func copy(to memory: UnsafeMutableRawPointer) -> UInt32 {
        unsafe withUnsafeBytes(of: storage) {
            unsafe memory.copyMemory(from: $0.baseAddress.unsafelyUnwrapped, byteCount: Int(length))
        }
        return length
    }

    package var description: String {
        if let peer = PeerAddress(self) { return peer.description }
        guard family == AF_UNIX else { return "address of family \(family)" }
        let start = MemoryLayout<sa_family_t>.size
        let bytes = unsafe withUnsafeBytes(of: storage) { unsafe Array($0) }
        return "unix:" + String(decoding: bytes[start...].prefix { $0 != 0 }, as: UTF8.self)
    }

    package static func == (left: SocketAddress, right: SocketAddress) -> Bool {
        left.description == right.description
    }
}

/// An internet address and port, in 24 plain bytes.
package struct PeerAddress: Hashable, Sendable, BitwiseCopyable, CustomStringConvertible {
    /// IPv6 in network order; IPv4 as `::ffff:a.b.c.d`.
    package let high: UInt64
    package let low: UInt64
    package let port: UInt16

    package init(high: UInt64, low: UInt64, port: UInt16) {
        self.high = high
        self.low = low
        self.port = port
    }

    package init?(_ address: SocketAddress) {
        if let v4 = address.v4 {
            self.init(
                high: 0, low: 0xFFFF_0000_0000 | UInt64(UInt32(bigEndian: v4.sin_addr.s_addr)),
                port: address.port)
        } else if let v6 = address.v6 {
            let halves = unsafe withUnsafeBytes(of: v6.sin6_addr) {
                unsafe (
                    $0.loadUnaligned(as: UInt64.self),
                    $0.loadUnaligned(fromByteOffset: 8, as: UInt64.self)
                )
            }
            self.init(
                high: UInt64(bigEndian: halves.0), low: UInt64(bigEndian: halves.1),
                port: address.port)
        } else {
            return nil
        }
    }

    package var isV4: Bool { high == 0 && low >> 32 == 0xFFFF }
    package var isLoopback: Bool { isV4 ? low >> 24 & 0xFF == 127 : high == 0 && low == 1 }

    /// Without the port.
    package var host: String {
        if isV4 {
            return "\(low >> 24 & 0xFF).\(low >> 16 & 0xFF).\(low >> 8 & 0xFF).\(low & 0xFF)"
        }
        var address = in6_addr()
        unsafe withUnsafeMutableBytes(of: &address) {
            unsafe $0.storeBytes(of: high.bigEndian, as: UInt64.self)
            unsafe $0.storeBytes(of: low.bigEndian, toByteOffset: 8, as: UInt64.self)
        }
        var text = [CChar](repeating: 0, count: Int(INET6_ADDRSTRLEN))
        let capacity = socklen_t(text.count)
        guard unsafe inet_ntop(AF_INET6, &address, &text, capacity) != nil else { return "?" }
        let bytes = text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
        return String(decoding: bytes, as: UTF8.self)
    }

    package var description: String { isV4 ? "\(host):\(port)" : "[\(host)]:\(port)" }
}
