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

    @inlinable
    package init(ring: consuming R, machine: consuming M, inbox: Inbox) {
        self.ring = ring
        self.machine = machine
        submissions = SubmissionQueue()
        completions = CompletionQueue()
        self.inbox = inbox
    }

    /// Until the machine is finished. It starts with one `endTurn`, for what is to be asked first.
    @inlinable
    package mutating func run() {
        inbox.attach(ring.waker)
        var now = Instant.now()
        machine.endTurn(at: now, into: &submissions)
        while !machine.isFinished {
            let wait = waitForTurn(now)
            ring.submit(&submissions, wait: wait)
            // Before anything else, so that nobody wakes who is awake.
            var parcels = inbox.take()
            machine.submitted()
            now = .now()
            if ring.reap(into: &completions) > 0 {
                machine.handle(unsafe completions.buffer.span, at: now, into: &submissions)
                completions.removeAll()
            }
            while let parcel = parcels.popFirst() {
                machine.handle(parcel, at: now, into: &submissions)
            }
            machine.endTurn(at: now, into: &submissions)
        }
        ring.submit(&submissions, wait: .none)
        machine.submitted()
        inbox.detach()
    }

    /// Waiting begins with parking: whoever pushes from then on wakes us.
    @inlinable
    package func waitForTurn(_ now: Instant) -> Wait {
        guard let deadline = machine.deadline else {
            return inbox.park() ? .forever : .none
        }
        if deadline <= now { return .none }
        return inbox.park() ? .until(deadline) : .none
    }
}
