// The place of one z_stream, which zlib wants to find where it left it, and the count of what zlib has
// set aside behind it. Its owner has made the stream with deflateInit or inflateInit, and ends it.

import CZlib

// Safe: the block is made in init and freed in deinit, and a value that cannot be copied is its only
// owner in between. zlib's own memory goes back through `zfree` when the owner ends the stream first.
@safe struct ZlibStream: ~Copyable {
    private let block: UnsafeMutablePointer<Block>

    // Safe: nothing but zlib follows the pointers in the stream.
    @safe private struct Block {
        var stream = unsafe z_stream()
        var bytes = MemoryLayout<Block>.stride
    }

    init() {
        unsafe block = .allocate(capacity: 1)
        unsafe block.initialize(to: Block())
        unsafe block.pointee.stream.opaque = UnsafeMutableRawPointer(block)
        unsafe block.pointee.stream.zalloc = { opaque, items, size in
            guard let opaque = unsafe opaque, let memory = unsafe malloc(Int(items) * Int(size)) else {
                return nil
            }
            let count = unsafe malloc_usable_size(memory)
            unsafe opaque.assumingMemoryBound(to: Block.self).pointee.bytes += count
            return unsafe memory
        }
        unsafe block.pointee.stream.zfree = { opaque, memory in
            let count = unsafe malloc_usable_size(memory)
            unsafe opaque?.assumingMemoryBound(to: Block.self).pointee.bytes -= count
            unsafe free(memory)
        }
    }

    deinit {
        unsafe block.deinitialize(count: 1)
        unsafe block.deallocate()
    }

    /// Memory held now, as malloc counts it.
    var bytesHeld: Int { unsafe block.pointee.bytes }

    /// Lives as long as this value.
    @unsafe var pointer: UnsafeMutablePointer<z_stream> {
        unsafe UnsafeMutableRawPointer(block).assumingMemoryBound(to: z_stream.self)
    }

    /// An upper bound on what malloc takes for an allocation: large ones it rounds up to pages.
    static func allocatedBytesMax(for count: Int) -> Int {
        count + (count >= 128 << 10 ? 4_096 + 16 : 32)
    }
}
