// Carries the control plane over HTTP/1.1 with Hummingbird, on threads of its own: whatever happens
// here, no shard waits for it.

internal import Glibc
internal import Hummingbird
internal import HummingbirdCore
internal import HTTPTypes
internal import Logging
internal import NIOCore
internal import NIOPosix
internal import ServiceLifecycle
package import Skein
internal import Synchronization

package final class ControlListener: Sendable {
    /// An idle caller is closed; longer than any scrape interval in use.
    private static let idleTimeout = TimeAmount.seconds(75)

    /// How long callers may take to get their last answers.
    private static let stopTimeout = Duration.milliseconds(300)

    private let task: Task<Void, Never>
    private let services: ServiceGroup
    /// With the port that was really taken.
    package let address: String

    private init(
        task: Task<Void, Never>, services: ServiceGroup, address: String
    ) {
        self.task = task
        self.services = services
        self.address = address
    }

    /// Returns when the listener accepts.
    package static func start(
        _ plane: ControlPlane, on listen: ListenAddress, tls: ControlTLS? = nil, logs: LogQueue
    ) async throws(ServerError) -> ControlListener {
        var logger = Logger(label: "control") { QueueLogHandler(label: $0, queue: logs) }
        // Its own words at info are about its insides.
        logger.logLevel = max(.notice, logs.level)
        // Lives as long as the process: the library's own is a thread for each core.
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let (started, announce) = AsyncStream.makeStream(of: Result<String, ServerError>.self)
        let application = Application(
            responder: ControlResponder(
                plane: plane, hasCertificates: tls?.requiresCertificate ?? false),
            server: server(tls),
            configuration: .init(address: .hostname(listen.host, port: listen.port)),
            onServerRunning: { channel in
                let port = channel.localAddress?.port ?? listen.port
                announce.yield(.success(Self.text(listen.host, port)))
                announce.finish()
            },
            eventLoopGroupProvider: .shared(group), logger: logger)
        var running = ServiceGroupConfiguration(services: [application], logger: logger)
        running.maximumGracefulShutdownDuration = stopTimeout
        let services = ServiceGroup(configuration: running)
        let task = Task {
            do {
                try await services.run()
            } catch {
                announce.yield(.failure(Self.failure(listen, error)))
            }
            announce.finish()
        }
        for await result in started {
            return ControlListener(
                task: task, services: services, address: try result.get())
        }
        throw ServerError("The control listener on \(listen.text) ended before it accepted.")
    }

    private static func server(_ tls: ControlTLS?) -> HTTPServerBuilder {
        guard let tls else { return .http1(configuration: .init(idleTimeout: idleTimeout)) }
        return HTTPServerBuilder { responder in
            ControlTLSChannel(
                base: HTTP1Channel(
                    responder: responder, configuration: .init(idleTimeout: idleTimeout)),
                tls: tls)
        }
    }

    /// Closes the listener, and whatever is connected to it when it has its answer.
    package func stop() async {
        await services.triggerGracefulShutdown()
        await task.value
    }

    private static func text(_ host: String, _ port: Int) -> String {
        host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
    }

    private static func failure(_ listen: ListenAddress, _ error: any Error) -> ServerError {
        let why = (error as? IOError).map { unsafe String(cString: strerror($0.errnoCode)) } ?? "\(error)"
        return ServerError(
            "The control listener cannot take \(listen.text) (\(why)); end what uses the port, or "
                + "choose another with --control-listen.")
    }
}

/// From Hummingbird's requests to ours and back.
private struct ControlResponder: HTTPResponder {
    let plane: ControlPlane
    /// Nobody gets as far as this without a certificate of an authority of ours.
    let hasCertificates: Bool

    func respond(to request: Request, context: ControlContext) async throws -> Response {
        var asked = ControlRequest(request.method.rawValue, request.uri.path)
        for (key, value) in request.uri.queryParameters where asked.query[String(key)] == nil {
            asked.query[String(key)] = String(value)
        }
        asked.isLocal = context.isLocal
        asked.hasCertificate = hasCertificates
        asked.host = request.head.authority
        asked.origin = request.headers[.origin]
        if let name = HTTPField.Name("X-API-Key") { asked.apiKey = request.headers[name] }
        if let value = request.headers[.authorization], value.lowercased().hasPrefix("bearer ") {
            asked.token = value.dropFirst("bearer ".count).trimmed
        }
        let answer: ControlResponse
        do {
            let body = try await request.body.collect(upTo: ControlPlane.bodyBytesMax)
            asked.body = Array(body.readableBytesView)
            answer = await plane.respond(to: asked)
        } catch is NIOTooManyBytesError {
            answer = .error(413, "INVALID_MESSAGE", "The body has more than 64 KiB.")
        }
        var headers: HTTPFields = [.contentType: answer.contentType, .cacheControl: "no-store"]
        if let allow = answer.allow { headers[.allow] = allow }
        let body = ByteBuffer(string: answer.body)
        return Response(
            status: HTTPResponse.Status(code: answer.status), headers: headers,
            body: request.method == .head
                ? ResponseBody(contentLength: body.readableBytes) { _ in }
                : ResponseBody(byteBuffer: body))
    }
}

private struct ControlContext: RequestContext {
    var coreContext: CoreRequestContextStorage
    let isLocal: Bool

    init(source: ApplicationRequestContextSource) {
        coreContext = .init(source: source)
        let peer = source.channel.remoteAddress
        isLocal = peer?.ipAddress.map(ListenAddress.isLoopback) ?? false
    }
}
