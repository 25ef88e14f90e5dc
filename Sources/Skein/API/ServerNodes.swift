// What a server says of itself to other nodes, and what it knows of them.

internal import Glibc
internal import SkeinIO
internal import Synchronization

extension Server {
    /// All nodes that live, this one first. The others are as they were a few seconds ago; without
    /// Redis there are none.
    public func nodes() -> [NodeInfo] {
        let load = load()
        var own = NodeInfo()
        own.nodeId = nodeID
        own.address = advertisedAddress
        own.controlAddress = shared.board.controlAddress
        own.version = shared.version
        own.startedAtMilliseconds = shared.startedAtMilliseconds
        own.shards = shared.shardCount
        own.connections = load.connections
        own.users = load.users
        own.draining = lifecycle.withLock { $0.drain != nil }
        own.acceptPerSecond =
            load.takesMore && !own.draining
            ? configuration.limits.acceptRate(shards: shared.shardCount) : 0
        own.arrivingPerSecond = Int(routerMetrics.value.arrivingPerSecond.count)
        own.leavingPerSecond = Int(routerMetrics.value.leavingPerSecond.count)
        let leasedAt = Int64(routerMetrics.value.leasedAt.count)
        if leasedAt > 0 {
            let age = shared.host.clock.now().nanoseconds(since: Instant(nanoseconds: leasedAt)) / 1_000_000
            own.leaseMilliseconds = configuration.limits.nodeLease.milliseconds - age
        }
        let others = shared.board.others(at: shared.host.clock.now())
        return [own] + others.sorted { $0.startedAtMilliseconds < $1.startedAtMilliseconds }
    }

    /// Where this node's operators reach it, for other nodes to show. - Parameter address: `host:port`.
    public func setControlAddress(_ address: String) {
        shared.board.controlAddress = advertised(address)
    }

    /// Where clients reach this node.
    var advertisedAddress: String { advertised(lifecycle.withLock { $0.address }) }

    private func advertised(_ address: String) -> String {
        guard let (host, port) = SocketAddress.split(address) else { return address }
        let isEverywhere = host == "0.0.0.0" || host == "::" || host.isEmpty
        let known = configuration.advertisedHost ?? (isEverywhere ? Self.machineName : nil) ?? host
        return known.contains(":") ? "[\(known)]:\(port)" : "\(known):\(port)"
    }

    private static let machineName: String? = {
        var name = [UInt8](repeating: 0, count: 256)
        let status = unsafe name.withUnsafeMutableBytes { memory in
            unsafe gethostname(memory.baseAddress!.assumingMemoryBound(to: CChar.self), memory.count - 1)
        }
        guard status == 0, let end = name.firstIndex(of: 0), end > 0 else { return nil }
        return String(decoding: name[..<end], as: UTF8.self)
    }()

    func load() -> NodeLoad {
        var load = NodeLoad()
        var isListening = true
        for metrics in shardMetrics {
            load.connections += Int(metrics.value.open.count)
            load.users += Int(metrics.value.users.count)
            load.arrived += metrics.value.handshakes[HandshakeResult.accepted.rawValue].count
            load.told += metrics.value.told.count
            if metrics.value.isListening.count != 1 { isListening = false }
        }
        let most = configuration.limits.connectionsMax
        load.takesMore =
            isListening && !shared.memory.isHigh && (most == 0 || load.connections < most)
        return load
    }
}
