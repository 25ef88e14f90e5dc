// A table of plain records with stable addresses. Slots are reused, the last freed first, and each
// reuse has its own generation, so that an answer meant for a slot's former life can be told from
// one meant for this one.

/// Address space for `maxSlots` records is reserved at once and touched only on use; a record never
/// moves. Plain records only: nothing in them is retained.
///
/// Safe: every access is checked against the slots ever used, whose memory stays mapped, holding a
/// record (if of a former life), until the slab goes.
@safe
@usableFromInline
package struct Slab<Record: BitwiseCopyable>: ~Copyable {
    @usableFromInline package let records: UnsafeMutablePointer<Record>
    /// Generation << 1 | live.
    @usableFromInline package let states: UnsafeMutablePointer<UInt32>
    @usableFromInline package var used: Int
    @usableFromInline package var live: Int
    @usableFromInline package var freeHead: UInt32
    @usableFromInline package let slotsMax: Int
    @usableFromInline package let mappedBytes: Int

    @inlinable
    package init(maxSlots: Int) {
        precondition(maxSlots > 0 && maxSlots < Int(UInt32.max), "not a size for a slab")
        // A free slot keeps the number of the next free one in place of its record.
        precondition(MemoryLayout<Record>.size >= 4, "records smaller than a slot number")
        precondition(MemoryLayout<Record>.alignment <= 4096, "records aligned beyond a page")
        let recordBytes = (maxSlots * MemoryLayout<Record>.stride + 4095) & ~4095
        let mappedBytes = recordBytes + maxSlots * MemoryLayout<UInt32>.stride
        guard let memory = unsafe reserveMemory(mappedBytes) else {
            fatalError("no address space for a slab")
        }
        unsafe records = memory.bindMemory(to: Record.self, capacity: maxSlots)
        unsafe states = (memory + recordBytes).bindMemory(to: UInt32.self, capacity: maxSlots)
        used = 0
        live = 0
        freeHead = .max
        slotsMax = maxSlots
        self.mappedBytes = mappedBytes
    }

    @inlinable
    deinit { unsafe releaseMemory(records, mappedBytes) }

    @inlinable package var count: Int { live }
    @inlinable package var capacity: Int { slotsMax }
    /// One more than the highest slot ever used: the slots to walk, and the memory touched.
    @inlinable package var highWater: Int { used }

    /// `nil` when every slot is taken.
    @inlinable
    package mutating func insert(_ record: Record) -> UInt32? {
        let slot: UInt32
        if freeHead != .max {
            slot = freeHead
            freeHead = unsafe UnsafeRawPointer(records + Int(slot)).loadUnaligned(as: UInt32.self)
        } else {
            guard used < slotsMax else { return nil }
            slot = UInt32(truncatingIfNeeded: used)
            used &+= 1
        }
        unsafe (records + Int(slot)).initialize(to: record)
        unsafe states[Int(slot)] |= 1
        live &+= 1
        return slot
    }

    /// The slot's generation ends here: tokens made for it are stale from now on.
    @inlinable
    package mutating func remove(_ slot: UInt32) {
        precondition(isLive(slot), "a free slot was removed")
        let generation = unsafe ((states[Int(slot)] >> 1) &+ 1) & 0xFF_FFFF
        unsafe states[Int(slot)] = generation << 1
        let place = unsafe UnsafeMutableRawPointer(records + Int(slot))
        unsafe place.storeBytes(of: freeHead, as: UInt32.self)
        freeHead = slot
        live &-= 1
    }

    /// The record's own memory: no copy on the way in or out. Of a free slot it says nothing.
    @inlinable
    package subscript(slot: UInt32) -> Record {
        unsafeAddress {
            precondition(Int(slot) < used, "slot out of range")
            return unsafe UnsafePointer(records + Int(slot))
        }
        unsafeMutableAddress {
            precondition(Int(slot) < used, "slot out of range")
            return unsafe records + Int(slot)
        }
    }

    /// Stays good for the slot's life, and mapped for the slab's.
    @inlinable
    @unsafe
    package func pointer(to slot: UInt32) -> UnsafeMutablePointer<Record> {
        precondition(Int(slot) < used, "slot out of range")
        return unsafe records + Int(slot)
    }

    /// 24 bits, as they fit into a token.
    @inlinable
    package func generation(of slot: UInt32) -> UInt32 {
        precondition(Int(slot) < used, "slot out of range")
        return unsafe states[Int(slot)] >> 1
    }

    @inlinable
    package func isLive(_ slot: UInt32) -> Bool {
        guard Int(slot) < used else { return false }
        return unsafe states[Int(slot)] & 1 == 1
    }

    /// False for any slot and generation that nothing lives in, also for numbers out of nowhere.
    @inlinable
    package func isLive(_ slot: UInt32, generation: UInt32) -> Bool {
        guard Int(slot) < used else { return false }
        return unsafe states[Int(slot)] == generation << 1 | 1
    }
}
