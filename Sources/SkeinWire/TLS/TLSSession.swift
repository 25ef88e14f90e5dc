// One peer's TLS, without sockets: ciphertext in, plaintext out, and what the peer must be told
// appended to the pump's output. A session is a pointer, so that it fits a connection's record and
// crosses to another loop in a parcel; it is used by one thread at a time, and freed by hand.

internal import COpenSSL

// Safe: whoever holds the record frees the session once and uses it no more; nothing but the pump's
// pointers, set for the length of a call, is reached from it.
@safe @frozen @usableFromInline
package struct TLSSession: BitwiseCopyable {
    @usableFromInline let ssl: OpaquePointer?

    /// No session: the connection is in plain text.
    package static var none: TLSSession { unsafe TLSSession(nil) }

    init(_ ssl: OpaquePointer?) { unsafe self.ssl = unsafe ssl }

    /// The session as a word, for a record that travels between threads, and back. 0 is ``none``.
    package var bits: UInt { unsafe UInt(bitPattern: ssl) }
    package init(bits: UInt) { unsafe ssl = OpaquePointer(bitPattern: bits) }

    package var isNone: Bool { unsafe ssl == nil }

    /// Input that a peer may use up before its handshake is done.
    package static var handshakeBytesMax: Int { 65_536 }

    /// Waits for a client's handshake. ``none`` when memory is out.
    package static func server(_ context: TLSContext, pump: TLSPump) -> TLSSession {
        unsafe start(context, pump) { unsafe SSL_set_accept_state($0) }
    }

    /// Begins a handshake: its first flight is in the pump's output. ``none`` when memory is out.
    ///
    /// - Parameter serverName: the host name or IP address that the certificate must be good for.
    package static func client(_ context: TLSContext, pump: TLSPump, serverName: String) -> TLSSession {
        let session = unsafe start(context, pump) { ssl in
            unsafe SSL_set_connect_state(ssl)
            let parameters = unsafe SSL_get0_param(ssl)
            // An address is never sent as a server name (RFC 6066 §3).
            if unsafe X509_VERIFY_PARAM_set1_ip_asc(parameters, serverName) == 1 { return }
            unsafe SSL_set_hostflags(ssl, UInt32(X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS))
            _ = unsafe SSL_set1_host(ssl, serverName)
            _ = unsafe skein_SSL_set_tlsext_host_name(ssl, serverName)
        }
        guard let ssl = unsafe session.ssl else { return session }
        unsafe pump.setInput(nil, count: 0)
        _ = unsafe SSL_do_handshake(ssl)
        ERR_clear_error()
        return session
    }

    private static func start(
        _ context: TLSContext, _ pump: TLSPump, _ prepare: (OpaquePointer) -> Void
    ) -> TLSSession {
        ERR_clear_error()
        guard let ssl = unsafe SSL_new(context.context) else { return .none }
        unsafe prepare(ssl)
        let session = unsafe TLSSession(ssl)
        session.attach(to: pump)
        return session
    }

    /// Makes `pump` the one that later calls use: after a move to another loop, on its thread.
    package func attach(to pump: TLSPump) {
        guard let ssl = unsafe ssl else { return }
        let bio = unsafe pump.state.pointee.bio
        // One reference for each direction: then no case of `SSL_set_bio` has to be told apart.
        _ = unsafe BIO_up_ref(bio)
        _ = unsafe BIO_up_ref(bio)
        unsafe SSL_set0_rbio(ssl, bio)
        unsafe SSL_set0_wbio(ssl, bio)
    }

    /// Gives everything back. The peer is told nothing: see ``closeNotify(pump:)``.
    package func free() { unsafe SSL_free(ssl) }
}

extension TLSSession {
    /// Whether the handshake is done: plaintext may be sent.
    package var isEstablished: Bool {
        guard let ssl = unsafe ssl else { return false }
        return unsafe SSL_is_init_finished(ssl) == 1
    }

    /// Takes ciphertext, in pieces as the socket gave them, and gives plaintext to `body`, in pieces
    /// of at most `scratch`. What the peer must be told (its handshake's next flight, tickets, key
    /// updates, alerts) is in the pump's output afterwards, whatever is returned.
    ///
    /// - Parameter body: may change the bytes, which are good for its call only; must not call or
    ///   free this session. Returning false ends the call with `.ok`: the input not yet read is at
    ///   the end of `cipher`, ``TLSPump/unreadCount`` bytes of it, to be given again.
    package func receive(
        _ cipher: UnsafePointer<UInt8>?, count: Int, pump: TLSPump,
        scratch: UnsafeMutableBufferPointer<UInt8>,
        _ body: (UnsafeMutableBufferPointer<UInt8>) -> Bool
    ) -> TLSStatus {
        let ssl = unsafe begin(pump)
        unsafe pump.setInput(cipher, count: count)
        if unsafe SSL_is_init_finished(ssl) == 0 {
            if let status = unsafe handshake(ssl, pump, count) { return status }
        }
        return unsafe read(ssl, pump, scratch, body)
    }

    /// Appends `plain` to the pump's output as records of at most 16 KiB: all of it or, when this
    /// fails, nothing that may be sent. The output grows by 22 bytes per record (29 in TLS 1.2).
    package func send(_ plain: UnsafePointer<UInt8>, count: Int, pump: TLSPump) -> TLSStatus {
        guard count > 0 else { return .ok }
        let ssl = unsafe begin(pump)
        // A peer can bring this about after the handshake too, with half of a key update.
        guard unsafe SSL_is_init_finished(ssl) == 1 else { return .failed(TLSFailure(.notEstablished)) }
        var written = 0
        guard unsafe SSL_write_ex(ssl, plain, count, &written) == 1 else {
            return .failed(unsafe TLSFailure.take(from: ssl))
        }
        // Partial writes are off and the pump takes everything.
        precondition(written == count, "OpenSSL kept a part of what it was to send")
        return .ok
    }

    /// Appends the alert that ends our side. The peer's side may go on, unheard or not.
    package func closeNotify(pump: TLSPump) {
        let ssl = unsafe begin(pump)
        // Refused before the end of a handshake and after a failure: there is no one to tell.
        _ = unsafe SSL_shutdown(ssl)
        ERR_clear_error()
    }
}

extension TLSPump {
    fileprivate func setInput(_ input: UnsafePointer<UInt8>?, count: Int) {
        unsafe state.pointee.input = unsafe input
        unsafe state.pointee.inputCount = count
    }
}

private extension TLSSession {
    func begin(_ pump: TLSPump) -> OpaquePointer {
        guard let ssl = unsafe ssl else { preconditionFailure("no TLS session") }
        precondition(
            unsafe SSL_get_rbio(ssl) == pump.state.pointee.bio, "a TLS session attached to another pump")
        // OpenSSL takes an error that somebody left on this thread for one of its own.
        if ERR_peek_error() != 0 { ERR_clear_error() }
        return unsafe ssl
    }

    /// Nil once the handshake is done.
    func handshake(_ ssl: OpaquePointer, _ pump: TLSPump, _ count: Int) -> TLSStatus? {
        let result = unsafe SSL_do_handshake(ssl)
        if result == 1 { return nil }
        if case .failed(let failure) = unsafe status(ssl, result) { return .failed(failure) }
        // The count lives in the session's extra data, as the pointer that it is not.
        let index = TLSContext.handshakeIndex
        let before = unsafe UInt(bitPattern: SSL_get_ex_data(ssl, index))
        let total = before + UInt(count - pump.unreadCount)
        guard total <= UInt(Self.handshakeBytesMax) else {
            return .failed(TLSFailure(.handshakeTooLong))
        }
        _ = unsafe SSL_set_ex_data(ssl, index, UnsafeMutableRawPointer(bitPattern: total))
        return .ok
    }

    func read(
        _ ssl: OpaquePointer, _ pump: TLSPump, _ scratch: UnsafeMutableBufferPointer<UInt8>,
        _ body: (UnsafeMutableBufferPointer<UInt8>) -> Bool
    ) -> TLSStatus {
        while true {
            var count = 0
            let result = unsafe SSL_read_ex(ssl, scratch.baseAddress, scratch.count, &count)
            guard result == 1 else { return unsafe status(ssl, result) }
            let piece = unsafe UnsafeMutableBufferPointer(rebasing: scratch[..<count])
            guard unsafe body(piece) else { return .ok }
            // Spares the call that would only find nothing, after allocating a buffer for it.
            if pump.unreadCount == 0, unsafe SSL_has_pending(ssl) == 0 { return .ok }
        }
    }

    func status(_ ssl: OpaquePointer, _ result: Int32) -> TLSStatus {
        switch unsafe SSL_get_error(ssl, result) {
        case SSL_ERROR_WANT_READ, SSL_ERROR_WANT_WRITE: .ok
        case SSL_ERROR_ZERO_RETURN: .closed
        default: .failed(unsafe TLSFailure.take(from: ssl))
        }
    }
}
