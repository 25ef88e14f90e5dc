// What an operator may choose about TLS, as plain values: everything was read and checked before, so
// that a context can be built from them on any shard, at start and at every reload.

package enum TLSVersion: Sendable, Equatable {
    case tls12, tls13
}

/// For a listener.
package struct TLSSettings: Sendable {
    package enum ClientCertificates: Sendable, Equatable {
        case none, optional, required
    }

    /// The first is for clients that name no host, or one that no identity has.
    package var identities: [TLSIdentity]
    package var versionMin: TLSVersion
    package var clientCertificates: ClientCertificates
    /// Who signs clients' certificates; must be there when these are asked for.
    package var clientAuthority: TLSAuthority?
    package var ticketKeys: TLSTicketKeys
    /// OpenSSL's list for TLS 1.2; nil for ECDHE with AEAD ciphers.
    package var ciphers: String?

    package init(
        identities: [TLSIdentity], ticketKeys: TLSTicketKeys, versionMin: TLSVersion = .tls12,
        clientCertificates: ClientCertificates = .none, clientAuthority: TLSAuthority? = nil,
        ciphers: String? = nil
    ) {
        self.identities = identities
        self.ticketKeys = ticketKeys
        self.versionMin = versionMin
        self.clientCertificates = clientCertificates
        self.clientAuthority = clientAuthority
        self.ciphers = ciphers
    }
}

/// For a connection of ours to another server, whose certificate is always verified.
package struct TLSClientSettings: Sendable {
    /// Nil for those that the system trusts.
    package var authority: TLSAuthority?
    /// Our certificate, for servers that ask for one.
    package var identity: TLSIdentity?
    package var versionMin: TLSVersion
    /// Offered by ALPN; nil for protocols that know none, such as Redis.
    package var applicationProtocol: String?

    package init(
        authority: TLSAuthority? = nil, identity: TLSIdentity? = nil, versionMin: TLSVersion = .tls12,
        applicationProtocol: String? = nil
    ) {
        self.authority = authority
        self.identity = identity
        self.versionMin = versionMin
        self.applicationProtocol = applicationProtocol
    }
}
