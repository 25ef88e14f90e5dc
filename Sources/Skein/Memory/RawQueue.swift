// A first-in, first-out ring of plain values for one owner on one thread: delayed work, replies
// that are awaited, waiters. It grows by doubling and keeps its capacity.

@safe
struct RawQueue<Element: BitwiseCopyable>: ~Copyable {
    private(set) var count = 0
    private var head = 0
    private var mask: Int
    private var base: UnsafeMutablePointer<Element>

    /// - Parameter capacity: rounded up to a power of two.
    init(capacity: Int = 64) {
        var size = 1
        while size < capacity { size *= 2 }
        mask = size - 1
        unsafe base = .allocate(capacity: size)
    }

    deinit { unsafe base.deallocate() }

    var isEmpty: Bool { count == 0 }

    subscript(index: Int) -> Element {
        unsafeAddress {
            precondition(index >= 0 && index < count, "index outside the queue")
            return unsafe UnsafePointer(base + ((head + index) & mask))
        }
        unsafeMutableAddress {
            precondition(index >= 0 && index < count, "index outside the queue")
            return unsafe base + ((head + index) & mask)
        }
    }

    @inline(__always)
    mutating func append(_ element: Element) {
        if count > mask { grow() }
        unsafe (base + ((head + count) & mask)).initialize(to: element)
        count &+= 1
    }

    @inline(__always)
    mutating func popFirst() -> Element? {
        guard count > 0 else { return nil }
        let element = unsafe base[head]
        head = (head + 1) & mask
        count &-= 1
        return element
    }

    mutating func removeAll() {
        head = 0
        count = 0
    }

    private mutating func grow() {
        let size = (mask + 1) * 2
        let larger = UnsafeMutablePointer<Element>.allocate(capacity: size)
        for index in 0..<count { unsafe larger[index] = base[(head + index) & mask] }
        unsafe base.deallocate()
        unsafe base = larger
        head = 0
        mask = size - 1
    }
}
