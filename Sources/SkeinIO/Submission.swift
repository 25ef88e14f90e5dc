// What a machine asks of the kernel and what the kernel answers, as plain values: a machine's life
// is a list of them, hence recordable, replayable and simulable. Three tenants stand behind:
// io_uring, epoll, and a simulator.

@frozen
@usableFromInline
package struct Submission: Sendable {
    @frozen
    @usableFromInline
    package enum Kind: UInt8, Sendable {
        /// Accept until told otherwise. Each completion's result is a new descriptor.
        case accept
        /// One receive into a pooled buffer.
        case receive
        /// Receives into pooled buffers until a completion comes without `hasMore`.
        case receiveMany
        /// The coalesced send of one turn: all or part now, never later. A full send gives *no*
        /// completion; a partial one gives its byte count, a failure its `-errno` (`-EAGAIN` where
        /// nothing fitted). All by the machine's next `submitted`, when the bytes may be reused.
        case sendNow
        /// As `sendNow`, over `count` iovecs at `address`.
        case sendVectorNow
        /// A send that waits in the kernel for room. Completes once, with the bytes that went out
        /// (often fewer than asked). The bytes stay untouched until then.
        case sendWhenPossible
        /// Connects `fd` to the `sockaddr` at `address` (`count` bytes), untouched until complete.
        case connect
        /// Completes once when `fd` is readable.
        case pollReadable
        /// Cancels what is in flight on `fd` with this token, or with any if the token is
        /// `.ignored`; each of these completes (`-ECANCELED` or its result). Has no completion of
        /// its own. Name the token where there are many descriptors: io_uring finds it by a hash,
        /// but looks through everything it has armed for a descriptor (58 µs among 9,000).
        case cancel
        /// `fd` leaves this ring, for another thread's, with nothing in flight on it. Has no
        /// completion; it may be used elsewhere from `submitted` on.
        case release
        /// Closes `fd`, with nothing in flight on it. Has no completion.
        case close
    }

    @usableFromInline package var kind: Kind
    @usableFromInline package var fd: Int32
    @usableFromInline package var count: UInt32
    @usableFromInline package var address: UInt
    @usableFromInline package var token: Token

    @inlinable
    package init(_ kind: Kind, fd: Int32, token: Token, address: UInt = 0, count: UInt32 = 0) {
        self.kind = kind
        self.fd = fd
        self.count = count
        self.address = address
        self.token = token
    }
}

@frozen
@usableFromInline
package struct Completion: Sendable {
    @usableFromInline package var token: Token
    /// Bytes, a descriptor, or `-errno`.
    @usableFromInline package var result: Int32
    /// The pooled buffer that holds the received bytes, to be recycled by whoever handles this.
    @usableFromInline package var buffer: UInt16
    @usableFromInline package var flags: Flags

    @frozen
    @usableFromInline
    package struct Flags: OptionSet, Sendable {
        @usableFromInline package let rawValue: UInt16
        @inlinable package init(rawValue: UInt16) { self.rawValue = rawValue }
        /// The request stays armed and will complete again.
        @inlinable package static var hasMore: Flags { Flags(rawValue: 1) }
        /// `buffer` is valid.
        @inlinable package static var hasBuffer: Flags { Flags(rawValue: 2) }
    }

    @inlinable
    package init(token: Token, result: Int32, buffer: UInt16 = 0, flags: Flags = []) {
        self.token = token
        self.result = result
        self.buffer = buffer
        self.flags = flags
    }

    @inlinable package var hasMore: Bool { flags.contains(.hasMore) }
    @inlinable package var hasBuffer: Bool { flags.contains(.hasBuffer) }
}
