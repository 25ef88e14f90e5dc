// The io_uring tenant of `Ring`. One call a turn both submits and waits; completions that the
// kernel has deferred are run inside that call, so nothing happens to a loop behind its back.
// Making and probing are in URingSetup.swift.

import CSkein
import Glibc

/// Safe: the pointers lead into memory shared with the kernel, mapped until `deinit`, and every
/// index into it is masked.
@safe
@usableFromInline
package struct URing: Ring, ~Copyable {
    /// As liburing made it; touched again only to tear it down.
    let control: UnsafeMutablePointer<io_uring>
    /// Descriptor, or number of the registered one, for entering, and the flag that says which.
    let enterDescriptor: Int32
    let enterFlags: UInt32
    /// Deferred work is run by the kernel only while we are in it.
    let isDeferred: Bool
    /// Receives can stay armed (kernel 6.0).
    let isMultishot: Bool
    /// Deadlines as points in time (kernel 6.12): otherwise as a distance, at the price of a clock.
    var hasAbsoluteTime: Bool
    /// The last turn stopped looking though there was more.
    var isBehind = false
    /// Entries filled by `give`, for the next `wait`.
    var filled: UInt32 = 0
    /// Since the last `reap`.
    var hasEntered = false

    let submissionFlags: UnsafeMutablePointer<UInt32>
    let submissionTail: UnsafeMutablePointer<UInt32>
    let submissionArray: UnsafeMutablePointer<UInt32>
    let entries: UnsafeMutablePointer<io_uring_sqe>
    let entryCount: UInt32
    let entryMask: UInt32
    /// Our copy of the tail.
    var tail: UInt32
    /// One message header for each entry, for vectored sends; read by the kernel while it submits.
    let messages: UnsafeMutablePointer<msghdr>

    let completionHead: UnsafeMutablePointer<UInt32>
    let completionTail: UnsafeMutablePointer<UInt32>
    let answers: UnsafeMutablePointer<io_uring_cqe>
    let answerMask: UInt32
    let turnCompletionsMax: UInt32
    /// Completions taken out early to make room, in order before those in the ring.
    var stash: CompletionQueue

    @usableFromInline package let buffers: BufferPool
    let bufferRing: UnsafeMutablePointer<io_uring_buf_ring>
    let bufferMask: UInt32
    var bufferTail: UInt16

    @usableFromInline package let counters: RingCounters
    @usableFromInline package let waker: Waker
    /// The eventfd of `waker` when messages do not work, with a read to be armed on it.
    var wakeReadNeeded: Bool
    let wakeDescriptor: Int32
    let wakeValue: UnsafeMutablePointer<UInt64>

    deinit { tearDown() }

    @usableFromInline
    package mutating func give(_ queue: inout SubmissionQueue) {
        takeBackBuffers()
        filled = 0
        if wakeReadNeeded {
            prepareWakeRead()
            filled = 1
        }
        for index in 0..<queue.count {
            if filled == entryCount {
                enterFull()
                filled = 0
            }
            // io_uring knows a descriptor only while something is in flight on it.
            if unsafe queue.storage[index].kind == .release { continue }
            unsafe Self.prepare(
                queue.storage[index], entries + Int(filled), messages + Int(filled), isMultishot)
            // Always the same few entries, which stay in the cache: they are all consumed by the
            // time the call returns, whatever their place in the ring.
            unsafe submissionArray[Int((tail &+ filled) & entryMask)] = filled
            filled &+= 1
        }
        unsafe counters.values.pointee.submissions &+= UInt64(truncatingIfNeeded: queue.count)
        queue.removeAll()
    }

    @usableFromInline
    package var rest: URingAtRest? {
        guard stash.isEmpty, !isBehind else { return nil }
        return unsafe URingAtRest(
            flags: submissionFlags, submissionHead: control.pointee.sq.khead, submissionTail: tail &+ filled,
            completionsSeen: completionHead.pointee, completionTail: completionTail)
    }

    @usableFromInline
    package mutating func wait(_ wait: Wait) {
        switch wait {
        case .none:
            if filled == 0 && !hasWork { return }
            enter(filled, waitFor: 0, deadline: nil)
        case .until(let deadline):
            enter(filled, waitFor: stash.isEmpty ? 1 : 0, deadline: deadline)
        case .forever:
            enter(filled, waitFor: stash.isEmpty ? 1 : 0, deadline: nil)
        }
        filled = 0
        hasEntered = true
    }

    @usableFromInline
    @discardableResult
    package mutating func reap(into completions: inout CompletionQueue) -> Int {
        let before = completions.count
        if isDeferred && hasEntered { lookForMore() }
        hasEntered = false
        if !stash.isEmpty { unstash(into: &completions) }
        collect(into: &completions)
        if unsafe skein_load_relaxed(submissionFlags) & IORING_SQ_CQ_OVERFLOW != 0 {
            flushOverflow(into: &completions)
        }
        let reaped = completions.count &- before
        unsafe counters.values.pointee.completions &+= UInt64(truncatingIfNeeded: reaped)
        return reaped
    }
}

/// Safe: the words are the kernel's, in memory that is mapped as long as anyone can push to the loop.
@safe
@usableFromInline
package struct URingAtRest: RingAtRest, @unchecked Sendable {
    let flags: UnsafeMutablePointer<UInt32>
    let submissionHead: UnsafeMutablePointer<UInt32>
    /// As it is once everything was given.
    let submissionTail: UInt32
    let completionsSeen: UInt32
    let completionTail: UnsafeMutablePointer<UInt32>

    @usableFromInline
    package var state: RestState {
        // In this order: the kernel moves its head when the answers to what it took are in place.
        let isTaken = unsafe skein_load_acquire(submissionHead) == submissionTail
        if unsafe skein_load_acquire(completionTail) != completionsSeen { return .over }
        // Work that waits for the ring's own thread may be an answer, or nothing that ends the wait.
        let isIdle = unsafe skein_load_relaxed(flags) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW) == 0
        return isTaken && isIdle ? .settled : .busy
    }

    @usableFromInline
    package func send(_ submission: Submission) -> Int32? { Sockets.send(submission) }
}

extension URing {
    /// Something to fetch without waiting for it.
    var hasWork: Bool {
        let flags = unsafe skein_load_relaxed(submissionFlags)
        return isBehind || flags & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW) != 0
    }

    var ready: UInt32 {
        unsafe skein_load_acquire(completionTail) &- completionHead.pointee
    }

    mutating func collect(into completions: inout CompletionQueue) {
        var head = unsafe completionHead.pointee
        let tail = unsafe skein_load_acquire(completionTail)
        if head == tail { return }
        while head != tail {
            let answer = unsafe answers + Int(head & answerMask)
            let token = unsafe Token(rawValue: answer.pointee.user_data)
            let flags = unsafe answer.pointee.flags
            head &+= 1
            if token.rawValue >= Token.ignored.rawValue {
                // Not a machine's. A wake-up by descriptor has used up the read that was armed.
                if token == .wake && waker.way == .eventDescriptor { wakeReadNeeded = true }
                continue
            }
            let buffer = UInt16(truncatingIfNeeded: flags >> 16)
            if flags & skein_cqe_f_buffer() != 0 { buffers.lend(buffer) }
            // The kernel's bits are ours, changed over.
            let ours = UInt16(
                truncatingIfNeeded: (flags & skein_cqe_f_more()) >> 1
                    | (flags & skein_cqe_f_buffer()) << 1)
            completions.append(
                Completion(
                    token: token, result: unsafe answer.pointee.res, buffer: buffer,
                    flags: Completion.Flags(rawValue: ours)))
        }
        unsafe skein_store_release(completionHead, tail)
    }

    /// Recycled buffers into the kernel's ring of them.
    mutating func takeBackBuffers() {
        let header = unsafe buffers.header
        let count = unsafe header.pointee.recycledCount
        if count == 0 { return }
        let bytes = unsafe UInt32(truncatingIfNeeded: header.pointee.bufferBytes)
        for index in 0..<count {
            let identifier = unsafe header.pointee.recycled[index]
            unsafe skein_buffer_put(
                bufferRing, UInt32(bufferTail) & bufferMask, buffers.bytes(of: identifier), bytes,
                identifier)
            bufferTail &+= 1
        }
        unsafe header.pointee.recycledCount = 0
        unsafe skein_buffer_tail(bufferRing, bufferTail)
    }

    /// Static, because a method on a ring that is being changed gets a copy of all of it.
    private static func prepare(
        _ submission: Submission, _ entry: UnsafeMutablePointer<io_uring_sqe>,
        _ message: UnsafeMutablePointer<msghdr>, _ isMultishot: Bool
    ) {
        let fd = submission.fd
        let token = submission.token.rawValue
        let address = UInt64(submission.address)
        switch submission.kind {
        case .sendNow:
            unsafe skein_prepare(
                entry, skein_op_send(), skein_sqe_skip_success(), 0, fd, 0, address,
                submission.count, skein_send_now_flags(), token)
        case .sendVectorNow:
            unsafe message.pointee.msg_iov = UnsafeMutablePointer(bitPattern: submission.address)
            unsafe message.pointee.msg_iovlen = Int(submission.count)
            unsafe skein_prepare(
                entry, skein_op_sendmsg(), skein_sqe_skip_success(), 0, fd, 0,
                UInt64(UInt(bitPattern: message)), 1, skein_send_now_flags(), token)
        case .sendWhenPossible:
            unsafe skein_prepare(
                entry, skein_op_send(), 0, 0, fd, 0, address, submission.count,
                skein_msg_nosignal(), token)
        case .receive:
            unsafe skein_prepare(
                entry, skein_op_recv(), skein_sqe_buffer_select(), 0, fd, 0, 0, 0, 0, token)
        case .receiveMany:
            unsafe skein_prepare(
                entry, skein_op_recv(), skein_sqe_buffer_select(),
                isMultishot ? skein_recv_multishot() : 0, fd, 0, 0, 0, 0, token)
        case .accept:
            unsafe skein_prepare(
                entry, skein_op_accept(), 0, skein_accept_multishot(), fd, 0, 0, 0,
                UInt32(bitPattern: skein_sock_cloexec()), token)
        case .connect:
            unsafe skein_prepare(
                entry, skein_op_connect(), 0, 0, fd, UInt64(submission.count), address, 0, 0, token)
        case .pollReadable:
            unsafe skein_prepare(
                entry, skein_op_poll_add(), 0, 0, fd, 0, 0, 0, UInt32(POLLIN), token)
        case .cancel:
            let isAny = submission.token == .ignored
            unsafe skein_prepare(
                entry, skein_op_cancel(), skein_sqe_skip_success(), 0, isAny ? fd : -1, 0,
                isAny ? 0 : token, 0, isAny ? skein_cancel_fd_all() : skein_cancel_all(),
                Token.ignored.rawValue)
        case .release:
            unsafe skein_prepare(
                entry, skein_op_nop(), skein_sqe_skip_success(), 0, -1, 0, 0, 0, 0,
                Token.ignored.rawValue)
        case .close:
            unsafe skein_prepare(
                entry, skein_op_close(), skein_sqe_skip_success(), 0, fd, 0, 0, 0, 0,
                Token.ignored.rawValue)
        }
    }

    /// Publishes `filled` entries and enters the kernel until it has taken them all.
    mutating func enter(_ filled: UInt32, waitFor: UInt32, deadline: Instant?) {
        tail &+= filled
        unsafe skein_store_release(submissionTail, tail)
        let result: Int32
        if let deadline, waitFor != 0 {
            result = enter(filled, waitFor: waitFor, until: deadline)
        } else {
            result = skein_enter(
                enterDescriptor, filled, waitFor, enterFlags | IORING_ENTER_GETEVENTS, nil, 0)
        }
        unsafe counters.values.pointee.enters &+= 1
        if result == Int32(bitPattern: filled) { return }
        enterAgain(filled, result)
    }

    mutating func enter(_ filled: UInt32, waitFor: UInt32, until deadline: Instant) -> Int32 {
        var flags = enterFlags | IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG
        if hasAbsoluteTime {
            flags |= skein_enter_abs_timer()
            return skein_enter_until(enterDescriptor, filled, waitFor, flags, deadline.nanoseconds)
        }
        let distance = max(0, deadline.nanoseconds(since: .now()))
        return skein_enter_until(enterDescriptor, filled, waitFor, flags, distance)
    }

    /// One call runs only the first twenty deferred completions or so (kernel 6.13): where there
    /// were as many, there are likely more, and a turn that holds more can send more at once. Not
    /// without end: past a hundred or two, what was received falls out of the cache before it is
    /// answered (echo over 1,000 connections took 15 % longer unbounded).
    mutating func lookForMore() {
        var seen = ready
        isBehind = false
        if seen < 16 { return }
        while true {
            if seen >= turnCompletionsMax {
                isBehind = true
                return
            }
            _ = skein_enter(
                enterDescriptor, 0, 0, enterFlags | IORING_ENTER_GETEVENTS, nil, 0)
            unsafe counters.values.pointee.enters &+= 1
            let now = ready
            if now &- seen < 16 { return }
            seen = now
        }
    }
}
