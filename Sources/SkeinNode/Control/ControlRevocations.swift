// `POST /revoke` and `GET /revocations`: taking tokens back before they expire.

internal import FoundationEssentials
internal import Logging
internal import Skein

extension ControlPlane {
    /// A day, unless told otherwise: longer than most tokens live.
    private static let defaultSeconds = 86_400.0
    private static let secondsMax = 366 * 86_400.0
    /// How far ahead `before` may lie; more is milliseconds taken for seconds.
    private static let aheadMilliseconds: Int64 = 300_000
    private static let listMax = 1_000

    func revoke(_ request: ControlRequest) async throws(ServerError) -> ControlResponse {
        func invalid(_ message: String) -> ControlResponse { .error(400, "VALIDATION_ERROR", message) }
        guard let body = decode(RevokeBody.self, request) else { return Self.notJSON }
        let subject: Revocation.Subject
        switch (body.userId, body.tokenId) {
        case (let name?, nil):
            guard let user = UserID(name) else {
                return invalid("userId: it takes 1 to 128 visible ASCII characters.")
            }
            subject = .user(user)
        case (nil, let id?):
            guard (1...Revocation.tokenIDBytesMax).contains(id.utf8.count),
                id.unicodeScalars.allSatisfy({ $0.value >= 0x20 && $0.value != 0x7F })
            else {
                return invalid(
                    "tokenId: it takes 1 to \(Revocation.tokenIDBytesMax) bytes without control characters.")
            }
            guard body.before == nil else {
                return invalid("before: it goes with userId; a single token is revoked as it is.")
            }
            subject = .token(id)
        default: return invalid("userId, tokenId: give one of the two.")
        }
        let now = Int64(Date().timeIntervalSince1970 * 1_000)
        let before = body.before?.milliseconds ?? now
        guard body.before == nil || body.before?.milliseconds != nil, before <= now + Self.aheadMilliseconds
        else {
            return invalid(
                "before: give a time that has passed, as RFC 3339 or in seconds since 1970.")
        }
        let seconds = body.ttlSeconds ?? Self.defaultSeconds
        guard (1...Self.secondsMax).contains(seconds) else {
            return invalid("ttlSeconds: give 1 to \(Int(Self.secondsMax)).")
        }
        let revocation = Revocation(
            subject, beforeMilliseconds: before,
            expiresAtMilliseconds: now + Int64((seconds * 1_000).rounded()))
        let outcome = try await node.revoke(revocation)
        log(revocation, outcome)
        return .json(
            RevokedBody(
                closed: outcome.closed, scope: outcome.scope, revocation: RevocationBody(revocation)))
    }

    func revocations(_ request: ControlRequest) -> ControlResponse {
        let limit = request.query["limit"].map { Int($0) } ?? Self.listMax
        guard let limit, (1...Self.listMax).contains(limit) else {
            return .error(400, "VALIDATION_ERROR", "limit: give 1 to \(Self.listMax).")
        }
        let all = node.revocations()
        return .json(
            RevocationsBody(count: all.count, revocations: all.prefix(limit).map(RevocationBody.init)))
    }

    private func log(_ revocation: Revocation, _ outcome: RevocationOutcome) {
        let who: (key: String, value: String) =
            switch revocation.subject {
            case .user(let user): (key: "user", value: user.description)
            case .token(let id): (key: "tokenID", value: id)
            }
        logs.push(
            .info, "revoked by the operator",
            [
                who, (key: "connections", value: "\(outcome.closed)"),
                (key: "scope", value: outcome.scope.rawValue),
            ])
    }
}
