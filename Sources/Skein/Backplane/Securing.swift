// TLS on the links: between the bytes of a socket and those of Redis, in both directions. A link
// without it passes one branch for each receive and each send, and nothing else.

internal import SkeinIO
internal import SkeinWire

/// What the TLS sessions of all links share on the router's thread.
@safe
struct LinkSecurity: ~Copyable {
    let pump = TLSPump()
    private let scratch: UnsafeMutableBufferPointer<UInt8>

    /// One record.
    static var scratchBytes: Int { 16_384 }

    init() { unsafe scratch = UnsafeMutableBufferPointer.allocate(capacity: Self.scratchBytes) }

    deinit {
        unsafe scratch.deallocate()
        pump.free()
    }

    /// Gives what `cipher` says to `body`, until that returns false.
    func open(_ session: TLSSession, _ cipher: Bytes, _ body: (Bytes) -> Bool) -> TLSStatus {
        unsafe session.receive(cipher.base, count: cipher.count, pump: pump, scratch: scratch) { piece in
            guard let base = piece.baseAddress else { return true }
            return body(unsafe Bytes(base, count: piece.count))
        }
    }

    /// Moves what the peer is to be sent to the end of `buffer`.
    func moveOutput(to buffer: inout CommandBuffer) {
        let count = pump.outputCount
        guard count > 0 else { return }
        buffer.write(room: count) { writer in
            if let base = unsafe pump.output.baseAddress { unsafe writer.append(Bytes(base, count: count)) }
        }
        pump.clearOutput()
    }
}

extension RouterCore {
    /// The socket is connected: shake hands, then greet.
    func secure(_ role: RedisLink.Role) {
        guard let place = state.resolver.current else {
            failed(role, .unresolved)
            return
        }
        switch state.resolver.security {
        case .failure(let error):
            failed(role, .tls(error.text))
        case .success(let context):
            let name = state.redis?.tls?.serverName ?? place.host
            let session = TLSSession.client(context, pump: state.security.pump, serverName: name)
            state.links[role].state = .securing
            state.links[role].session = session
            state.security.moveOutput(to: &state.links[role].sealed)
            receive(role)
        case nil:
            failed(role, .tls("its certificates have not been read"))
        }
    }

    /// Bytes of a socket, to what Redis said.
    func open(_ role: RedisLink.Role, _ cipher: Bytes) {
        state.links[role].isOpening = true
        let status = state.security.open(state.links[role].session, cipher) { plain in
            take(role, plain)
            return !state.links[role].isClosing
        }
        state.links[role].isOpening = false
        state.security.moveOutput(to: &state.links[role].sealed)
        guard !state.links[role].isClosing else { return }
        switch status {
        case .ok: break
        case .closed:
            failed(role, closed(role))
            return
        case .failed(let failure):
            failed(role, .tls(Self.advice(failure, state.redis?.tls?.serverName ?? host)))
            return
        }
        if state.links[role].state == .securing, state.links[role].session.isEstablished { greet(role) }
    }

    private var host: String { state.resolver.current?.host ?? "" }

    /// Commands of this turn, to what the socket is given.
    func seal(_ role: RedisLink.Role) {
        let isSealed = state.links[role].filling.withBytes { plain in
            guard case .ok = unsafe state.links[role].session.send(
                plain.base, count: plain.count, pump: state.security.pump)
            else { return false }
            return true
        }
        state.links[role].filling.removeAll()
        state.security.moveOutput(to: &state.links[role].sealed)
        if !isSealed { failed(role, .tls("a command could not be encrypted")) }
    }

    /// What the failure means, and what to do.
    static func advice(_ failure: TLSFailure, _ host: String) -> String {
        let reason = failure.reason ?? "\(failure.kind)"
        return switch failure.kind {
        case .notTLS, .plainHTTP:
            "it does not speak TLS on this port; write redis://, or give its tls-port"
        case .certificateRejected where reason.contains("mismatch"):
            "its certificate is not for \(host) (\(reason)); connect by a name that it holds, or set "
                + "REDIS_TLS_SERVER_NAME to one"
        case .certificateRejected where reason.contains("expired") || reason.contains("not yet"):
            "its certificate is out of date (\(reason)); renew it there"
        case .certificateRejected:
            "its certificate is not trusted (\(reason)); set REDIS_TLS_CA to the authority that signed it"
        case .refusedByPeer:
            "it ended the handshake (\(reason)); if it asks for a certificate, set REDIS_TLS_CERTIFICATE "
                + "and REDIS_TLS_KEY to one that it trusts"
        default: reason
        }
    }
}
