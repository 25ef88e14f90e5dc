// A thread with a name, a core and an end that can be waited for. What runs on it is made on it.

private import Glibc
private import CSkein
import Synchronization

package enum CPUSet {
    /// The cores this process may run on.
    package static func allowed() -> [Int] {
        (0..<1024).filter { skein_cpu_allowed(Int32($0)) != 0 }
    }
}

/// Unchecked `Sendable`: the thread's number never changes, and only one `join` uses it.
package final class PinnedThread: @unchecked Sendable {
    private let thread: pthread_t
    private let joined = Atomic<Bool>(false)

    private init(thread: pthread_t) { self.thread = thread }

    deinit {
        if !joined.load(ordering: .acquiring) { pthread_detach(thread) }
    }

    /// Starts `body` on a thread of its own.
    /// - Parameters:
    ///   - name: the first 15 bytes are seen in `top -H`.
    ///   - core: where it stays. A core that this process may not use leaves it free to move.
    package static func start(
        name: String, core: Int? = nil, stackBytes: Int = 1 << 20,
        body: @escaping @Sendable () -> Void
    ) throws(SystemError) -> PinnedThread {
        var attributes = pthread_attr_t()
        unsafe pthread_attr_init(&attributes)
        defer { unsafe pthread_attr_destroy(&attributes) }
        unsafe pthread_attr_setstacksize(&attributes, max(stackBytes, 512 << 10))

        let start = unsafe Unmanaged.passRetained(Start(name: name, core: core, body: body))
        var thread = pthread_t()
        let error = unsafe pthread_create(
            &thread, &attributes,
            { argument in
                guard let argument = unsafe argument else { return nil }
                let start = unsafe Unmanaged<Start>.fromOpaque(argument).takeRetainedValue()
                start.run()
                return nil
            }, start.toOpaque())
        guard error == 0 else {
            unsafe start.release()
            throw SystemError(call: "pthread_create", errno: error)
        }
        return PinnedThread(thread: thread)
    }

    /// Waits for the end of the body. Only the first call waits.
    package func join() {
        guard !joined.exchange(true, ordering: .acquiringAndReleasing) else { return }
        pthread_join(thread, nil)
    }

    private final class Start {
        let name: String
        let core: Int?
        let body: @Sendable () -> Void

        init(name: String, core: Int?, body: @escaping @Sendable () -> Void) {
            self.name = name
            self.core = core
            self.body = body
        }

        func run() {
            var name = Array(self.name.utf8.prefix(15).map { CChar(bitPattern: $0) })
            name.append(0)
            unsafe skein_thread_name(name)
            if let core { _ = skein_cpu_pin(Int32(core)) }
            body()
        }
    }
}

extension PinnedThread {
    /// Timers of the calling thread fire when they are due: without it, up to 50 µs later.
    package static func makeTimersExact() { skein_timer_slack(1) }

    /// CPU that the calling thread has used.
    package static func cpuNanoseconds() -> Int64 {
        var time = timespec()
        unsafe clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
        return Int64(time.tv_sec) &* 1_000_000_000 &+ Int64(time.tv_nsec)
    }
}

func threadYield() { sched_yield() }
