// TLS on the control listener: a certificate of its own and, where authorities are given, one of each
// caller's. The files are read at the start and on SIGHUP; connections that are open keep what they
// began with.

internal import FoundationEssentials
internal import Hummingbird
internal import HummingbirdCore
internal import Logging
internal import NIOCore
internal import NIOSSL
internal import Synchronization

package final class ControlTLS: Sendable {
    private let settings: ControlTLSSettings
    private let context: Mutex<NIOSSLContext>

    /// - Throws: where a file cannot be used; says which and why.
    package init(_ settings: ControlTLSSettings) throws(ConfigurationProblem) {
        self.settings = settings
        context = Mutex(try Self.makeContext(settings))
    }

    /// Whether whoever is connected has shown a certificate that an authority of ours signed.
    var requiresCertificate: Bool { settings.clientAuthorities != nil }

    var current: NIOSSLContext { context.withLock { $0 } }

    /// Reads the files again. - Throws: where they cannot be used; the old ones stay in use then.
    package func reload() async throws(ConfigurationProblem) {
        let settings = settings
        let paths = [settings.certificate, settings.key] + (settings.clientAuthorities.map { [$0] } ?? [])
        // Taken when they stand still and belong together.
        _ = try await Settling.read(
            unsettled: ConfigurationProblem.error(
                "CONTROL_TLS_CERTIFICATE", "The files of CONTROL_TLS_CERTIFICATE are written without end."),
            { () throws(ConfigurationProblem) in
                paths.map { try? Data(contentsOf: URL(filePath: $0)) }
            },
            check: { (_) throws(ConfigurationProblem) in try Self.check(settings) })
        let new = try Self.makeContext(settings)
        context.withLock { $0 = new }
    }

    package static func check(_ settings: ControlTLSSettings) throws(ConfigurationProblem) {
        _ = try makeContext(settings)
    }

    private static func makeContext(
        _ settings: ControlTLSSettings
    ) throws(ConfigurationProblem) -> NIOSSLContext {
        let chain = try Certificates.read("CONTROL_TLS_CERTIFICATE", settings.certificate)
        guard let bytes = try? Data(contentsOf: URL(filePath: settings.key)),
            let key = try? NIOSSLPrivateKey(bytes: Array(bytes), format: .pem)
        else {
            throw .error(
                "CONTROL_TLS_KEY",
                "CONTROL_TLS_KEY (\(settings.key)) is no private key in PEM that can be read without a "
                    + "passphrase; check the path and its permissions.")
        }
        var configuration = TLSConfiguration.makeServerConfiguration(
            certificateChain: chain.map { .certificate($0) }, privateKey: .privateKey(key))
        configuration.minimumTLSVersion = .tlsv12
        configuration.applicationProtocols = ["http/1.1"]
        if let authorities = settings.clientAuthorities {
            configuration.trustRoots = .certificates(
                try Certificates.read("CONTROL_TLS_CLIENT_CA", authorities))
            // Asked for, required, and checked up to an authority; callers have no host name.
            configuration.certificateVerification = .noHostnameVerification
        }
        do {
            return try NIOSSLContext(configuration: configuration)
        } catch {
            throw .error(
                "CONTROL_TLS_KEY",
                "CONTROL_TLS_KEY (\(settings.key)) is not the key of CONTROL_TLS_CERTIFICATE "
                    + "(\(settings.certificate)); set the two that belong together.")
        }
    }
}

enum Certificates {
    static func check(_ name: String, _ path: String) throws(ConfigurationProblem) {
        _ = try read(name, path)
    }

    static func read(
        _ name: String, _ path: String
    ) throws(ConfigurationProblem) -> [NIOSSLCertificate] {
        guard let bytes = try? Data(contentsOf: URL(filePath: path)) else {
            throw .error(
                name, "\(name) (\(path)) cannot be read; check the path and its permissions.")
        }
        guard let certificates = try? NIOSSLCertificate.fromPEMBytes(Array(bytes)), !certificates.isEmpty
        else {
            throw .error(
                name, "\(name) (\(path)) holds no certificate in PEM, or one that is cut short; put it right.")
        }
        return certificates
    }
}

/// HTTP/1.1 inside TLS. Each connection takes the context that is current when it comes.
struct ControlTLSChannel: ServerChildChannel {
    let base: HTTP1Channel
    let tls: ControlTLS

    func setup(channel: any Channel, logger: Logger) -> EventLoopFuture<HTTP1Channel.Value> {
        channel.eventLoop.makeCompletedFuture {
            try channel.pipeline.syncOperations.addHandler(NIOSSLServerHandler(context: tls.current))
        }.flatMap { base.setup(channel: channel, logger: logger) }
    }

    func handle(value: HTTP1Channel.Value, logger: Logger) async {
        await base.handle(value: value, logger: logger)
    }
}
