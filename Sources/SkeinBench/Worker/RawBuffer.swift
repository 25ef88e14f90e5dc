// Bytes of one connection, for one owner on one thread: plain, so that it fits into a record, and freed by
// hand. It keeps its memory when it is emptied, so that a warm run allocates nothing.

internal import Glibc
internal import SkeinWire

// Safe: `base` has room for `capacity` bytes, of which `count` are written; only the owning worker touches it.
@safe
struct RawBuffer: BitwiseCopyable {
    private var base: UnsafeMutablePointer<UInt8>?
    private(set) var count = 0
    private(set) var capacity = 0

    var isEmpty: Bool { count == 0 }

    /// Where it lies; nothing may be appended while the kernel reads from there.
    var address: UInt { unsafe UInt(bitPattern: base) }

    /// Moves the bytes when it has to grow.
    @inline(__always)
    mutating func reserve(_ more: Int) {
        if capacity &- count < more { grow(count + more) }
    }

    @inline(never)
    private mutating func grow(_ needed: Int) {
        capacity = max(needed, capacity * 2, 256)
        guard let larger = unsafe realloc(base, capacity) else { fatalError("no memory for a connection") }
        unsafe base = larger.assumingMemoryBound(to: UInt8.self)
    }

    /// Lets `body` append up to `room` bytes.
    @inline(__always)
    mutating func write(room: Int, _ body: (inout ByteWriter) -> Void) {
        reserve(room)
        guard let base = unsafe base else { return }
        var writer = unsafe ByteWriter(unsafe: base + count, capacity: room)
        body(&writer)
        count &+= writer.count
    }

    mutating func append(_ bytes: Span<UInt8>) {
        write(room: bytes.count) { $0.append(bytes) }
    }

    /// What was written from `start` on, to be changed in place.
    @inline(__always)
    mutating func withBytes(from start: Int, _ body: (UnsafeMutablePointer<UInt8>, Int) -> Void) {
        precondition(start >= 0 && start <= count, "bytes outside the buffer")
        guard let base = unsafe base else { return }
        unsafe body(base + start, count - start)
    }

    /// What there is. `body` must not change this buffer.
    func withSpan<Result>(_ body: (Span<UInt8>) -> Result) -> Result {
        guard let base = unsafe base else { return body(Span()) }
        return body(unsafe Span(_unsafeStart: UnsafePointer(base), count: count))
    }

    mutating func removeAll() { count = 0 }

    mutating func removeFirst(_ taken: Int) {
        precondition(taken >= 0 && taken <= count, "more taken than there is")
        guard taken > 0, let base = unsafe base else { return }
        count -= taken
        unsafe memmove(base, base + taken, count)
    }

    mutating func free() {
        unsafe Glibc.free(base)
        unsafe base = nil
        count = 0
        capacity = 0
    }
}

/// A list of plain values for one owner, as `RawBuffer` is of bytes.
@safe
struct RawArray<Element: BitwiseCopyable>: ~Copyable {
    private var base: UnsafeMutablePointer<Element>
    private var capacity: Int
    private(set) var count: Int

    init(capacity: Int = 64) {
        self.capacity = max(1, capacity)
        unsafe base = .allocate(capacity: self.capacity)
        count = 0
    }

    init(repeating element: Element, count: Int) {
        self.init(capacity: count)
        unsafe base.initialize(repeating: element, count: count)
        self.count = count
    }

    deinit { unsafe base.deallocate() }

    var isEmpty: Bool { count == 0 }

    subscript(index: Int) -> Element {
        @inline(__always) unsafeAddress {
            precondition(index >= 0 && index < count, "index outside the list")
            return unsafe UnsafePointer(base + index)
        }
        @inline(__always) unsafeMutableAddress {
            precondition(index >= 0 && index < count, "index outside the list")
            return unsafe base + index
        }
    }

    @inline(__always)
    mutating func append(_ element: Element) {
        if count == capacity { grow() }
        unsafe (base + count).initialize(to: element)
        count &+= 1
    }

    mutating func popLast() -> Element? {
        guard count > 0 else { return nil }
        count -= 1
        return unsafe base[count]
    }

    mutating func removeAll() { count = 0 }

    @inline(never)
    private mutating func grow() {
        let larger = UnsafeMutablePointer<Element>.allocate(capacity: capacity * 2)
        unsafe larger.moveInitialize(from: base, count: count)
        unsafe base.deallocate()
        unsafe base = larger
        capacity *= 2
    }
}
