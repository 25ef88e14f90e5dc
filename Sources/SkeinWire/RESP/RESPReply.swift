// One reply of Redis as a tree that is looked at in place. The reply owns its memory and cannot be
// copied; the values inside are lent out and cannot be kept, so none can outlive it.

import CHiredis

// Safe: the only owner of a reply that hiredis built, freed once.
@safe package struct RESPReply: ~Copyable {
    private let root: UnsafeMutablePointer<redisReply>

    init(unsafe root: UnsafeMutablePointer<redisReply>) {
        unsafe self.root = root
    }

    deinit {
        unsafe freeReplyObject(root)
    }

    package var value: RESPValue {
        _read { yield unsafe RESPValue(unsafe: root) }
    }
}

// Safe: only RESPReply and RESPValue make these, and only to lend them for as long as the reply itself is
// borrowed; a value that cannot be copied cannot be kept by whoever borrows it.
@safe package struct RESPValue: ~Copyable {
    package enum Kind: Equatable, Sendable {
        case string
        /// A simple string: `+OK`.
        case status
        case error
        case integer
        case array
        case null
    }

    private let reply: UnsafePointer<redisReply>

    fileprivate init(unsafe reply: UnsafePointer<redisReply>) {
        unsafe self.reply = reply
    }

    package var kind: Kind {
        switch unsafe reply.pointee.type {
        case REDIS_REPLY_STRING: .string
        case REDIS_REPLY_STATUS: .status
        case REDIS_REPLY_ERROR: .error
        case REDIS_REPLY_INTEGER: .integer
        case REDIS_REPLY_ARRAY: .array
        case REDIS_REPLY_NIL: .null
        // RESP3's types, which a newer hiredis would build if we asked the server for them.
        default: .null
        }
    }

    package var isNull: Bool { kind == .null }

    /// Nil unless it is an integer.
    package var integer: Int64? {
        kind == .integer ? unsafe Int64(reply.pointee.integer) : nil
    }

    /// Elements of an array; 0 for everything else.
    package var count: Int {
        kind == .array ? unsafe Int(reply.pointee.elements) : 0
    }

    package subscript(position: Int) -> RESPValue {
        _read {
            precondition(position >= 0 && position < count)
            // An array of `elements` has as many replies, none of them NULL.
            yield unsafe RESPValue(unsafe: reply.pointee.element[position]!)
        }
    }

    /// Lends the bytes of a string, status or error; none for everything else.
    package borrowing func withBytes<R: ~Copyable, E: Error>(
        _ body: (Span<UInt8>) throws(E) -> R
    ) throws(E) -> R {
        var bytes = unsafe UnsafeRawBufferPointer(start: nil, count: 0)
        switch kind {
        case .string, .status, .error:
            unsafe bytes = UnsafeRawBufferPointer(
                start: reply.pointee.str, count: reply.pointee.len)
        case .integer, .array, .null:
            break
        }
        let view = unsafe bytes.bindMemory(to: UInt8.self)
        return try body(unsafe Span(_unsafeElements: view))
    }

    /// A string, status or error as text, wrong UTF-8 repaired; nil for everything else.
    package var text: String? {
        switch kind {
        case .string, .status, .error:
            withBytes { bytes in
                unsafe bytes.withUnsafeBufferPointer { unsafe String(decoding: $0, as: UTF8.self) }
            }
        case .integer, .array, .null: nil
        }
    }
}
