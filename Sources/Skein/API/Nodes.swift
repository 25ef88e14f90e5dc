// The nodes of a deployment, as each says of itself in its lease.

public struct NodeInfo: Sendable, Codable, Equatable {
    public var nodeId = ""
    /// Where clients reach it.
    public var address = ""
    /// Where operators do; `nil` where it has no control listener.
    public var controlAddress: String?
    public var version = ""
    public var startedAtMilliseconds: Int64 = 0
    public var shards = 0
    public var connections = 0
    public var users = 0
    /// Connections a second that it says it can take; 0 while it can take none.
    public var acceptPerSecond = 0
    /// Connections a second that came to it lately.
    public var arrivingPerSecond = 0
    /// Clients a second that it told to go elsewhere lately.
    public var leavingPerSecond = 0
    public var draining = false
    /// Until its lease ends unless it is renewed; `nil` where there are no leases.
    public var leaseMilliseconds: Int64?

    public init() {}
}

/// What set the pace of a drain.
public enum DrainPacer: String, Sendable, Codable, CaseIterable {
    /// The others could take more than the deadline asked of them, or there are none.
    case none
    /// What the others say that they can take.
    case peers
    /// The deadline: it asked for more than the others could take.
    case deadline
}
