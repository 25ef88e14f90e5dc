// Where other threads leave parcels for a loop. One word says it all: 0 awake and empty, 1 parked,
// else the head of a list, last pushed first. Pushing is one compare-exchange and wakes only a
// parked loop; the loop takes the whole list by one exchange and turns it round.

import Synchronization

/// Kept alive by everyone who pushes.
///
/// Unchecked `Sendable`: everything shared is atomic, except `waker` and `loan`, which are written before
/// the first park and read only by who has ended a park, with acquire and release in between.
@safe
@usableFromInline
package final class Inbox: @unchecked Sendable {
    @safe
    struct Header: ~Copyable {
        let state: Atomic<UInt>
        /// Parcels << 32 | records, waiting.
        let depth: Atomic<Int>
        let postsOutstanding: Atomic<Int>
        /// Threads between ending a park and having woken the loop, or run its turn.
        let waking: Atomic<Int>
        var waker: Waker
        /// Whose the loop is: see Loan.swift.
        let holder: Atomic<UInt32>
        var loan: Unmanaged<Loan>?

        init() {
            state = Atomic(0)
            depth = Atomic(0)
            postsOutstanding = Atomic(0)
            waking = Atomic(0)
            waker = .none
            holder = Atomic(Holder.loop)
            unsafe loan = nil
        }
    }

    package struct Depth: Sendable, Equatable {
        package let parcels: Int
        package let records: Int

        package init(parcels: Int, records: Int) {
            self.parcels = parcels
            self.records = records
        }
    }

    static var parked: UInt { 1 }

    let header: UnsafeMutablePointer<Header>
    private let postsMax: Int

    /// - Parameters:
    ///   - postsMax: bound on messages from threads without a loop, waiting at once.
    package init(postsMax: Int = 65_536) {
        unsafe header = .allocate(capacity: 1)
        unsafe header.initialize(to: Header())
        self.postsMax = postsMax
    }

    deinit {
        // Nobody holds it any more, so nobody pushes.
        _ = take()
        unsafe header.pointee.loan?.release()
        unsafe header.deallocate()
    }

    /// What waits, as of a moment ago. From any thread.
    package var depth: Depth {
        let depth = unsafe header.pointee.depth.load(ordering: .relaxed)
        return Depth(parcels: depth >> 32, records: depth & 0xFFFF_FFFF)
    }

    /// From any thread. An empty parcel just goes home.
    @usableFromInline
    package func push(_ parcel: consuming Parcel) {
        if parcel.isEmpty { return }
        unsafe Self.push(parcel.release(), to: header)
    }

    /// One message from a thread without a loop, copied. False when too many of these wait: nothing
    /// was accepted.
    /// - Parameter always: accepted whatever waits: for the few words that must not be lost.
    package func post(
        kind: UInt16, flags: UInt16 = 0, argument: UInt64 = 0, payload: borrowing RawSpan,
        always: Bool = false
    ) -> Bool {
        let outstanding = unsafe header.pointee.postsOutstanding.add(1, ordering: .relaxed).newValue
        guard outstanding <= postsMax || always else {
            unsafe header.pointee.postsOutstanding.subtract(1, ordering: .relaxed)
            return false
        }
        let capacity = RecordHeader.bytes(payload: payload.byteCount)
        var parcel = unsafe Parcel(
            header: ParcelHeader.make(capacity: capacity, pool: nil, inbox: header))
        let bytes = unsafe parcel.append(
            kind: kind, flags: flags, argument: argument, payloadBytes: payload.byteCount)
        unsafe payload.withUnsafeBytes { source in
            guard let start = source.baseAddress, let bytes = unsafe bytes else { return }
            unsafe UnsafeMutableRawPointer(bytes).copyMemory(from: start, byteCount: source.count)
        }
        push(parcel)
        return true
    }

    package func post(
        kind: UInt16, flags: UInt16 = 0, argument: UInt64 = 0, payload: [UInt8] = [],
        always: Bool = false
    ) -> Bool {
        post(
            kind: kind, flags: flags, argument: argument, payload: unsafe payload.span.bytes,
            always: always)
    }
}

// The consumer's side: on the thread that holds the loop.
extension Inbox {
    /// Before the first park: how to wake the loop from it, and what else may be done instead.
    @usableFromInline
    package func attach(_ waker: Waker, lending loan: Loan? = nil) {
        unsafe header.pointee.waker = waker
        unsafe header.pointee.loan = loan.map { unsafe Unmanaged.passRetained($0) }
    }

    /// After the last: returns when no thread can be waking the loop, or running its turn, any more.
    @usableFromInline
    package func detach() {
        // Acquiring: pairs with the push that ended a park, whose count in `waking` is then seen.
        let state = unsafe header.pointee.state.load(ordering: .acquiring)
        precondition(state != Self.parked, "detached while parked")
        while unsafe header.pointee.waking.load(ordering: .acquiring) != 0 { threadYield() }
        unsafe header.pointee.loan?.release()
        unsafe header.pointee.loan = nil
    }

    /// Everything pushed so far, in the order of each sender. Ends a park.
    @usableFromInline
    package func take() -> Parcels {
        guard unsafe header.pointee.state.load(ordering: .relaxed) != 0 else { return Parcels() }
        return takeSlowly()
    }

    /// The parcel that ended a park, when it is the only one; else nothing.
    @usableFromInline
    package func take(only parcel: UInt) -> Parcels? {
        // Acquiring: as in `takeSlowly`.
        let isTaken = unsafe header.pointee.state.compareExchange(
            expected: parcel, desired: 0, ordering: .acquiring).exchanged
        guard isTaken, let first = unsafe UnsafeMutablePointer<ParcelHeader>(bitPattern: parcel)
        else { return nil }
        unsafe header.pointee.depth.subtract(1 << 32 &+ first.pointee.recordCount, ordering: .relaxed)
        return Parcels(first: parcel)
    }

    /// True: every push from now on wakes. False: something has come meanwhile.
    @usableFromInline
    package func park() -> Bool {
        // Releasing: pairs with the acquiring push that ends the park and reads `waker`.
        unsafe header.pointee.state.compareExchange(
            expected: 0, desired: Self.parked, ordering: .releasing).exchanged
    }

    func takeSlowly() -> Parcels {
        // Acquiring: pairs with push's release, so that the records are seen.
        let head = unsafe header.pointee.state.exchange(0, ordering: .acquiring)
        if head <= Self.parked { return Parcels() }
        var first: UInt = 0
        var address = head
        var taken = 0
        while let parcel = unsafe UnsafeMutablePointer<ParcelHeader>(bitPattern: address) {
            let next = unsafe parcel.pointee.next
            unsafe parcel.pointee.next = first
            taken &+= unsafe 1 << 32 &+ parcel.pointee.recordCount
            first = address
            address = next
        }
        unsafe header.pointee.depth.subtract(taken, ordering: .relaxed)
        return Parcels(first: first)
    }
}

extension Inbox {
    /// - Parameter borrowing: where the loop sleeps, its turn is run here rather than there.
    /// - Returns: whether it was.
    @discardableResult
    static func push(
        _ parcel: UnsafeMutablePointer<ParcelHeader>, to header: UnsafeMutablePointer<Header>,
        borrowing: Bool = false
    ) -> Bool {
        unsafe header.pointee.depth.add(
            1 << 32 &+ parcel.pointee.recordCount, ordering: .relaxed)
        let address = UInt(bitPattern: parcel)
        var state = unsafe header.pointee.state.load(ordering: .relaxed)
        while state != parked {
            unsafe parcel.pointee.next = state
            // Releasing: pairs with take's acquiring exchange, so that the records are seen.
            let (exchanged, original) = unsafe header.pointee.state.weakCompareExchange(
                expected: state, desired: address, successOrdering: .releasing,
                failureOrdering: .relaxed)
            if exchanged { return false }
            state = original
        }
        return unsafe pushToParked(parcel, header, borrowing)
    }

    /// The loop sleeps or is about to: whoever replaces the 1 does its turn or wakes it.
    @inline(never)
    static func pushToParked(
        _ parcel: UnsafeMutablePointer<ParcelHeader>, _ header: UnsafeMutablePointer<Header>,
        _ borrowing: Bool
    ) -> Bool {
        // Announced before the exchange, so that `detach` cannot miss it.
        unsafe header.pointee.waking.add(1, ordering: .relaxed)
        unsafe parcel.pointee.next = 0
        // Acquiring: pairs with park's release (`waker`). Releasing: as in push.
        let woken = unsafe header.pointee.state.compareExchange(
            expected: parked, desired: UInt(bitPattern: parcel),
            successOrdering: .acquiringAndReleasing, failureOrdering: .relaxed
        ).exchanged
        let address = UInt(bitPattern: parcel)
        let outcome = woken && borrowing ? unsafe borrow(header, for: address) : .mustWake
        if woken, outcome == .mustWake { unsafe header.pointee.waker.wake() }
        unsafe header.pointee.waking.subtract(1, ordering: .releasing)
        if woken { return outcome == .done }
        unsafe header.pointee.depth.subtract(
            1 << 32 &+ parcel.pointee.recordCount, ordering: .relaxed)
        return unsafe push(parcel, to: header, borrowing: borrowing)
    }
}

/// What was taken from an inbox, first pushed first. What is left when it is dropped goes home.
///
/// Safe: the list is this value's alone.
@safe
@usableFromInline
package struct Parcels: ~Copyable {
    package var first: UInt

    @usableFromInline
    package init(first: UInt = 0) { self.first = first }

    deinit {
        var address = first
        while let header = unsafe UnsafeMutablePointer<ParcelHeader>(bitPattern: address) {
            address = unsafe header.pointee.next
            unsafe Parcel.sendHome(header)
        }
    }

    @usableFromInline package var isEmpty: Bool { first == 0 }

    @usableFromInline
    package mutating func popFirst() -> Parcel? {
        guard let header = unsafe UnsafeMutablePointer<ParcelHeader>(bitPattern: first) else {
            return nil
        }
        first = unsafe header.pointee.next
        return unsafe Parcel(header: header)
    }
}
