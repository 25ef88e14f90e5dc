// What can be wrong with certificates and keys before anybody connects. The operator reads these, so
// each says what was found and what to do about it.

internal import COpenSSL
internal import Glibc

package enum TLSSettingsError: Error, Equatable, Sendable {
    /// What a PEM text was meant to hold.
    package enum Part: String, Equatable, Sendable {
        case certificate
        case key = "private key"
        case authority = "certificate authority"
    }

    /// No "-----BEGIN …-----" line at all.
    case notPEM(Part)
    /// A BEGIN line without its END line: the file is being written, or was cut.
    case halfWritten(Part)
    /// A PEM block whose inside cannot be read.
    case damaged(Part, reason: String)
    /// PEM, but no block of the wanted kind.
    case missing(Part)
    /// The key is encrypted and the password is missing or wrong.
    case wrongPassword
    case keyMismatch(subject: String)
    case weakKey(subject: String, bits: Int)
    /// A chain's certificate is not signed by the one after it.
    case chainOutOfOrder(subject: String)
    case noIdentity
    case unknownCiphers(String)
    case openSSL(reason: String)
}

extension TLSSettingsError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .notPEM(let part):
            "the \(part.rawValue) file is not PEM: it has no \"-----BEGIN\" line; "
                + "convert it (openssl x509 or openssl pkey) or name the right file"
        case .halfWritten(let part):
            "the \(part.rawValue) file ends inside a PEM block: it is being written or was cut off; "
                + "replace it by renaming a complete file over it"
        case .damaged(let part, let reason):
            "the \(part.rawValue) file cannot be read (\(reason)): write it anew"
        case .missing(let part):
            "the file holds no \(part.rawValue): name the file that does"
        case .wrongPassword:
            "the private key is encrypted, and its password is missing or wrong: set the key password"
        case .keyMismatch(let subject):
            "the private key does not belong to the certificate \(subject): "
                + "give the key it was requested with"
        case .weakKey(let subject, let bits):
            "the key of \(subject) has \(bits) bits, too few to be safe: "
                + "issue it with RSA of 2,048 bits or more, or with P-256"
        case .chainOutOfOrder(let subject):
            "the certificate after \(subject) did not issue it: "
                + "put the server's certificate first, then each issuer after what it issued"
        case .noIdentity:
            "TLS is on without a certificate: name a certificate file and a key file"
        case .unknownCiphers(let list):
            "no cipher of \"\(list)\" is known: see openssl ciphers for the names"
        case .openSSL(let reason):
            "OpenSSL refuses the settings: \(reason)"
        }
    }
}

/// What is worth saying of an identity that works all the same.
package enum TLSWarning: Equatable, Sendable {
    case expired(subject: String, unixSeconds: Int)
    case expiresSoon(subject: String, unixSeconds: Int)
    case notYetValid(subject: String, unixSeconds: Int)
    /// Clients that verify names will refuse it.
    case noNames(subject: String)
}

extension TLSWarning: CustomStringConvertible {
    package var description: String {
        switch self {
        case .expired(let subject, let time):
            "the certificate \(subject) expired at \(Self.date(time)): clients will refuse it; renew it"
        case .expiresSoon(let subject, let time):
            "the certificate \(subject) expires at \(Self.date(time)): renew it"
        case .notYetValid(let subject, let time):
            "the certificate \(subject) is valid only from \(Self.date(time)): check the clock"
        case .noNames(let subject):
            "the certificate \(subject) names no host: clients that check the name will refuse it"
        }
    }

    private static func date(_ unixSeconds: Int) -> String {
        var seconds = unixSeconds
        var fields = unsafe tm()
        guard unsafe gmtime_r(&seconds, &fields) != nil else { return "unix time \(unixSeconds)" }
        func two(_ number: Int32) -> String { number < 10 ? "0\(number)" : "\(number)" }
        let day = unsafe "\(fields.tm_year + 1_900)-\(two(fields.tm_mon + 1))-\(two(fields.tm_mday))"
        return unsafe "\(day) \(two(fields.tm_hour)):\(two(fields.tm_min)) UTC"
    }
}
