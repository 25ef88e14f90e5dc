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
    }

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
        // Before anything else, so that nobody wakes who is awake.
        var parcels = inbox.take()
        machine.submitted()
        now = clock.now()
        if ring.reap(into: &completions) > 0 {
            machine.handle(unsafe completions.buffer.span, at: now, into: &submissions)
            completions.removeAll()
        }
        while let parcel = parcels.popFirst() {
            machine.handle(parcel, at: now, into: &submissions)
        }
        machine.endTurn(at: now, into: &submissions)
    }

    /// The machine has finished: its last submissions, and no wake-up after this.
    @inlinable
    package mutating func finish() {
        ring.submit(&submissions, wait: .none)
        machine.submitted()
        inbox.detach()
    }

    /// Waiting begins with parking: whoever pushes from then on wakes us.
    @inlinable
    package func waitForTurn() -> Wait {
        guard let deadline = machine.deadline else {
            return inbox.park() ? .forever : .none
        }
        if deadline <= now { return .none }
        return inbox.park() ? .until(deadline) : .none
    }
}
