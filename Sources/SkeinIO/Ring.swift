// One loop's door to the kernel, the same for io_uring, epoll and a simulator: submissions go in,
// completions come out, one thread.

private import Glibc

@usableFromInline
package enum Wait: Sendable {
    case none
    case until(Instant)
    case forever
}

@usableFromInline
package protocol Ring: ~Copyable {
    associatedtype Rest: RingAtRest

    /// On the thread that will use it.
    static func make(_ options: RingOptions) throws(RingError) -> Self

    var buffers: BufferPool { get }
    var waker: Waker { get }
    var counters: RingCounters { get }

    /// Takes everything in `queue`, in order, and empties it. The kernel has been given all of it by
    /// the time the `wait` that follows begins to wait.
    mutating func give(_ queue: inout SubmissionQueue)

    /// Waits for at least one completion (or a wake-up), at most as long as told. While `rest` is
    /// settled it touches nothing of the machine's, no buffer and no counter that a machine reads: those
    /// may be in another thread's hands.
    mutating func wait(_ wait: Wait)

    /// For another thread, during the wait that follows; `nil` when the ring itself holds completions or
    /// work, of which the kernel does not know.
    var rest: Rest? { get }

    /// Appends all completions there are. Wake-ups and answers nobody waits for are left out.
    /// - Returns: how many were appended.
    @discardableResult
    mutating func reap(into completions: inout CompletionQueue) -> Int
}

@usableFromInline
package enum RestState: Sendable {
    /// The kernel has carried out all that the ring was given, and every `sendNow` was sent whole.
    case settled
    /// There are completions: the wait is over, or will be in a moment.
    case over
    /// Neither is certain.
    case busy
}

/// What a thread that is not a ring's own may do while the ring waits.
@usableFromInline
package protocol RingAtRest: Sendable {
    var state: RestState { get }

    /// Carries out one `sendNow` or `sendVectorNow`.
    /// - Returns: `nil` when all of it went out, else the result of its completion.
    func send(_ submission: Submission) -> Int32?
}

@usableFromInline
package struct RingOptions: Sendable {
    /// Entries given to the kernel in one call; more than these just takes more calls.
    package var submissions = 2048
    /// Entries the kernel can answer before it has to queue them in slower memory.
    package var completions = 16_384
    /// Receive buffers, a power of two.
    package var buffers = 512
    package var bufferBytes = 8192
    /// A turn stops looking for more completions here, and answers those it has.
    package var turnCompletionsMax = 128
    /// As on kernels before 6.1: no deferred work, no multishot receive. For tests.
    package var plain = false

    package init() {}
}

@usableFromInline
package enum RingError: Error, Equatable, CustomStringConvertible {
    /// Forbidden or unknown here, now and later: use another kind of ring.
    case denied(SystemError)
    /// It would work with more memory or descriptors.
    case exhausted(SystemError)

    package init(call: String, errno: Int32) {
        let error = SystemError(call: call, errno: errno)
        switch errno {
        case ENOMEM, EMFILE, ENFILE, EAGAIN:
            self = .exhausted(error)
        default:
            self = .denied(error)
        }
    }

    @usableFromInline
    package var description: String {
        switch self {
        case .denied(let error): "denied: \(error)"
        case .exhausted(let error): "exhausted: \(error)"
        }
    }
}

/// What a ring has done, for metrics. A handle like `BufferPool`: read on the thread that holds the loop.
///
/// Safe: the values live as long as the ring.
@safe
@usableFromInline
package struct RingCounters {
    @usableFromInline
    package struct Values: Sendable, Equatable {
        /// System calls for submitting and waiting.
        package var enters: UInt64 = 0
        package var submissions: UInt64 = 0
        package var completions: UInt64 = 0
        /// Turns in which completions had overflowed into slower memory.
        package var overflows: UInt64 = 0
        /// Calls that the kernel had no memory or no room for, and that were made again.
        package var refusals: UInt64 = 0
    }

    package let values: UnsafeMutablePointer<Values>

    package static func make() -> RingCounters {
        let values = UnsafeMutablePointer<Values>.allocate(capacity: 1)
        unsafe values.initialize(to: Values())
        return unsafe RingCounters(values: values)
    }

    package init(values: UnsafeMutablePointer<Values>) { unsafe self.values = values }

    package func destroy() { unsafe values.deallocate() }

    package var current: Values { unsafe values.pointee }
}
