// A turn of a loop that sleeps, run by the thread that has something for it. To wake a loop costs both
// threads far more than it costs one of them to make the one send that a small parcel asks for.
//
// A loop is held by one thread at a time, which alone touches its state: its own while it is awake,
// and while it sleeps nobody, or one that borrows it. Its ring stays its own: a borrower only sends.
// Whoever ends a park leaves nothing to do, or wakes the loop, or finds it waking; so no parcel waits
// for one that sleeps.

private import CSkein
import Synchronization

/// The turn of one loop, for threads that do not know its machine.
@usableFromInline
package final class Loan {
    @usableFromInline
    package enum Outcome {
        /// The turn was run, and the loop sleeps on.
        case done
        /// The loop is waking, and will find what was pushed.
        case comes
        /// It has something to do that it would not know of.
        case mustWake
    }

    /// Carries out one parcel, by its address, on the calling thread, which holds the loop.
    @usableFromInline let turn: (UInt) -> Outcome

    @inlinable
    package init(turn: @escaping (UInt) -> Outcome) { self.turn = turn }
}

/// How a loop sleeps, for who borrows it meanwhile.
@usableFromInline
package struct LoopSleep<Rest: RingAtRest> {
    @usableFromInline var rest: Rest?
    @usableFromInline var wait: Wait

    @inlinable
    package init(rest: Rest? = nil, wait: Wait = .none) {
        self.rest = rest
        self.wait = wait
    }

    /// Whether the loop, as it sleeps, wakes in time.
    @inlinable
    func isLongEnough(for wanted: Wait) -> Bool {
        switch (wanted, wait) {
        case (.none, _), (_, .none), (.until, .forever): false
        case (.forever, _): true
        case (.until(let wanted), .until(let deadline)): deadline <= wanted
        }
    }
}

// The borrower's side: on its thread, which holds the loop.
extension Loop where R: ~Copyable, M: ~Copyable {
    /// - Parameters: both stay in place until the loop has detached from its inbox, after which nobody
    ///   has the loan.
    @inlinable
    package static func loan(
        _ sleep: UnsafeMutablePointer<LoopSleep<R.Rest>>, _ state: UnsafeMutablePointer<LoopState<M>>
    ) -> Loan {
        Loan { parcel in unsafe borrowedTurn(sleep, state, parcel) }
    }

    @inlinable
    static func borrowedTurn(
        _ sleep: UnsafeMutablePointer<LoopSleep<R.Rest>>, _ state: UnsafeMutablePointer<LoopState<M>>,
        _ parcel: UInt
    ) -> Loan.Outcome {
        guard let rest = unsafe sleep.pointee.rest else { return .mustWake }
        switch rest.state {
        case .settled: break
        case .over: return .comes
        // The outcome of its own sends is still to come, which the machine is to hear first.
        case .busy: return .mustWake
        }
        // A timer that is due is the loop's: what it waits for may have come, unknown to us.
        let now = unsafe state.pointee.clock.now()
        if case .until(let deadline) = unsafe sleep.pointee.wait, deadline <= now { return .mustWake }
        // Nothing but this: others may have left what takes long. And where the loop has taken it
        // meanwhile, and sleeps again, this thread comes too late.
        guard unsafe state.pointee.take(only: parcel) else { return .mustWake }
        unsafe state.pointee.beginTurn(at: now)
        unsafe state.pointee.endTurn()
        // Nothing was sent: maybe it stands behind what could not be sent, and now can.
        guard unsafe !state.pointee.submissions.isEmpty,
            unsafe send(through: rest, &state.pointee.submissions, &state.pointee.completions),
            unsafe state.pointee.completions.isEmpty, unsafe !state.pointee.machine.isFinished,
            unsafe sleep.pointee.isLongEnough(for: state.pointee.waitForTurn()),
            unsafe state.pointee.park()
        else { return .mustWake }
        return .done
    }

    /// Sends of one turn that a borrower makes: a user's devices, for most.
    @inlinable static var sendsMax: Int { 4 }

    /// All of the turn's sends; false, and none of them, when there are many, or something else among
    /// them.
    @inlinable
    static func send(
        through rest: R.Rest, _ submissions: inout SubmissionQueue, _ completions: inout CompletionQueue
    ) -> Bool {
        guard submissions.count <= sendsMax else { return false }
        for index in 0..<submissions.count {
            let kind = submissions[index].kind
            guard kind == .sendNow || kind == .sendVectorNow else { return false }
        }
        for index in 0..<submissions.count {
            let submission = submissions[index]
            if let result = rest.send(submission) {
                completions.append(Completion(token: submission.token, result: result))
            }
        }
        submissions.removeAll()
        return true
    }
}

/// Who holds a loop. A word that a thread can sleep on.
enum Holder {
    static var nobody: UInt32 { 0 }
    static var loop: UInt32 { 1 }
    static var borrower: UInt32 { 2 }
    /// A borrower, and the loop waits for it.
    static var awaitedBorrower: UInt32 { 3 }
}

// The loop's side, on its thread.
extension Inbox {
    /// The loop has parked, and is about to wait in its ring.
    @usableFromInline
    package func letGo() {
        // Releasing: pairs with the borrower's acquiring exchange.
        unsafe header.pointee.holder.store(Holder.nobody, ordering: .releasing)
    }

    /// The loop is awake: waits for the end of a turn that another thread may be in.
    @usableFromInline
    package func hold() {
        // Acquiring: pairs with the borrower's release.
        if unsafe header.pointee.holder.compareExchange(
            expected: Holder.nobody, desired: Holder.loop, ordering: .acquiring).exchanged { return }
        holdAfterBorrower()
    }

    /// A borrowed turn takes some microseconds, unless its thread lost its core in the midst of it.
    @inline(never)
    private func holdAfterBorrower() {
        var spinsLeft = 200
        while true {
            let found = unsafe header.pointee.holder.compareExchange(
                expected: Holder.nobody, desired: Holder.loop, ordering: .acquiring)
            if found.exchanged { return }
            if spinsLeft > 0 {
                spinsLeft -= 1
                skein_pause()
                continue
            }
            if found.original == Holder.borrower {
                _ = unsafe header.pointee.holder.compareExchange(
                    expected: Holder.borrower, desired: Holder.awaitedBorrower, ordering: .relaxed)
            }
            unsafe withUnsafePointer(to: header.pointee.holder) {
                unsafe skein_futex_wait($0, Holder.awaitedBorrower)
            }
        }
    }
}

// Whoever has just ended a park.
extension Inbox {
    /// Runs the turn of a loop that sleeps, for the parcel that ended its park.
    static func borrow(_ header: UnsafeMutablePointer<Header>, for parcel: UInt) -> Loan.Outcome {
        guard let loan = unsafe header.pointee.loan else { return .mustWake }
        let isHeld = unsafe header.pointee.holder.compareExchange(
            expected: Holder.nobody, desired: Holder.borrower, ordering: .acquiring).exchanged
        // It is about to wait, or has just woken, or another turn is just over.
        guard isHeld else { return .mustWake }
        let outcome = unsafe loan._withUnsafeGuaranteedRef { $0.turn(parcel) }
        if unsafe header.pointee.holder.exchange(Holder.nobody, ordering: .releasing)
            == Holder.awaitedBorrower
        {
            unsafe withUnsafePointer(to: header.pointee.holder) { unsafe skein_futex_wake($0) }
        }
        return outcome
    }
}

extension Inbox.Header {
    /// Another thread runs a turn of this loop. On the thread that holds it.
    var isLent: Bool { holder.load(ordering: .relaxed) >= Holder.borrower }
}
