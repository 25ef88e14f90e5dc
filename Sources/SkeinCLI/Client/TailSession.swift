// One connection of `skein tail` after the other: opens it, carries lines both ways, and says how
// it ended and whether it is worth coming back: by the rules of `ReconnectingClient`.

internal import SkeinClient
internal import SkeinNode

struct TailSession {
    enum End {
        case finished
        case expired
        case retry(milliseconds: Int, why: String)
    }

    /// A server pings more often than this; longer silence is a dead connection.
    private static let silenceMilliseconds = 90_000
    private static let handshakeMilliseconds = 10_000

    let url: ServerURL
    private var reconnecting: ReconnectingClient
    private var wasConnected = false
    /// Why there is no point in coming back, where there is none.
    private var fatal: CommandFailure?

    init(url: ServerURL) {
        self.url = url
        reconnecting = ReconnectingClient(seed: .random(in: 1 ... .max))
        _ = reconnecting.start()
    }

    mutating func run(
        token: String, typed: inout TypedLines
    ) throws(CommandFailure) -> End {
        let socket: BlockingSocket
        do throws(SocketFailure) {
            socket = try BlockingSocket.connect(host: url.host, port: url.port)
        } catch {
            guard wasConnected else {
                throw CommandFailure(
                    "Nothing answers at ws://\(url.authority) (\(error.reason)); start a node with "
                        + "`skein serve --dev`, or name another with --url.")
            }
            return retry("ws://\(url.authority): \(error.reason)", reconnecting.lost())
        }
        var client = WebSocketClient(url: url, token: token, query: reconnecting.query)
        do throws(SocketFailure) {
            if let refused = try open(socket, &client) { return refused }
            wasConnected = true
            return try converse(socket, &client, &typed)
        } catch {
            if let fatal { throw fatal }
            return retry("the connection was lost: \(error.reason)", reconnecting.lost())
        }
    }

    private func retry(_ why: String, _ next: ReconnectingClient.Next) -> End {
        switch next {
        case .connect(let milliseconds, _), .renewToken(let milliseconds, _):
            return .retry(milliseconds: milliseconds, why: why)
        case .giveUp:
            StandardStream.error.write(line: "skein: \(why); not reconnecting")
            return .finished
        }
    }
}

private extension TailSession {
    /// - Returns: how it ended, where it ended; `nil` when the connection is open.
    mutating func open(
        _ socket: borrowing BlockingSocket, _ client: inout WebSocketClient
    ) throws(SocketFailure) -> End? {
        try flush(socket, &client)
        let clock = ContinuousClock()
        let deadline = clock.now + .milliseconds(Self.handshakeMilliseconds)
        while clock.now < deadline {
            let bytes = try socket.read()
            guard !bytes.isEmpty else { throw SocketFailure(reason: "closed before it was open") }
            client.receive(bytes)
            let answer: WebSocketClient.Handshake?
            do throws(CommandFailure) {
                answer = try client.handshake()
            } catch {
                fatal = error
                throw SocketFailure(reason: error.message)
            }
            switch answer {
            case nil: continue
            case .accepted: return nil
            case .refused(let status, let after): return try refused(status, after)
            }
        }
        throw SocketFailure(reason: "no answer in time")
    }

    mutating func refused(_ status: Int, _ after: Int?) throws(SocketFailure) -> End {
        switch status {
        case 429, 503:
            return retry(
                "the node is full (\(status))",
                reconnecting.refused(status: status, retryAfterSeconds: after ?? 1))
        case 401:
            fatal = CommandFailure(
                "The node refused the token (401); set JWT_SECRET as the node has it, or give a "
                    + "fresh --token.")
        case 404:
            fatal = CommandFailure("There is no \(url.target) at the node (404); check --url.")
        default:
            fatal = CommandFailure("The node refused the handshake (\(status)); check --url.")
        }
        throw SocketFailure(reason: "refused")
    }

    mutating func converse(
        _ socket: borrowing BlockingSocket, _ client: inout WebSocketClient,
        _ typed: inout TypedLines
    ) throws(SocketFailure) -> End {
        while true {
            while let event = try next(&client) {
                switch event {
                case .text(let bytes): show(bytes)
                case .binary(let count):
                    StandardStream.error.write(line: "skein: a binary message of \(count) bytes")
                case .closed(let code, let reason):
                    try? flush(socket, &client)
                    return closed(code, reason)
                }
            }
            try flush(socket, &client)
            let ready = Readiness.wait(
                socket.descriptor, typed.isOpen ? StandardInput.descriptor : -1,
                milliseconds: Self.silenceMilliseconds)
            if ready.second {
                for message in typed.read() { client.send(text: message) }
                try flush(socket, &client)
            }
            if ready.first {
                let bytes = try socket.read()
                guard !bytes.isEmpty else { throw SocketFailure(reason: "the node closed it") }
                client.receive(bytes)
            } else if !ready.second {
                throw SocketFailure(reason: "the node has fallen silent")
            }
        }
    }

    mutating func next(
        _ client: inout WebSocketClient
    ) throws(SocketFailure) -> WebSocketClient.Event? {
        do throws(CommandFailure) {
            return try client.next()
        } catch {
            fatal = error
            throw SocketFailure(reason: error.message)
        }
    }

    func flush(
        _ socket: borrowing BlockingSocket, _ client: inout WebSocketClient
    ) throws(SocketFailure) {
        guard !client.outgoing.isEmpty else { return }
        try socket.write(client.outgoing)
        client.outgoing = []
    }

    mutating func closed(_ code: Int?, _ reason: String) -> End {
        let said = "closed by the node: \(code.map(String.init) ?? "no code") \(reason)".trimmed
        let next = reconnecting.closed(code: code, reason: reason)
        return code == 4_401 ? .expired : retry(said, next)
    }

    mutating func show(_ bytes: [UInt8]) {
        switch reconnecting.textReceived(bytes.span) {
        case .duplicate: return
        case .reread:
            StandardStream.error.write(line: "skein: something was missed while away, and is not kept any more")
        case .connected, .deliver, .resumed: break
        }
        StandardStream.output.write(line: Self.oneLine(bytes))
    }

    /// The envelope as it is, but on one line: line ends between JSON's tokens mean nothing, and a
    /// terminal must not be told what to do by what others write.
    static func oneLine(_ bytes: [UInt8]) -> String {
        String(decoding: bytes.map { $0 < 0x20 || $0 == 0x7F ? 0x20 : $0 }, as: UTF8.self)
    }
}
