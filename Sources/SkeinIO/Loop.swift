// Reap, feed the machine, submit; one for each pinned thread. A turn is one call into the kernel,
// which submits everything the last turn asked for and waits if there is nothing else to do. It
// never spins when idle and never sleeps on work.

/// Made, run and dropped on one thread.
@usableFromInline
package struct Loop<R: Ring & ~Copyable, M: Machine & ~Copyable>: ~Copyable {
    // First, so that it is destroyed first: the kernel lets go of memory before the machine does.
    @usableFromInline package var ring: R
    @usableFromInline package var machine: M
    @usableFromInline package var submissions: SubmissionQueue
    @usableFromInline package var completions: CompletionQueue
    @usableFromInline package let inbox: Inbox
    @usableFromInline package let clock: Clock
    @usableFromInline package var now: Instant
    /// Taken from the inbox and not handled yet: a turn takes its share, so that sockets and timers
    /// have theirs.
    @usableFromInline package var parcels: Parcels

    /// What one turn handles at least, where as much waits: 1 MiB of records, or 256 parcels.
    @inlinable package static var turnParcelBytes: Int { 1 << 20 }
    @inlinable package static var turnParcels: Int { 256 }

    @inlinable
    package init(
        ring: consuming R, machine: consuming M, inbox: Inbox, clock: Clock = .system
    ) {
        self.clock = clock
        now = clock.now()
        self.ring = ring
        self.machine = machine
        submissions = SubmissionQueue()
        completions = CompletionQueue()
        self.inbox = inbox
        parcels = Parcels()
    }

    /// Something from other threads waits.
    package var hasParcels: Bool { !parcels.isEmpty || inbox.depth.parcels > 0 }

    /// Until the machine is finished.
    @inlinable
    package mutating func run() {
        begin()
        while !machine.isFinished {
            enter()
            turn()
        }
        finish()
    }

    /// One `endTurn`, for what is to be asked first.
    @inlinable
    package mutating func begin() {
        inbox.attach(ring.waker)
        now = clock.now()
        machine.endTurn(at: now, into: &submissions)
    }

    /// Gives the kernel what was asked for, and waits there.
    @inlinable
    package mutating func enter() {
        let wait = waitForTurn()
        ring.submit(&submissions, wait: wait)
    }

    /// What has come meanwhile, from the kernel and from other threads.
    @inlinable
    package mutating func turn() {
        // Before anything else, so that nobody wakes who is awake. While an earlier turn's are left,
        // nobody has parked, and what came since stays behind them.
        if parcels.isEmpty { parcels = inbox.take() }
        machine.submitted()
        now = clock.now()
        if ring.reap(into: &completions) > 0 {
            machine.handle(unsafe completions.buffer.span, at: now, into: &submissions)
            completions.removeAll()
        }
        var parcelsLeft = Self.turnParcels
        var bytesLeft = Self.turnParcelBytes
        while parcelsLeft > 0, bytesLeft > 0, !machine.isBusy, let parcel = parcels.popFirst() {
            parcelsLeft &-= 1
            bytesLeft &-= parcel.usedBytes
            machine.handle(parcel, at: now, into: &submissions)
        }
        machine.endTurn(at: now, into: &submissions)
    }

    /// The machine has finished: its last submissions, and no wake-up after this.
    @inlinable
    package mutating func finish() {
        ring.submit(&submissions, wait: .none)
        machine.submitted()
        // For whoever clears up after the loop.
        while let parcel = parcels.popFirst() { inbox.push(parcel) }
        inbox.detach()
    }

    /// Waiting begins with parking: whoever pushes from then on wakes us.
    @inlinable
    package func waitForTurn() -> Wait {
        if !parcels.isEmpty { return .none }
        guard let deadline = machine.deadline else {
            return inbox.park() ? .forever : .none
        }
        if deadline <= now { return .none }
        return inbox.park() ? .until(deadline) : .none
    }
}
