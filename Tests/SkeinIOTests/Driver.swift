// Drives a ring by hand, one turn at a time, so that one suite can hold all tenants to the same
// promises.

import SkeinIO

enum Tenant: String, CaseIterable, Sendable {
    case uring
    /// io_uring as kernels before 6.1 have it: no deferred work, no multishot receive, eventfd.
    case plain
    case epoll
}

struct Driver: ~Copyable {
    private var uring: URing?
    private var epoll: EpollRing?
    private var queue = SubmissionQueue()
    private var completions = CompletionQueue()
    let buffers: BufferPool
    let waker: Waker
    let counters: RingCounters

    init(_ tenant: Tenant, _ options: RingOptions = RingOptions()) throws {
        var options = options
        switch tenant {
        case .uring, .plain:
            options.plain = tenant == .plain
            let ring = try URing.make(options)
            buffers = ring.buffers
            waker = ring.waker
            counters = ring.counters
            uring = consume ring
            epoll = nil
        case .epoll:
            let ring = try EpollRing.make(options)
            buffers = ring.buffers
            waker = ring.waker
            counters = ring.counters
            epoll = consume ring
            uring = nil
        }
    }

    /// Queued for the next turn; `tag` comes back as the completion's slot. Cancelling tag 0 is
    /// cancelling everything.
    mutating func ask(
        _ kind: Submission.Kind, _ fd: Int32, tag: UInt32, address: UInt = 0, count: Int = 0
    ) {
        let isAll = kind == .cancel && tag == 0
        let token = isAll ? Token.ignored : Token(slot: tag, generation: 1, operation: 7)
        queue.append(
            Submission(kind, fd: fd, token: token, address: address, count: UInt32(count)))
    }

    /// Submits what was asked, waits, and returns what came.
    mutating func turn(_ wait: Wait = .none) -> [Completion] {
        uring?.give(&queue)
        uring?.wait(wait)
        epoll?.give(&queue)
        epoll?.wait(wait)
        uring?.reap(into: &completions)
        epoll?.reap(into: &completions)
        let came = Array(completions.buffer)
        completions.removeAll()
        return came
    }

    /// Turns until `count` completions have come, for two seconds at most.
    mutating func turns(_ count: Int) -> [Completion] {
        let end = Instant.now().advanced(bySeconds: 2)
        var came: [Completion] = []
        while came.count < count && Instant.now() < end { came += turn(.until(end)) }
        return came
    }

    /// Turns for a while, to see that nothing (more) comes.
    mutating func quiet(milliseconds: Int = 30) -> [Completion] {
        let end = Instant.now().advanced(byMilliseconds: milliseconds)
        var came: [Completion] = []
        while Instant.now() < end { came += turn(.until(end)) }
        return came
    }

    /// The bytes of a receive, its buffer given back.
    func bytes(_ completion: Completion) -> [UInt8] {
        guard completion.hasBuffer else { return [] }
        let bytes = Array(
            UnsafeBufferPointer(
                start: buffers.bytes(of: completion.buffer), count: Int(completion.result)))
        buffers.recycle(completion.buffer)
        return bytes
    }

    /// Receives with `kind`, armed again whenever it ends, until `count` bytes have come.
    mutating func receive(_ count: Int, _ kind: Submission.Kind, _ fd: Int32) -> [UInt8] {
        let end = Instant.now().advanced(bySeconds: 2)
        var came: [UInt8] = []
        ask(kind, fd, tag: 99)
        while came.count < count && Instant.now() < end {
            for completion in turn(.until(end)) {
                came += bytes(completion)
                if !completion.hasMore && completion.result > 0 && came.count < count {
                    ask(kind, fd, tag: 99)
                }
            }
        }
        return came
    }
}
