// Requests and answers of the control plane as plain values, so that its rules can be tested
// without a socket. The shapes of the JSON are the contract's.

internal import FoundationEssentials
package import Skein

package struct ControlRequest: Sendable {
    package var method: String
    package var path: String
    package var query: [String: String] = [:]
    package var body: [UInt8] = []
    /// Whether the caller is on this machine.
    package var isLocal = true
    /// Whether the caller's certificate was verified.
    package var hasCertificate = false
    package var host: String?
    package var origin: String?
    package var apiKey: String?
    /// Of `Authorization: Bearer`.
    package var token: String?

    package init(_ method: String, _ path: String) {
        self.method = method
        self.path = path
    }
}

package struct ControlResponse: Sendable, Equatable {
    package var status: Int
    package var contentType = "application/json"
    package var body: String
    /// What a 405 names.
    package var allow: String?

    static func json(_ value: some Encodable, status: Int = 200) -> ControlResponse {
        ControlResponse(status: status, body: ControlJSON.encode(value))
    }

    static func error(_ status: Int, _ code: String, _ message: String) -> ControlResponse {
        json(ErrorBody(error: .init(code: code, message: message)), status: status)
    }
}

package enum ControlJSON {
    package static func encode(_ value: some Encodable) -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        encoder.nonConformingFloatEncodingStrategy = .convertToString(
            positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
        guard let data = try? encoder.encode(value) else {
            preconditionFailure("a value of our own that has no JSON")
        }
        return String(decoding: data, as: UTF8.self)
    }
}

struct ErrorBody: Codable {
    struct Content: Codable {
        let code: String
        let message: String
    }
    let error: Content
}

/// `GET /health`. Also what `skein status` reads.
package struct HealthBody: Codable, Sendable {
    package struct WebSocketCounts: Codable, Sendable {
        package let users: Int
        package let connections: Int
    }
    package struct Shard: Codable, Sendable {
        package let index: Int
        package let core: Int?
        package let connections: Int
        package let users: Int
        package let messagesReceived: UInt64
        package let messagesSent: UInt64
        package let inboxDepth: Int
        package let slowConsumers: UInt64
    }

    package let status: String
    package let redis: String
    package let redisReason: String?
    package let redisCanaryAgeSeconds: Double?
    package let store: String
    package let websocket: WebSocketCounts
    package let shards: [Shard]
    package let version: String
    package let nodeId: String
    package let uptimeSeconds: Double
    package let io: String
    package let drain: DrainProgress
    package let keys: KeyStatus?
    package let revocations: Int

    init(_ snapshot: ServerSnapshot, keys: KeyStatus?) {
        self.keys = keys
        revocations = snapshot.revocations
        redis = snapshot.backplane.state.rawValue
        redisReason = snapshot.backplane.reason
        redisCanaryAgeSeconds = snapshot.backplane.canaryAgeSeconds
        store = "none"
        websocket = WebSocketCounts(users: snapshot.users, connections: snapshot.connections)
        shards = snapshot.shards.map {
            Shard(
                index: $0.index, core: $0.core, connections: $0.connections.values.reduce(0, +),
                users: $0.users, messagesReceived: $0.messagesReceived,
                messagesSent: $0.messagesSent, inboxDepth: $0.inboxDepth,
                slowConsumers: $0.slowConsumers)
        }
        version = snapshot.version
        nodeId = snapshot.nodeID
        uptimeSeconds = snapshot.uptimeSeconds
        io = snapshot.io
        drain = snapshot.drain
        status =
            if snapshot.drain.phase != .running {
                "draining"
            } else if snapshot.backplane.state == .degraded {
                "degraded"
            } else {
                "ok"
            }
    }
}

struct ReadyBody: Codable {
    let status: String
    let reason: String?
}

struct ConnectionsBody: Codable {
    let connections: [ConnectionInfo]
}

struct ConfigurationBody: Codable {
    struct Value: Codable {
        let value: String
        let origin: String
    }
    let config: [String: Value]
}

struct DisconnectBody: Codable {
    let userId: String?
    let connectionId: String?
    let code: Int?
    let reason: String?
}

struct DisconnectedBody: Codable {
    let disconnected: Int
}

struct RevokeBody: Decodable {
    let userId: String?
    let tokenId: String?
    let before: Moment?
    let ttlSeconds: Double?

    /// RFC 3339, or seconds since 1970.
    struct Moment: Decodable {
        /// `nil` where it is neither.
        let milliseconds: Int64?

        init(from decoder: any Decoder) throws {
            let value = try decoder.singleValueContainer()
            if let seconds = try? value.decode(Double.self) {
                milliseconds = abs(seconds) <= 4e12 ? Int64((seconds * 1_000).rounded()) : nil
            } else {
                milliseconds = ControlTime.milliseconds(try value.decode(String.self))
            }
        }
    }
}

/// `POST /revoke`.
struct RevokedBody: Codable {
    let closed: Int
    /// `cluster`, or `node` where no other node was told.
    let scope: RevocationOutcome.Scope
    let revocation: RevocationBody
}

struct RevocationBody: Codable {
    let userId: String?
    let tokenId: String?
    let before: String?
    let expiresAt: String

    init(_ revocation: Revocation) {
        expiresAt = ControlTime.text(revocation.expiresAtMilliseconds)
        switch revocation.subject {
        case .user(let user):
            userId = user.description
            tokenId = nil
            before = ControlTime.text(revocation.beforeMilliseconds)
        case .token(let id):
            userId = nil
            tokenId = id
            before = nil
        }
    }
}

struct RevocationsBody: Codable {
    /// All there are; the list may hold fewer.
    let count: Int
    let revocations: [RevocationBody]
}

/// RFC 3339 in UTC.
enum ControlTime {
    static func text(_ milliseconds: Int64) -> String {
        // The style cuts, and a whole millisecond may lie a little below itself in a Double.
        Date(timeIntervalSince1970: (Double(milliseconds) + 0.25) / 1_000)
            .formatted(Date.ISO8601FormatStyle(includingFractionalSeconds: true))
    }

    static func milliseconds(_ text: String) -> Int64? {
        let date =
            (try? Date(text, strategy: Date.ISO8601FormatStyle(includingFractionalSeconds: true)))
            ?? (try? Date(text, strategy: Date.ISO8601FormatStyle()))
        return date.map { Int64(($0.timeIntervalSince1970 * 1_000).rounded()) }
    }
}

/// `GET /nodes`: this node first. Also what `skein status` shows.
package struct NodesBody: Codable, Sendable {
    package struct Node: Codable, Sendable, Equatable {
        package let nodeId: String
        package let address: String
        package let controlAddress: String?
        package let version: String
        package let startedAt: String
        package let shards: Int
        package let connections: Int
        package let users: Int
        package let acceptPerSecond: Int
        package let arrivingPerSecond: Int
        package let leavingPerSecond: Int
        package let draining: Bool
        package let leaseMilliseconds: Int64?
    }

    package let nodes: [Node]

    init(_ nodes: [NodeInfo]) {
        self.nodes = nodes.map {
            Node(
                nodeId: $0.nodeId, address: $0.address, controlAddress: $0.controlAddress,
                version: $0.version, startedAt: ControlTime.text($0.startedAtMilliseconds),
                shards: $0.shards, connections: $0.connections, users: $0.users,
                acceptPerSecond: $0.acceptPerSecond, arrivingPerSecond: $0.arrivingPerSecond,
                leavingPerSecond: $0.leavingPerSecond, draining: $0.draining,
                leaseMilliseconds: $0.leaseMilliseconds)
        }
    }
}

struct DrainRequestBody: Decodable {
    enum CodingKeys: String, CodingKey, CaseIterable { case deadlineSeconds, waveMs, preStopSeconds }

    let deadlineSeconds: Double?
    let waveMs: Double?
    let preStopSeconds: Double?
    /// A member of another name.
    let unknown: String?

    init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: CodingKeys.self)
        deadlineSeconds = try values.decodeIfPresent(Double.self, forKey: .deadlineSeconds)
        waveMs = try values.decodeIfPresent(Double.self, forKey: .waveMs)
        preStopSeconds = try values.decodeIfPresent(Double.self, forKey: .preStopSeconds)
        let names = try decoder.container(keyedBy: AnyName.self).allKeys.map(\.stringValue)
        unknown = names.first { CodingKeys(rawValue: $0) == nil }
    }

    private struct AnyName: CodingKey {
        let stringValue: String
        var intValue: Int? { nil }

        init(stringValue: String) { self.stringValue = stringValue }
        init?(intValue: Int) { nil }
    }
}

/// `GET /drain`: how far it is and, at the end, what came of it.
package struct DrainBody: Codable, Sendable {
    package let phase: DrainPhase
    package let remaining: Int
    package let told: Int
    package let waves: Int
    /// Other nodes that take clients, and how many a second.
    package let peers: Int
    package let perSecond: Int?
    package let pacedBy: DrainPacer
    package let report: DrainReport?

    init(_ progress: DrainProgress, report: DrainReport?) {
        phase = progress.phase
        remaining = progress.remaining
        told = progress.told
        waves = progress.waves
        peers = progress.peers
        perSecond = progress.perSecond
        pacedBy = progress.pacedBy
        self.report = report
    }
}
