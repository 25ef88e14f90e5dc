// A node that answers what a test has put into it and remembers what it was asked.

import Skein
import SkeinNode
import Synchronization

final class FakeNode: NodeControl {
    struct State {
        var snapshot = ServerSnapshot()
        var plans: [DrainPlan] = []
        var closed: [String] = []
        var isCancellable = true
        var revocations: [Revocation] = []
    }

    private let mutex = Mutex(State())

    func state<R: Sendable>(_ body: (inout State) -> R) -> R { mutex.withLock { body(&$0) } }

    init() {
        state {
            $0.snapshot.isAccepting = true
            $0.snapshot.nodeID = "n1"
            $0.snapshot.version = "0.1.0"
        }
    }

    func snapshot() -> ServerSnapshot { state { $0.snapshot } }

    func nodes() -> [NodeInfo] {
        var own = NodeInfo()
        own.nodeId = "n1"
        own.controlAddress = "10.0.0.1:9090"
        own.startedAtMilliseconds = 1_700_000_000_000
        var other = NodeInfo()
        other.nodeId = "n2"
        other.draining = true
        other.leaseMilliseconds = 7_000
        return [own, other]
    }

    func connections(ofUser user: UserID) async throws(ServerError) -> [ConnectionInfo] {
        guard user.description == "alice" else { return [] }
        return [
            ConnectionInfo(
                connectionId: "c1", userId: "alice", dialect: "relay", remoteAddress: "127.0.0.1:1",
                userAgent: "t", connectedAtMilliseconds: 5, shard: 0, sendQueueMessages: 0,
                sendQueueBytes: 0)
        ]
    }

    func disconnect(user: UserID, code: UInt16, reason: String) async throws(ServerError) -> Int {
        if user.description == "busy" { throw ServerError("The router is busy; try again.") }
        state { $0.closed.append("\(user) \(code) \(reason)") }
        return 2
    }

    func disconnect(
        connectionID: String, code: UInt16, reason: String
    ) async throws(ServerError) -> Bool {
        state { $0.closed.append("\(connectionID) \(code) \(reason)") }
        return connectionID == "c1"
    }

    func revoke(_ revocation: Revocation) async throws(ServerError) -> RevocationOutcome {
        if revocation.subject == .token("full") { throw ServerError("There is no room; wait.") }
        state { $0.revocations.append(revocation) }
        return RevocationOutcome(closed: 3, scope: .cluster)
    }

    func revocations() -> [Revocation] { state { $0.revocations } }

    func isRevoked(_ identity: Identity) -> Bool {
        state { $0.revocations.contains { $0.subject == .user(identity.userID) } }
    }

    func drain(_ plan: DrainPlan) {
        state {
            $0.plans.append(plan)
            $0.snapshot.drain.phase = .waves
        }
    }

    func cancelDrain() -> Bool {
        state {
            if $0.isCancellable { $0.snapshot.drain.phase = .running }
            return $0.isCancellable
        }
    }
}
