// One question to one Sentinel: connect, say who asks, ask, hang up. It waits, a second at most for
// each step; only the watch's thread calls it.

internal import Glibc
internal import SkeinIO
internal import SkeinWire

struct SentinelError: Error, Equatable {
    let text: String
}

@safe
struct SentinelConversation: ~Copyable {
    static var stepMilliseconds: Int { 1_000 }

    private let fd: Int32
    private var reader = RESPReader()
    private let security = LinkSecurity()
    private var session = TLSSession.none
    private let host: String

    /// Where `sentinels.primary` is, in the words of `sentinel`.
    static func ask(
        _ sentinel: RedisSentinels.Address, _ sentinels: RedisSentinels, _ tls: RedisTLS?
    ) throws(SentinelError) -> AddressResolver.Place {
        var conversation = SentinelConversation(
            fd: try connect(to: sentinel), host: tls?.serverName ?? sentinel.host)
        if let tls { try conversation.secure(tls) }
        if let password = sentinels.password ?? (sentinels.username == nil ? nil : "") {
            try conversation.ask(["AUTH"] + (sentinels.username.map { [$0] } ?? []) + [password])
        }
        let answer = try conversation.ask(["SENTINEL", "get-master-addr-by-name", sentinels.primary])
        guard answer.count == 2, let port = UInt16(answer[1]) else {
            throw SentinelError(
                text: "knows no primary of this name; check REDIS_SENTINEL_MASTER")
        }
        let address = try resolve(answer[0], port)
        let text = answer[0].contains(":") ? "[\(answer[0])]:\(port)" : "\(answer[0]):\(port)"
        return AddressResolver.Place(address: address, host: answer[0], text: text)
    }

    private static func resolve(_ host: String, _ port: UInt16) throws(SentinelError) -> SocketAddress {
        do throws(SystemError) {
            guard let address = try SocketAddress.resolve(host: host, port: port).first else {
                throw SystemError(call: "resolve \(host)", errno: ENOENT)
            }
            return address
        } catch {
            throw SentinelError(text: "\(error)")
        }
    }

    private static func connect(to sentinel: RedisSentinels.Address) throws(SentinelError) -> Int32 {
        let address = try resolve(sentinel.host, sentinel.port)
        do throws(SystemError) {
            let fd = try Sockets.stream(for: address)
            Sockets.setTimeouts(fd, milliseconds: stepMilliseconds)
            do throws(SystemError) { try Sockets.connect(fd, to: address) } catch {
                Sockets.close(fd)
                throw error
            }
            return fd
        } catch {
            throw SentinelError(text: SystemError.text(error.errno))
        }
    }

    private init(fd: Int32, host: String) {
        self.fd = fd
        self.host = host
    }

    deinit {
        if !session.isNone { session.free() }
        Sockets.close(fd)
    }

    private mutating func secure(_ tls: RedisTLS) throws(SentinelError) {
        switch TLSFiles.load(tls) {
        case .failure(let error): throw SentinelError(text: error.text)
        case .success(let context):
            session = TLSSession.client(context, pump: security.pump, serverName: host)
        }
        try sendOutput()
        while !session.isEstablished { try receive() }
    }

    /// - Returns: the strings of the answer; none where it is null.
    /// - Throws: what Sentinel refused, or why it could not be asked.
    @discardableResult
    private mutating func ask(_ words: [String]) throws(SentinelError) -> [String] {
        try send(Self.command(words))
        while true {
            if let reply = try next() { return try Self.strings(reply) }
            try receive()
        }
    }

    private mutating func next() throws(SentinelError) -> RESPReply? {
        do throws(RESPError) { return try reader.next() } catch {
            throw SentinelError(text: "what it sent is not the protocol of Redis")
        }
    }
}

private extension SentinelConversation {
    static func command(_ words: [String]) -> [UInt8] {
        var writer = RESPWriter()
        writer.append(words.map { Array($0.utf8) })
        return writer.withBytes { bytes in unsafe bytes.withUnsafeBufferPointer { unsafe Array($0) } }
    }

    static func strings(_ reply: borrowing RESPReply) throws(SentinelError) -> [String] {
        if reply.value.kind == .error {
            let text = reply.value.text ?? ""
            throw SentinelError(text: "\(text)\(advice(text))")
        }
        var strings: [String] = []
        for index in 0..<reply.value.count { strings.append(reply.value[index].text ?? "") }
        return strings
    }

    static func advice(_ text: String) -> String {
        if text.hasPrefix("NOAUTH") { return "; set REDIS_SENTINEL_PASSWORD" }
        if text.hasPrefix("WRONGPASS") || text.hasPrefix("ERR AUTH") {
            return "; check REDIS_SENTINEL_USERNAME and REDIS_SENTINEL_PASSWORD"
        }
        if text.hasPrefix("NOPERM") { return "; its ACL has to allow +sentinel|get-master-addr-by-name" }
        if text.hasPrefix("ERR unknown command") { return "; this is no Sentinel" }
        return ""
    }

    func send(_ bytes: [UInt8]) throws(SentinelError) {
        guard !session.isNone else {
            try sendRaw(bytes)
            return
        }
        let status = unsafe bytes.withUnsafeBufferPointer { plain in
            unsafe plain.baseAddress.map {
                unsafe session.send($0, count: plain.count, pump: security.pump)
            }
        }
        if case .failed(let failure)? = status { throw SentinelError(text: "\(failure)") }
        try sendOutput()
    }

    /// What TLS has to say.
    func sendOutput() throws(SentinelError) {
        let output = unsafe Array(security.pump.output)
        security.pump.clearOutput()
        if !output.isEmpty { try sendRaw(output) }
    }

    func sendRaw(_ bytes: [UInt8]) throws(SentinelError) {
        let count = unsafe bytes.withUnsafeBytes {
            unsafe Glibc.send(fd, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
        }
        guard count == bytes.count else { throw SentinelError(text: SystemError.text(errno)) }
    }

    mutating func receive() throws(SentinelError) {
        var buffer = [UInt8](repeating: 0, count: 4_096)
        let count = unsafe buffer.withUnsafeMutableBytes {
            unsafe Glibc.recv(fd, $0.baseAddress, $0.count, 0)
        }
        guard count > 0 else {
            let why = count == 0 ? "it closed the connection" : SystemError.text(errno)
            throw SentinelError(text: errno == EAGAIN && count < 0 ? "no answer within 1 s" : why)
        }
        try feed(session.isNone ? Array(buffer[..<count]) : open(Array(buffer[..<count])))
    }

    /// From what came to what was said.
    func open(_ cipher: [UInt8]) throws(SentinelError) -> [UInt8] {
        var plain: [UInt8] = []
        let status = unsafe cipher.withUnsafeBufferPointer { cipher in
            unsafe cipher.baseAddress.map { base in
                security.open(session, unsafe Bytes(base, count: cipher.count)) {
                    plain += $0.array
                    return true
                }
            }
        }
        try sendOutput()
        if case .failed(let failure)? = status {
            throw SentinelError(text: "TLS: \(RouterCore.advice(failure, host))")
        }
        return plain
    }

    mutating func feed(_ bytes: [UInt8]) throws(SentinelError) {
        do throws(RESPError) { try reader.feed(bytes.span) } catch {
            throw SentinelError(text: "what it sent is not the protocol of Redis")
        }
    }
}
