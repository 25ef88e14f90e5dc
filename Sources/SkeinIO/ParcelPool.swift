// The parcels of one sending loop. They are made as needed up to a bound and then only go round:
// out through inboxes, back through a stack that the receivers push to and the owner takes whole.
// The bound is what makes an inbox bounded: a sender whose parcels are all out is told so.

import Synchronization

/// Safe: the free lists are this value's alone; what others touch lives in `Shared`, which outlives
/// the pool until the last of its parcels has come home.
@safe
package struct ParcelPool: ~Copyable {
    struct Shared: ~Copyable {
        /// Head of the returned parcels, 0 for none, or `orphaned` once the pool is gone.
        let returned: Atomic<UInt>
        /// Counts only after the pool is gone: the parcels still to come home.
        let remaining: Atomic<Int>

        init() {
            returned = Atomic(0)
            remaining = Atomic(0)
        }
    }

    static var orphaned: UInt { 1 }

    let shared: UnsafeMutablePointer<Shared>
    /// Heads of the two lists of free parcels.
    private var freeSmall: UInt
    private var freeLarge: UInt
    private var smallMade: Int
    private var largeMade: Int
    private var oversizedMade: Int
    private var oversizedBytes: Int
    private let smallCapacity: Int
    private let largeCapacity: Int
    private let smallMax: Int
    private let largeMax: Int
    private let oversizedBytesMax: Int

    /// - Parameters:
    ///   - parcelsMax: how many of `parcelBytes` may be under way at once.
    ///   - smallParcelsMax: how many of 4 KiB besides: the first of each turn, since most turns
    ///     have little to say to most receivers.
    ///   - oversizedBytesMax: bound on the sum of records too large for a parcel.
    package init(
        parcelsMax: Int = 256, parcelBytes: Int = 65_536, smallParcelsMax: Int = 2048,
        oversizedBytesMax: Int = 64 << 20
    ) {
        precondition(parcelsMax >= 1 && smallParcelsMax >= 0, "a pool without parcels")
        precondition(parcelBytes >= 4096, "parcels too small")
        unsafe shared = .allocate(capacity: 1)
        unsafe shared.initialize(to: Shared())
        freeSmall = 0
        freeLarge = 0
        smallMade = 0
        largeMade = 0
        oversizedMade = 0
        oversizedBytes = 0
        smallCapacity = unsafe 4096 - ParcelHeader.bytes
        largeCapacity = unsafe parcelBytes - ParcelHeader.bytes
        smallMax = smallParcelsMax
        largeMax = parcelsMax
        self.oversizedBytesMax = oversizedBytesMax
    }

    deinit {
        // Acquiring: pairs with giveBack's release, so that the parcels' headers are seen whole.
        var home = 0
        for list in unsafe [
            freeSmall, freeLarge,
            shared.pointee.returned.exchange(Self.orphaned, ordering: .acquiringAndReleasing),
        ] {
            var address = list
            while let parcel = unsafe UnsafeMutablePointer<ParcelHeader>(bitPattern: address) {
                address = unsafe parcel.pointee.next
                unsafe parcel.deallocate()
                home += 1
            }
        }
        let away = smallMade + largeMade + oversizedMade - home
        // Whoever brings the count to zero is the last to know of `shared`. Receivers that were
        // faster have taken it below zero, so none of them can have freed it.
        let remaining = unsafe shared.pointee.remaining.add(
            away, ordering: .acquiringAndReleasing).newValue
        if remaining == 0 { unsafe shared.deallocate() }
    }

    /// An empty parcel with room for a record of `payloadBytes`; `nil` when too much is under way.
    package mutating func take(payloadBytes: Int, large: Bool = false) -> Parcel? {
        let needed = RecordHeader.bytes(payload: payloadBytes)
        if needed <= smallCapacity, !large {
            if freeSmall != 0 { return unsafe Parcel(header: Self.pop(&freeSmall)) }
        } else if needed <= largeCapacity {
            if freeLarge != 0 { return unsafe Parcel(header: Self.pop(&freeLarge)) }
        }
        return takeSlowly(needed: needed, large: large)
    }

    /// Takes back what receivers have returned.
    package mutating func reclaim() {
        if unsafe shared.pointee.returned.load(ordering: .relaxed) != 0 { reclaimSlowly() }
    }
}

extension ParcelPool {
    static func pop(_ list: inout UInt) -> UnsafeMutablePointer<ParcelHeader> {
        let parcel = unsafe UnsafeMutablePointer<ParcelHeader>(bitPattern: list).unsafelyUnwrapped
        list = unsafe parcel.pointee.next
        unsafe parcel.pointee.next = 0
        return unsafe parcel
    }

    @inline(never)
    mutating func takeSlowly(needed: Int, large: Bool) -> Parcel? {
        reclaim()
        if needed > largeCapacity { return makeOversized(needed) }
        if needed <= smallCapacity, !large {
            if freeSmall != 0 { return unsafe Parcel(header: Self.pop(&freeSmall)) }
            if smallMade < smallMax {
                smallMade += 1
                return unsafe Parcel(
                    header: ParcelHeader.make(capacity: smallCapacity, pool: shared, inbox: nil))
            }
        }
        if freeLarge != 0 { return unsafe Parcel(header: Self.pop(&freeLarge)) }
        if largeMade < largeMax {
            largeMade += 1
            return unsafe Parcel(
                header: ParcelHeader.make(capacity: largeCapacity, pool: shared, inbox: nil))
        }
        if needed <= smallCapacity, freeSmall != 0 {
            return unsafe Parcel(header: Self.pop(&freeSmall))
        }
        return nil
    }

    private mutating func makeOversized(_ needed: Int) -> Parcel? {
        guard oversizedBytes + needed <= oversizedBytesMax else { return nil }
        oversizedBytes += needed
        oversizedMade += 1
        return unsafe Parcel(header: ParcelHeader.make(capacity: needed, pool: shared, inbox: nil))
    }

    @inline(never)
    mutating func reclaimSlowly() {
        // Acquiring: pairs with giveBack's release; the receiver is done with these blocks.
        var address = unsafe shared.pointee.returned.exchange(0, ordering: .acquiring)
        while let parcel = unsafe UnsafeMutablePointer<ParcelHeader>(bitPattern: address) {
            address = unsafe parcel.pointee.next
            let capacity = unsafe parcel.pointee.capacity
            if capacity > largeCapacity {
                oversizedBytes -= capacity
                oversizedMade -= 1
                unsafe parcel.deallocate()
                continue
            }
            unsafe parcel.pointee.usedBytes = 0
            unsafe parcel.pointee.recordCount = 0
            if capacity == smallCapacity {
                unsafe parcel.pointee.next = freeSmall
                freeSmall = UInt(bitPattern: parcel)
            } else {
                unsafe parcel.pointee.next = freeLarge
                freeLarge = UInt(bitPattern: parcel)
            }
        }
    }

    /// From any thread: `parcel` is no longer read.
    static func giveBack(
        _ parcel: UnsafeMutablePointer<ParcelHeader>, to shared: UnsafeMutablePointer<Shared>
    ) {
        var head = unsafe shared.pointee.returned.load(ordering: .relaxed)
        while head != orphaned {
            unsafe parcel.pointee.next = head
            // Releasing: pairs with the owner's acquiring exchange.
            let (exchanged, original) = unsafe shared.pointee.returned.weakCompareExchange(
                expected: head, desired: UInt(bitPattern: parcel), successOrdering: .releasing,
                failureOrdering: .relaxed)
            if exchanged { return }
            head = original
        }
        unsafe freeOrphan(parcel, shared)
    }

    @inline(never)
    static func freeOrphan(
        _ parcel: UnsafeMutablePointer<ParcelHeader>, _ shared: UnsafeMutablePointer<Shared>
    ) {
        unsafe parcel.deallocate()
        let remaining = unsafe shared.pointee.remaining.subtract(
            1, ordering: .acquiringAndReleasing).newValue
        if remaining == 0 { unsafe shared.deallocate() }
    }
}
