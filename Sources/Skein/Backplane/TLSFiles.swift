// The files that TLS with Redis needs, read into a context. Reading waits for a disk, so it happens
// where addresses are looked up: at the start and, off the loop, after each failure; a certificate
// that was put right is picked up without a restart.

internal import Glibc
internal import SkeinIO
internal import SkeinWire

enum TLSFiles {
    /// - Returns: the context, or what is wrong with a file.
    static func load(_ tls: RedisTLS) -> Result<TLSContext, TLSFilesError> {
        do throws(TLSFilesError) { return .success(try context(tls)) } catch { return .failure(error) }
    }

    private static func context(_ tls: RedisTLS) throws(TLSFilesError) -> TLSContext {
        var settings = TLSClientSettings()
        if let path = tls.authorityFile {
            let bytes = try read(path, "REDIS_TLS_CA")
            settings.authority = try using("REDIS_TLS_CA") { () throws(TLSSettingsError) in
                try TLSAuthority(certificatePEM: bytes)
            }
        }
        if let path = tls.certificateFile {
            let certificate = try read(path, "REDIS_TLS_CERTIFICATE")
            let key = try read(tls.keyFile ?? path, "REDIS_TLS_KEY")
            settings.identity = try using("REDIS_TLS_CERTIFICATE") { () throws(TLSSettingsError) in
                try TLSIdentity(certificatePEM: certificate, keyPEM: key)
            }
        }
        return try using("REDIS_TLS_CA") { () throws(TLSSettingsError) in try TLSContext(settings) }
    }

    private static func using<Value>(
        _ key: String, _ make: () throws(TLSSettingsError) -> Value
    ) throws(TLSFilesError) -> Value {
        do throws(TLSSettingsError) { return try make() } catch {
            throw TLSFilesError(text: "\(key): \(error)")
        }
    }

    private static func read(_ path: String, _ key: String) throws(TLSFilesError) -> [UInt8] {
        func failed() -> TLSFilesError {
            TLSFilesError(text: "\(key) names \(path), which cannot be read: \(SystemError.text(errno))")
        }
        let fd = unsafe open(path, O_RDONLY | O_CLOEXEC)
        guard fd >= 0 else { throw failed() }
        defer { Sockets.close(fd) }
        var bytes: [UInt8] = []
        var piece = [UInt8](repeating: 0, count: 16_384)
        while bytes.count < 1 << 20 {
            let count = unsafe piece.withUnsafeMutableBytes {
                unsafe Glibc.read(fd, $0.baseAddress, $0.count)
            }
            guard count >= 0 else { throw failed() }
            guard count > 0 else { break }
            bytes += piece[..<count]
        }
        return bytes
    }
}

struct TLSFilesError: Error, Equatable {
    let text: String
}
