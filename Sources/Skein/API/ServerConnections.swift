// Looking at open connections and closing them, from outside the loops: each question is answered on
// the thread of the shard that owns the answer.

internal import SkeinIO
internal import Synchronization

extension Server {
    /// The open connections of a user on this node.
    public func connections(ofUser user: UserID) async throws(ServerError) -> [ConnectionInfo] {
        let hash = user.withBytes { Self.hash($0) }
        let names = dialectNames
        return try await ask(shard: shared.home(of: hash)) { core in
            core.connections(of: user, hash: hash, names: names)
        }
    }

    /// Closes all of a user's connections, on this node and, through the backplane, on all others.
    ///
    /// - Returns: how many were closed on this node.
    public func disconnect(
        user: UserID, code: UInt16, reason: String
    ) async throws(ServerError) -> Int {
        _ = LoopTask<RouterCore>.post(to: shared.routerInbox, kind: RouterRecord.task.rawValue) { core in
            core.publishDisconnect(user, code: code, reason: reason)
        }
        let hash = user.withBytes { Self.hash($0) }
        return try await ask(shard: shared.home(of: hash)) { core in
            core.disconnect(user, code: code, reason: reason)
        }
    }

    /// Closes one connection of this node by its ID. - Returns: whether it was there.
    public func disconnect(
        connectionID: String, code: UInt16, reason: String
    ) async throws(ServerError) -> Bool {
        let parts = connectionID.split(separator: "-")
        guard parts.count == 2, parts[0] == nodeID, let raw = UInt64(parts[1], radix: 16) else { return false }
        let reference = ConnectionReference(rawValue: raw)
        guard reference.shard < shared.shardCount else { return false }
        return try await ask(shard: reference.shard) { core in
            core.disconnect(reference, code: code, reason: reason)
        }
    }

    private static func hash(_ id: Span<UInt8>) -> UInt64 {
        unsafe id.withUnsafeBufferPointer { unsafe UserHash.of(Bytes($0.baseAddress!, count: $0.count)) }
    }

    func ask<Answer: Sendable>(
        shard: Int, _ body: @escaping @Sendable (ShardCore) -> Answer
    ) async throws(ServerError) -> Answer {
        let isRunning = lifecycle.withLock { $0.runningShards > 0 }
        guard isRunning else { throw ServerError("The server is not running.") }
        let answer: Answer? = await withCheckedContinuation { continuation in
            let isPosted = LoopTask<ShardCore>.post(
                to: shared.shardInboxes[shard], kind: ShardRecord.task.rawValue
            ) { core in continuation.resume(returning: body(core)) }
            if !isPosted { continuation.resume(returning: nil) }
        }
        guard let answer else { throw ServerError("The shard has too much waiting; retry later.") }
        return answer
    }
}
