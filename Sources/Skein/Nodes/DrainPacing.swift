// How fast a node may empty itself: between what its deadline needs and what the others can take.
// The router works out the second from the registry; every shard reads it wave by wave.

internal import Synchronization

enum DrainPacing {
    struct Wave: Equatable {
        var count: Int
        var pacedBy: DrainPacer
    }

    /// How many clients one shard tells in one wave.
    ///
    /// For the first half of its waves a drain keeps to what the others can take. From then on the
    /// deadline has the last word, while there is still time for a slope.
    ///
    /// - Parameters:
    ///   - wavesLeft: after this one.
    ///   - allowance: what the others can take of this shard in one wave; `nil`: nobody says.
    static func wave(open: Int, wavesLeft: Int, isEarly: Bool, allowance: Int?) -> Wave {
        guard open > 0 else { return Wave(count: 0, pacedBy: .none) }
        let wavesLeft = max(0, wavesLeft)
        let needed = (open + wavesLeft) / (wavesLeft + 1)
        // At least one, whatever the others say: a drain that stands still helps nobody.
        guard let allowance, max(1, allowance) < needed else { return Wave(count: needed, pacedBy: .none) }
        return isEarly
            ? Wave(count: max(1, allowance), pacedBy: .peers) : Wave(count: needed, pacedBy: .deadline)
    }

    /// Clients a second that the others can take of this node; `nil` where there are none.
    ///
    /// - Parameters:
    ///   - leaving: clients a second that this node has been telling. They are among those that the
    ///     others say arrive, and must not count against themselves.
    static func perSecond(_ others: [NodeInfo], leaving: Int) -> Int? {
        let takers = others.filter { !$0.draining }
        guard !takers.isEmpty else { return nil }
        let drainers = others.filter { $0.draining && $0.connections > 0 }
        let capacity = takers.reduce(0) { $0 + $1.acceptPerSecond }
        let arriving = takers.reduce(0) { $0 + $1.arrivingPerSecond }
        let moving = drainers.reduce(leaving) { $0 + $1.leavingPerSecond }
        return max(0, capacity - max(0, arriving - moving)) / (drainers.count + 1)
    }
}

/// The pace of this node's drain: written by the router, read by the shards and by who asks.
final class DrainPace: Sendable {
    // Relaxed: each figure stands for itself, and a wave that reads the last one's is no harm.
    private let rate = Atomic<Int>(-1)
    private let peerCount = Atomic<Int>(0)
    private let pacer = Atomic<Int>(0)
    private let lateFences = Atomic<Int>(0)

    /// Clients a second of the whole node; `nil`: nobody says.
    var perSecond: Int? {
        let rate = rate.load(ordering: .relaxed)
        return rate < 0 ? nil : rate
    }

    /// A drain was taken back.
    func reset() {
        set(nil, peers: 0)
        pacer.store(0, ordering: .relaxed)
    }

    /// Nodes that can take clients.
    var peers: Int { peerCount.load(ordering: .relaxed) }

    func set(_ perSecond: Int?, peers: Int) {
        rate.store(perSecond ?? -1, ordering: .relaxed)
        peerCount.store(peers, ordering: .relaxed)
    }

    /// The strongest that set the pace of any wave.
    var pacedBy: DrainPacer { DrainPacer.allCases[pacer.load(ordering: .relaxed)] }

    func note(_ pacedBy: DrainPacer) {
        guard let place = DrainPacer.allCases.firstIndex(of: pacedBy) else { return }
        pacer.max(place, ordering: .relaxed)
    }

    /// Waves that went although it was not sure that all accepted before had arrived.
    var fencesLate: Int { lateFences.load(ordering: .relaxed) }
    func noteLateFence() { lateFences.add(1, ordering: .relaxed) }
}
