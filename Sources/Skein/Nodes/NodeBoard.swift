// What the router knows of all nodes, put where other threads read it: a new list every few seconds.

internal import SkeinIO
internal import Synchronization

final class NodeBoard: Sendable {
    private struct Content {
        var others: [NodeInfo] = []
        var readAt = Instant(nanoseconds: 0)
        var controlAddress: String?
    }

    private let content = Mutex(Content())

    func set(_ others: [NodeInfo], at now: Instant) {
        content.withLock {
            $0.others = others
            $0.readAt = now
        }
    }

    /// The other nodes that live: those whose leases have not ended since they were read.
    func others(at now: Instant) -> [NodeInfo] {
        let (others, readAt) = content.withLock { ($0.others, $0.readAt) }
        let age = now.nanoseconds(since: readAt) / 1_000_000
        return others.compactMap { node in
            var node = node
            node.leaseMilliseconds = node.leaseMilliseconds.map { $0 - age }
            return (node.leaseMilliseconds ?? 0) < 0 ? nil : node
        }
    }

    /// This node's own, once it listens there.
    var controlAddress: String? {
        get { content.withLock { $0.controlAddress } }
        set { content.withLock { $0.controlAddress = newValue } }
    }
}

/// What a node carries at one moment, and what it has done so far.
struct NodeLoad: Sendable, Equatable {
    var connections = 0
    var users = 0
    /// Connections that were let in since the start.
    var arrived: UInt64 = 0
    /// Clients that were told to go elsewhere since the start.
    var told: UInt64 = 0
    /// Whether newcomers would be let in.
    var takesMore = false
}
