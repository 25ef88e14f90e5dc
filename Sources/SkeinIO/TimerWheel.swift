// Timers without allocation: a wheel of slots, each a doubly linked list through an array of links
// that the wheel owns. Timers are plain numbers (a connection's slot, or slot × kinds + kind).
// Scheduling, moving and cancelling are O(1); a timer beyond one turn of the wheel stays in its
// slot and is passed over once a turn.

/// Never early; late by up to one granule.
///
/// Safe: `links` holds `linksCapacity` initialised links; list ends are `none`, every number in a
/// list was checked against the capacity when it was scheduled, and the array only grows.
@safe
@usableFromInline
package struct TimerWheel: ~Copyable {
    @frozen
    @usableFromInline
    package struct Link {
        @usableFromInline package var next: UInt32
        @usableFromInline package var previous: UInt32
        /// The granule it is due in; `idle` when not scheduled.
        @usableFromInline package var tick: Int64

        @inlinable
        package init(next: UInt32, previous: UInt32, tick: Int64) {
            self.next = next
            self.previous = previous
            self.tick = tick
        }
    }

    @inlinable package static var none: UInt32 { .max }
    @inlinable package static var idle: Int64 { .min }

    @usableFromInline package var links: UnsafeMutablePointer<Link>
    @usableFromInline package var linksCapacity: Int
    /// The first timer of each slot.
    @usableFromInline package let heads: UnsafeMutablePointer<UInt32>
    /// One bit a slot that holds timers, and one bit a word of those.
    @usableFromInline package let occupied: UnsafeMutablePointer<UInt64>
    @usableFromInline package var summary: UInt64
    @usableFromInline package let slotMask: Int64
    @usableFromInline package let shift: Int64
    /// The granule being emptied: all before it are done.
    @usableFromInline package var tick: Int64
    /// Where `popDue` stands in the list of `tick`.
    @usableFromInline package var cursor: UInt32
    @usableFromInline package var scheduled: Int

    /// - Parameters:
    ///   - granularityShift: a granule is 2^shift nanoseconds; 23 is 8.4 ms.
    ///   - slots: a power of two from 64 to 4,096; the default spans 34 s.
    package init(start: Instant, granularityShift: Int = 23, slots: Int = 4096) {
        precondition(slots >= 64 && slots <= 4096 && slots.nonzeroBitCount == 1, "wheel size")
        precondition(granularityShift >= 0 && granularityShift < 40, "wheel granularity")
        linksCapacity = 256
        unsafe links = .allocate(capacity: linksCapacity)
        unsafe links.initialize(repeating: Self.unlinked, count: linksCapacity)
        unsafe heads = .allocate(capacity: slots)
        unsafe heads.initialize(repeating: Self.none, count: slots)
        unsafe occupied = .allocate(capacity: slots / 64)
        unsafe occupied.initialize(repeating: 0, count: slots / 64)
        summary = 0
        slotMask = Int64(slots - 1)
        shift = Int64(granularityShift)
        tick = start.nanoseconds >> shift
        cursor = Self.none
        scheduled = 0
    }

    deinit {
        unsafe links.deallocate()
        unsafe heads.deallocate()
        unsafe occupied.deallocate()
    }

    @inlinable package var count: Int { scheduled }

    @inlinable
    package func isScheduled(_ timer: UInt32) -> Bool {
        unsafe Int(timer) < linksCapacity && links[Int(timer)].tick != Self.idle
    }

    /// Moves `timer` when it was already scheduled.
    @inlinable
    package mutating func schedule(_ timer: UInt32, at instant: Instant) {
        precondition(timer != Self.none, "not a timer")
        if Int(timer) >= linksCapacity { grow(toHold: Int(timer)) }
        // Rounded up, so that it is never early; at least the next granule, so that a timer that
        // reschedules itself for now cannot keep one turn going for ever.
        let granule = (instant.nanoseconds &+ (1 << shift) &- 1) >> shift
        let due = max(granule, tick &+ 1)
        let before = unsafe links[Int(timer)].tick
        if before == due { return }
        if before != Self.idle { unlink(timer) }
        link(timer, due: due)
    }

    @inlinable
    package mutating func cancel(_ timer: UInt32) {
        if isScheduled(timer) { unlink(timer) }
    }

    /// The next timer due at `now`, no longer scheduled; `nil` when there is none left. Between
    /// two calls anything may be scheduled and cancelled.
    @inlinable
    package mutating func popDue(at now: Instant) -> UInt32? {
        let target = now.nanoseconds >> shift
        if target <= tick && cursor == Self.none { return nil }
        return popSlowly(target)
    }

    /// As `popDue`, for all; `fire` cannot touch the wheel.
    @inlinable
    package mutating func advance(to now: Instant, _ fire: (UInt32) -> Void) {
        while let timer = popDue(at: now) { fire(timer) }
    }

    /// When `popDue` is worth calling again; never later than the first timer's granule. May be too
    /// early by whole turns of the wheel: then nothing is due.
    @inlinable
    package var next: Instant? {
        if scheduled == 0 { return nil }
        if cursor != Self.none { return Instant(nanoseconds: tick << shift) }
        let distance = distanceToOccupied(after: tick)
        return Instant(nanoseconds: (tick &+ distance) << shift)
    }
}

extension TimerWheel {
    @inlinable package static var unlinked: Link { Link(next: none, previous: none, tick: idle) }

    @inlinable
    package mutating func link(_ timer: UInt32, due: Int64) {
        let slot = Int(due & slotMask)
        let head = unsafe heads[slot]
        unsafe links[Int(timer)] = Link(next: head, previous: Self.none, tick: due)
        if head == Self.none {
            unsafe occupied[slot >> 6] |= 1 << UInt64(slot & 63)
            summary |= 1 << UInt64(slot >> 6)
        } else {
            unsafe links[Int(head)].previous = timer
        }
        unsafe heads[slot] = timer
        scheduled &+= 1
    }

    @inlinable
    package mutating func unlink(_ timer: UInt32) {
        let link = unsafe links[Int(timer)]
        let slot = Int(link.tick & slotMask)
        if cursor == timer { cursor = link.next }
        if link.next != Self.none { unsafe links[Int(link.next)].previous = link.previous }
        if link.previous != Self.none {
            unsafe links[Int(link.previous)].next = link.next
        } else {
            unsafe heads[slot] = link.next
            if link.next == Self.none {
                unsafe occupied[slot >> 6] &= ~(1 << UInt64(slot & 63))
                if unsafe occupied[slot >> 6] == 0 { summary &= ~(1 << UInt64(slot >> 6)) }
            }
        }
        unsafe links[Int(timer)].tick = Self.idle
        scheduled &-= 1
    }

    /// Empties the granules up to `target`, one timer a call. `cursor` survives unlinking, and what
    /// is linked in between goes in front of it (due later anyway).
    @usableFromInline
    package mutating func popSlowly(_ target: Int64) -> UInt32? {
        while true {
            while cursor != Self.none {
                let timer = cursor
                let link = unsafe links[Int(timer)]
                cursor = link.next
                // Not in this turn of the wheel.
                if link.tick > tick { continue }
                unlink(timer)
                return timer
            }
            if tick >= target { return nil }
            if scheduled == 0 {
                tick = target
                return nil
            }
            tick = min(tick &+ distanceToOccupied(after: tick), target)
            cursor = unsafe heads[Int(tick & slotMask)]
        }
    }

    /// Granules from `tick` to the next slot that holds timers, 1 to the number of slots. Call it
    /// only when something is scheduled.
    @usableFromInline
    package func distanceToOccupied(after tick: Int64) -> Int64 {
        let from = (tick &+ 1) & slotMask
        let word = Int(from >> 6)
        let here = unsafe occupied[word] & (~0 << UInt64(from & 63))
        if here != 0 { return 1 &+ Int64(word << 6) &+ Int64(here.trailingZeroBitCount) &- from }
        // The words after this one first, then around, this one's lower bits last.
        let later = word == 63 ? 0 : summary & (~0 << UInt64(word &+ 1))
        let found = (later != 0 ? later : summary).trailingZeroBitCount
        let slot = unsafe Int64(found << 6) &+ Int64(occupied[found].trailingZeroBitCount)
        return 1 &+ ((slot &- from) & slotMask)
    }

    @usableFromInline
    @inline(never)
    package mutating func grow(toHold timer: Int) {
        var larger = linksCapacity
        while larger <= timer { larger *= 2 }
        let moved = UnsafeMutablePointer<Link>.allocate(capacity: larger)
        unsafe moved.moveInitialize(from: links, count: linksCapacity)
        unsafe (moved + linksCapacity).initialize(
            repeating: Self.unlinked, count: larger - linksCapacity)
        unsafe links.deallocate()
        unsafe links = moved
        linksCapacity = larger
    }
}
