// How a call into a TLS session ended. Plain bits, because every receive returns one; the words for
// a log are looked up when somebody asks for them, and never hold a secret.

internal import COpenSSL

package enum TLSStatus: BitwiseCopyable, Sendable {
    /// Go on; more input is welcome.
    case ok
    /// The peer said close_notify: it will send nothing more, and was not cut off.
    case closed
    /// The session is over. What the peer should hear of it is in the pump's output.
    case failed(TLSFailure)
}

/// Why a session failed: what to count it as, and OpenSSL's words for the log.
package struct TLSFailure: BitwiseCopyable, Sendable {
    package enum Kind: UInt8, BitwiseCopyable, Sendable, CaseIterable {
        /// The peer speaks HTTP without TLS. No alert was written: answer 400 in plain text.
        case plainHTTP
        /// The peer does not speak TLS at all.
        case notTLS
        /// No TLS version that both sides allow.
        case unsupportedVersion
        /// No cipher, curve or signature algorithm that both sides allow.
        case nothingShared
        /// The peer offers application protocols, but not `http/1.1`.
        case noApplicationProtocol
        /// The peer had to show a certificate and did not.
        case certificateMissing
        /// The peer's certificate is expired, for another name, or from an unknown authority.
        case certificateRejected
        /// The peer's handshake is longer than is sane.
        case handshakeTooLong
        /// The peer ended the session with an alert: it may not like our certificate.
        case refusedByPeer
        /// Bytes that are not what the protocol asks for: damaged, forged or out of order.
        case malformed
        /// There is no established session to send on.
        case notEstablished
        /// Memory is out, or OpenSSL is not what it should be.
        case `internal`
    }

    package let kind: Kind
    /// OpenSSL's error code, or 0.
    let code: UInt
    /// What X509 verification said, when it was asked.
    let verification: Int

    init(_ kind: Kind, code: UInt = 0, verification: Int = 0) {
        self.kind = kind
        self.code = code
        self.verification = verification
    }
}

extension TLSFailure: CustomStringConvertible {
    /// For a log line: the kind, and what OpenSSL calls it.
    package var description: String {
        guard let reason else { return "\(kind)" }
        return "\(kind): \(reason)"
    }

    /// OpenSSL's words, such as "unsupported protocol" or "certificate has expired".
    package var reason: String? {
        if kind == .certificateRejected, verification != 0 {
            return unsafe String(cString: X509_verify_cert_error_string(verification))
        }
        if kind == .handshakeTooLong, code == 0 { return "more input than a handshake may need" }
        guard code != 0, let text = unsafe ERR_reason_error_string(code) else { return nil }
        return unsafe String(cString: text)
    }
}

extension TLSFailure {
    /// Reads this thread's error queue after a call on `ssl` has failed, and empties it.
    static func take(from ssl: OpaquePointer) -> TLSFailure {
        var code: UInt = 0
        // The first error of the SSL layer names the cause; what lies before it are details of the
        // layers below, and what follows are consequences.
        while case let next = ERR_get_error(), next != 0 {
            if code == 0 { code = next }
            if ERR_GET_LIB(next) == ERR_LIB_SSL {
                code = next
                break
            }
        }
        ERR_clear_error()
        let verification = unsafe SSL_get_verify_result(ssl)
        return TLSFailure(kind(of: code), code: code, verification: verification)
    }

    private static func kind(of code: UInt) -> Kind {
        guard ERR_GET_LIB(code) == ERR_LIB_SSL else {
            return code == 0 || ERR_GET_REASON(code) == ERR_R_MALLOC_FAILURE ? .internal : .malformed
        }
        let reason = ERR_GET_REASON(code)
        // An alert of the peer is reported as 1,000 and its number.
        if reason > SSL_AD_REASON_OFFSET, reason <= SSL_AD_REASON_OFFSET + 255 { return .refusedByPeer }
        switch reason {
        case SSL_R_HTTP_REQUEST, SSL_R_HTTPS_PROXY_REQUEST: return .plainHTTP
        case SSL_R_WRONG_VERSION_NUMBER: return .notTLS
        case SSL_R_UNSUPPORTED_PROTOCOL, SSL_R_WRONG_SSL_VERSION, SSL_R_UNKNOWN_PROTOCOL,
            SSL_R_VERSION_TOO_LOW, SSL_R_NO_PROTOCOLS_AVAILABLE, SSL_R_INAPPROPRIATE_FALLBACK:
            return .unsupportedVersion
        case SSL_R_NO_SHARED_CIPHER, SSL_R_NO_SUITABLE_KEY_SHARE, SSL_R_NO_SHARED_GROUPS,
            SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM, SSL_R_NO_SHARED_SIGNATURE_ALGORITHMS,
            SSL_R_NO_CIPHERS_AVAILABLE:
            return .nothingShared
        case SSL_R_NO_APPLICATION_PROTOCOL: return .noApplicationProtocol
        case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE: return .certificateMissing
        case SSL_R_CERTIFICATE_VERIFY_FAILED: return .certificateRejected
        case SSL_R_EXCESSIVE_MESSAGE_SIZE: return .handshakeTooLong
        case Int32(ERR_R_MALLOC_FAILURE), Int32(ERR_R_INTERNAL_ERROR): return .internal
        default: return .malformed
        }
    }
}
