// Time as a loop knows it: monotonic nanoseconds, read once a turn and handed on. Wall-clock time
// appears only in what people and other machines read.

private import Glibc

@frozen
@usableFromInline
package struct Instant: Comparable, Hashable, Sendable {
    /// CLOCK_MONOTONIC.
    @usableFromInline package var nanoseconds: Int64

    @inlinable
    package init(nanoseconds: Int64) { self.nanoseconds = nanoseconds }

    @usableFromInline
    package static func now() -> Instant {
        var time = timespec()
        unsafe clock_gettime(CLOCK_MONOTONIC, &time)
        return Instant(nanoseconds: Int64(time.tv_sec) &* 1_000_000_000 &+ Int64(time.tv_nsec))
    }

    /// Far enough that nothing scheduled for it ever happens, near enough to add to.
    @inlinable package static var distantFuture: Instant { Instant(nanoseconds: .max / 2) }

    @inlinable
    package func advanced(byNanoseconds nanoseconds: Int64) -> Instant {
        Instant(nanoseconds: self.nanoseconds &+ nanoseconds)
    }

    @inlinable
    package func advanced(byMilliseconds milliseconds: Int) -> Instant {
        advanced(byNanoseconds: Int64(milliseconds) &* 1_000_000)
    }

    @inlinable
    package func advanced(bySeconds seconds: Int) -> Instant {
        advanced(byNanoseconds: Int64(seconds) &* 1_000_000_000)
    }

    @inlinable
    package func nanoseconds(since earlier: Instant) -> Int64 {
        nanoseconds &- earlier.nanoseconds
    }

    @inlinable
    package func milliseconds(since earlier: Instant) -> Int64 {
        nanoseconds(since: earlier) / 1_000_000
    }

    @inlinable
    package static func < (left: Instant, right: Instant) -> Bool {
        left.nanoseconds < right.nanoseconds
    }
}

@usableFromInline
package enum WallClock {
    @usableFromInline
    package static func millisecondsSince1970() -> Int64 {
        var time = timespec()
        unsafe clock_gettime(CLOCK_REALTIME, &time)
        return Int64(time.tv_sec) &* 1000 &+ Int64(time.tv_nsec) / 1_000_000
    }
}
