// What a server knows of itself: read by any thread, while the loops go on.

internal import SkeinIO
internal import Synchronization

extension Server {
    /// What the server knows of itself now. Cheap; the loops go on meanwhile.
    public func snapshot() -> ServerSnapshot {
        var snapshot = ServerSnapshot()
        let (io, cores) = lifecycle.withLock { ($0.io, $0.cores) }
        snapshot.nodeID = nodeID
        snapshot.version = shared.version
        snapshot.uptimeSeconds = Double(shared.host.clock.now().nanoseconds(since: started)) / 1e9
        snapshot.io = io
        snapshot.limits = configuration.limits
        snapshot.shards = shardMetrics.enumerated().map { index, metrics in
            var shard = metrics.value.snapshot(index: index, dialects: dialectNames)
            shard.inboxDepth = shared.shardInboxes[index].depth.records
            shard.core = cores.indices.contains(index) ? cores[index] : nil
            return shard
        }
        snapshot.isAccepting = shardMetrics.allSatisfy { $0.value.isListening.count == 1 }
        snapshot.memoryBytesMax = shared.memory.bytesMax
        snapshot.isShortOfMemory = shared.memory.isHigh
        snapshot.backplane = backplaneSnapshot()
        snapshot.drain = drainProgress()
        snapshot.revocations = shared.revocations.count
        return snapshot
    }

    private func backplaneSnapshot() -> BackplaneSnapshot {
        var backplane = BackplaneSnapshot()
        let metrics = routerMetrics
        backplane.state = RouterMetrics.states[Int(metrics.value.state.count)]
        backplane.reason = reason.current
        if backplane.state != .memory {
            let heard = Int64(metrics.value.canaryHeard.count)
            let since = heard == 0 ? started : Instant(nanoseconds: heard)
            backplane.canaryAgeSeconds = Double(shared.host.clock.now().nanoseconds(since: since)) / 1e9
        }
        if backplane.state != .memory {
            let leasedAt = Int64(metrics.value.leasedAt.count)
            let since = leasedAt == 0 ? started : Instant(nanoseconds: leasedAt)
            backplane.leaseAgeSeconds = Double(shared.host.clock.now().nanoseconds(since: since)) / 1e9
        }
        backplane.nodes = Int(metrics.value.nodes.count) + 1
        backplane.leasesLost = metrics.value.leasesLost.count
        backplane.clearedNodes = metrics.value.clearedNodes.count
        backplane.clearedDevices = metrics.value.clearedDevices.count
        backplane.clearedUsers = metrics.value.clearedUsers.count
        backplane.publishLatency = metrics.value.publishLatency.snapshot
        backplane.queuedCommands = Int(metrics.value.queuedCommands.count)
        backplane.queuedBytes = Int(metrics.value.queuedBytes.count)
        backplane.subscriptions = Int(metrics.value.subscriptions.count)
        backplane.malformed = metrics.value.malformed.count
        backplane.reconnects = metrics.value.reconnects.count
        for cause in LinkFailure.Cause.allCases {
            backplane.linkFailures[cause.name] = metrics.value.failures[cause.rawValue].count
        }
        backplane.published = metrics.value.published.count
        backplane.dropped = [
            "backplane_queue_full": metrics.value.queueFull.count,
            "shard_overload": metrics.value.overload.count,
            "duplicate": metrics.value.duplicates.count,
        ]
        backplane.inboxDepth = shared.routerInbox.depth.records
        return backplane
    }

    func healthText() -> String {
        let snapshot = snapshot()
        let redis = snapshot.backplane.state.rawValue
        return """
            {"status":"ok","redis":"\(redis)","websocket":{"users":\(snapshot.users),\
            "connections":\(snapshot.connections)},"version":"\(snapshot.version)","nodeId":"\(nodeID)"}
            """
    }
}
