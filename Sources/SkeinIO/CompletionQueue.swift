// One of the two queues between a loop and its machine. Raw memory that grows to the largest turn
// seen and stays, so that a warm turn allocates nothing.

/// What the kernel answered in one turn, in its order.
///
/// Safe: `storage` holds `capacity` places of which the first `count` are initialised, is owned by
/// this value alone, and every access is checked against `count`.
@safe
@usableFromInline
package struct CompletionQueue: ~Copyable {
    @usableFromInline package var storage: UnsafeMutablePointer<Completion>
    @usableFromInline package var capacity: Int
    @usableFromInline package var used: Int

    @usableFromInline
    package init(capacity: Int = 1024) {
        precondition(capacity > 0, "a queue without places")
        unsafe storage = .allocate(capacity: capacity)
        self.capacity = capacity
        used = 0
    }

    deinit { unsafe storage.deallocate() }

    @inlinable package var count: Int { used }
    @inlinable package var isEmpty: Bool { used == 0 }

    @inlinable
    package mutating func append(_ element: Completion) {
        if used == capacity { grow() }
        unsafe (storage + used).initialize(to: element)
        used &+= 1
    }

    @inlinable
    package subscript(index: Int) -> Completion {
        get {
            precondition(index >= 0 && index < used, "completion out of range")
            return unsafe storage[index]
        }
        set {
            precondition(index >= 0 && index < used, "completion out of range")
            unsafe storage[index] = newValue
        }
    }

    /// Keeps the memory: the next turn is likely as large.
    @inlinable
    package mutating func removeAll() { used = 0 }

    /// The elements, valid until the queue is changed.
    @inlinable
    package var buffer: UnsafeBufferPointer<Completion> {
        unsafe UnsafeBufferPointer(start: storage, count: used)
    }

    @inline(never)
    @usableFromInline
    package mutating func grow() {
        let larger = UnsafeMutablePointer<Completion>.allocate(capacity: capacity * 2)
        unsafe larger.moveInitialize(from: storage, count: used)
        unsafe storage.deallocate()
        unsafe storage = larger
        capacity *= 2
    }
}
