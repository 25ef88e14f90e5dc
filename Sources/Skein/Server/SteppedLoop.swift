// The loops of a server for who drives them turn by turn on a ring of its own, as a simulator does,
// and what it may ask of them between two turns. A server that is started runs the same loops on
// threads and uses none of this.

package import SkeinIO
internal import Synchronization

/// A shard's or the router's loop. `begin` once; `enter` and `turn` until it is finished; `finish`.
package protocol SteppedLoop: AnyObject {
    func begin()
    func enter()
    func turn()
    func finish()
    var isFinished: Bool { get }
    /// Something waits in its inbox.
    var hasParcels: Bool { get }
    var figures: LoopFigures { get }
    /// Every connection of a shard; nothing for the router.
    func visitConnections(_ body: (ConnectionFigures) -> Void)
}

/// What a loop holds at the moment.
package struct LoopFigures: Sendable {
    package var connections = 0
    package var users = 0
    package var timers = 0
    package var buffersLent = 0
    /// Of these, with receives that wait for the next turn.
    package var buffersDeferred = 0
    /// Work that is put off to the end of a turn, or to the next.
    package var deferred = 0
    // The router's alone.
    package var waiters = 0
    package var queuedEvents = 0
    package var reads = 0
    package var isUp = false
    package var deliversLocally = false
}

package struct ConnectionFigures: Sendable {
    package var slot: UInt32
    package var generation: UInt32
    package var fd: Int32
    package var isOpen: Bool
    /// One that is counted among a user's.
    package var hasUser: Bool
    package var isDead: Bool
    package var isReceiving: Bool
    package var isSending: Bool
    package var isStarved: Bool
    /// Receives of it wait for the next turn, maybe with the last one's end.
    package var isDeferred: Bool
    package var backlogBytes: Int
    package var backlogMessages: Int
    /// What may wait for it.
    package var backlogBytesMax: Int
    package var backlogMessagesMax: Int
}

extension Server {
    /// Instead of `start`: from here on the caller drives the loops that it makes.
    package func startStepped() {
        lifecycle.withLock { state in
            precondition(!state.isStarted, "started twice")
            state.isStarted = true
            state.runningShards = shared.shardCount
        }
    }

    /// - Parameter mayBeLent: while it waits, other shards may run turns of it, as they do on threads.
    package func makeSteppedShard<R: Ring & ~Copyable>(
        _ index: Int, ring: consuming R, listener: Int32, mayBeLent: Bool
    ) -> any SteppedLoop {
        SteppedShard(makeShardLoop(index, ring, listener), of: self, mayBeLent: mayBeLent)
    }

    package func makeSteppedRouter<R: Ring & ~Copyable>(ring: consuming R) -> any SteppedLoop {
        SteppedRouter(makeRouterLoop(ring), of: self)
    }

    package var steppedReport: DrainReport { report() }

    package var steppedShardCount: Int { shared.shardCount }

    /// The shard where a user's devices meet.
    package func home(ofUser id: String) -> Int {
        let bytes = Array(id.utf8)
        return unsafe bytes.withUnsafeBufferPointer { buffer in
            guard let base = buffer.baseAddress else { return 0 }
            return unsafe shared.home(of: UserHash.of(Bytes(base, count: buffer.count)))
        }
    }
}

/// A loop in its place, and the steps of its `run` one by one.
///
/// Safe: the loop stays where it is until this goes, which is after `finish`, or when nobody pushes to it
/// any more.
@safe
private struct Steps<R: Ring & ~Copyable, M: Machine & ~Copyable>: ~Copyable {
    private let loop: UnsafeMutablePointer<Loop<R, M>>
    // Its parts. To find them each time would cost what is measured here.
    private let ring: UnsafeMutablePointer<R>
    private let sleep: UnsafeMutablePointer<LoopSleep<R.Rest>>
    private let state: UnsafeMutablePointer<LoopState<M>>
    private let mayBeLent: Bool

    init(_ loop: consuming Loop<R, M>, mayBeLent: Bool) {
        let place = UnsafeMutablePointer<Loop<R, M>>.allocate(capacity: 1)
        unsafe place.initialize(to: loop)
        unsafe self.loop = place
        unsafe ring = withUnsafeMutablePointer(to: &place.pointee.ring) { unsafe $0 }
        unsafe sleep = withUnsafeMutablePointer(to: &place.pointee.sleep) { unsafe $0 }
        unsafe state = withUnsafeMutablePointer(to: &place.pointee.state) { unsafe $0 }
        self.mayBeLent = mayBeLent
    }

    deinit {
        unsafe loop.deinitialize(count: 1)
        unsafe loop.deallocate()
    }

    func begin() {
        let loan = unsafe mayBeLent ? Loop<R, M>.loan(sleep, state) : nil
        unsafe state.pointee.begin(ring.pointee.waker, lending: loan)
    }

    @inline(__always)
    func enter() { unsafe Loop.enter(&ring.pointee, sleep, state) }

    @inline(__always)
    func turn() { unsafe Loop.turn(&ring.pointee, state) }

    func finish() { unsafe Loop.finish(&ring.pointee, state) }

    var isFinished: Bool { unsafe state.pointee.machine.isFinished }
    var hasParcels: Bool { unsafe state.pointee.hasParcels }

    func look<T>(_ body: (borrowing M) -> T) -> T { unsafe body(state.pointee.machine) }
}

private final class SteppedShard<R: Ring & ~Copyable>: SteppedLoop {
    private let steps: Steps<R, Shard>
    private let server: Server

    init(_ loop: consuming Loop<R, Shard>, of server: Server, mayBeLent: Bool) {
        steps = Steps(loop, mayBeLent: mayBeLent)
        self.server = server
    }

    func begin() { steps.begin() }
    func enter() { steps.enter() }
    func turn() { steps.turn() }

    func finish() {
        steps.finish()
        server.shardEnded()
    }

    var isFinished: Bool { steps.isFinished }
    var hasParcels: Bool { steps.hasParcels }

    var figures: LoopFigures {
        let core = steps.look { $0.core }
        var figures = LoopFigures()
        figures.connections = core.state.connections.count
        figures.users = core.state.users.count
        figures.timers = core.state.timers.count
        figures.buffersLent = core.state.buffers.lent
        figures.deferred = core.state.moving.count + core.state.starved.count + core.state.reaped.count
            + core.state.partings.count + core.state.deferred.count
            + (core.state.fanOut.isUnderWay ? 1 : 0)
        for index in 0..<core.state.deferred.count where core.state.deferred[index].hasBuffer {
            figures.buffersDeferred += 1
        }
        return figures
    }

    func visitConnections(_ body: (ConnectionFigures) -> Void) {
        let core = steps.look { $0.core }
        for slot in 0..<UInt32(core.state.connections.highWater) where core.state.connections.isLive(slot) {
            let record = core.state.connections[slot]
            let hasBacklog = record.backlog.exists
            let most = core.sendQueueMax(isReplaying: record.flags.contains(.replaying))
            body(
                ConnectionFigures(
                    slot: slot, generation: core.state.connections.generation(of: slot), fd: record.fd,
                    isOpen: record.state == .open,
                    hasUser: record.user != ConnectionRecord.none, isDead: record.state == .dead,
                    isReceiving: record.flags.contains(.receiving),
                    isSending: record.flags.contains(.sending),
                    isStarved: record.flags.contains(.starved),
                    isDeferred: record.flags.contains(.deferred),
                    backlogBytes: hasBacklog ? record.backlog.value.bytes : 0,
                    backlogMessages: hasBacklog ? record.backlog.value.messages : 0,
                    backlogBytesMax: most.bytes, backlogMessagesMax: most.messages))
        }
    }
}

private final class SteppedRouter<R: Ring & ~Copyable>: SteppedLoop {
    private let steps: Steps<R, Router>
    private let server: Server

    init(_ loop: consuming Loop<R, Router>, of server: Server) {
        steps = Steps(loop, mayBeLent: false)
        self.server = server
    }

    func begin() { steps.begin() }
    func enter() { steps.enter() }
    func turn() { steps.turn() }

    func finish() {
        steps.finish()
        server.routerEnded()
    }

    var isFinished: Bool { steps.isFinished }
    var hasParcels: Bool { steps.hasParcels }

    var figures: LoopFigures {
        let core = steps.look { $0.core }
        var figures = LoopFigures()
        figures.users = core.state.users.count
        figures.buffersLent = core.state.buffers.lent
        figures.waiters = core.state.waiters.count
        figures.queuedEvents = core.state.journal.count
        figures.reads = core.state.toRead.count + core.state.readsOut.count
        figures.isUp = core.state.wasWhole
        figures.deliversLocally = core.state.isLocal
        return figures
    }

    func visitConnections(_ body: (ConnectionFigures) -> Void) {}
}
