// The parcels of one sending loop. They are made as needed up to a bound and then only go round:
// out through inboxes, back through a stack that the receivers push to and the owner takes whole.
// The bound is what makes an inbox bounded: a sender whose parcels are all out is told so. Where there are
// several receivers one of them has half at most, so that one which stands still leaves the others theirs.

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
    /// What each receiver may still have of it.
    private var shares: UnsafeMutablePointer<Share>

    private struct Share {
        var small: Int
        var large: Int
        var oversizedBytes: Int
    }

    /// - Parameters:
    ///   - parcelsMax: how many of `parcelBytes` may be under way at once.
    ///   - smallParcelsMax: how many of 4 KiB besides: the first of each turn, since most turns
    ///     have little to say to most receivers.
    ///   - oversizedBytesMax: bound on the sum of records too large for a parcel.
    package init(
        parcelsMax: Int = 256, parcelBytes: Int = 65_536, smallParcelsMax: Int = 4096,
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
        unsafe shares = .allocate(capacity: 1)
        unsafe shares.initialize(
            to: Share(small: smallParcelsMax, large: parcelsMax, oversizedBytes: oversizedBytesMax))
    }

    deinit {
        unsafe shares.deallocate()
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

    /// How many receivers there are, and which of them may have all. To be said before any parcel is taken.
    mutating func share(among receivers: Int, sparing spared: Int? = nil) {
        let whole = Share(small: smallMax, large: largeMax, oversizedBytes: oversizedBytesMax)
        let half = Share(
            small: max(1, smallMax / 2), large: max(1, largeMax / 2), oversizedBytes: oversizedBytesMax / 2)
        unsafe shares.deallocate()
        unsafe shares = .allocate(capacity: max(1, receivers))
        unsafe shares.initialize(repeating: receivers > 1 ? half : whole, count: max(1, receivers))
        if let spared { unsafe shares[spared] = whole }
    }

    /// An empty parcel with room for a record of `payloadBytes`; `nil` when too much is under way, to all
    /// or to this receiver.
    package mutating func take(payloadBytes: Int, large: Bool = false, for receiver: Int = 0) -> Parcel? {
        let needed = RecordHeader.bytes(payload: payloadBytes)
        if needed <= smallCapacity, !large {
            if freeSmall != 0, let parcel = takeSmall(for: receiver) { return parcel }
        } else if needed <= largeCapacity {
            if freeLarge != 0, let parcel = takeLarge(for: receiver) { return parcel }
        }
        return takeSlowly(needed: needed, large: large, for: receiver)
    }

    /// Takes back what receivers have returned.
    package mutating func reclaim() {
        if unsafe shared.pointee.returned.load(ordering: .relaxed) != 0 { reclaimSlowly() }
    }
}

extension ParcelPool {
    @inline(__always)
    static func pop(_ list: inout UInt) -> UnsafeMutablePointer<ParcelHeader> {
        let parcel = unsafe UnsafeMutablePointer<ParcelHeader>(bitPattern: list).unsafelyUnwrapped
        list = unsafe parcel.pointee.next
        unsafe parcel.pointee.next = 0
        return unsafe parcel
    }

    @inline(never)
    mutating func takeSlowly(needed: Int, large: Bool, for receiver: Int) -> Parcel? {
        reclaim()
        if needed > largeCapacity { return makeOversized(needed, for: receiver) }
        let isSmall = needed <= smallCapacity
        if isSmall, !large, let parcel = takeSmall(for: receiver) { return parcel }
        if let parcel = takeLarge(for: receiver) { return parcel }
        return isSmall && large ? takeSmall(for: receiver) : nil
    }

    @inline(__always)
    private mutating func takeSmall(for receiver: Int) -> Parcel? {
        guard unsafe shares[receiver].small > 0,
            let parcel = unsafe Self.take(&freeSmall, &smallMade, smallMax, smallCapacity, shared)
        else { return nil }
        unsafe shares[receiver].small -= 1
        unsafe parcel.pointee.receiver = receiver
        return unsafe Parcel(header: parcel)
    }

    @inline(__always)
    private mutating func takeLarge(for receiver: Int) -> Parcel? {
        guard unsafe shares[receiver].large > 0,
            let parcel = unsafe Self.take(&freeLarge, &largeMade, largeMax, largeCapacity, shared)
        else { return nil }
        unsafe shares[receiver].large -= 1
        unsafe parcel.pointee.receiver = receiver
        return unsafe Parcel(header: parcel)
    }

    @inline(__always)
    private static func take(
        _ free: inout UInt, _ made: inout Int, _ most: Int, _ capacity: Int, _ shared: UnsafeMutablePointer<Shared>
    ) -> UnsafeMutablePointer<ParcelHeader>? {
        if free != 0 { return unsafe pop(&free) }
        guard made < most else { return nil }
        made += 1
        return unsafe ParcelHeader.make(capacity: capacity, pool: shared, inbox: nil)
    }

    private mutating func makeOversized(_ needed: Int, for receiver: Int) -> Parcel? {
        guard oversizedBytes + needed <= oversizedBytesMax, unsafe shares[receiver].oversizedBytes > 0 else {
            return nil
        }
        oversizedBytes += needed
        oversizedMade += 1
        unsafe shares[receiver].oversizedBytes -= needed
        let parcel = unsafe ParcelHeader.make(capacity: needed, pool: shared, inbox: nil)
        unsafe parcel.pointee.receiver = receiver
        return unsafe Parcel(header: parcel)
    }

    @inline(never)
    mutating func reclaimSlowly() {
        // Acquiring: pairs with giveBack's release; the receiver is done with these blocks.
        var address = unsafe shared.pointee.returned.exchange(0, ordering: .acquiring)
        while let parcel = unsafe UnsafeMutablePointer<ParcelHeader>(bitPattern: address) {
            address = unsafe parcel.pointee.next
            let capacity = unsafe parcel.pointee.capacity
            let receiver = unsafe parcel.pointee.receiver
            if capacity > largeCapacity {
                unsafe shares[receiver].oversizedBytes += capacity
                oversizedBytes -= capacity
                oversizedMade -= 1
                unsafe parcel.deallocate()
                continue
            }
            unsafe parcel.pointee.usedBytes = 0
            unsafe parcel.pointee.recordCount = 0
            if capacity == smallCapacity {
                unsafe shares[receiver].small += 1
                unsafe parcel.pointee.next = freeSmall
                freeSmall = UInt(bitPattern: parcel)
            } else {
                unsafe shares[receiver].large += 1
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
