// The client's end of one WebSocket: bytes in, messages out, and frames to send. It knows no
// socket: `tail` feeds it what came and writes what it leaves in `outgoing`.

internal import SkeinWire

struct WebSocketClient: ~Copyable {
    enum Event: Equatable {
        case text([UInt8])
        case binary(count: Int)
        /// The peer is closing; our answer is in `outgoing`.
        case closed(code: Int?, reason: String)
    }

    enum Handshake: Equatable {
        case accepted
        case refused(status: Int, retryAfterSeconds: Int?)
    }

    /// What the other side may send us at once; beyond it, something is wrong over there.
    private static let messageBytesMax = 64 << 20

    /// To be written to the socket and then emptied.
    var outgoing: [UInt8] = []
    private var incoming: [UInt8] = []
    private var key: [UInt8] = []
    private var message: [UInt8] = []
    private var fragments = FragmentState()
    private let decoder = FrameDecoder(role: .client, payloadBytesMax: messageBytesMax)
    private var random = SystemRandomNumberGenerator()

    /// - Parameter query: added to that of the URL.
    init(url: ServerURL, token: String, query: String? = nil) {
        let key = Self.makeKey(random.next(), random.next())
        self.key = key
        let mark = url.target.contains("?") ? "&" : "?"
        let target = Array((url.target + (query.map { mark + $0 } ?? "")).utf8)
        let host = Array(url.authority.utf8)
        let token = Array(token.utf8)
        let capacity = ClientHandshake.requestBytes(
            targetBytes: target.count, hostBytes: host.count, tokenBytes: token.count,
            protocolsBytes: 0, extensionsBytes: 0)
        outgoing = Self.written(capacity) { writer in
            ClientHandshake.writeRequest(
                target: target.span, host: host.span, key: key.span, token: token.span,
                protocols: Span(), extensions: Span(), into: &writer)
        }
    }

    mutating func receive(_ bytes: [UInt8]) { incoming += bytes }

    /// - Returns: `nil` while the answer has not all come.
    mutating func handshake() throws(CommandFailure) -> Handshake? {
        var scanned = 0
        let parsed: ResponseHead?
        do throws(HandshakeError) {
            parsed = try ResponseHead.parse(incoming.span, scanned: &scanned)
        } catch {
            throw CommandFailure("What answers there does not speak HTTP; check --url.")
        }
        guard let head = parsed else { return nil }
        guard head.status == 101 else {
            let after = head.retryAfter.flatMap { range in
                Int(String(decoding: incoming[range.range], as: UTF8.self))
            }
            return .refused(status: head.status, retryAfterSeconds: after)
        }
        guard head.isAccepted(key: key.span, in: incoming.span) else {
            throw CommandFailure("What answers there is no WebSocket server; check --url.")
        }
        incoming.removeFirst(head.headBytes)
        return .accepted
    }

    /// The next thing that the peer said, `nil` where more bytes are needed. Pings are answered on
    /// the way.
    mutating func next() throws(CommandFailure) -> Event? {
        do throws(WebSocketError) {
            return try nextEvent()
        } catch {
            throw CommandFailure("The server broke the WebSocket protocol (\(error)).")
        }
    }

    mutating func send(text: String) { append(.text, Array(text.utf8)) }

    mutating func ping() { append(.ping, []) }
}

private extension WebSocketClient {
    mutating func nextEvent() throws(WebSocketError) -> Event? {
        while let header = try decoder.header(in: incoming.span),
            incoming.count >= header.frameBytes
        {
            let step = try fragments.accept(header, messageBytesMax: Self.messageBytesMax)
            let payload = Array(incoming[header.headerBytes..<header.frameBytes])
            incoming.removeFirst(header.frameBytes)
            switch step {
            case .control:
                if let event = try control(header.opcode, payload) { return event }
            case .whole: return event(header.opcode, payload)
            case .begin: message = payload
            case .middle: message += payload
            case .end:
                defer { message = [] }
                return event(fragments.opcode, message + payload)
            }
        }
        return nil
    }

    func event(_ opcode: Opcode, _ payload: [UInt8]) -> Event {
        opcode == .text ? .text(payload) : .binary(count: payload.count)
    }

    mutating func control(
        _ opcode: Opcode, _ payload: [UInt8]
    ) throws(WebSocketError) -> Event? {
        switch opcode {
        case .ping:
            append(.pong, payload)
            return nil
        case .close:
            let close = try ClosePayload.decode(payload.span)
            append(.close, Array(payload.prefix(2)))
            let reason = String(decoding: payload[close.reason.range], as: UTF8.self)
            return .closed(code: close.code.map(Int.init), reason: reason)
        case .pong, .text, .binary, .continuation:
            return nil
        }
    }

    mutating func append(_ opcode: Opcode, _ payload: [UInt8]) {
        let key = UInt32.random(in: 1...UInt32.max, using: &random)
        outgoing += Self.written(FrameEncoder.maxClientHeaderBytes) { writer in
            FrameEncoder.writeClientHeader(
                opcode, payloadBytes: payload.count, key: key, into: &writer)
        }
        var masked = payload
        var span = masked.mutableSpan
        unmask(&span, key: key)
        outgoing += masked
    }

    static func makeKey(_ first: UInt64, _ second: UInt64) -> [UInt8] {
        written(WebSocketKey.keyBytes) {
            WebSocketKey.writeKey(random: (first, second), into: &$0)
        }
    }

    static func written(_ capacity: Int, _ body: (inout ByteWriter) -> Void) -> [UInt8] {
        ByteWriter.withTemporary(capacity: capacity) { writer in
            body(&writer)
            return writer.withWritten { bytes in
                var copy: [UInt8] = []
                copy.reserveCapacity(bytes.count)
                for index in bytes.indices { copy.append(bytes[index]) }
                return copy
            }
        }
    }
}
