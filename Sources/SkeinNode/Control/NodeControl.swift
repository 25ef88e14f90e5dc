// What the control plane needs of a node. `Server` is the one that counts; tests bring their own.

package import Skein

package protocol NodeControl: Sendable {
    func snapshot() -> ServerSnapshot
    func nodes() -> [NodeInfo]
    func connections(ofUser user: UserID) async throws(ServerError) -> [ConnectionInfo]
    func disconnect(
        user: UserID, code: UInt16, reason: String
    ) async throws(ServerError) -> Int
    func disconnect(
        connectionID: String, code: UInt16, reason: String
    ) async throws(ServerError) -> Bool
    func revoke(_ revocation: Revocation) async throws(ServerError) -> RevocationOutcome
    func revocations() -> [Revocation]
    func isRevoked(_ identity: Identity) -> Bool
    func drain(_ plan: DrainPlan)
    func cancelDrain() -> Bool
}

extension Server: NodeControl {}
