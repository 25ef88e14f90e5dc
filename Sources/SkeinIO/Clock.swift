// Where loops read the time: the system's clocks, or those of a simulator, which stand still until it
// moves them. A plain value, so that asking it costs one comparison and no reference count.

/// What a simulator's clocks show.
@usableFromInline
package struct SimulatedTime: BitwiseCopyable, Sendable {
    @usableFromInline package var now: Instant
    @usableFromInline package var wallMilliseconds: Int64

    package init(now: Instant, wallMilliseconds: Int64) {
        self.now = now
        self.wallMilliseconds = wallMilliseconds
    }
}

/// Safe: a simulator keeps its time in place for as long as anything runs on it.
@safe
@frozen
@usableFromInline
package struct Clock: BitwiseCopyable, Sendable {
    /// Address of a `SimulatedTime`; 0: the system's clocks.
    @usableFromInline let simulated: UInt

    @inlinable
    init(simulated: UInt) { self.simulated = simulated }

    @inlinable package static var system: Clock { Clock(simulated: 0) }

    /// - Parameter time: outlives everything that asks this clock.
    package static func simulated(by time: UnsafePointer<SimulatedTime>) -> Clock {
        Clock(simulated: UInt(bitPattern: time))
    }

    /// Monotonic.
    @inlinable
    package func now() -> Instant {
        guard let time = unsafe UnsafePointer<SimulatedTime>(bitPattern: simulated) else { return .now() }
        return unsafe time.pointee.now
    }

    @inlinable
    package func wallMilliseconds() -> Int64 {
        guard let time = unsafe UnsafePointer<SimulatedTime>(bitPattern: simulated) else {
            return WallClock.millisecondsSince1970()
        }
        return unsafe time.pointee.wallMilliseconds
    }
}
