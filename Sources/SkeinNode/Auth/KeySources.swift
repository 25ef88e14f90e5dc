// Where public keys come from, read once and completely. Nothing here keeps keys: `KeyRing` does,
// and goes on with the old ones when a reading fails.

internal import AsyncHTTPClient
internal import FoundationEssentials
internal import Logging
internal import NIOCore
internal import NIOHTTP1
internal import NIOSSL

enum KeyFile {
    enum Kind { case pem, jwks }

    static func read(_ path: String, _ kind: Kind) throws(KeyProblem) -> [VerificationKey] {
        try parse(bytes(path), kind)
    }

    /// As `read`, where someone may be writing: taken only when two readings in a row agree, so that
    /// a file which was cut between two keys is not taken for one that holds fewer.
    static func readSettled(_ path: String, _ kind: Kind) async throws(KeyProblem) -> [VerificationKey] {
        var last = try bytes(path)
        for _ in 0..<settlingMax {
            try? await Task.sleep(for: settlingTime)
            let again = try bytes(path)
            if again == last { return try parse(again, kind) }
            last = again
        }
        throw KeyProblem("is being written without end")
    }

    private static let settlingTime = Duration.milliseconds(250)
    private static let settlingMax = 20

    private static func parse(_ bytes: [UInt8], _ kind: Kind) throws(KeyProblem) -> [VerificationKey] {
        switch kind {
        case .pem: try PublicKeyFile.parse(bytes)
        case .jwks: try JSONWebKeySet(bytes).keys
        }
    }

    private static func bytes(_ path: String) throws(KeyProblem) -> [UInt8] {
        let data: Data
        do {
            data = try Data(contentsOf: URL(filePath: path))
        } catch {
            throw KeyProblem("cannot be read; check the path and its permissions")
        }
        guard data.count <= PublicKeyFile.bytesMax else { throw KeyProblem("is larger than 1 MiB") }
        return Array(data)
    }
}

/// Fetches a JWKS: one request, no redirects, at most 1 MiB and `timeout` in all.
struct KeyFetcher: Sendable {
    private let url: String
    private let authorities: String?
    private let timeout: Duration

    /// - Parameter authorities: a PEM file of the certificates that the server's is checked with;
    ///   `nil`: those of the system.
    init(url: String, authorities: String?, timeout: Duration) {
        self.url = url
        self.authorities = authorities
        self.timeout = timeout
    }

    func fetch() async throws(KeyProblem) -> [VerificationKey] {
        let answer = await withTaskGroup(of: Result<[VerificationKey], KeyProblem>.self) { group in
            group.addTask { await ask() }
            group.addTask {
                try? await Task.sleep(for: timeout)
                return .failure(KeyProblem("did not answer within \(DurationText.write(timeout))"))
            }
            // Whichever is first; the other is cancelled, and a request that drips ends so.
            let first = await group.next()
            group.cancelAll()
            return first ?? .failure(KeyProblem("was not asked"))
        }
        return try answer.get()
    }

    /// With a client of its own: a connection that is kept for minutes is worth nothing.
    private func ask() async -> Result<[VerificationKey], KeyProblem> {
        var tls = TLSConfiguration.makeClientConfiguration()
        if let authorities { tls.trustRoots = .file(authorities) }
        let limit = TimeAmount.milliseconds(Int64(timeout.milliseconds))
        var configuration = HTTPClient.Configuration(
            tlsConfiguration: tls, redirectConfiguration: .disallow,
            timeout: .init(connect: limit, read: limit))
        configuration.httpVersion = .http1Only
        configuration.connectionPool.retryConnectionEstablishment = false
        let client = HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
        let answer = await ask(client, limit)
        try? await client.shutdown()
        return answer
    }

    private func ask(
        _ client: HTTPClient, _ limit: TimeAmount
    ) async -> Result<[VerificationKey], KeyProblem> {
        do {
            var request = HTTPClientRequest(url: url)
            request.headers.add(name: "Accept", value: "application/json")
            let response = try await client.execute(request, timeout: limit)
            guard response.status == .ok else {
                return .failure(KeyProblem("answered \(response.status.code), not 200"))
            }
            let body = try await response.body.collect(upTo: JSONWebKeySet.bytesMax)
            return .success(try JSONWebKeySet(Array(body.readableBytesView)).keys)
        } catch let problem as KeyProblem {
            return .failure(problem)
        } catch is NIOTooManyBytesError {
            return .failure(KeyProblem("answered more than 1 MiB"))
        } catch let error as HTTPClientError {
            return .failure(KeyProblem("cannot be fetched (\(error.shortDescription))"))
        } catch is NIOSSLError, is NIOSSLExtraError {
            return .failure(KeyProblem("cannot be fetched: TLS failed; see JWT_JWKS_CA for a CA of your own"))
        } catch {
            return .failure(KeyProblem("cannot be reached"))
        }
    }
}
