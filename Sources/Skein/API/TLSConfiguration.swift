// TLS on the sockets listener, as an embedding program or an operator configures it. Everything is
// checked when it is given, so that a bad file is a sentence and never a handshake that fails.

internal import Glibc
internal import SkeinWire

public struct TLSConfiguration: Sendable, Equatable {
    /// A chain of certificates and the key of its first, both as PEM text.
    public struct Certificate: Sendable, Equatable {
        /// The server's own certificate, then those that issued it.
        public var chainPEM: [UInt8]
        public var keyPEM: [UInt8]
        public var keyPassword: String?
        /// What errors call it: as a rule the file's path.
        public var name: String

        public init(chainPEM: [UInt8], keyPEM: [UInt8], keyPassword: String? = nil, name: String) {
            self.chainPEM = chainPEM
            self.keyPEM = keyPEM
            self.keyPassword = keyPassword
            self.name = name
        }
    }

    public enum Version: String, Sendable, CaseIterable {
        case tls12 = "1.2"
        case tls13 = "1.3"
    }

    /// Chosen by the host name that a client asks for; the first is for those that ask for none, or
    /// for a name that no certificate has.
    public var certificates: [Certificate]
    public var versionMin = Version.tls12
    /// How long a key seals session tickets before it is replaced. Tickets are good for twice that.
    public var ticketLife: Duration = .seconds(43_200)

    public init(certificates: [Certificate]) { self.certificates = certificates }

    /// Reads and checks everything, as ``Server/init(_:authenticator:dialects:log:)`` will.
    ///
    /// - Returns: what works but should be looked at, such as a certificate that expires soon.
    /// - Throws: what is wrong with which certificate, and what to do.
    @discardableResult
    public func validate() throws(ServerError) -> [String] {
        let settings = try settings(ticketKeys: TLSTicketKeys())
        do throws(TLSSettingsError) { _ = try TLSContext(settings) } catch {
            throw ServerError("TLS cannot be set up: \(error).")
        }
        let now = time(nil)
        return zip(certificates, settings.identities).flatMap { certificate, identity in
            identity.warnings(atUnixSeconds: now).map { "\(certificate.name): \($0)" }
        }
    }

    func settings(ticketKeys: TLSTicketKeys) throws(ServerError) -> TLSSettings {
        var identities: [TLSIdentity] = []
        for certificate in certificates {
            do throws(TLSSettingsError) {
                identities.append(
                    try TLSIdentity(
                        certificatePEM: certificate.chainPEM, keyPEM: certificate.keyPEM,
                        keyPassword: certificate.keyPassword))
            } catch {
                throw ServerError("\(certificate.name): \(error).")
            }
        }
        guard !identities.isEmpty else {
            throw ServerError("TLS is on without a certificate: name a certificate file and a key file.")
        }
        return TLSSettings(
            identities: identities, ticketKeys: ticketKeys,
            versionMin: versionMin == .tls13 ? .tls13 : .tls12)
    }
}
