// What a loop drives: a value with state that is fed completions, parcels and the time, and asks
// for submissions. It is made and destroyed on the loop's thread; that feeds it too, or, while it
// sleeps, one that borrows its turn. Two never do at once.

@usableFromInline
package protocol Machine: ~Copyable {
    /// Everything the kernel answered since the last call, in its order. Buffers named in it belong
    /// to the machine until it recycles them.
    mutating func handle(
        _ completions: Span<Completion>, at now: Instant, into submissions: inout SubmissionQueue)

    /// One parcel from another thread, in the order of its sender. The machine reads it during the
    /// call; the loop gives it back afterwards.
    mutating func handle(
        _ parcel: borrowing Parcel, at now: Instant, into submissions: inout SubmissionQueue)

    /// Once a turn, after all completions and parcels: timers that are due, then the flush of
    /// everything the turn has gathered.
    mutating func endTurn(at now: Instant, into submissions: inout SubmissionQueue)

    /// Called when the submissions of `endTurn` have been given to the kernel, or sent by a borrower, and
    /// the outcome of every `sendNow` is in the completions to come *next*, before any other call.
    mutating func submitted()

    /// When `endTurn` must run again though nothing happens; `nil` for never.
    var deadline: Instant? { get }

    /// True while no parcel is wanted: those that wait are kept, in their order.
    var isBusy: Bool { get }

    /// True once the machine wants to leave: the loop submits what is queued and returns.
    var isFinished: Bool { get }
}

extension Machine where Self: ~Copyable {
    @inlinable package var isBusy: Bool { false }
}
