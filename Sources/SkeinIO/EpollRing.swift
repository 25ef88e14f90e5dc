// The epoll tenant of `Ring`, for where io_uring is forbidden or unknown. It gives the same
// completions: what io_uring would do in the kernel, this does by non-blocking calls, tried first
// and waited for only when they would block. Every descriptor is registered once, edge-triggered
// for both directions, and what its edges have told is remembered in a table.

import CSkein
import Glibc

/// Safe: the table is indexed by checked descriptors only, the events by what the kernel returned.
@safe
@usableFromInline
package struct EpollRing: Ring, ~Copyable {
    /// What is known and wanted of one descriptor. All zero: nothing.
    struct Descriptor {
        var readToken: UInt64 = 0
        var writeToken: UInt64 = 0
        /// Of the send in flight.
        var address: UInt = 0
        var count: UInt32 = 0
        var facts: Facts = []
        var reading: Reading = .nothing
        var writing: Writing = .nothing

        var isIdle: Bool { reading == .nothing && writing == .nothing }
    }

    struct Facts: OptionSet {
        let rawValue: UInt8
        static var registered: Facts { Facts(rawValue: 1) }
        /// A read would block, until an edge says otherwise.
        static var unreadable: Facts { Facts(rawValue: 2) }
        static var unwritable: Facts { Facts(rawValue: 4) }
        /// The peer has ended or an error waits: reads go on until they say so.
        static var ended: Facts { Facts(rawValue: 8) }
        /// In the list of those to be served.
        static var queued: Facts { Facts(rawValue: 16) }
    }

    enum Reading: UInt8 { case nothing, accept, receive, receiveMany, poll }
    enum Writing: UInt8 { case nothing, send, connect }

    static var eventsMax: Int32 { 512 }
    /// Reads on one descriptor in a row, and accepts, before others have their turn.
    static var readsMax: Int { 4 }
    static var acceptsMax: Int { 64 }

    let epoll: Int32
    let wakeDescriptor: Int32
    let events: UnsafeMutablePointer<epoll_event>
    let descriptors: UnsafeMutablePointer<Descriptor>
    let descriptorsMax: Int
    /// To be served without waiting for an edge: just asked for, or not finished with last turn.
    var queue: DescriptorQueue
    var serving: DescriptorQueue
    var done: CompletionQueue
    var hasFineTimeouts: Bool
    /// Of the last wait, not looked at yet.
    var eventCount: Int32 = 0

    @usableFromInline package let buffers: BufferPool
    @usableFromInline package let counters: RingCounters
    @usableFromInline package let waker: Waker

    @usableFromInline
    package static func make(_ options: RingOptions) throws(RingError) -> EpollRing {
        try EpollRing(options)
    }

    private init(_ options: RingOptions) throws(RingError) {
        let epoll = epoll_create1(skein_epoll_cloexec())
        guard epoll >= 0 else { throw RingError(call: "epoll_create1", errno: errno) }
        let wake = eventfd(0, skein_eventfd_flags())
        guard wake >= 0 else {
            let error = RingError(call: "eventfd", errno: errno)
            Sockets.close(epoll)
            throw error
        }
        // Edge-triggered and never read: each write is an edge, and 2⁶⁴ of them will not happen.
        let result = skein_epoll_control(epoll, EPOLL_CTL_ADD, wake, skein_epoll_wake_events())
        guard result == 0 else {
            Sockets.close(epoll)
            Sockets.close(wake)
            throw RingError(call: "epoll_ctl", errno: -result)
        }
        let descriptorsMax = max(1 << 20, min(1 << 24, Sockets.fileDescriptorLimit().hard))
        let bytes = descriptorsMax * MemoryLayout<Descriptor>.stride
        guard let memory = unsafe skein_reserve(bytes) else {
            Sockets.close(epoll)
            Sockets.close(wake)
            throw RingError(call: "mmap", errno: ENOMEM)
        }
        unsafe descriptors = memory.bindMemory(to: Descriptor.self, capacity: descriptorsMax)
        unsafe events = .allocate(capacity: Int(Self.eventsMax))
        self.descriptorsMax = descriptorsMax
        self.epoll = epoll
        wakeDescriptor = wake
        done = CompletionQueue()
        buffers = BufferPool.make(count: options.buffers, bufferBytes: options.bufferBytes)
        counters = RingCounters.make()
        waker = Waker(way: .eventDescriptor, fd: wake)
        queue = DescriptorQueue()
        serving = DescriptorQueue()
        hasFineTimeouts = true
    }

    deinit {
        Sockets.close(epoll)
        Sockets.close(wakeDescriptor)
        unsafe skein_release(descriptors, descriptorsMax * MemoryLayout<Descriptor>.stride)
        unsafe events.deallocate()
        buffers.destroy()
        counters.destroy()
    }

    @usableFromInline
    package mutating func give(_ queue: inout SubmissionQueue) {
        // Edges that nobody has looked at: of descriptors that may be closed here.
        if eventCount > 0 { serveEvents() }
        for index in 0..<queue.count { unsafe perform(queue.storage[index]) }
        unsafe counters.values.pointee.submissions &+= UInt64(truncatingIfNeeded: queue.count)
        queue.removeAll()
        serveQueued()
    }

    @usableFromInline
    package var rest: EpollRingAtRest? {
        done.isEmpty && queue.isEmpty && eventCount == 0 ? EpollRingAtRest() : nil
    }

    @usableFromInline
    @discardableResult
    package mutating func reap(into completions: inout CompletionQueue) -> Int {
        serveEvents()
        let count = done.count
        unsafe counters.values.pointee.completions &+= UInt64(truncatingIfNeeded: count)
        if completions.isEmpty {
            swap(&completions, &done)
        } else {
            for index in 0..<count { completions.append(done[index]) }
            done.removeAll()
        }
        return count
    }
}

/// It makes its calls before it waits. Whether something has come only the kernel knows.
@usableFromInline
package struct EpollRingAtRest: RingAtRest {
    @usableFromInline package var state: RestState { .settled }

    @usableFromInline
    package func send(_ submission: Submission) -> Int32? { Sockets.send(submission) }
}

// Submitting.
extension EpollRing {
    private mutating func perform(_ submission: Submission) {
        let fd = submission.fd
        guard fd >= 0 && Int(fd) < descriptorsMax else {
            fail(submission, EBADF)
            return
        }
        switch submission.kind {
        case .sendNow, .sendVectorNow:
            if let shortfall = Sockets.send(submission) {
                done.append(Completion(token: submission.token, result: shortfall))
            }
        case .sendWhenPossible:
            let descriptor = unsafe descriptors + Int(fd)
            unsafe precondition(descriptor.pointee.writing == .nothing, "two writes in flight")
            unsafe descriptor.pointee.writeToken = submission.token.rawValue
            unsafe descriptor.pointee.address = submission.address
            unsafe descriptor.pointee.count = submission.count
            unsafe descriptor.pointee.writing = .send
            unsafe serveWriting(fd, descriptor)
        case .receive: arm(submission, .receive)
        case .receiveMany: arm(submission, .receiveMany)
        case .pollReadable: arm(submission, .poll)
        case .accept:
            // Alone among these it cannot be told not to block call by call.
            setNonBlocking(fd)
            arm(submission, .accept)
        case .connect: connect(submission)
        case .cancel: cancel(fd, submission.token)
        case .release:
            let descriptor = unsafe descriptors + Int(fd)
            unsafe precondition(descriptor.pointee.isIdle, "released with something in flight")
            unsafe leave(fd, descriptor)
        case .close:
            let descriptor = unsafe descriptors + Int(fd)
            unsafe precondition(descriptor.pointee.isIdle, "closed with something in flight")
            unsafe forget(descriptor)
            Sockets.close(fd)
        }
    }

    private mutating func arm(_ submission: Submission, _ reading: Reading) {
        let descriptor = unsafe descriptors + Int(submission.fd)
        unsafe precondition(descriptor.pointee.reading == .nothing, "two reads in flight")
        unsafe descriptor.pointee.readToken = submission.token.rawValue
        unsafe descriptor.pointee.reading = reading
        if unsafe !descriptor.pointee.facts.contains(.unreadable) {
            unsafe enqueue(submission.fd, descriptor)
        }
    }

    private mutating func fail(_ submission: Submission, _ error: Int32) {
        switch submission.kind {
        case .cancel, .release, .close: break
        case .accept, .receive, .receiveMany, .sendNow, .sendVectorNow, .sendWhenPossible, .connect,
            .pollReadable:
            done.append(Completion(token: submission.token, result: -error))
        }
    }

    private mutating func connect(_ submission: Submission) {
        let fd = submission.fd
        let descriptor = unsafe descriptors + Int(fd)
        unsafe precondition(descriptor.pointee.writing == .nothing, "two writes in flight")
        setNonBlocking(fd)
        let address = unsafe UnsafePointer<sockaddr>(bitPattern: submission.address)
        let result = unsafe Glibc.connect(fd, address, submission.count)
        if result < 0 && errno == EINPROGRESS {
            unsafe descriptor.pointee.writeToken = submission.token.rawValue
            unsafe descriptor.pointee.writing = .connect
            unsafe becameUnwritable(fd, descriptor)
        } else {
            done.append(Completion(token: submission.token, result: result < 0 ? -errno : 0))
        }
    }

    private mutating func cancel(_ fd: Int32, _ token: Token) {
        let descriptor = unsafe descriptors + Int(fd)
        let isAny = token == .ignored
        let reads = unsafe isAny || descriptor.pointee.readToken == token.rawValue
        if reads, unsafe descriptor.pointee.reading != .nothing {
            unsafe finishReading(descriptor, -ECANCELED)
        }
        let writes = unsafe isAny || descriptor.pointee.writeToken == token.rawValue
        if writes, unsafe descriptor.pointee.writing != .nothing {
            unsafe finishWriting(descriptor, -ECANCELED)
        }
        if isAny { unsafe leave(fd, descriptor) }
    }

    /// It may be on its way to another thread, whose epoll it will be in.
    private func leave(_ fd: Int32, _ descriptor: UnsafeMutablePointer<Descriptor>) {
        if unsafe descriptor.pointee.facts.contains(.registered) {
            _ = skein_epoll_control(epoll, EPOLL_CTL_DEL, fd, 0)
        }
        unsafe forget(descriptor)
    }

    private func setNonBlocking(_ fd: Int32) {
        let flags = skein_get_flags(fd)
        if flags >= 0 && flags & O_NONBLOCK == 0 { _ = skein_set_flags(fd, flags | O_NONBLOCK) }
    }

    func forget(_ descriptor: UnsafeMutablePointer<Descriptor>) {
        let isQueued = unsafe descriptor.pointee.facts.contains(.queued)
        unsafe descriptor.pointee = Descriptor()
        if isQueued { unsafe descriptor.pointee.facts = .queued }
    }
}
