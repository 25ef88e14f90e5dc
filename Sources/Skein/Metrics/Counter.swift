// Counters that one thread writes and any thread reads: an ordinary addition for the writer, never
// a locked one, and never torn for the reader.

internal import Synchronization

/// One writer, many readers. Relaxed everywhere: a figure says nothing about other memory.
struct Counter: ~Copyable, Sendable {
    private let value = Atomic<UInt64>(0)

    @inline(__always)
    func add(_ amount: UInt64 = 1) {
        value.store(value.load(ordering: .relaxed) &+ amount, ordering: .relaxed)
    }

    @inline(__always)
    func subtract(_ amount: UInt64 = 1) {
        value.store(value.load(ordering: .relaxed) &- amount, ordering: .relaxed)
    }

    @inline(__always)
    func raise(to candidate: UInt64) {
        if candidate > value.load(ordering: .relaxed) { value.store(candidate, ordering: .relaxed) }
    }

    @inline(__always)
    func set(_ new: UInt64) { value.store(new, ordering: .relaxed) }

    var count: UInt64 { value.load(ordering: .relaxed) }
}

/// Counts by powers of two: bucket `i` holds values in `[2^(i-1), 2^i)`.
struct Histogram: ~Copyable, Sendable {
    static let bucketCount = 40
    private let buckets: CounterArray
    private let sum = Counter()

    init() { buckets = CounterArray(Self.bucketCount) }

    @inline(__always)
    func record(_ value: Int64) {
        let clamped = UInt64(max(0, value))
        let bucket = min(Self.bucketCount - 1, 64 - clamped.leadingZeroBitCount)
        buckets[bucket].add()
        sum.add(clamped)
    }

    var snapshot: HistogramSnapshot {
        let counts = (0..<Self.bucketCount).map { buckets[$0].count }
        return HistogramSnapshot(buckets: counts, count: counts.reduce(0, +), sum: sum.count)
    }
}

/// A fixed number of counters. Safe to share: each is atomic, and the memory never moves.
@safe
struct CounterArray: ~Copyable, @unchecked Sendable {
    private let base: UnsafeMutablePointer<Counter>
    let count: Int

    init(_ count: Int) {
        self.count = count
        unsafe base = .allocate(capacity: count)
        for index in 0..<count { unsafe (base + index).initialize(to: Counter()) }
    }

    deinit {
        unsafe base.deinitialize(count: count)
        unsafe base.deallocate()
    }

    subscript(index: Int) -> Counter {
        unsafeAddress {
            precondition(index >= 0 && index < count, "no such counter")
            return unsafe UnsafePointer(base + index)
        }
    }
}
