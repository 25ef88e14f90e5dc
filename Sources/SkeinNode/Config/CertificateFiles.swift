// The certificates of the sockets listener, as files: read and checked at the start, by `config check`
// and on every SIGHUP. What does not read, or does not belong together, never replaces what works.

internal import Foundation
package import Skein

package struct CertificateFiles: Sendable, Equatable {
    /// One beside the other: chain and key.
    package var certificatePaths: [String]
    package var keyPaths: [String]
    package var keyPassword: String?
    package var versionMin = TLSConfiguration.Version.tls12
    package var ticketLife: Duration = .seconds(43_200)

    /// - Throws: which file cannot be read, or what is wrong with what it holds.
    package func read() throws(ServerError) -> TLSConfiguration {
        guard certificatePaths.count == keyPaths.count else {
            throw ServerError(
                "WS_TLS_CERTIFICATE names \(certificatePaths.count) files and WS_TLS_KEY "
                    + "\(keyPaths.count); name one key for each certificate, in the same order.")
        }
        var certificates: [TLSConfiguration.Certificate] = []
        for (certificate, key) in zip(certificatePaths, keyPaths) {
            certificates.append(
                TLSConfiguration.Certificate(
                    chainPEM: try Self.bytes(of: certificate, "WS_TLS_CERTIFICATE"),
                    keyPEM: try Self.bytes(of: key, "WS_TLS_KEY"), keyPassword: keyPassword,
                    name: certificate))
        }
        var tls = TLSConfiguration(certificates: certificates)
        tls.versionMin = versionMin
        tls.ticketLife = ticketLife
        return tls
    }

    /// As `read`, where someone may be writing: a chain cut between two certificates reads well, and a key
    /// that does not fit its chain may be one that was replaced a moment before it.
    package func readSettled() async throws(ServerError) -> TLSConfiguration {
        try await Settling.read(
            unsettled: ServerError("The files of WS_TLS_CERTIFICATE and WS_TLS_KEY are written without end."),
            { () throws(ServerError) in try read() },
            check: { (tls) throws(ServerError) in _ = try tls.validate() })
    }

    /// A chain of certificates has a few kilobytes.
    private static var fileBytesMax: Int { 1 << 20 }

    private static func bytes(of path: String, _ key: String) throws(ServerError) -> [UInt8] {
        let data: Data
        do {
            data = try Data(contentsOf: URL(filePath: path))
        } catch {
            let why = (error as NSError).localizedFailureReason ?? error.localizedDescription
            throw ServerError("\(key) names \(path), which cannot be read (\(why)); correct the path or its rights.")
        }
        guard data.count <= fileBytesMax else {
            throw ServerError("\(key) names \(path), which has over 1 MiB: no PEM file.")
        }
        return Array(data)
    }
}
