// Memory for what one loop turn sends. A turn writes into one half; its bytes stay until the
// outcome of its sends is known, which is at the start of the next turn; the turn after that may
// write over them. So a frame needs no reference count, however many connections share it.

internal import SkeinWire

@safe
struct TurnArena: ~Copyable {
    @safe
    private struct Half {
        var chunks: UnsafeMutablePointer<Chunk>
        var current = 0
        var used = 0
    }
    @safe
    private struct Chunk {
        var base: UnsafeMutablePointer<UInt8>
        var capacity: Int
    }

    static let chunkBytes = 1 << 20
    /// 4 GiB in one half: what a turn reads, hears of other threads and makes for everyone has bounds
    /// that end it long before.
    static let chunksMax = 4_096

    private var first: Half
    private var second: Half
    private var onSecond = false
    private(set) var bytesHeld = 0
    /// What is held beyond the first chunk of each half, which every shard has.
    var burstBytes: Int { max(0, bytesHeld - 2 * Self.chunkBytes) }

    init() {
        unsafe first = Half(chunks: .allocate(capacity: Self.chunksMax))
        unsafe second = Half(chunks: .allocate(capacity: Self.chunksMax))
        for index in 0..<Self.chunksMax {
            unsafe (first.chunks + index).initialize(to: Chunk(base: .init(bitPattern: 8)!, capacity: 0))
            unsafe (second.chunks + index).initialize(to: Chunk(base: .init(bitPattern: 8)!, capacity: 0))
        }
    }

    deinit {
        for index in 0..<Self.chunksMax {
            if unsafe first.chunks[index].capacity > 0 { unsafe first.chunks[index].base.deallocate() }
            if unsafe second.chunks[index].capacity > 0 { unsafe second.chunks[index].base.deallocate() }
        }
        unsafe first.chunks.deallocate()
        unsafe second.chunks.deallocate()
    }

    /// Starts a turn: what the turn before the last one wrote is gone.
    mutating func flip() {
        onSecond.toggle()
        if onSecond { Self.reset(&second, &bytesHeld) } else { Self.reset(&first, &bytesHeld) }
    }

    /// Bytes of this turn, aligned to 8, untouched until the turn after the next.
    @inline(__always)
    mutating func allocate(_ count: Int) -> UnsafeMutablePointer<UInt8> {
        if onSecond { return unsafe Self.take(count, from: &second, &bytesHeld) }
        return unsafe Self.take(count, from: &first, &bytesHeld)
    }

    /// Gives back the end of the latest allocation, so that the next one follows it directly.
    @inline(__always)
    mutating func trim(_ unused: Int) {
        if onSecond { second.used &-= unused } else { first.used &-= unused }
    }

    @inline(__always)
    private static func take(
        _ count: Int, from half: inout Half, _ bytesHeld: inout Int
    ) -> UnsafeMutablePointer<UInt8> {
        let chunk = unsafe half.chunks[half.current]
        if half.used &+ count <= chunk.capacity {
            let start = unsafe chunk.base + half.used
            half.used &+= count
            return unsafe start
        }
        return unsafe takeSlowly(count, from: &half, &bytesHeld)
    }

    @inline(never)
    private static func takeSlowly(
        _ count: Int, from half: inout Half, _ bytesHeld: inout Int
    ) -> UnsafeMutablePointer<UInt8> {
        // The first chunk of a fresh half has no memory yet; afterwards the next one is wanted.
        if unsafe half.chunks[half.current].capacity > 0 { half.current += 1 }
        precondition(half.current < chunksMax, "one turn wrote more than 4 GiB")
        let wanted = max(count, chunkBytes)
        if unsafe half.chunks[half.current].capacity < wanted {
            if unsafe half.chunks[half.current].capacity > 0 {
                unsafe bytesHeld -= half.chunks[half.current].capacity
                unsafe half.chunks[half.current].base.deallocate()
            }
            unsafe half.chunks[half.current] = Chunk(base: .allocate(capacity: wanted), capacity: wanted)
            bytesHeld += wanted
        }
        half.used = count
        return unsafe half.chunks[half.current].base
    }

    private static func reset(_ half: inout Half, _ bytesHeld: inout Int) {
        // A burst's chunks go back to the system; a steady load lives in the first few.
        var index = 4
        while index <= half.current && half.current > 4 {
            if unsafe half.chunks[index].capacity > 0 {
                unsafe bytesHeld -= half.chunks[index].capacity
                unsafe half.chunks[index].base.deallocate()
                unsafe half.chunks[index].capacity = 0
            }
            index += 1
        }
        half.current = 0
        half.used = 0
    }
}
