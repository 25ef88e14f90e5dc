// The receive buffers of one ring: the kernel picks one for each receive and names it in the
// completion; whoever handled the bytes recycles it, and the ring takes it back with what it is given next.
// A few hundred serve any number of connections, since idle ones hold none.

private import CSkein

/// A handle, copied freely on the thread that holds the loop; the memory goes with the ring.
///
/// Safe: identifiers are checked against `count`, and the header and the buffers live until
/// `destroy`, which is the ring's last act.
@safe
@usableFromInline
package struct BufferPool: Copyable {
    @unsafe
    @usableFromInline
    package struct Header {
        @usableFromInline package var memory: UnsafeMutablePointer<UInt8>
        @usableFromInline package var count: Int
        @usableFromInline package var bufferBytes: Int
        @usableFromInline package var stride: Int
        @usableFromInline package var lent: Int
        /// What was recycled since the ring last looked; room for every buffer.
        @usableFromInline package var recycled: UnsafeMutablePointer<UInt16>
        @usableFromInline package var recycledCount: Int
        /// Who is out, to catch a buffer given back twice (in debug builds).
        @usableFromInline package var isLent: UnsafeMutablePointer<Bool>
        @usableFromInline package var mappedBytes: Int
    }

    @usableFromInline package let header: UnsafeMutablePointer<Header>

    /// - Parameters:
    ///   - count: a power of two up to 32,768. All start out recycled, for the ring to take.
    package static func make(count: Int = 512, bufferBytes: Int = 8192) -> BufferPool {
        precondition(count > 0 && count <= 32_768 && count.nonzeroBitCount == 1, "buffers")
        precondition(bufferBytes >= 64 && bufferBytes <= 1 << 30, "buffer bytes")
        // Not a power of two apart: messages are short, and their first lines would all fall into
        // the same few sets of the caches.
        let stride = (bufferBytes + 63) / 64 * 64 + 192
        let mappedBytes = count * stride
        guard let memory = unsafe skein_reserve(mappedBytes) else {
            fatalError("no address space for receive buffers")
        }
        let header = UnsafeMutablePointer<Header>.allocate(capacity: 1)
        let recycled = UnsafeMutablePointer<UInt16>.allocate(capacity: count)
        let isLent = UnsafeMutablePointer<Bool>.allocate(capacity: count)
        unsafe isLent.initialize(repeating: false, count: count)
        // Last in, first out: the lowest are used first.
        for index in 0..<count { unsafe recycled[index] = UInt16(count - 1 - index) }
        unsafe header.initialize(
            to: Header(
                memory: memory.bindMemory(to: UInt8.self, capacity: mappedBytes), count: count,
                bufferBytes: bufferBytes, stride: stride, lent: 0, recycled: recycled,
                recycledCount: count, isLent: isLent, mappedBytes: mappedBytes))
        return unsafe BufferPool(header: header)
    }

    package init(header: UnsafeMutablePointer<Header>) { unsafe self.header = header }

    /// By the ring, when nothing can touch the buffers any more.
    package func destroy() {
        unsafe skein_release(header.pointee.memory, header.pointee.mappedBytes)
        unsafe header.pointee.recycled.deallocate()
        unsafe header.pointee.isLent.deallocate()
        unsafe header.deallocate()
    }

    @inlinable package var count: Int { unsafe header.pointee.count }
    @inlinable package var bufferBytes: Int { unsafe header.pointee.bufferBytes }
    /// Named in completions and not yet recycled.
    @inlinable package var lent: Int { unsafe header.pointee.lent }

    /// The bytes of a buffer named in a completion: the first `result` are the received ones. They
    /// may be changed in place; they are the caller's until it recycles the buffer.
    @inlinable
    @unsafe
    package func bytes(of identifier: UInt16) -> UnsafeMutablePointer<UInt8> {
        precondition(Int(identifier) < count, "no such buffer")
        return unsafe header.pointee.memory + Int(identifier) &* header.pointee.stride
    }

    @inlinable
    package func recycle(_ identifier: UInt16) {
        precondition(Int(identifier) < count, "no such buffer")
        precondition(lent > 0, "more buffers recycled than lent")
        assert(unsafe header.pointee.isLent[Int(identifier)], "recycled a buffer that is not lent")
        assert(unsafe Self.mark(header, identifier, lent: false))
        unsafe header.pointee.recycled[header.pointee.recycledCount] = identifier
        unsafe header.pointee.recycledCount &+= 1
        unsafe header.pointee.lent &-= 1
    }

    /// By the ring: this buffer is named in a completion.
    @inlinable
    package func lend(_ identifier: UInt16) {
        assert(unsafe !header.pointee.isLent[Int(identifier)], "lent a buffer twice")
        assert(unsafe Self.mark(header, identifier, lent: true))
        unsafe header.pointee.lent &+= 1
    }

    /// By a ring that picks buffers itself, as a simulator or epoll: the last recycled.
    @inlinable
    package func takeRecycled() -> UInt16? {
        guard unsafe header.pointee.recycledCount > 0 else { return nil }
        unsafe header.pointee.recycledCount &-= 1
        return unsafe header.pointee.recycled[header.pointee.recycledCount]
    }

    /// By a ring: a buffer it took and did not use.
    @inlinable
    package func putBack(_ identifier: UInt16) {
        unsafe header.pointee.recycled[header.pointee.recycledCount] = identifier
        unsafe header.pointee.recycledCount &+= 1
    }

    @usableFromInline
    package static func mark(
        _ header: UnsafeMutablePointer<Header>, _ identifier: UInt16, lent: Bool
    ) -> Bool {
        unsafe header.pointee.isLent[Int(identifier)] = lent
        return true
    }
}
