// How an io_uring is made, found to be possible, and torn down, and what it does in the rare cases
// where the kernel did not take or answer everything at once.

import CSkein
import Glibc

extension URing {
    @usableFromInline
    package static func make(_ options: RingOptions) throws(RingError) -> URing {
        try URing(options)
    }

    /// By doing: versions and configuration promise less than they seem to.
    package static func probe() -> RingAvailability {
        var options = RingOptions()
        options.submissions = 8
        options.completions = 16
        options.buffers = 1
        options.bufferBytes = 64
        do throws(RingError) {
            _ = try URing(options)
            return .available
        } catch {
            switch error {
            case .denied(let reason): return .denied(reason)
            case .exhausted(let reason): return .failed(reason)
            }
        }
    }

    private init(_ options: RingOptions) throws(RingError) {
        precondition(options.submissions > 0 && options.submissions <= 32_768, "ring entries")
        precondition(options.completions >= options.submissions, "fewer answers than questions")
        precondition(options.completions <= 65_536, "ring completions")
        let control = UnsafeMutablePointer<io_uring>.allocate(capacity: 1)
        unsafe control.initialize(to: io_uring())

        var parameters = io_uring_params()
        let always = IORING_SETUP_CQSIZE | IORING_SETUP_SUBMIT_ALL
        let deferred = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN
            | IORING_SETUP_TASKRUN_FLAG
        parameters.flags = always | (options.plain ? IORING_SETUP_COOP_TASKRUN : deferred)
        parameters.cq_entries = UInt32(options.completions)
        let entries = UInt32(options.submissions)
        var result = unsafe io_uring_queue_init_params(entries, control, &parameters)
        if result == -EINVAL && !options.plain {
            // Before 6.1.
            parameters = io_uring_params()
            parameters.flags = always | IORING_SETUP_COOP_TASKRUN
            parameters.cq_entries = UInt32(options.completions)
            result = unsafe io_uring_queue_init_params(entries, control, &parameters)
        }
        guard result == 0 else {
            unsafe control.deallocate()
            throw RingError(call: "io_uring_setup", errno: -result)
        }
        let needed = IORING_FEAT_NODROP | IORING_FEAT_FAST_POLL | IORING_FEAT_EXT_ARG
            | IORING_FEAT_CQE_SKIP
        guard parameters.features & needed == needed else {
            unsafe io_uring_queue_exit(control)
            unsafe control.deallocate()
            throw RingError(call: "io_uring features of this kernel", errno: ENOSYS)
        }

        // The kernel's view of the receive buffers.
        let ringBytes = max(4096, options.buffers * MemoryLayout<io_uring_buf>.stride)
        guard let ringMemory = unsafe skein_reserve(ringBytes) else {
            unsafe io_uring_queue_exit(control)
            unsafe control.deallocate()
            throw RingError(call: "mmap", errno: ENOMEM)
        }
        var registration = io_uring_buf_reg()
        registration.ring_addr = UInt64(UInt(bitPattern: ringMemory))
        registration.ring_entries = UInt32(options.buffers)
        result = unsafe io_uring_register_buf_ring(control, &registration, 0)
        guard result == 0 else {
            unsafe io_uring_queue_exit(control)
            unsafe control.deallocate()
            unsafe skein_release(ringMemory, ringBytes)
            throw RingError(call: "io_uring_register_buf_ring", errno: -result)
        }

        // From here on nothing throws but the eventfd.
        let fd = unsafe control.pointee.ring_fd
        var wakeDescriptor: Int32 = -1
        if options.plain || skein_send_message(fd, Token.wake.rawValue) < 0 {
            wakeDescriptor = eventfd(0, Int32(EFD_CLOEXEC))
            guard wakeDescriptor >= 0 else {
                let error = errno
                unsafe io_uring_queue_exit(control)
                unsafe control.deallocate()
                unsafe skein_release(ringMemory, ringBytes)
                throw RingError(call: "eventfd", errno: error)
            }
            waker = Waker(way: .eventDescriptor, fd: wakeDescriptor)
        } else {
            waker = Waker(way: .message, fd: fd)
        }
        self.wakeDescriptor = wakeDescriptor
        wakeReadNeeded = wakeDescriptor >= 0
        unsafe wakeValue = .allocate(capacity: 1)
        unsafe wakeValue.initialize(to: 0)

        let isRegistered = unsafe io_uring_register_ring_fd(control) == 1
        enterDescriptor = unsafe isRegistered ? control.pointee.enter_ring_fd : fd
        enterFlags = isRegistered ? IORING_ENTER_REGISTERED_RING : 0
        isDeferred = parameters.flags & IORING_SETUP_DEFER_TASKRUN != 0
        isMultishot = isDeferred
        hasAbsoluteTime = parameters.features & skein_feature_min_timeout() != 0

        let submission = unsafe control.pointee.sq
        unsafe submissionFlags = submission.kflags
        unsafe submissionTail = submission.ktail
        unsafe submissionArray = submission.array
        unsafe self.entries = submission.sqes
        entryCount = unsafe submission.ring_entries
        entryMask = unsafe submission.ring_mask
        // Acquiring, both: ThreadSanitizer does not see liburing map and unmap, and takes a former
        // ring of another thread at this address for this one. To everyone else they are loads.
        tail = unsafe skein_load_acquire(submission.ktail)
        unsafe messages = .allocate(capacity: Int(entryCount))
        unsafe messages.initialize(repeating: msghdr(), count: Int(entryCount))

        let completion = unsafe control.pointee.cq
        _ = unsafe skein_load_acquire(completion.khead)
        unsafe completionHead = completion.khead
        unsafe completionTail = completion.ktail
        unsafe answers = completion.cqes
        answerMask = unsafe completion.ring_mask
        turnCompletionsMax = UInt32(options.turnCompletionsMax)
        stash = CompletionQueue(capacity: 16)

        buffers = BufferPool.make(count: options.buffers, bufferBytes: options.bufferBytes)
        unsafe bufferRing = ringMemory.bindMemory(to: io_uring_buf_ring.self, capacity: 1)
        bufferMask = UInt32(options.buffers - 1)
        bufferTail = 0
        counters = RingCounters.make()
        unsafe self.control = control
    }

    func tearDown() {
        // What is in flight would write into buffers that are about to go. Fails before 6.0, where
        // closing the ring has to do.
        var everything = io_uring_sync_cancel_reg()
        everything.flags = skein_cancel_any()
        everything.timeout.tv_sec = -1
        everything.timeout.tv_nsec = -1
        unsafe io_uring_register_sync_cancel(control, &everything)
        unsafe io_uring_queue_exit(control)
        unsafe control.deallocate()
        if wakeDescriptor >= 0 { Glibc.close(wakeDescriptor) }
        let ringBytes = max(4096, buffers.count * MemoryLayout<io_uring_buf>.stride)
        unsafe skein_release(bufferRing, ringBytes)
        buffers.destroy()
        counters.destroy()
        unsafe messages.deallocate()
        unsafe wakeValue.deallocate()
    }
}

// The rare paths.
extension URing {
    /// The read that turns a write to the eventfd into a completion.
    mutating func prepareWakeRead() {
        wakeReadNeeded = false
        unsafe skein_prepare(
            entries, skein_op_read(), 0, 0, wakeDescriptor, UInt64.max,
            UInt64(UInt(bitPattern: wakeValue)), 8, 0, Token.wake.rawValue)
        unsafe submissionArray[Int(tail & entryMask)] = 0
    }

    /// More submissions than entries: gives over those there are, and takes out completions where
    /// they pile up, so that failures among the rest have room.
    @inline(never)
    mutating func enterFull() {
        enter(entryCount, waitFor: 0, deadline: nil)
        if ready > answerMask / 2 { collectEarly() }
    }

    /// The call did not take everything, or waited in vain.
    @inline(never)
    mutating func enterAgain(_ filled: UInt32, _ first: Int32) {
        var left = filled
        var result = first
        var refusals = 0
        while true {
            if result >= 0 {
                left -= UInt32(result)
            } else {
                switch -result {
                case ETIME, EINTR:
                    // Reported only when there was nothing to submit, or before any of it was.
                    break
                case EAGAIN, EBUSY, ENOMEM:
                    // Short of memory or of room for answers: make room, and let others run. Memory may
                    // stay short for long: what was submitted cannot be given up, but a core can.
                    unsafe counters.values.pointee.refusals &+= 1
                    refusals += 1
                    collectEarly()
                    if refusals < Self.refusalsUntilSleep { sched_yield() } else { usleep(1_000) }
                case EINVAL where hasAbsoluteTime:
                    hasAbsoluteTime = false
                default:
                    fatalError("io_uring_enter: \(SystemError.text(-result))")
                }
            }
            if left == 0 { return }
            result = skein_enter(
                enterDescriptor, left, 0, enterFlags | IORING_ENTER_GETEVENTS, nil, 0)
            unsafe counters.values.pointee.enters &+= 1
        }
    }

    private static var refusalsUntilSleep: Int { 16 }

    private mutating func collectEarly() {
        var early = CompletionQueue(capacity: 16)
        swap(&early, &stash)
        collect(into: &early)
        swap(&early, &stash)
    }

    @inline(never)
    mutating func unstash(into completions: inout CompletionQueue) {
        for index in 0..<stash.count { completions.append(stash[index]) }
        stash.removeAll()
    }

    @inline(never)
    mutating func flushOverflow(into completions: inout CompletionQueue) {
        unsafe counters.values.pointee.overflows &+= 1
        // Bounded, in case answers come as fast as we take them.
        for _ in 0..<1024 {
            _ = skein_enter(
                enterDescriptor, 0, 0, enterFlags | IORING_ENTER_GETEVENTS, nil, 0)
            unsafe counters.values.pointee.enters &+= 1
            collect(into: &completions)
            if unsafe skein_load_relaxed(submissionFlags) & IORING_SQ_CQ_OVERFLOW == 0 { return }
        }
    }
}
