// Settings as OpenSSL wants them: an SSL_CTX, one per shard, because OpenSSL 3.0 contends on shared
// ones. Sessions keep the context that they began with, so a reload is a new context for those who
// come next, and the old one goes with its last session.

internal import COpenSSL

// Safe: the pointer is set once and OpenSSL counts its references; what callbacks need hangs on the
// context itself and is released with it.
@safe
package final class TLSContext: Sendable {
    nonisolated(unsafe) let context: OpaquePointer

    deinit { unsafe SSL_CTX_free(context) }

    /// For a listener.
    package init(_ settings: TLSSettings) throws(TLSSettingsError) {
        guard !settings.identities.isEmpty else { throw .noIdentity }
        unsafe context = try Self.make(TLS_server_method(), versionMin: settings.versionMin)
        if let ciphers = settings.ciphers { try unsafe Self.set(ciphers: ciphers, on: context) }
        // The server's order, but a client without AES in hardware may ask for ChaCha20.
        unsafe skein_SSL_CTX_set_server_options(context)
        unsafe SSL_CTX_set_alpn_select_cb(context, TLSCallbacks.chooseProtocol, nil)
        try setClientCertificates(settings)
        try setTickets(settings)
        try setIdentities(settings)
    }

    /// For connections of ours.
    package init(_ settings: TLSClientSettings) throws(TLSSettingsError) {
        unsafe context = try Self.make(TLS_client_method(), versionMin: settings.versionMin)
        unsafe SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nil)
        if let authority = settings.authority {
            try trust(authority)
        } else {
            try Self.check(unsafe SSL_CTX_set_default_verify_paths(context))
        }
        if let identity = settings.identity { try use(TLSCredential(identity)) }
        if let name = settings.applicationProtocol {
            let list = [UInt8(clamping: name.utf8.count)] + Array(name.utf8)
            // This one returns 0 when all is well.
            try Self.check(unsafe SSL_CTX_set_alpn_protos(context, list, UInt32(list.count)) == 0 ? 1 : 0)
        }
    }

    /// Where sessions keep how much their handshake has used up.
    static let handshakeIndex = skein_SSL_new_index()
}

private extension TLSContext {
    static var ciphers12: String {
        "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
            + "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
            + "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
    }
    static var ciphers13: String {
        "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
    }
    /// A chain of four with RSA keys is near 6 KiB.
    static var peerChainBytesMax: Int { 32_768 }

    static func make(
        _ method: OpaquePointer?, versionMin: TLSVersion
    ) throws(TLSSettingsError) -> OpaquePointer {
        precondition(TLSLibrary.isReady, "OpenSSL could not be started")
        ERR_clear_error()
        guard let context = unsafe SSL_CTX_new(method) else {
            throw .openSSL(reason: PEM.takeReason())
        }
        // Buffers go back after each call: an idle session holds none. Partial writes stay off,
        // because the pump takes whole ones.
        unsafe skein_SSL_CTX_set_mode(context, Int(SSL_MODE_RELEASE_BUFFERS | SSL_MODE_AUTO_RETRY))
        unsafe skein_SSL_CTX_set_read_ahead_off(context)
        unsafe skein_SSL_CTX_set_common_options(context)
        unsafe SSL_CTX_set_security_level(context, 2)
        unsafe skein_SSL_CTX_set_session_cache_off(context)
        unsafe skein_SSL_CTX_set_max_cert_list(context, peerChainBytesMax)
        let version = versionMin == .tls13 ? TLS1_3_VERSION : TLS1_2_VERSION
        do throws(TLSSettingsError) {
            try check(unsafe skein_SSL_CTX_set_min_proto_version(context, version))
            try check(unsafe skein_SSL_CTX_set_max_proto_version(context, TLS1_3_VERSION))
            try check(unsafe SSL_CTX_set_ciphersuites(context, ciphers13))
            try unsafe set(ciphers: ciphers12, on: context)
        } catch {
            unsafe SSL_CTX_free(context)
            throw error
        }
        return unsafe context
    }

    static func set(ciphers: String, on context: OpaquePointer) throws(TLSSettingsError) {
        guard unsafe SSL_CTX_set_cipher_list(context, ciphers) == 1 else {
            ERR_clear_error()
            throw .unknownCiphers(ciphers)
        }
    }

    static func check(_ result: Int32) throws(TLSSettingsError) {
        guard result == 1 else { throw .openSSL(reason: PEM.takeReason()) }
    }

    func setClientCertificates(_ settings: TLSSettings) throws(TLSSettingsError) {
        guard settings.clientCertificates != .none else { return }
        guard let authority = settings.clientAuthority else { throw .missing(.authority) }
        try trust(authority)
        for bytes in authority.certificates {
            guard let certificate = PEMCertificate(bytes: bytes) else { continue }
            // Tells clients with several certificates which one to show.
            try Self.check(unsafe SSL_CTX_add_client_CA(context, certificate.certificate))
        }
        let required = settings.clientCertificates == .required ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0
        unsafe SSL_CTX_set_verify(context, SSL_VERIFY_PEER | required, nil)
    }

    func setTickets(_ settings: TLSSettings) throws(TLSSettingsError) {
        // A ticket stands for a certificate that was verified: it must not outlive a change of who
        // verifies. So the context that tickets are bound to is a digest of exactly that.
        var rules: [UInt8] = [settings.clientCertificates == .required ? 1 : 0]
        for bytes in settings.clientAuthority?.certificates ?? [] { rules += bytes }
        var digest = [UInt8](repeating: 0, count: 32)
        try Self.check(unsafe EVP_Digest(rules, rules.count, &digest, nil, EVP_sha256(), nil))
        try Self.check(unsafe SSL_CTX_set_session_id_context(context, digest, UInt32(digest.count)))
        try Self.check(unsafe SSL_CTX_set_num_tickets(context, 1))
        unsafe SSL_CTX_set_timeout(context, 2 * settings.ticketKeys.lifeSeconds)
        try Self.check(
            unsafe SSL_CTX_set_tlsext_ticket_key_evp_cb(context, TLSCallbacks.keyTicket))
    }

    func setIdentities(_ settings: TLSSettings) throws(TLSSettingsError) {
        var credentials: [TLSCredential] = []
        for identity in settings.identities { credentials.append(try TLSCredential(identity)) }
        try use(credentials[0])
        let callbacks = TLSCallbacks(
            names: NameTable(settings.identities), credentials: credentials,
            ticketKeys: settings.ticketKeys)
        try unsafe callbacks.hang(on: context)
        unsafe skein_SSL_CTX_set_tlsext_servername(context, TLSCallbacks.chooseIdentity)
    }

    func use(_ credential: TLSCredential) throws(TLSSettingsError) {
        try Self.check(
            unsafe SSL_CTX_use_cert_and_key(
                context, credential.leaf.certificate, credential.key.key, credential.chain, 1))
    }

    func trust(_ authority: TLSAuthority) throws(TLSSettingsError) {
        let store = unsafe SSL_CTX_get_cert_store(context)
        for bytes in authority.certificates {
            guard let certificate = PEMCertificate(bytes: bytes) else {
                throw .damaged(.authority, reason: "a certificate that could be read once")
            }
            try Self.check(unsafe X509_STORE_add_cert(store, certificate.certificate))
        }
    }
}
