// A turn of a loop that sleeps, run by the thread that has something for it. To wake a loop costs both
// threads far more than it costs one of them to make the one send that a small parcel asks for.
//
// A loop is held by one thread at a time, which alone touches its state: its own while it is awake,
// and while it sleeps nobody, or one that borrows it. Its ring stays its own: a borrower only sends.
// Whoever ends a park either leaves nothing to do, or wakes the loop; so no parcel waits for one that
// sleeps.

private import CSkein
import Synchronization

/// The turn of one loop, for threads that do not know its machine.
@usableFromInline
package class Loan {
    @inlinable package init() {}

    /// Takes what is in the inbox and carries it out, on the calling thread, which holds the loop.
    /// - Returns: false when the loop has to be woken: it has something to do, and would not know.
    @usableFromInline package func turn() -> Bool { false }
}

/// Safe: the state stays in place until the loop has detached from its inbox, after which nobody has
/// the loan.
@safe
@usableFromInline
package final class LoopLoan<Rest: RingAtRest, M: Machine & ~Copyable>: Loan {
    @usableFromInline let state: UnsafeMutablePointer<LoopState<M>>
    // Of the sleep that comes: set before the loop is let go.
    @usableFromInline final var rest: Rest?
    @usableFromInline final var wait = Wait.none

    @inlinable
    package init(_ state: UnsafeMutablePointer<LoopState<M>>) { unsafe self.state = state }

    @inlinable
    package override func turn() -> Bool {
        guard let rest else { return false }
        switch rest.state {
        case .settled: break
        // It comes by itself.
        case .over: return true
        // The outcome of its own sends is still to come, which the machine is to hear first.
        case .busy: return false
        }
        unsafe state.pointee.beginTurn()
        unsafe state.pointee.endTurn()
        guard unsafe send(through: rest, &state.pointee.submissions, &state.pointee.completions)
        else { return false }
        guard unsafe state.pointee.completions.isEmpty, unsafe !state.pointee.machine.isFinished,
            sleepsOn(unsafe state.pointee.waitForTurn())
        else { return false }
        return unsafe state.pointee.inbox.park()
    }

    /// Whether the loop, as it sleeps, wakes in time.
    @inlinable
    func sleepsOn(_ wanted: Wait) -> Bool {
        switch (wanted, wait) {
        case (.none, _), (_, .none), (.until, .forever): false
        case (.forever, _): true
        case (.until(let wanted), .until(let deadline)): deadline <= wanted
        }
    }

    /// All of the turn's sends; false, and none of them, when there is something else among them.
    @inlinable
    func send(
        through rest: Rest, _ submissions: inout SubmissionQueue, _ completions: inout CompletionQueue
    ) -> Bool {
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
    /// The loop is about to park.
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

    /// Another thread runs a turn of this loop. On the thread that holds it.
    var isLent: Bool { unsafe header.pointee.holder.load(ordering: .relaxed) >= Holder.borrower }
}

// Whoever has just ended a park.
extension Inbox {
    /// Runs the turn of a loop that sleeps. False: wake it.
    static func borrow(_ header: UnsafeMutablePointer<Header>) -> Bool {
        guard let loan = unsafe header.pointee.loan else { return false }
        let isHeld = unsafe header.pointee.holder.compareExchange(
            expected: Holder.nobody, desired: Holder.borrower, ordering: .acquiring).exchanged
        // It is waking, or another turn is just over.
        guard isHeld else { return false }
        let sleepsOn = unsafe loan._withUnsafeGuaranteedRef { $0.turn() }
        if unsafe header.pointee.holder.exchange(Holder.nobody, ordering: .releasing)
            == Holder.awaitedBorrower
        {
            unsafe withUnsafePointer(to: header.pointee.holder) { unsafe skein_futex_wake($0) }
        }
        return sleepsOn
    }
}
