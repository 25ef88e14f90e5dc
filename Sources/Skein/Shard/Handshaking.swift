// From the first byte to the answer: the request head, the endpoint, the origin, the token, and the
// move to the shard where the user's other devices are. One-shot receives until then, so that a
// connection that moves has nothing in flight.

internal import SkeinIO
internal import SkeinWire

extension ShardCore {
    func receiveOnce(_ slot: UInt32) {
        guard !state.connections[slot].flags.contains(.receiving) else { return }
        state.connections[slot].flags.insert(.receiving)
        state.pending.append(
            Submission(
                .receive, fd: state.connections[slot].fd, token: token(slot, ShardOperation.receive)))
    }

    /// Bytes as they come from the socket. They pass three stations, each of which takes what is its
    /// own and hands on the rest: a proxy's header, TLS, the request head.
    @unsafe
    func handshakeReceived(_ slot: UInt32, _ base: UnsafeMutablePointer<UInt8>, _ count: Int) {
        if !state.connections[slot].handshake.exists {
            let isProxy = state.shared.proxies.opensWithProxyHeader(state.connections[slot].address)
            state.connections[slot].handshake = OwnedPointer(HandshakeState(needsProxyHeader: isProxy))
        }
        if state.connections[slot].handshake.value.needsProxyHeader {
            proxyHeaderReceived(slot, unsafe Bytes(base, count: count))
        } else if speaksTLS {
            unsafe unseal(slot, base, count)
        } else {
            headReceived(slot, unsafe Bytes(base, count: count))
        }
    }

    private func proxyHeaderReceived(_ slot: UInt32, _ bytes: Bytes) {
        let handshake = state.connections[slot].handshake
        handshake.value.proxyHeader.append(bytes)
        account(slot)
        let decoded: ProxyHeader?
        do throws(ProxyError) {
            decoded = unsafe try ProxyHeader.decode(handshake.value.proxyHeader.bytes.buffer.span)
        } catch {
            refuse(slot, HandshakeError.proxyHeaderMalformed)
            return
        }
        guard let header = decoded else {
            receiveOnce(slot)
            return
        }
        handshake.value.needsProxyHeader = false
        if let source = header.source { state.connections[slot].address = PeerAddress(source) }
        let isForwarder = state.shared.proxies.forwards(state.connections[slot].address)
        guard isForwarder || countAddress(slot) else { return }
        // Out of the handshake, which may end while they are read.
        var received = ByteBlock()
        swap(&received, &handshake.value.proxyHeader)
        received.removeFirst(header.headerBytes)
        guard received.count > 0 else {
            receiveOnce(slot)
            return
        }
        unsafe received.withBuffer { unsafe handshakeReceived(slot, $0.baseAddress!, $0.count) }
    }

    /// Bytes of a request head, or behind it.
    func headReceived(_ slot: UInt32, _ bytes: Bytes) {
        let handshake = state.connections[slot].handshake
        handshake.value.bytes.append(bytes)
        account(slot)
        let parsed: UpgradeRequest?
        do throws(HandshakeError) {
            parsed = unsafe try UpgradeRequest.parse(
                handshake.value.bytes.bytes.buffer.span, scanned: &handshake.value.scanned,
                limits: HandshakeLimits(headBytesMax: state.limits.headBytesMax))
        } catch {
            refuse(slot, error)
            return
        }
        guard let request = parsed else {
            // Of several records in one receive, the next may end the head and the connection move,
            // with nothing in flight: then it is for `unseal` to ask for more, once all are read.
            if !speaksTLS { receiveOnce(slot) }
            return
        }
        handshake.value.request = request
        let head = handshake.value.bytes.bytes
        if !state.connections[slot].flags.contains(.counted) {
            believe(slot, request, head)
            guard countAddress(slot) else { return }
        }
        route(slot, request, head)
    }

    /// Takes a trusted proxy's word on whose request this is.
    private func believe(_ slot: UInt32, _ request: UpgradeRequest, _ head: Bytes) {
        switch state.shared.proxies.client(of: request, head) {
        case .none: break
        case .malformed: metrics.countDropped(.malformedForward)
        case .address(let client): state.connections[slot].address = PeerAddress(client)
        }
    }

    private func route(_ slot: UInt32, _ request: UpgradeRequest, _ bytes: Bytes) {
        let path = bytes.slice(request.path)
        if path.equals("/health") && (request.isGet || request.isHead) && !request.isUpgrade {
            answerHealth(slot)
            return
        }
        guard let dialect = dialect(at: path) else {
            refuse(slot, status: 404, result: .notFound)
            return
        }
        do throws(HandshakeError) { try request.requireWebSocket() } catch {
            refuse(slot, error)
            return
        }
        guard isOriginAllowed(request, bytes) else {
            refuse(slot, status: 403, result: .forbiddenOrigin)
            return
        }
        state.connections[slot].dialect = UInt8(dialect)
        if let agent = request.userAgent {
            state.connections[slot].userAgent = OwnedText(copying: bytes.slice(agent))
        }
        let isOpen = state.dialects.with(UInt8(dialect)) { $0.needsNoToken }
        guard let token = token(in: request, bytes, slot) else {
            if isOpen { open(slot) } else { refuse(slot, status: 401, result: .unauthorized) }
            return
        }
        state.connections[slot].state = .authenticating
        guard state.shared.authenticate(token, for: reference(slot)) else {
            refuse(slot, status: 503, result: .overload, retryAfterSeconds: 1)
            return
        }
    }

    /// Which dialect speaks at `path`, which a client may have percent-encoded.
    private func dialect(at path: Bytes) -> Int? {
        if let place = state.paths.firstIndex(where: { path.equals($0) }) { return place }
        guard unsafe path.buffer.contains(UInt8(ascii: "%")) else { return nil }
        return ByteWriter.withTemporary(capacity: path.count) { writer in
            guard unsafe PercentEncoding.decodePath(path.buffer.span, into: &writer) else { return nil }
            return writer.withWritten { decoded in
                state.paths.firstIndex { unsafe decoded.withUnsafeBufferPointer($0.utf8.elementsEqual) }
            }
        }
    }

    private func isOriginAllowed(_ request: UpgradeRequest, _ bytes: Bytes) -> Bool {
        guard let range = request.origin else { return true }
        let origin = bytes.slice(range)
        let allowed = state.shared.allowedOrigins
        if allowed.contains(where: { $0 == "*" || origin.equals($0) }) { return true }
        let host = bytes.slice(request.host)
        return unsafe Origin.isSameHost(origin: origin.buffer.span, host: host.buffer.span)
    }

    /// The token from `?token=`, `Authorization: Bearer`, or the subprotocol pair `bearer, <token>`.
    private func token(in request: UpgradeRequest, _ bytes: Bytes, _ slot: UInt32) -> String? {
        // Seen also when the token came another way: a client that offers a subprotocol wants one.
        var offered: Bytes?
        if let protocols = request.protocols {
            let list = bytes.slice(protocols)
            if let range = unsafe Bearer.token(inProtocols: list.buffer.span) {
                state.connections[slot].handshake.value.hasBearerProtocol = true
                offered = list.slice(range)
            } else if list.equals("bearer"), let more = request.moreProtocols {
                state.connections[slot].handshake.value.hasBearerProtocol = true
                offered = bytes.slice(more)
            }
        }
        if let query = request.query {
            let text = bytes.slice(query)
            if let range = unsafe QueryString.value(of: "token", in: text.buffer.span) {
                let raw = text.slice(range)
                return ByteWriter.withTemporary(capacity: raw.count + 1) { writer in
                    guard unsafe QueryString.decode(raw.buffer.span, into: &writer) else { return "" }
                    return writer.withWritten { String(copying: unsafe UTF8Span(unchecked: $0)) }
                }
            }
        }
        if let authorization = request.authorization {
            let text = bytes.slice(authorization)
            if let range = unsafe Bearer.token(inAuthorization: text.buffer.span) {
                return text.slice(range).text
            }
        }
        return offered?.text
    }

    /// The authenticator's answer, through the inbox.
    func authenticated(_ reference: ConnectionReference, _ bytes: Bytes) {
        guard let slot = slot(of: reference), state.connections[slot].state == .authenticating else {
            return
        }
        var reader = RecordReader(bytes)
        let isAccepted = reader.number(UInt8.self) == 1
        guard isAccepted else {
            let isOverloaded = reader.number(UInt8.self) == 1
            if isOverloaded {
                refuse(slot, status: 503, result: .overload, retryAfterSeconds: 1)
            } else {
                refuse(slot, status: 401, result: .unauthorized)
            }
            return
        }
        let expiresAt = reader.number(Int64.self)
        let issuedAt = reader.number(Int64.self)
        let mark = reader.number(UInt64.self)
        let id = reader.text()
        let username = reader.text()
        state.connections[slot].expiresAtMilliseconds = expiresAt
        state.connections[slot].issuedAtMilliseconds = issuedAt
        state.connections[slot].tokenMark = mark
        state.connections[slot].handshake.value.username = OwnedText(copying: username)
        let hash = UserHash.of(id)
        let home = state.shared.home(of: hash)
        if home == state.index {
            join(slot, id: id, hash: hash)
        } else if state.connections[slot].backlog.exists {
            // What TLS had to say is not all out, and would stay behind: it goes first.
            state.connections[slot].handshake.value.userID = OwnedText(copying: id)
        } else {
            move(slot, to: home, id: id)
        }
    }

    /// Answers with an HTTP error and ends the connection.
    func refuse(_ slot: UInt32, _ error: HandshakeError) {
        let result: HandshakeResult =
            switch error {
            case .tlsHello: .tls
            case .proxyHeaderUnexpected, .proxyHeaderMalformed: .proxyHeader
            default:
                switch error.status {
                case 414, 431: .tooLarge
                case 405, 426: .notWebSocket
                case 505: .httpVersion
                default: .malformed
                }
            }
        metrics.countHandshake(result)
        hint(slot, error)
        if error == .tlsHello {
            drop(slot, code: 0)
            return
        }
        let toHead = isHead(slot)
        respond(slot) { writer in HandshakeResponse.write(error, toHead: toHead, into: &writer) }
    }

    /// What an operator has to put right, once in a while.
    private func hint(_ slot: UInt32, _ error: HandshakeError) {
        let message: String
        switch error {
        case .tlsHello:
            guard state.shared.tlsHints.isDue(state.now) else { return }
            message = """
                a client spoke TLS to the plain sockets listener; set WS_TLS_CERTIFICATE, or give it ws://.
                """
        case .proxyHeaderUnexpected:
            guard state.shared.proxyHints.isDue(state.now) else { return }
            message = """
                a PROXY header came from a peer outside WS_PROXY_PROTOCOL and was refused; \
                add its address there if it is your load balancer.
                """
        case .proxyHeaderMalformed:
            guard state.shared.proxyHints.isDue(state.now) else { return }
            message = """
                a peer inside WS_PROXY_PROTOCOL sent no proper PROXY header and was refused; \
                have it send one, or take its address out.
                """
        default:
            return
        }
        log(.warning, message, [("peer", state.connections[slot].address.host)])
    }

    func refuse(
        _ slot: UInt32, status: Int, result: HandshakeResult, retryAfterSeconds: Int? = nil
    ) {
        metrics.countHandshake(result)
        let body: StaticString =
            switch status {
            case 400: "{\"error\":\"This port speaks TLS: use wss:// or https://\"}"
            case 401: "{\"error\":\"Unauthorized\"}"
            case 403: "{\"error\":\"Origin not allowed\"}"
            case 404: "{\"error\":\"Not found\"}"
            case 429: "{\"error\":\"Too many connections\"}"
            default: "{\"error\":\"Service unavailable\"}"
            }
        let toHead = isHead(slot)
        respond(slot, isPlain: result == .plainHTTP) { writer in
            unsafe HandshakeResponse.write(
                status: status, body: Bytes(body).buffer.span, retryAfterSeconds: retryAfterSeconds,
                toHead: toHead, into: &writer)
        }
    }

    /// Whether the answer must not have a body.
    private func isHead(_ slot: UInt32) -> Bool {
        let handshake = state.connections[slot].handshake
        return handshake.exists && handshake.value.request?.isHead == true
    }

    private func answerHealth(_ slot: UInt32) {
        metrics.countHandshake(.health)
        let text = state.shared.healthText()
        let toHead = isHead(slot)
        respond(slot, room: 1_024 + text.utf8.count) { writer in
            var text = text
            text.withUTF8 { body in
                unsafe HandshakeResponse.write(
                    status: 200, body: body.span, toHead: toHead, into: &writer)
            }
        }
    }

    /// - Parameter isPlain: without TLS, though the listener speaks it.
    private func respond(
        _ slot: UInt32, room: Int = 1_024, isPlain: Bool = false, _ write: (inout ByteWriter) -> Void
    ) {
        let was = state.connections[slot].state
        if speaksTLS, !state.connections[slot].tls.isEstablished, !isPlain {
            // Nobody could read it.
            drop(slot, code: 0)
            return
        }
        leaveUser(slot)
        if was == .handshaking || was == .authenticating || was == .joining {
            metrics.handshaking.subtract()
        }
        let memory = unsafe state.arena.allocate(room)
        var writer = unsafe ByteWriter(unsafe: memory, capacity: room)
        write(&writer)
        state.arena.trim(room - writer.count)
        state.connections[slot].state = .finishing
        state.connections[slot].flags.insert(.finishAfterFlush)
        state.connections[slot].deadline = state.now.advanced(by: state.limits.writeTimeout)
        schedule(slot)
        enqueue(slot, unsafe Bytes(memory, count: writer.count))
    }
}

extension Bytes {
    func equals(_ text: String) -> Bool {
        guard text.utf8.count == count else { return false }
        return unsafe text.utf8.elementsEqual(buffer)
    }
}
