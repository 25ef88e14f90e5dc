// Revoked tokens at a shard: a connection that is about to open is looked up once, and those that
// are open already are closed. What is under way between the two is caught at its opening, because
// the table is written before any shard is told.

internal import SkeinIO

extension ShardCore {
    func isRevoked(_ slot: UInt32) -> Bool {
        guard state.shared.revocations.count > 0 else { return false }
        let record = state.connections[slot]
        guard record.user != ConnectionRecord.none else { return false }
        return state.shared.revocations.covers(
            user: state.users.id(of: record.user).text, mark: record.tokenMark,
            issuedAt: record.issuedAtMilliseconds, at: state.wallMilliseconds)
    }

    /// Closes what a revocation names. - Returns: how many connections that were.
    func close(_ revocation: Revocation) -> Int {
        switch revocation.subject {
        case .user(let user):
            return user.withBytes { id in
                unsafe id.withUnsafeBufferPointer {
                    closeDevices(
                        of: unsafe Bytes($0.baseAddress!, count: $0.count),
                        issuedBefore: revocation.beforeMilliseconds)
                }
            }
        case .token(let id):
            let mark = TokenMark.of(id)
            return closeOpen { state.connections[$0].tokenMark == mark }
        }
    }

    /// After many revocations at once: closes whatever any of them names.
    func closeRevoked() { _ = closeOpen { isRevoked($0) } }

    private func closeDevices(of id: Bytes, issuedBefore limit: Int64) -> Int {
        guard let user = state.users.find(id, hash: UserHash.of(id)) else { return 0 }
        var closed = 0
        var slot = state.users[user].firstDevice
        while slot != ConnectionRecord.none {
            let next = state.connections[slot].nextDevice
            if state.connections[slot].state == .open, state.connections[slot].issuedAtMilliseconds < limit {
                closeAsRevoked(slot)
                closed += 1
            }
            slot = next
        }
        return closed
    }

    private func closeOpen(where isMeant: (UInt32) -> Bool) -> Int {
        var closed = 0
        for slot in 0..<UInt32(truncatingIfNeeded: state.connections.highWater)
        where state.connections.isLive(slot) && state.connections[slot].state == .open && isMeant(slot) {
            closeAsRevoked(slot)
            closed += 1
        }
        return closed
    }

    private func closeAsRevoked(_ slot: UInt32) {
        close(slot, code: 4401, reason: Bytes("token revoked"))
    }
}
