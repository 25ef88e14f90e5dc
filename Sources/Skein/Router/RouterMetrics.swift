// What the router counts; written by it, read by anyone.

internal import Synchronization

struct RouterMetrics: ~Copyable, Sendable {
    let state = Counter()
    let published = Counter()
    let heard = Counter()
    let malformed = Counter()
    let reconnects = Counter()
    /// By cause.
    let failures = CounterArray(LinkFailure.Cause.allCases.count)
    let queuedCommands = Counter()
    let queuedBytes = Counter()
    let subscriptions = Counter()
    /// Nanoseconds of the monotonic clock when the canary was last heard.
    let canaryHeard = Counter()
    /// Events that a full queue kept from other nodes.
    let queueFull = Counter()
    /// Events that no shard had room for.
    let overload = Counter()
    /// Events that were delivered here without waiting for Redis.
    let deliveredLocally = Counter()
    /// Echoes of those, and repeats of other nodes', that were recognised and left out.
    let duplicates = Counter()
    /// Other nodes that live.
    let nodes = Counter()
    /// Nanoseconds of the monotonic clock when Redis last took this node's lease.
    let leasedAt = Counter()
    /// Of this node, between its last two beats.
    let arrivingPerSecond = Counter()
    let leavingPerSecond = Counter()
    /// How often the lease had ended while this node was there.
    let leasesLost = Counter()
    /// Dead nodes that this one cleared up after, and what they had left.
    let clearedNodes = Counter()
    let clearedDevices = Counter()
    let clearedUsers = Counter()
    let publishLatency = Histogram()
    let loopTurn = Histogram()

    static let states: [BackplaneState] = [.memory, .connecting, .up, .degraded]

    func set(_ new: BackplaneState) { state.set(UInt64(Self.states.firstIndex(of: new)!)) }
}

/// Why the backplane is not up, for health and readiness. Changes a few times a day.
final class BackplaneReason: Sendable {
    private let text = Mutex<String?>(nil)
    func set(_ new: String?) { text.withLock { $0 = new } }
    var current: String? { text.withLock { $0 } }
}
