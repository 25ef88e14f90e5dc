// What is known of a session once its handshake is done: for logs and metrics, not for hot paths.

internal import COpenSSL

extension TLSSession {
    /// "TLSv1.3" or "TLSv1.2".
    package var version: String {
        unsafe ssl.map { unsafe String(cString: SSL_get_version($0)) } ?? ""
    }

    /// OpenSSL's name of the cipher suite.
    package var cipher: String? {
        guard let ssl = unsafe ssl, let cipher = unsafe SSL_get_current_cipher(ssl) else { return nil }
        return unsafe String(cString: SSL_CIPHER_get_name(cipher))
    }

    /// What ALPN agreed on: "http/1.1", or nil when the client did not ask.
    package var applicationProtocol: String? {
        guard let ssl = unsafe ssl else { return nil }
        var name: UnsafePointer<UInt8>?
        var count: UInt32 = 0
        unsafe SSL_get0_alpn_selected(ssl, &name, &count)
        guard let name = unsafe name, count > 0 else { return nil }
        return unsafe String(decoding: UnsafeBufferPointer(start: name, count: Int(count)), as: UTF8.self)
    }

    /// The name that the client asked for (SNI).
    package var serverName: String? {
        guard let ssl = unsafe ssl, let name = unsafe SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name)
        else { return nil }
        return unsafe String(cString: name)
    }

    /// The subject of the peer's certificate on one line (RFC 2253); nil when it showed none.
    package var peerSubject: String? {
        guard let ssl = unsafe ssl, let certificate = unsafe SSL_get1_peer_certificate(ssl) else { return nil }
        defer { unsafe X509_free(certificate) }
        return unsafe X509Text.line(of: X509_get_subject_name(certificate))
    }

    /// Whether a ticket spared the certificates.
    package var isResumed: Bool {
        guard let ssl = unsafe ssl else { return false }
        return unsafe SSL_session_reused(ssl) == 1
    }
}

enum X509Text {
    static func line(of name: OpaquePointer?) -> String {
        guard let name = unsafe name, let memory = unsafe BIO_new(BIO_s_mem()) else { return "" }
        defer { unsafe BIO_free_all(memory) }
        guard unsafe skein_X509_NAME_line(memory, name) >= 0 else { return "" }
        return unsafe String(decoding: bytes(in: memory), as: UTF8.self)
    }

    /// Everything written to a memory BIO.
    static func bytes(in memory: OpaquePointer) -> [UInt8] {
        var all: [UInt8] = []
        unsafe withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 1_024) { piece in
            while case let count = unsafe BIO_read(memory, piece.baseAddress, Int32(piece.count)), count > 0 {
                unsafe all.append(contentsOf: piece[..<Int(count)])
            }
        }
        return all
    }
}
