// Reap, feed the machine, submit; one for each pinned thread. A turn is one call into the kernel,
// which submits everything the last turn asked for and waits if there is nothing else to do. It
// never spins when idle and never sleeps on work. While it sleeps, another loop may run a turn of
// its machine: see Loan.swift.

/// Made, run and dropped on one thread.
@usableFromInline
package struct Loop<R: Ring & ~Copyable, M: Machine & ~Copyable>: ~Copyable {
    // First, so that it is destroyed first: the kernel lets go of memory before the machine does.
    @usableFromInline package var ring: R
    @usableFromInline package var sleep = LoopSleep<R.Rest>()
    @usableFromInline package var state: LoopState<M>

    @inlinable
    package init(
        ring: consuming R, machine: consuming M, inbox: Inbox, clock: Clock = .system
    ) {
        state = LoopState(machine: machine, inbox: inbox, clock: clock)
        self.ring = ring
    }

    /// Until the machine is finished.
    /// - Parameter mayBeLent: other loops may run turns of its machine while it sleeps.
    @inlinable
    package mutating func run(mayBeLent: Bool = false) { Self.run(&ring, &sleep, &state, mayBeLent) }

    @inlinable
    static func run(
        _ ring: inout R, _ sleep: inout LoopSleep<R.Rest>, _ state: inout LoopState<M>,
        _ mayBeLent: Bool
    ) {
        // By their addresses from here on: they change hands while the ring waits.
        unsafe withUnsafeMutablePointer(to: &sleep) { sleep in
            unsafe withUnsafeMutablePointer(to: &state) { state in
                unsafe state.pointee.begin(ring.waker, lending: mayBeLent ? loan(sleep, state) : nil)
                while unsafe !state.pointee.machine.isFinished {
                    unsafe enter(&ring, sleep, state)
                    unsafe turn(&ring, state)
                }
                unsafe finish(&ring, state)
            }
        }
    }

    /// Gives the kernel what was asked for, and waits there.
    @inlinable @inline(__always)
    package static func enter(
        _ ring: inout R, _ sleep: UnsafeMutablePointer<LoopSleep<R.Rest>>,
        _ state: UnsafeMutablePointer<LoopState<M>>
    ) {
        let wait = unsafe state.pointee.waitForTurn()
        unsafe ring.give(&state.pointee.submissions)
        if case .none = wait {
            ring.wait(.none)
            return
        }
        guard unsafe state.pointee.park() else {
            ring.wait(.none)
            return
        }
        if unsafe state.pointee.mayBeLent {
            unsafe sleep.pointee = LoopSleep(rest: ring.rest, wait: wait)
            unsafe state.pointee.isAsleep = true
            // Last: from here on nothing but the ring is ours.
            unsafe state.pointee.letGo()
        }
        ring.wait(wait)
    }

    /// What has come meanwhile, from the kernel and from other threads.
    @inlinable @inline(__always)
    package static func turn(_ ring: inout R, _ state: UnsafeMutablePointer<LoopState<M>>) {
        if unsafe state.pointee.isAsleep {
            unsafe state.pointee.hold()
            unsafe state.pointee.isAsleep = false
            // What another thread's turn asked for, and only this ring can do.
            if unsafe !state.pointee.submissions.isEmpty {
                unsafe ring.give(&state.pointee.submissions)
                ring.wait(.none)
            }
            // In a borrowed turn: what has come since is for whoever clears up.
            if unsafe state.pointee.machine.isFinished { return }
        }
        unsafe state.pointee.takeParcels()
        unsafe state.pointee.beginTurn(at: state.pointee.clock.now())
        unsafe ring.reap(into: &state.pointee.completions)
        unsafe state.pointee.endTurn()
    }

    /// The machine has finished: its last submissions, and no wake-up after this.
    @inlinable
    package static func finish(_ ring: inout R, _ state: UnsafeMutablePointer<LoopState<M>>) {
        unsafe ring.give(&state.pointee.submissions)
        ring.wait(.none)
        unsafe state.pointee.finish()
    }
}

/// All of a loop but its ring: what belongs to the thread that holds the loop.
@usableFromInline
package struct LoopState<M: Machine & ~Copyable>: ~Copyable {
    @usableFromInline package var machine: M
    @usableFromInline package var submissions: SubmissionQueue
    @usableFromInline package var completions: CompletionQueue
    @usableFromInline package let inbox: Inbox
    @usableFromInline package let clock: Clock
    @usableFromInline package var now: Instant
    /// Taken from the inbox and not handled yet: a turn takes its share, so that sockets and timers
    /// have theirs.
    @usableFromInline package var parcels: Parcels
    /// Whether others may run its turns while it sleeps.
    @usableFromInline package var mayBeLent = false
    /// It is let go, and has not taken itself back. The loop's own thread alone reads it.
    @usableFromInline package var isAsleep = false

    /// What one turn handles at least, where as much waits: 1 MiB of records, or 256 parcels.
    @inlinable package static var turnParcelBytes: Int { 1 << 20 }
    @inlinable package static var turnParcels: Int { 256 }

    @inlinable
    package init(machine: consuming M, inbox: Inbox, clock: Clock) {
        self.clock = clock
        now = clock.now()
        self.machine = machine
        submissions = SubmissionQueue()
        completions = CompletionQueue()
        self.inbox = inbox
        parcels = Parcels()
    }

    /// Something from other threads waits.
    package var hasParcels: Bool { !parcels.isEmpty || inbox.depth.parcels > 0 }

    /// One `endTurn`, for what is to be asked first.
    /// - Parameter loan: for those who push to a loop that sleeps; `nil` where they only wake it.
    @inlinable
    package mutating func begin(_ waker: Waker, lending loan: Loan?) {
        mayBeLent = loan != nil
        inbox.attach(waker, lending: loan)
        now = clock.now()
        machine.endTurn(at: now, into: &submissions)
    }

    /// Before anything else, so that nobody wakes who is awake. While an earlier turn's are left,
    /// nobody has parked, and what came since stays behind them.
    @inlinable
    mutating func takeParcels() {
        if parcels.isEmpty { parcels = inbox.take() }
    }

    /// What the last turn asked for has happened, but for the completions to come.
    @inlinable
    package mutating func beginTurn(at now: Instant) {
        machine.submitted()
        self.now = now
    }

    @inlinable
    package mutating func endTurn() {
        if !completions.isEmpty {
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

    @inlinable
    package mutating func finish() {
        machine.submitted()
        // For whoever clears up after the loop.
        while let parcel = parcels.popFirst() { inbox.push(parcel) }
        inbox.detach()
    }

    // Called on this, which is borrowed for it, and not on an inbox that would be retained for it.
    @inlinable
    func park() -> Bool { inbox.park() }
    @inlinable
    func letGo() { inbox.letGo() }
    @inlinable
    func hold() { inbox.hold() }

    @inlinable
    mutating func take(only parcel: UInt) -> Bool {
        guard let only = inbox.take(only: parcel) else { return false }
        parcels = only
        return true
    }

    /// How long the kernel may let the loop wait, if nothing has come.
    @inlinable
    package func waitForTurn() -> Wait {
        if !parcels.isEmpty { return .none }
        guard let deadline = machine.deadline else { return .forever }
        return deadline <= now ? .none : .until(deadline)
    }
}
