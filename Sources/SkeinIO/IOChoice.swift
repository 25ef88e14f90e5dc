// Which ring to use: what was asked for, and what this kernel and this container allow.

package enum RingKind: String, Sendable {
    case uring
    case epoll
}

package enum RingAvailability: Sendable, Equatable {
    case available
    /// Forbidden or unknown: epoll will do.
    case denied(SystemError)
    /// Allowed, but not now: an error to report, not to work around.
    case failed(SystemError)
}

package enum IOChoice: String, Sendable, CaseIterable {
    case auto
    case uring
    case epoll

    /// - Returns: the kind to use, and for `auto` why it is not io_uring.
    package func resolve() throws(RingError) -> (kind: RingKind, denied: SystemError?) {
        if self == .epoll { return (.epoll, nil) }
        switch URing.probe() {
        case .available:
            return (.uring, nil)
        case .denied(let error):
            if self == .uring { throw .denied(error) }
            return (.epoll, error)
        case .failed(let error):
            throw .exhausted(error)
        }
    }
}
