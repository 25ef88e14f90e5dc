// What an epoll ring does when a descriptor may be ready: the calls that io_uring makes inside the
// kernel, until they would block.

import CSkein
import Glibc

extension EpollRing {
    mutating func enqueue(_ fd: Int32, _ descriptor: UnsafeMutablePointer<Descriptor>) {
        if unsafe descriptor.pointee.facts.contains(.queued) { return }
        unsafe descriptor.pointee.facts.insert(.queued)
        queue.append(fd)
    }

    mutating func serveQueued() {
        if queue.isEmpty { return }
        swap(&queue, &serving)
        for index in 0..<serving.count {
            let fd = serving[index]
            let descriptor = unsafe descriptors + Int(fd)
            unsafe descriptor.pointee.facts.remove(.queued)
            unsafe serveReading(fd, descriptor)
        }
        serving.removeAll()
    }

    @usableFromInline
    package mutating func wait(_ wait: Wait) {
        var nanoseconds: Int64 = 0
        if done.isEmpty && queue.isEmpty {
            switch wait {
            case .none: nanoseconds = 0
            case .forever: nanoseconds = -1
            case .until(let deadline): nanoseconds = max(0, deadline.nanoseconds(since: .now()))
            }
        }
        var count = unsafe skein_epoll_wait(
            epoll, events, Self.eventsMax, nanoseconds, hasFineTimeouts)
        if count == -ENOSYS && hasFineTimeouts {
            hasFineTimeouts = false
            count = unsafe skein_epoll_wait(epoll, events, Self.eventsMax, nanoseconds, false)
        }
        unsafe counters.values.pointee.enters &+= 1
        // EINTR is a turn without events; anything else would be our own doing.
        precondition(count >= 0 || count == -EINTR, "epoll_wait failed")
        eventCount = max(0, count)
    }

    /// What the last wait brought.
    mutating func serveEvents() {
        var index: Int32 = 0
        defer { eventCount = 0 }
        while index < eventCount {
            let fd = unsafe skein_epoll_fd(events, index)
            let happened = unsafe skein_epoll_events(events, index)
            index += 1
            if fd == wakeDescriptor { continue }
            let descriptor = unsafe descriptors + Int(fd)
            if happened & skein_epoll_ended() != 0 {
                unsafe descriptor.pointee.facts.insert(.ended)
            }
            if happened & skein_epoll_writable() != 0 {
                unsafe descriptor.pointee.facts.remove(.unwritable)
                unsafe serveWriting(fd, descriptor)
            }
            if happened & skein_epoll_readable() != 0 {
                unsafe descriptor.pointee.facts.remove(.unreadable)
                unsafe serveReading(fd, descriptor)
            }
        }
    }

    mutating func serveWriting(
        _ fd: Int32, _ descriptor: UnsafeMutablePointer<Descriptor>
    ) {
        switch unsafe descriptor.pointee.writing {
        case .nothing: break
        case .send:
            if unsafe descriptor.pointee.facts.contains(.unwritable) { return }
            let address = unsafe UnsafeRawPointer(bitPattern: descriptor.pointee.address)
            let sent = unsafe send(fd, address, Int(descriptor.pointee.count), skein_send_flags())
            if sent < 0 && errno == EAGAIN {
                unsafe becameUnwritable(fd, descriptor)
                return
            }
            unsafe finishWriting(descriptor, sent < 0 ? -errno : Int32(truncatingIfNeeded: sent))
        case .connect:
            unsafe finishWriting(descriptor, -Sockets.pendingError(of: fd))
        }
    }

    private mutating func serveReading(
        _ fd: Int32, _ descriptor: UnsafeMutablePointer<Descriptor>
    ) {
        if unsafe descriptor.pointee.facts.contains(.unreadable) { return }
        switch unsafe descriptor.pointee.reading {
        case .nothing: break
        case .receive, .receiveMany: unsafe receive(fd, descriptor)
        case .accept: unsafe accept(fd, descriptor)
        case .poll:
            var question = pollfd(fd: fd, events: Int16(POLLIN), revents: 0)
            if unsafe poll(&question, 1, 0) > 0 {
                unsafe finishReading(descriptor, Int32(question.revents))
            } else {
                unsafe becameUnreadable(fd, descriptor)
            }
        }
    }

    private mutating func receive(_ fd: Int32, _ descriptor: UnsafeMutablePointer<Descriptor>) {
        let token = unsafe Token(rawValue: descriptor.pointee.readToken)
        let isMany = unsafe descriptor.pointee.reading == .receiveMany
        for _ in 0..<Self.readsMax {
            guard let buffer = buffers.takeRecycled() else {
                unsafe finishReading(descriptor, -ENOBUFS)
                return
            }
            let bytes = unsafe buffers.bytes(of: buffer)
            let received = unsafe recv(fd, bytes, buffers.bufferBytes, skein_receive_flags())
            guard received > 0 else {
                let error = errno
                buffers.putBack(buffer)
                if received < 0 && error == EAGAIN {
                    unsafe becameUnreadable(fd, descriptor)
                } else {
                    unsafe finishReading(descriptor, received < 0 ? -error : 0)
                }
                return
            }
            buffers.lend(buffer)
            let result = Int32(truncatingIfNeeded: received)
            if isMany {
                done.append(
                    Completion(
                        token: token, result: result, buffer: buffer,
                        flags: [.hasBuffer, .hasMore]))
            } else {
                unsafe descriptor.pointee.reading = .nothing
                done.append(
                    Completion(token: token, result: result, buffer: buffer, flags: .hasBuffer))
            }
            // Less than there was room for: it is empty now, which saves asking again. Unless the
            // peer has ended: that has to be read as well.
            let isShort = received < buffers.bufferBytes
            let isEmpty = unsafe isShort && !descriptor.pointee.facts.contains(.ended)
            if isEmpty { unsafe becameUnreadable(fd, descriptor) }
            if isEmpty || !isMany { return }
        }
        unsafe enqueue(fd, descriptor)
    }

    private mutating func accept(_ fd: Int32, _ descriptor: UnsafeMutablePointer<Descriptor>) {
        let token = unsafe Token(rawValue: descriptor.pointee.readToken)
        for _ in 0..<Self.acceptsMax {
            let accepted = skein_accept(fd)
            if accepted >= 0 {
                // A number may come back that was closed behind our back.
                if Int(accepted) < descriptorsMax {
                    unsafe forget(descriptors + Int(accepted))
                }
                done.append(Completion(token: token, result: accepted, flags: .hasMore))
                continue
            }
            switch -accepted {
            case EAGAIN:
                unsafe becameUnreadable(fd, descriptor)
                return
            case EINTR, ECONNABORTED:
                continue
            default:
                unsafe finishReading(descriptor, accepted)
                return
            }
        }
        unsafe enqueue(fd, descriptor)
    }

    /// From here on an edge will tell.
    private mutating func becameUnreadable(
        _ fd: Int32, _ descriptor: UnsafeMutablePointer<Descriptor>
    ) {
        unsafe descriptor.pointee.facts.insert(.unreadable)
        let error = unsafe register(fd, descriptor)
        if error == 0 { return }
        unsafe descriptor.pointee.facts.remove(.unreadable)
        if unsafe descriptor.pointee.reading != .nothing { unsafe finishReading(descriptor, error) }
    }

    mutating func becameUnwritable(
        _ fd: Int32, _ descriptor: UnsafeMutablePointer<Descriptor>
    ) {
        unsafe descriptor.pointee.facts.insert(.unwritable)
        let error = unsafe register(fd, descriptor)
        if error == 0 { return }
        unsafe descriptor.pointee.facts.remove(.unwritable)
        if unsafe descriptor.pointee.writing != .nothing { unsafe finishWriting(descriptor, error) }
    }

    /// Registering tells at once what is already so: no edge is lost between a call that would
    /// have blocked and this.
    private func register(_ fd: Int32, _ descriptor: UnsafeMutablePointer<Descriptor>) -> Int32 {
        if unsafe descriptor.pointee.facts.contains(.registered) { return 0 }
        let events = skein_epoll_stream_events()
        var result = skein_epoll_control(epoll, EPOLL_CTL_ADD, fd, events)
        // Left behind by a former owner of the number: asking anew tells what is so as well.
        if result == -EEXIST { result = skein_epoll_control(epoll, EPOLL_CTL_MOD, fd, events) }
        if result == 0 { unsafe descriptor.pointee.facts.insert(.registered) }
        return result
    }

    mutating func finishReading(
        _ descriptor: UnsafeMutablePointer<Descriptor>, _ result: Int32
    ) {
        unsafe descriptor.pointee.reading = .nothing
        let token = unsafe Token(rawValue: descriptor.pointee.readToken)
        done.append(Completion(token: token, result: result))
    }

    mutating func finishWriting(
        _ descriptor: UnsafeMutablePointer<Descriptor>, _ result: Int32
    ) {
        unsafe descriptor.pointee.writing = .nothing
        let token = unsafe Token(rawValue: descriptor.pointee.writeToken)
        done.append(Completion(token: token, result: result))
    }
}
