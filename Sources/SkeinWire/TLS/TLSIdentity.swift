// A certificate chain with its key, read from PEM and checked once; contexts are then built from it
// on every shard. It keeps DER bytes rather than OpenSSL's objects, so that shards share no lock and
// no reference count of OpenSSL, and so that it is an ordinary value.

internal import COpenSSL
internal import Glibc

package struct TLSIdentity: Sendable {
    /// The leaf's subject on one line, for logs.
    package let subject: String
    /// Host names, lower case, wildcards included: the DNS names of the certificate, or else its CN.
    package let names: [String]
    package let notBeforeUnixSeconds: Int
    package let notAfterUnixSeconds: Int
    /// DER; the leaf first, then its issuers.
    let certificates: [[UInt8]]
    let key: [UInt8]

    /// - Parameters:
    ///   - certificatePEM: the leaf and, after it, the issuers to be sent along.
    ///   - keyPEM: the leaf's key, PKCS #8 or traditional; may be the same text as the chain.
    ///   - keyPassword: for an encrypted key.
    package init(
        certificatePEM: [UInt8], keyPEM: [UInt8], keyPassword: String? = nil
    ) throws(TLSSettingsError) {
        let chain = try PEM.certificates(in: certificatePEM, part: .certificate)
        let key = try PEM.key(in: keyPEM, password: keyPassword)
        let leaf = chain[0]
        subject = unsafe X509Text.line(of: X509_get_subject_name(leaf.certificate))
        guard unsafe X509_check_private_key(leaf.certificate, key.key) == 1 else {
            ERR_clear_error()
            throw .keyMismatch(subject: subject)
        }
        try Self.checkStrength(of: key, subject: subject)
        for (issued, issuer) in zip(chain, chain.dropFirst()) {
            guard unsafe X509_check_issued(issuer.certificate, issued.certificate) == X509_V_OK else {
                throw .chainOutOfOrder(subject: issued.subject)
            }
        }
        names = CertificateNames.of(leaf)
        notBeforeUnixSeconds = unsafe Self.unixSeconds(X509_get0_notBefore(leaf.certificate))
        notAfterUnixSeconds = unsafe Self.unixSeconds(X509_get0_notAfter(leaf.certificate))
        certificates = chain.map(\.bytes)
        self.key = key.bytes
    }

    /// What an operator should hear at the time `now`. `soonSeconds` is when "expires soon" begins.
    package func warnings(atUnixSeconds now: Int, soonSeconds: Int = 14 * 86_400) -> [TLSWarning] {
        var warnings: [TLSWarning] = []
        if names.isEmpty { warnings.append(.noNames(subject: subject)) }
        if now < notBeforeUnixSeconds {
            warnings.append(.notYetValid(subject: subject, unixSeconds: notBeforeUnixSeconds))
        } else if now > notAfterUnixSeconds {
            warnings.append(.expired(subject: subject, unixSeconds: notAfterUnixSeconds))
        } else if notAfterUnixSeconds - now < soonSeconds {
            warnings.append(.expiresSoon(subject: subject, unixSeconds: notAfterUnixSeconds))
        }
        return warnings
    }

    private static func checkStrength(of key: PEMKey, subject: String) throws(TLSSettingsError) {
        let bits = unsafe Int(EVP_PKEY_get_bits(key.key))
        // Below 112 bits of security: RSA under 2,048 bits, curves under 224.
        guard unsafe EVP_PKEY_get_security_bits(key.key) >= 112 else {
            throw .weakKey(subject: subject, bits: bits)
        }
    }

    private static func unixSeconds(_ time: UnsafePointer<ASN1_TIME>?) -> Int {
        var fields = unsafe tm()
        guard unsafe ASN1_TIME_to_tm(unsafe time, &fields) == 1 else { return 0 }
        return unsafe timegm(&fields)
    }
}

/// Certificates that are trusted to sign those of peers.
package struct TLSAuthority: Sendable {
    let certificates: [[UInt8]]
    package let subjects: [String]

    package init(certificatePEM: [UInt8]) throws(TLSSettingsError) {
        let all = try PEM.certificates(in: certificatePEM, part: .authority)
        certificates = all.map(\.bytes)
        subjects = all.map(\.subject)
    }
}
