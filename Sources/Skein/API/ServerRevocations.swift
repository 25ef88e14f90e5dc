// Taking tokens back: into the table first, so that nobody can come in any more, and then the
// connections that are open already, each on its own shard's thread.

internal import SkeinIO
internal import Synchronization

extension Server {
    /// Refuses what `revocation` names from now on, and closes what is open with 4401
    /// `token revoked`: here before it returns, on other nodes as soon as they hear of it.
    ///
    /// - Throws: where `Limits.revocationsMax` are kept already, or a loop has too much waiting. In
    ///   the second case handshakes are refused, but a connection may still be open: ask again.
    public func revoke(_ revocation: Revocation) async throws(ServerError) -> RevocationOutcome {
        guard shared.revocations.insert(revocation, at: shared.host.clock.wallMilliseconds()) != .full else {
            throw ServerError(
                "This node keeps \(configuration.limits.revocationsMax) revocations and has room for no "
                    + "more; wait until some expire, give shorter ones, or raise WS_MAX_REVOCATIONS.")
        }
        let isPassedOn = await passOn(revocation)
        var closed = 0
        for shard in shared.shards(of: revocation.subject) {
            closed += try await ask(shard: shard) { core in core.close(revocation) }
        }
        return RevocationOutcome(closed: closed, scope: isPassedOn ? .cluster : .node)
    }

    /// What is revoked now, the latest to expire first.
    public func revocations() -> [Revocation] {
        shared.revocations.list(at: shared.host.clock.wallMilliseconds())
    }

    /// Whether a token is revoked that said this of itself.
    public func isRevoked(_ identity: Identity) -> Bool {
        shared.revocations.covers(identity, at: shared.host.clock.wallMilliseconds())
    }

    private func passOn(_ revocation: Revocation) async -> Bool {
        let isRunning = lifecycle.withLock { $0.runningShards > 0 }
        guard configuration.backplane != .memory, isRunning else { return false }
        return await withCheckedContinuation { continuation in
            let isPosted = LoopTask<RouterCore>.post(
                to: shared.routerInbox, kind: RouterRecord.task.rawValue
            ) { core in continuation.resume(returning: core.passOn(revocation)) }
            if !isPosted { continuation.resume(returning: false) }
        }
    }
}
