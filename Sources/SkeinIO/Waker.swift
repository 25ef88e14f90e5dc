// How another thread wakes a loop that sleeps in its ring.

private import Glibc
private import CSkein

@usableFromInline
package struct Waker: Sendable, Equatable {
    package enum Way: UInt8, Sendable {
        /// Nobody to wake: for inboxes that are polled, as in a simulation.
        case nothing
        /// A message straight into an io_uring (kernel 6.13).
        case message
        case eventDescriptor
    }

    package let way: Way
    package let fd: Int32

    package init(way: Way, fd: Int32) {
        self.way = way
        self.fd = fd
    }

    package static var none: Waker { Waker(way: .nothing, fd: -1) }

    /// From any thread, while the ring lives.
    package func wake() {
        switch way {
        case .nothing:
            return
        case .message:
            // Short of memory for a moment; the sleeper must not miss it, so try until it gets
            // through.
            while true {
                let result = skein_send_message(fd, Token.wake.rawValue)
                guard result == -ENOMEM || result == -EAGAIN || result == -EINTR else { return }
                sched_yield()
            }
        case .eventDescriptor:
            // EAGAIN would mean 2⁶⁴ - 2 wake-ups unread, which is awake enough.
            eventfd_write(fd, 1)
        }
    }
}
