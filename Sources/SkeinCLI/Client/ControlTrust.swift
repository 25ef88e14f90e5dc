// A request to a control listener over TLS. The listener's certificate is checked, its name with it;
// there is no switch to leave that out.

internal import AsyncHTTPClient
internal import FoundationEssentials
internal import NIOCore
internal import NIOHTTP1
internal import NIOPosix
internal import NIOSSL

struct ControlTrust {
    /// Paths of PEM files; `nil`: the system's authorities, no certificate of ours.
    var authorities: String?
    var certificate: String?
    var key: String?

    private static let timeout = TimeAmount.seconds(10)

    func send(
        _ request: HTTPClientRequest, bytesMax: Int
    ) async throws(SocketFailure) -> ControlClient.Answer {
        var configuration = HTTPClient.Configuration(
            tlsConfiguration: try tls(), redirectConfiguration: .disallow,
            timeout: .init(connect: Self.timeout, read: Self.timeout))
        configuration.httpVersion = .http1Only
        configuration.connectionPool.retryConnectionEstablishment = false
        let client = HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
        let answer: ControlClient.Answer
        do {
            let response = try await client.execute(request, timeout: Self.timeout)
            let body = try await response.body.collect(upTo: bytesMax)
            answer = ControlClient.Answer(
                status: Int(response.status.code), body: Data(body.readableBytesView))
        } catch {
            try? await client.shutdown()
            throw SocketFailure(reason: Self.reason(error))
        }
        try? await client.shutdown()
        return answer
    }

    private func tls() throws(SocketFailure) -> TLSConfiguration {
        var tls = TLSConfiguration.makeClientConfiguration()
        if let authorities {
            guard let trusted = try? NIOSSLCertificate.fromPEMFile(authorities), !trusted.isEmpty else {
                throw SocketFailure(reason: "--ca \(authorities) holds no certificate in PEM")
            }
            tls.trustRoots = .certificates(trusted)
        }
        if let certificate, let key {
            guard let chain = try? NIOSSLCertificate.fromPEMFile(certificate), !chain.isEmpty else {
                throw SocketFailure(reason: "--cert \(certificate) holds no certificate in PEM")
            }
            guard let bytes = try? Data(contentsOf: URL(filePath: key)),
                let key = try? NIOSSLPrivateKey(bytes: Array(bytes), format: .pem)
            else { throw SocketFailure(reason: "--key is no private key in PEM") }
            tls.certificateChain = chain.map { .certificate($0) }
            tls.privateKey = .privateKey(key)
        }
        return tls
    }

    private static func reason(_ error: any Error) -> String {
        switch error {
        case let error as HTTPClientError:
            error == .connectTimeout || error == .deadlineExceeded || error == .readTimeout
                ? "no answer in time" : error.shortDescription
        case is NIOSSLError, is NIOSSLExtraError:
            "certificates were refused"
        case let error as NIOConnectionError:
            error.connectionErrors.isEmpty ? "no such host" : "connection refused"
        case let error as IOError: SocketFailure.describe(error.errnoCode)
        default: "the connection was lost"
        }
    }
}
