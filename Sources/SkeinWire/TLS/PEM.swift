// Certificates and keys out of PEM text, with errors that tell a file of the wrong kind from one that
// is still being written. Read at start and at a reload, never on a loop's thread.

internal import COpenSSL

/// An X509 object of OpenSSL, let go of with the last reference.
@safe
final class PEMCertificate {
    let certificate: OpaquePointer

    /// Takes over the reference.
    init(_ certificate: OpaquePointer) { unsafe self.certificate = certificate }

    /// Nil for bytes that are no certificate.
    convenience init?(bytes: [UInt8]) {
        let certificate = unsafe bytes.withUnsafeBufferPointer { buffer -> OpaquePointer? in
            var next = buffer.baseAddress
            return unsafe d2i_X509(nil, &next, buffer.count)
        }
        guard let certificate = unsafe certificate else { return nil }
        unsafe self.init(certificate)
    }

    deinit { unsafe X509_free(certificate) }

    var subject: String { unsafe X509Text.line(of: X509_get_subject_name(certificate)) }

    /// DER.
    var bytes: [UInt8] { unsafe PEM.encoded { unsafe i2d_X509(certificate, $0) } }
}

/// A private key of OpenSSL, let go of with the last reference.
@safe
final class PEMKey {
    let key: OpaquePointer

    init(_ key: OpaquePointer) { unsafe self.key = key }

    convenience init?(bytes: [UInt8]) {
        let key = unsafe bytes.withUnsafeBufferPointer { buffer -> OpaquePointer? in
            var next = buffer.baseAddress
            return unsafe d2i_AutoPrivateKey(nil, &next, buffer.count)
        }
        guard let key = unsafe key else { return nil }
        unsafe self.init(key)
    }

    deinit { unsafe EVP_PKEY_free(key) }

    /// DER, not encrypted.
    var bytes: [UInt8] { unsafe PEM.encoded { unsafe i2d_PrivateKey(key, $0) } }
}

enum PEM {
    /// At least one.
    static func certificates(
        in text: [UInt8], part: TLSSettingsError.Part
    ) throws(TLSSettingsError) -> [PEMCertificate] {
        precondition(TLSLibrary.isReady, "OpenSSL could not be started")
        try checkFrame(of: text, part: part)
        var certificates: [PEMCertificate] = []
        var failure: TLSSettingsError?
        unsafe withReader(of: text) { memory in
            while let next = unsafe PEM_read_bio_X509(memory, nil, nil, nil) {
                unsafe certificates.append(PEMCertificate(next))
            }
            // The end of the file is reported as "no start line", as is a file of other things.
            let code = ERR_peek_last_error()
            if ERR_GET_LIB(code) != ERR_LIB_PEM || ERR_GET_REASON(code) != PEM_R_NO_START_LINE {
                failure = .damaged(part, reason: takeReason())
            }
        }
        if let failure { throw failure }
        guard !certificates.isEmpty else { throw .missing(part) }
        return certificates
    }

    static func key(in text: [UInt8], password: String?) throws(TLSSettingsError) -> PEMKey {
        try checkFrame(of: text, part: .key)
        let hasKey = contains(text, "PRIVATE KEY-----")
        guard hasKey else { throw .missing(.key) }
        let isEncrypted = contains(text, "ENCRYPTED")
        var key: PEMKey?
        var reason = ""
        unsafe withReader(of: text) { memory in
            // Without a callback of ours OpenSSL would ask the terminal. An empty password stands
            // for none: it opens nothing.
            let found = unsafe (password ?? "").withCString { characters in
                unsafe PEM_read_bio_PrivateKey(
                    memory, nil, { target, room, _, password in
                        guard let target = unsafe target, let password = unsafe password else { return -1 }
                        let source = unsafe password.assumingMemoryBound(to: CChar.self)
                        var count: Int32 = 0
                        while unsafe source[Int(count)] != 0 {
                            guard count < room else { return -1 }
                            unsafe target[Int(count)] = unsafe source[Int(count)]
                            count += 1
                        }
                        return count
                    }, UnsafeMutableRawPointer(mutating: characters))
            }
            if let found = unsafe found { key = unsafe PEMKey(found) } else { reason = takeReason() }
        }
        if let key { return key }
        if isEncrypted { throw .wrongPassword }
        throw .damaged(.key, reason: reason)
    }

    /// Two calls, as OpenSSL's encoders want it: one for the length, one to write.
    static func encoded(_ encode: (UnsafeMutablePointer<UnsafeMutablePointer<UInt8>?>?) -> Int32) -> [UInt8] {
        let count = encode(nil)
        precondition(count > 0, "an object of OpenSSL that it cannot encode")
        return unsafe [UInt8](unsafeUninitializedCapacity: Int(count)) { buffer, written in
            var next = buffer.baseAddress
            unsafe written = Int(encode(&next))
        }
    }

    /// Empties this thread's error queue and says what its last entry was.
    static func takeReason() -> String {
        defer { ERR_clear_error() }
        guard let text = unsafe ERR_reason_error_string(ERR_peek_last_error()) else { return "unknown reason" }
        return unsafe String(cString: text)
    }

    private static func checkFrame(
        of text: [UInt8], part: TLSSettingsError.Part
    ) throws(TLSSettingsError) {
        let begins = count(in: text, of: "-----BEGIN ")
        guard begins > 0 else { throw .notPEM(part) }
        guard begins == count(in: text, of: "-----END ") else { throw .halfWritten(part) }
        // The last END line itself may be cut.
        guard let last = text.lastIndex(where: { $0 > 0x20 }), last >= 5,
            text[(last - 4)...last].allSatisfy({ $0 == 0x2D })
        else { throw .halfWritten(part) }
    }

    private static func contains(_ text: [UInt8], _ word: StaticString) -> Bool {
        count(in: text, of: word) > 0
    }

    private static func count(in text: [UInt8], of word: StaticString) -> Int {
        let word = unsafe UnsafeBufferPointer(start: word.utf8Start, count: word.utf8CodeUnitCount)
        guard text.count >= word.count else { return 0 }
        return (0...(text.count - word.count)).count { start in
            for offset in 0..<word.count where unsafe text[start + offset] != word[offset] { return false }
            return true
        }
    }

    private static func withReader(of text: [UInt8], _ body: (OpaquePointer) -> Void) {
        ERR_clear_error()
        unsafe text.withUnsafeBufferPointer { buffer in
            guard let memory = unsafe BIO_new_mem_buf(buffer.baseAddress, Int32(clamping: buffer.count))
            else { preconditionFailure("no memory to read PEM") }
            unsafe body(memory)
            unsafe BIO_free_all(memory)
        }
        ERR_clear_error()
    }
}
