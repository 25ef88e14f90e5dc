// What one loop has for others: for each of them the parcel of this turn, filled while the turn
// goes on and pushed once at its end.

/// Safe: `places` holds `targetCount` initialised places, indices are checked, and the inboxes
/// behind the pointers are kept alive by `inboxes`.
@safe
@usableFromInline
package struct Outbox: ~Copyable {
    @unsafe
    @usableFromInline
    package struct Place {
        let inbox: UnsafeMutablePointer<Inbox.Header>
        @usableFromInline package var open: UnsafeMutablePointer<ParcelHeader>?
        /// Something in it may take its receiver long.
        @usableFromInline package var isHeavy = false
    }

    @usableFromInline package let places: UnsafeMutablePointer<Place>
    @usableFromInline package let targetCount: Int
    @usableFromInline package var openCount: Int
    @usableFromInline let lightKind: UInt16
    package var pool: ParcelPool
    /// Turns of other loops that were run here.
    package private(set) var turnsBorrowed: UInt64 = 0
    private let inboxes: [Inbox]
    /// A parcel of this turn was full, and is gone.
    private var hasPushed = false
    /// Of the loop whose outbox this is, where it may borrow. Asked by its address: a class would be
    /// retained for each flush.
    private let own: UnsafeMutablePointer<Inbox.Header>?
    /// Keeps that alive.
    private let ownInbox: Inbox?

    /// For a loop that may run a turn of another that sleeps, where it has little to pass on.
    package struct Borrowing {
        /// Whose outbox it is: in a turn that is itself borrowed, nothing is.
        package let own: Inbox
        /// The one kind of record that takes its receiver little, for the most part: some sends or none.
        package let lightKind: UInt16

        package init(own: Inbox, lightKind: UInt16) {
            self.own = own
            self.lightKind = lightKind
        }

        /// Records to pass on, to all together. A loop with more than these has enough to do by itself.
        static var recordsMax: Int { 4 }
        static var bytesMax: Int { 4_096 }
    }

    /// - Parameter spared: a target that may have the whole pool, where any other of several has half.
    package init(
        targets: [Inbox], pool: consuming ParcelPool, sparing spared: Int? = nil,
        borrowing: Borrowing? = nil
    ) {
        ownInbox = borrowing?.own
        unsafe own = borrowing?.own.header
        lightKind = borrowing?.lightKind ?? 0
        targetCount = targets.count
        unsafe places = .allocate(capacity: max(1, targets.count))
        for (index, inbox) in targets.enumerated() {
            unsafe (places + index).initialize(to: Place(inbox: inbox.header, open: nil))
        }
        openCount = 0
        self.pool = pool
        self.pool.share(among: targets.count, sparing: spared)
        inboxes = targets
    }

    deinit {
        // Unflushed parcels are of no use to anyone, but they belong to the pool.
        for index in 0..<targetCount {
            if let open = unsafe places[index].open { unsafe Parcel.sendHome(open) }
        }
        unsafe places.deallocate()
    }

    /// Nothing waits for `flush`.
    @inlinable package var isEmpty: Bool { openCount == 0 }

    /// Room for `payloadBytes`, to be filled in before anything else is done with the outbox; `nil`
    /// when too much is under way from this loop, to all or to this target: nothing was appended.
    @inlinable
    package mutating func append(
        to target: Int, kind: UInt16, flags: UInt16 = 0, argument: UInt64 = 0, payloadBytes: Int = 0
    ) -> UnsafeMutablePointer<UInt8>? {
        precondition(target >= 0 && target < targetCount, "no such target")
        if let open = unsafe places[target].open,
            let bytes = unsafe Parcel.append(
                to: open, kind: kind, flags: flags, argument: argument, payloadBytes: payloadBytes)
        {
            if kind != lightKind { unsafe places[target].isHeavy = true }
            return unsafe bytes
        }
        return unsafe appendToNext(target, kind, flags, argument, payloadBytes)
    }

    /// False when too much is under way: nothing was appended.
    @inlinable
    package mutating func append(
        to target: Int, kind: UInt16, flags: UInt16 = 0, argument: UInt64 = 0,
        payload: UnsafeRawBufferPointer
    ) -> Bool {
        let bytes = unsafe append(
            to: target, kind: kind, flags: flags, argument: argument, payloadBytes: payload.count)
        guard let bytes = unsafe bytes else { return false }
        if let start = payload.baseAddress {
            unsafe UnsafeMutableRawPointer(bytes).copyMemory(from: start, byteCount: payload.count)
        }
        return true
    }

    /// Hands everything over: one compare-exchange for each receiver that has something.
    package mutating func flush() {
        pool.reclaim()
        if openCount == 0 { return }
        let borrows = mayBorrow
        for target in 0..<targetCount {
            guard let open = unsafe places[target].open else { continue }
            let isBorrowed = unsafe Inbox.push(
                open, to: places[target].inbox, borrowing: borrows && !places[target].isHeavy)
            if isBorrowed { turnsBorrowed &+= 1 }
            unsafe places[target].open = nil
            unsafe places[target].isHeavy = false
        }
        openCount = 0
        hasPushed = false
    }

    private var mayBorrow: Bool {
        guard !hasPushed, let own = unsafe own, unsafe !own.pointee.isLent else { return false }
        var records = 0
        var bytes = 0
        for target in 0..<targetCount {
            guard let open = unsafe places[target].open else { continue }
            unsafe records &+= open.pointee.recordCount
            unsafe bytes &+= open.pointee.usedBytes
        }
        return records <= Borrowing.recordsMax && bytes <= Borrowing.bytesMax
    }

    @inline(never)
    @usableFromInline
    package mutating func appendToNext(
        _ target: Int, _ kind: UInt16, _ flags: UInt16, _ argument: UInt64, _ payloadBytes: Int
    ) -> UnsafeMutablePointer<UInt8>? {
        let full = unsafe places[target].open
        // A turn that has filled one has more to say.
        let next = unsafe pool.take(payloadBytes: payloadBytes, large: full != nil, for: target)
        guard let next else { return nil }
        if let full = unsafe full {
            unsafe Inbox.push(full, to: places[target].inbox)
            hasPushed = true
        } else {
            openCount += 1
        }
        let open = unsafe next.release()
        unsafe places[target].open = open
        if kind != lightKind { unsafe places[target].isHeavy = true }
        return unsafe Parcel.append(
            to: open, kind: kind, flags: flags, argument: argument, payloadBytes: payloadBytes)
    }
}
