// What OpenSSL asks a server in the middle of a handshake: which certificate, which application
// protocol, which ticket key. The answers hang on the SSL_CTX and are released with it, because
// sessions keep their context after its owner has replaced it.

internal import COpenSSL

/// A certificate chain and its key, as OpenSSL's objects, for one context.
@safe
final class TLSCredential {
    let leaf: PEMCertificate
    let key: PEMKey
    /// The issuers, to be sent along.
    let chain: OpaquePointer

    init(_ identity: TLSIdentity) throws(TLSSettingsError) {
        var certificates: [PEMCertificate] = []
        for bytes in identity.certificates {
            if let certificate = PEMCertificate(bytes: bytes) { certificates.append(certificate) }
        }
        // They were read once before, from PEM.
        guard certificates.count == identity.certificates.count, let leaf = certificates.first,
            let key = PEMKey(bytes: identity.key), let chain = unsafe skein_X509_stack()
        else { throw .openSSL(reason: PEM.takeReason()) }
        self.leaf = leaf
        self.key = key
        unsafe self.chain = unsafe chain
        for issuer in certificates.dropFirst() {
            _ = unsafe X509_up_ref(issuer.certificate)
            _ = unsafe skein_X509_stack_push(chain, issuer.certificate)
        }
    }

    deinit { unsafe skein_X509_stack_free(chain) }
}

@safe
final class TLSCallbacks {
    private let names: NameTable
    private let credentials: [TLSCredential]
    private let ticketKeys: TLSTicketKeys
    private let cipher: OpaquePointer

    init(names: NameTable, credentials: [TLSCredential], ticketKeys: TLSTicketKeys) {
        self.names = names
        self.credentials = credentials
        self.ticketKeys = ticketKeys
        // Fetched once: looking it up by name takes a lock that all shards share.
        guard let cipher = unsafe EVP_CIPHER_fetch(nil, "AES-256-CBC", nil) else {
            preconditionFailure("AES is not available from OpenSSL")
        }
        unsafe self.cipher = cipher
    }

    deinit { unsafe EVP_CIPHER_free(cipher) }

    /// Gives the context a reference of its own.
    func hang(on context: OpaquePointer) throws(TLSSettingsError) {
        let reference = unsafe Unmanaged.passRetained(self)
        guard unsafe SSL_CTX_set_ex_data(context, Self.index, reference.toOpaque()) == 1 else {
            unsafe reference.release()
            throw .openSSL(reason: PEM.takeReason())
        }
    }

    private static let index = unsafe skein_SSL_CTX_new_index { _, object, _, _, _, _ in
        guard let object = unsafe object else { return }
        unsafe Unmanaged<TLSCallbacks>.fromOpaque(object).release()
    }

    private static func of(_ ssl: OpaquePointer?) -> TLSCallbacks? {
        guard let object = unsafe SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), index) else { return nil }
        return unsafe Unmanaged<TLSCallbacks>.fromOpaque(object).takeUnretainedValue()
    }
}

extension TLSCallbacks {
    /// Only `http/1.1` is spoken here; who offers others only is told so.
    static let chooseProtocol: SSL_CTX_alpn_select_cb_func = { _, chosen, chosenCount, offers, count, _ in
        guard let offers = unsafe offers, let chosen = unsafe chosen, let chosenCount = unsafe chosenCount
        else { return SSL_TLSEXT_ERR_ALERT_FATAL }
        let wanted: StaticString = "http/1.1"
        var start = 0
        while start < Int(count) {
            let bytes = Int(unsafe offers[start])
            guard start + 1 + bytes <= Int(count) else { break }
            let offer = unsafe UnsafeBufferPointer(start: offers + start + 1, count: bytes)
            let name = unsafe UnsafeBufferPointer(start: wanted.utf8Start, count: wanted.utf8CodeUnitCount)
            if unsafe offer.elementsEqual(name) {
                unsafe chosen.pointee = offer.baseAddress
                unsafe chosenCount.pointee = UInt8(bytes)
                return SSL_TLSEXT_ERR_OK
            }
            start += 1 + bytes
        }
        return SSL_TLSEXT_ERR_ALERT_FATAL
    }

    /// Called for every client hello, with a server name or without. The context holds the first
    /// identity, so only another one has to be put in place: this context's tickets, client
    /// authorities and options stay as they are.
    static let chooseIdentity: @convention(c) (
        OpaquePointer?, UnsafeMutablePointer<Int32>?, UnsafeMutableRawPointer?
    ) -> Int32 = { ssl, _, _ in
        guard let name = unsafe SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name) else {
            return SSL_TLSEXT_ERR_NOACK
        }
        guard let callbacks = unsafe of(ssl) else { return SSL_TLSEXT_ERR_NOACK }
        var count = 0
        while unsafe name[count] != 0 { count += 1 }
        let identity = unsafe name.withMemoryRebound(to: UInt8.self, capacity: count) {
            unsafe callbacks.names.identity(for: UnsafeBufferPointer(start: $0, count: count))
        }
        guard identity > 0 else { return SSL_TLSEXT_ERR_OK }
        let credential = callbacks.credentials[identity]
        // Else a default of another key type would stay beside it and could be preferred.
        unsafe SSL_certs_clear(ssl)
        let done = unsafe SSL_use_cert_and_key(
            ssl, credential.leaf.certificate, credential.key.key, credential.chain, 1)
        return done == 1 ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL
    }

    /// Returns 0 for "no such key", 1 for "use it", 2 for "use it and send a new ticket".
    static let keyTicket: @convention(c) (
        OpaquePointer?, UnsafeMutablePointer<UInt8>?, UnsafeMutablePointer<UInt8>?, OpaquePointer?,
        OpaquePointer?, Int32
    ) -> Int32 = { ssl, name, vector, encryption, mac, isSealing in
        guard let callbacks = unsafe of(ssl), let name = UnsafeMutableRawPointer(name),
            let vector = unsafe vector
        else { return -1 }
        if isSealing == 1 {
            guard let key = callbacks.ticketKeys.sealingKey(), unsafe RAND_bytes(vector, 16) == 1 else {
                return -1
            }
            unsafe name.storeBytes(of: key.words[0], as: UInt64.self)
            unsafe name.storeBytes(of: key.words[1], toByteOffset: 8, as: UInt64.self)
            return unsafe callbacks.prepare(key, vector, encryption, mac, isSealing: true) ? 1 : -1
        }
        let wanted = unsafe (
            name.loadUnaligned(as: UInt64.self), name.loadUnaligned(fromByteOffset: 8, as: UInt64.self)
        )
        guard let (key, isCurrent) = callbacks.ticketKeys.openingKey(name: wanted) else { return 0 }
        guard unsafe callbacks.prepare(key, vector, encryption, mac, isSealing: false) else { return -1 }
        // A TLS 1.3 client uses a ticket once (RFC 8446 §C.4), so it needs the next one.
        return unsafe SSL_version(ssl) < TLS1_3_VERSION && isCurrent ? 1 : 2
    }

    private func prepare(
        _ key: TLSTicketKeys.Key, _ vector: UnsafeMutablePointer<UInt8>, _ encryption: OpaquePointer?,
        _ mac: OpaquePointer?, isSealing: Bool
    ) -> Bool {
        var words = key.words
        defer { words = InlineArray(repeating: 0) }
        return unsafe withUnsafeMutableBytes(of: &words) { bytes in
            guard let base = unsafe bytes.baseAddress?.assumingMemoryBound(to: UInt8.self) else { return false }
            let done = unsafe EVP_CipherInit_ex2(
                encryption, cipher, base + 16, vector, isSealing ? 1 : 0, nil)
            guard done == 1 else { return false }
            return unsafe "SHA256".withCString { digest in
                var parameters = unsafe [
                    OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, base + 48, 32),
                    OSSL_PARAM_construct_utf8_string(
                        OSSL_MAC_PARAM_DIGEST, UnsafeMutablePointer(mutating: digest), 0),
                    OSSL_PARAM_construct_end(),
                ]
                return unsafe EVP_MAC_CTX_set_params(mac, &parameters) == 1
            }
        }
    }
}
