// The host names that a certificate is for, and which of several certificates a client's server name
// asks for: an exact name first, then a wildcard that covers one label, then the first certificate.

internal import COpenSSL

enum CertificateNames {
    /// The DNS names among the subject's alternative names; only without any, its common names.
    static func of(_ certificate: PEMCertificate) -> [String] {
        let names = alternatives(certificate)
        return names.isEmpty ? commonNames(certificate) : names
    }

    private static func alternatives(_ certificate: PEMCertificate) -> [String] {
        guard let extensions = unsafe X509_get_ext_d2i(
            certificate.certificate, NID_subject_alt_name, nil, nil)
        else { return [] }
        let list = OpaquePointer(extensions)
        defer { unsafe skein_names_free(list) }
        return unsafe (0..<skein_names_count(list)).compactMap { index in
            var count: Int32 = 0
            guard let bytes = unsafe skein_names_dns(list, index, &count) else { return nil }
            return unsafe normal(UnsafeBufferPointer(start: bytes, count: Int(count)))
        }
    }

    private static func commonNames(_ certificate: PEMCertificate) -> [String] {
        let subject = unsafe X509_get_subject_name(certificate.certificate)
        var names: [String] = []
        var index: Int32 = -1
        while true {
            index = unsafe X509_NAME_get_index_by_NID(subject, NID_commonName, index)
            guard index >= 0 else { return names }
            let data = unsafe X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, index))
            let count = unsafe Int(ASN1_STRING_length(data))
            let bytes = unsafe UnsafeBufferPointer(start: ASN1_STRING_get0_data(data), count: count)
            if let name = unsafe normal(bytes) { names.append(name) }
        }
    }

    /// Lower case; nil for what is not a host name, such as a person's.
    private static func normal(_ bytes: UnsafeBufferPointer<UInt8>) -> String? {
        guard !bytes.isEmpty else { return nil }
        var name: [UInt8] = []
        for unsafe byte in unsafe bytes {
            guard byte > 0x20, byte < 0x7F else { return nil }
            name.append(lowercased(byte))
        }
        return String(decoding: name, as: UTF8.self)
    }

    static func lowercased(_ byte: UInt8) -> UInt8 { byte >= 0x41 && byte <= 0x5A ? byte | 0x20 : byte }
}

/// All names of a context's identities, asked once per handshake and without allocating.
struct NameTable: Sendable {
    private struct Name: Sendable {
        /// Without the asterisk: ".example.org" stands for one label and this.
        let text: [UInt8]
        let isWildcard: Bool
        let identity: Int
    }

    private let names: [Name]

    init(_ identities: [TLSIdentity]) {
        var names: [Name] = []
        for (index, identity) in identities.enumerated() {
            for name in identity.names {
                let isWildcard = name.hasPrefix("*.")
                let text = Array(isWildcard ? name.utf8.dropFirst() : name.utf8[...])
                names.append(Name(text: text, isWildcard: isWildcard, identity: index))
            }
        }
        // Exact names go first, so that the first match is the best one.
        self.names = names.filter { !$0.isWildcard } + names.filter(\.isWildcard)
    }

    /// The identity for `serverName`, or 0, the default.
    func identity(for serverName: UnsafeBufferPointer<UInt8>) -> Int {
        var count = serverName.count
        // A fully qualified name may end in a dot.
        if count > 0, unsafe serverName[count - 1] == 0x2E { count -= 1 }
        let wanted = unsafe UnsafeBufferPointer(rebasing: serverName[..<count])
        for name in names where unsafe matches(wanted, name) { return name.identity }
        return 0
    }

    private func matches(_ wanted: UnsafeBufferPointer<UInt8>, _ name: Name) -> Bool {
        let extra = wanted.count - name.text.count
        guard name.isWildcard ? extra > 0 : extra == 0 else { return false }
        for index in 0..<extra where unsafe wanted[index] == 0x2E { return false }
        for index in name.text.indices {
            let byte = unsafe CertificateNames.lowercased(wanted[extra + index])
            guard byte == name.text[index] else { return false }
        }
        return true
    }
}
