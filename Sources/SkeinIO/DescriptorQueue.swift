// Descriptors that wait to be served, in the order they came.

/// Safe: `storage` holds `capacity` places of which the first `count` are initialised, is owned by
/// this value alone, and every access is checked against `count`.
@safe
struct DescriptorQueue: ~Copyable {
    private var storage: UnsafeMutablePointer<Int32>
    private var capacity: Int
    private(set) var count = 0

    init() {
        capacity = 1024
        unsafe storage = .allocate(capacity: capacity)
    }

    deinit { unsafe storage.deallocate() }

    var isEmpty: Bool { count == 0 }

    subscript(index: Int) -> Int32 {
        precondition(index >= 0 && index < count, "descriptor out of range")
        return unsafe storage[index]
    }

    mutating func append(_ fd: Int32) {
        if count == capacity {
            let larger = UnsafeMutablePointer<Int32>.allocate(capacity: capacity * 2)
            unsafe larger.moveInitialize(from: storage, count: count)
            unsafe storage.deallocate()
            unsafe storage = larger
            capacity *= 2
        }
        unsafe (storage + count).initialize(to: fd)
        count += 1
    }

    mutating func removeAll() { count = 0 }
}
