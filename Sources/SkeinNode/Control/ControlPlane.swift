// The operator's side of a node: health, readiness, metrics, drain, administration. Requests and
// answers are values here; `ControlListener` carries them, and `ControlAccess` says who may ask.

internal import FoundationEssentials
internal import Logging
package import Skein
internal import Synchronization

package final class ControlPlane: Sendable {
    package static let bodyBytesMax = 65_536

    private struct Final {
        var report: DrainReport?
        var isReportServed = false
        var lastFollowed: Date?
    }

    let node: any NodeControl
    private let settings: ControlSettings
    private let access: ControlAccess
    private let keys: KeyRing?
    let logs: LogQueue
    private let final = Mutex(Final())

    package init(
        node: any NodeControl, settings: ControlSettings, authenticator: JWTAuthenticator?,
        logs: LogQueue
    ) {
        self.node = node
        self.settings = settings
        access = ControlAccess(node: node, settings: settings, authenticator: authenticator)
        keys = authenticator?.keys
        self.logs = logs
    }

    /// After the drain: `GET /drain` shows it from now on.
    package func finish(_ report: DrainReport) {
        final.withLock { $0.report = report }
    }

    /// Whether someone follows the drain and has not seen its report yet.
    package var hasFollower: Bool {
        final.withLock { final in
            guard let last = final.lastFollowed, !final.isReportServed else { return false }
            return Date().timeIntervalSince(last) < 3
        }
    }

    package func respond(to request: ControlRequest) async -> ControlResponse {
        let path =
            request.path.count > 1 && request.path.hasSuffix("/")
            ? String(request.path.dropLast()) : request.path
        guard let route = Self.routes[path] else {
            return .error(
                404, "NOT_FOUND",
                "There is no \(JSONText.quote(String(path.prefix(128)))) here; there are "
                    + "\(Self.routes.keys.sorted().joined(separator: " ")).")
        }
        let method = request.method == "HEAD" ? "GET" : request.method
        guard route.methods.contains(method) else {
            var response = ControlResponse.error(
                405, "METHOD_NOT_ALLOWED",
                "\(path) takes \(route.methods.joined(separator: " and ")), not that method.")
            response.allow = route.methods.joined(separator: ", ")
            return response
        }
        if let refusal = await access.refusal(of: request, isOpen: route.isOpen) { return refusal }
        do throws(ServerError) {
            return try await answer(method, path, request)
        } catch {
            return .error(503, "INTERNAL_ERROR", error.description)
        }
    }

    private struct Route {
        let methods: [String]
        /// Whether anyone who reaches the port may ask.
        var isOpen = false
    }

    private static let routes: [String: Route] = [
        "/health": Route(methods: ["GET"], isOpen: true),
        "/ready": Route(methods: ["GET"], isOpen: true),
        "/metrics": Route(methods: ["GET"], isOpen: true),
        "/connections": Route(methods: ["GET"]),
        "/disconnect": Route(methods: ["POST"]),
        "/revoke": Route(methods: ["POST"]),
        "/revocations": Route(methods: ["GET"]),
        "/config": Route(methods: ["GET"]),
        "/drain": Route(methods: ["GET", "POST", "DELETE"]),
        "/nodes": Route(methods: ["GET"]),
        "/rooms": Route(methods: ["GET"]),
        "/": Route(methods: ["GET"]),
    ]

    private func answer(
        _ method: String, _ path: String, _ request: ControlRequest
    ) async throws(ServerError) -> ControlResponse {
        switch (method, path) {
        case (_, "/health"): return .json(HealthBody(node.snapshot(), keys: keys?.status))
        case (_, "/ready"): return ready()
        case (_, "/metrics"):
            let text = NodeMetrics.write(
                node.snapshot(), process: .read(), keys: keys?.status,
                logLinesDropped: logs.droppedCount)
            return ControlResponse(status: 200, contentType: Exposition.contentType, body: text)
        case (_, "/config"):
            let values = settings.entries.map {
                ($0.key, ConfigurationBody.Value(value: $0.value, origin: $0.origin))
            }
            return .json(ConfigurationBody(config: Dictionary(uniqueKeysWithValues: values)))
        case (_, "/connections"): return try await connections(request)
        case (_, "/disconnect"): return try await disconnect(request)
        case (_, "/revoke"): return try await revoke(request)
        case (_, "/revocations"): return revocations(request)
        case ("GET", "/drain"): return drainProgress()
        case ("POST", "/drain"): return drain(request)
        case ("DELETE", "/drain"): return cancelDrain()
        case (_, "/nodes"): return .json(NodesBody(node.nodes()))
        case (_, "/rooms"): return Self.later("Rooms", "see /connections?user= for connections")
        case (_, "/"): return Self.later("The dashboard", "use `skein status` or /metrics")
        default: preconditionFailure("a route that nothing answers")
        }
    }

    private static func later(_ what: String, _ instead: String) -> ControlResponse {
        .error(404, "NOT_FOUND", "\(what) is not in this release; \(instead).")
    }
}

extension ControlPlane {
    func decode<Body: Decodable>(_ type: Body.Type, _ request: ControlRequest) -> Body? {
        try? JSONDecoder().decode(type, from: Data(request.body))
    }

    static let notJSON = ControlResponse.error(
        400, "INVALID_MESSAGE", "The body is not a JSON object of the expected fields.")
}

private extension ControlPlane {
    func ready() -> ControlResponse {
        let snapshot = node.snapshot()
        func no(_ status: String, _ reason: String) -> ControlResponse {
            .json(ReadyBody(status: status, reason: reason), status: 503)
        }
        if snapshot.drain.phase != .running {
            return no("draining", "This node is leaving; its clients are sent to the others.")
        }
        guard snapshot.isAccepting else {
            return no("starting", "The sockets listener does not accept yet.")
        }
        if snapshot.isShortOfMemory {
            return no(
                "degraded",
                "Connections hold over 80 % of WS_MEMORY_LIMIT (\(snapshot.memoryBytesMax) bytes): "
                    + "newcomers are refused. Add nodes, or raise the limit.")
        }
        let backplane = snapshot.backplane
        let reason: String
        switch backplane.state {
        case .up where !snapshot.hearsRedis:
            reason = "Redis has been silent for over \(snapshot.limits.canaryTimeout.inSeconds) s."
        case .memory, .up: return .json(ReadyBody(status: "ready", reason: nil))
        case .connecting: reason = backplane.reason ?? "Redis has not been reached yet."
        case .degraded: reason = backplane.reason ?? "Redis is gone."
        }
        if settings.readyWhenDegraded {
            return .json(ReadyBody(status: "degraded", reason: reason))
        }
        return no(backplane.state == .connecting ? "starting" : "degraded", reason)
    }

    func connections(_ request: ControlRequest) async throws(ServerError) -> ControlResponse {
        guard let user = request.query["user"].flatMap({ UserID($0) }) else {
            return .error(
                400, "VALIDATION_ERROR",
                "user: name the user, as /connections?user=alice, in 1 to 128 visible ASCII "
                    + "characters.")
        }
        return .json(ConnectionsBody(connections: try await node.connections(ofUser: user)))
    }

    func disconnect(_ request: ControlRequest) async throws(ServerError) -> ControlResponse {
        func invalid(_ message: String) -> ControlResponse {
            .error(400, "VALIDATION_ERROR", message)
        }
        guard let body = decode(DisconnectBody.self, request) else { return Self.notJSON }
        let code = body.code ?? 1_000
        let isSendable = (1_000...1_003).contains(code) || (1_007...1_014).contains(code)
        guard isSendable || (3_000...4_999).contains(code) else {
            return invalid("code: \(code) cannot be sent; use 1000, 4403 or one from 4000 to 4999.")
        }
        let reason = body.reason ?? ""
        guard reason.utf8.count <= 123 else {
            return invalid("reason: it has \(reason.utf8.count) bytes, and a close holds 123.")
        }
        switch (body.userId, body.connectionId) {
        case (let name?, nil):
            guard let user = UserID(name) else {
                return invalid("userId: it takes 1 to 128 visible ASCII characters.")
            }
            let count = try await node.disconnect(user: user, code: UInt16(code), reason: reason)
            logs.push(
                .info, "a user was disconnected by the operator",
                [(key: "user", value: name), (key: "connections", value: "\(count)")])
            return .json(DisconnectedBody(disconnected: count))
        case (nil, let connectionID?):
            let was = try await node.disconnect(
                connectionID: connectionID, code: UInt16(code), reason: reason)
            guard was else {
                return .error(
                    404, "NOT_FOUND", "No connection of this node has that connectionId.")
            }
            logs.push(
                .info, "a connection was disconnected by the operator",
                [(key: "connection", value: connectionID)])
            return .json(DisconnectedBody(disconnected: 1))
        default:
            return invalid("userId, connectionId: give one of the two.")
        }
    }

    func drain(_ request: ControlRequest) -> ControlResponse {
        var plan = settings.drain
        if !request.body.isEmpty {
            guard let body = decode(DrainRequestBody.self, request) else { return Self.notJSON }
            // One that is misspelt would be a drain that nobody asked for.
            if let name = body.unknown {
                let known = DrainRequestBody.CodingKeys.allCases.map(\.rawValue).joined(separator: ", ")
                return .error(400, "VALIDATION_ERROR", "`\(name)` is nothing that a drain takes; it takes \(known).")
            }
            if let seconds = body.deadlineSeconds {
                guard (0...86_400).contains(seconds) else {
                    return .error(
                        400, "VALIDATION_ERROR", "deadlineSeconds: give 0 to 86400 seconds.")
                }
                plan.deadline = .milliseconds(Int(seconds * 1_000))
            }
            if let milliseconds = body.waveMs {
                guard (1...3_600_000).contains(milliseconds) else {
                    return .error(400, "VALIDATION_ERROR", "waveMs: give 1 to 3600000.")
                }
                plan.wave = .milliseconds(Int(milliseconds))
            }
            if let seconds = body.preStopSeconds {
                guard (0...3_600).contains(seconds) else {
                    return .error(400, "VALIDATION_ERROR", "preStopSeconds: give 0 to 3600.")
                }
                plan.preStop = .milliseconds(Int(seconds * 1_000))
            }
        }
        logs.push(
            .info, "drain asked for by the operator",
            [(key: "deadline", value: DurationText.write(plan.deadline))])
        final.withLock { $0.lastFollowed = Date() }
        node.drain(plan)
        return .json(DrainBody(node.snapshot().drain, report: nil), status: 202)
    }

    func drainProgress() -> ControlResponse {
        let report = final.withLock { final in
            final.lastFollowed = Date()
            final.isReportServed = final.report != nil
            return final.report
        }
        return .json(DrainBody(node.snapshot().drain, report: report))
    }

    func cancelDrain() -> ControlResponse {
        let progress = node.snapshot().drain
        guard progress.phase != .running else {
            return .json(DrainBody(progress, report: nil))
        }
        guard node.cancelDrain() else {
            return .error(
                409, "CONFLICT",
                "The listeners are closed and clients are being told; the drain cannot be taken "
                    + "back. Start the node again when it has ended.")
        }
        logs.push(.info, "drain cancelled by the operator")
        return .json(DrainBody(node.snapshot().drain, report: nil))
    }
}
