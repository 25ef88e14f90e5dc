// The users of one shard, found by the bytes of their ID: an open-addressing index over a slab of
// plain records. The router keeps its users in a table of the same kind.

internal import SkeinIO

/// A user ID in a record: up to 47 bytes in place (a UUID is 36), longer ones in a block, whose address
/// then stands where they would.
@safe
struct StoredUserID: BitwiseCopyable {
    private static let inlineMax = 47
    /// First, so that the record's address is the bytes' address.
    private var inline: InlineArray<47, UInt8> = InlineArray(repeating: 0)
    private(set) var count: UInt8

    init(copying id: Bytes) {
        precondition(id.count >= 1 && id.count <= UserID.lengthMax, "not a user ID")
        count = UInt8(id.count)
        if id.count <= Self.inlineMax {
            for index in 0..<id.count { inline[index] = unsafe id.base[index] }
        } else {
            let memory = UnsafeMutablePointer<UInt8>.allocate(capacity: id.count)
            unsafe id.copy(to: memory)
            let address = UInt64(UInt(bitPattern: memory))
            for index in 0..<8 { inline[index] = UInt8(truncatingIfNeeded: address >> (8 * UInt64(index))) }
        }
    }

    mutating func free() {
        guard count > Self.inlineMax else { return }
        unsafe withUnsafePointer(to: self) { pointer in
            unsafe UnsafeMutablePointer(mutating: Self.bytes(of: pointer).base).deallocate()
        }
        count = 0
    }

    /// Where the bytes are; the record must stay where it is meanwhile.
    static func bytes(of pointer: UnsafePointer<StoredUserID>) -> Bytes {
        let count = Int(unsafe pointer.pointee.count)
        let inline = unsafe UnsafeRawPointer(pointer)
        if count > inlineMax {
            let address = UInt(UInt64(littleEndian: unsafe inline.loadUnaligned(as: UInt64.self)))
            if let block = unsafe UnsafePointer<UInt8>(bitPattern: address) { return unsafe Bytes(block, count: count) }
        }
        return unsafe Bytes(inline.assumingMemoryBound(to: UInt8.self), count: count)
    }
}

/// What a table needs of its records.
protocol UserKeyed: BitwiseCopyable {
    var id: StoredUserID { get set }
    /// Where `id` is in the record.
    static var idOffset: Int { get }
    /// Not kept: it costs less to work out again than to hold.
    static func hash(of id: Bytes) -> UInt64
}

extension UserKeyed {
    @inline(__always)
    static func hash(of id: Bytes) -> UInt64 { UserHash.of(id) }
}

@safe
struct UserTable<Record: UserKeyed>: ~Copyable {
    private var slots: Slab<Record>
    /// Hash (upper half) and slot + 1 (lower half); 0: free.
    private var index: UnsafeMutablePointer<UInt64>
    private var mask: Int
    private let idOffset: Int

    var count: Int { slots.count }

    init(usersMax: Int) {
        slots = Slab(maxSlots: usersMax)
        mask = 1_023
        unsafe index = .allocate(capacity: mask + 1)
        unsafe index.initialize(repeating: 0, count: mask + 1)
        idOffset = Record.idOffset
    }

    deinit {
        for slot in 0..<UInt32(slots.highWater) where slots.isLive(slot) {
            var id = unsafe slots.pointer(to: slot).pointee.id
            id.free()
        }
        unsafe index.deallocate()
    }

    subscript(slot: UInt32) -> Record {
        unsafeAddress { unsafe UnsafePointer(slots.pointer(to: slot)) }
        unsafeMutableAddress { unsafe slots.pointer(to: slot) }
    }

    /// The ID of a user, valid while it is in the table.
    func id(of slot: UInt32) -> Bytes {
        let record = unsafe UnsafeRawPointer(slots.pointer(to: slot)) + idOffset
        return unsafe StoredUserID.bytes(of: record.assumingMemoryBound(to: StoredUserID.self))
    }

    func hash(of slot: UInt32) -> UInt64 { Record.hash(of: id(of: slot)) }

    func isLive(_ slot: UInt32, generation: UInt32) -> Bool {
        slots.isLive(slot, generation: generation)
    }
    func isLive(_ slot: UInt32) -> Bool { slots.isLive(slot) }
    func generation(of slot: UInt32) -> UInt32 { slots.generation(of: slot) }
    /// One past the highest slot ever used.
    var highWater: Int { slots.highWater }

    @inline(__always)
    func find(_ id: Bytes, hash: UInt64) -> UInt32? {
        var place = Int(truncatingIfNeeded: hash) & mask
        while true {
            let entry = unsafe index[place]
            if entry == 0 { return nil }
            if entry >> 32 == hash >> 32 {
                let slot = UInt32(truncatingIfNeeded: entry) &- 1
                if self.id(of: slot).equals(id) { return slot }
            }
            place = (place &+ 1) & mask
        }
    }

    /// Takes the record, and with it the memory of its ID, also where there is no room for it.
    /// - Returns: the new user's slot; `nil` when the table is full.
    mutating func insert(_ record: Record, hash: UInt64) -> UInt32? {
        if (slots.count + 1) * 2 > mask { grow() }
        guard let slot = slots.insert(record) else {
            var id = record.id
            id.free()
            return nil
        }
        place(slot, hash: hash)
        return slot
    }

    mutating func remove(_ slot: UInt32) {
        var hole = Int(truncatingIfNeeded: hash(of: slot)) & mask
        while UInt32(truncatingIfNeeded: unsafe index[hole]) != slot &+ 1 { hole = (hole + 1) & mask }
        // Close the gap: an entry moves up unless that would put it before its own place.
        var next = (hole + 1) & mask
        while unsafe index[next] != 0 {
            let nextSlot = UInt32(truncatingIfNeeded: unsafe index[next]) &- 1
            let ideal = Int(truncatingIfNeeded: hash(of: nextSlot)) & mask
            if (next &- ideal) & mask >= (next &- hole) & mask {
                unsafe index[hole] = index[next]
                hole = next
            }
            next = (next + 1) & mask
        }
        unsafe index[hole] = 0
        self[slot].id.free()
        slots.remove(slot)
    }

    private func place(_ slot: UInt32, hash: UInt64) {
        var place = Int(truncatingIfNeeded: hash) & mask
        while unsafe index[place] != 0 { place = (place &+ 1) & mask }
        unsafe index[place] = (hash & ~0xFFFF_FFFF) | UInt64(slot &+ 1)
    }

    private mutating func grow() {
        unsafe index.deallocate()
        mask = mask * 2 + 1
        unsafe index = .allocate(capacity: mask + 1)
        unsafe index.initialize(repeating: 0, count: mask + 1)
        for slot in 0..<UInt32(slots.highWater) where slots.isLive(slot) {
            place(slot, hash: hash(of: slot))
        }
    }
}

/// How users are spread over shards and tables: 64 bits, keyed by a secret of this process, so that
/// nobody outside can choose names that meet in one place.
enum UserHash {
    private static let seed = UInt64.random(in: .min ... .max)

    @inline(__always)
    static func of(_ id: Bytes) -> UInt64 {
        var state = seed ^ UInt64(id.count) &* 0x9E37_79B9_7F4A_7C15
        var index = 0
        while index &+ 8 <= id.count {
            state = mix(state, unsafe UnsafeRawPointer(id.base + index).loadUnaligned(as: UInt64.self))
            index &+= 8
        }
        var rest: UInt64 = 0
        while index < id.count {
            rest = rest << 8 | UInt64(unsafe id.base[index])
            index &+= 1
        }
        return mix(mix(state, rest), 0xD6E8_FEB8_6659_FD93)
    }

    @inline(__always)
    private static func mix(_ a: UInt64, _ b: UInt64) -> UInt64 {
        let product = (a ^ 0xA076_1D64_78BD_642F).multipliedFullWidth(by: b ^ 0xE703_7ED1_A0B4_28DB)
        return product.high ^ product.low
    }
}
