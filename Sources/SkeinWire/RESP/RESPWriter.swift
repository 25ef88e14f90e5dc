// Commands on their way to Redis, in their general form: formatted by hiredis into a buffer that grows.
// The hot ones are written by RESPCommand instead.

import CHiredis

/// A pipeline of commands, in order.
package struct RESPWriter: ~Copyable {
    private var buffer: [UInt8] = []

    package init() {}

    package var count: Int { buffer.count }
    package var isEmpty: Bool { buffer.isEmpty }

    package mutating func append(_ arguments: String...) {
        append(arguments.map { Array($0.utf8) })
    }

    /// One command: its name, then its arguments, any bytes in them.
    package mutating func append(_ arguments: [[UInt8]]) {
        precondition(!arguments.isEmpty && arguments.count <= Int(Int32.max))
        // One run of memory with all arguments, so that one pointer's lifetime covers them.
        let joined = Array(arguments.joined())
        var lengths = arguments.map(\.count)
        // Safe: hiredis reads each argument within `joined`, and only during the call.
        unsafe joined.withUnsafeBytes { bytes in
            let empty: StaticString = ""
            let start = unsafe bytes.baseAddress ?? UnsafeRawPointer(empty.utf8Start)
            var offset = 0
            var pointers: [UnsafePointer<CChar>?] = unsafe lengths.map { length in
                defer { offset += length }
                return unsafe (start + offset).assumingMemoryBound(to: CChar.self)
            }
            unsafe format(&pointers, &lengths)
        }
    }

    package borrowing func withBytes<R: ~Copyable, E: Error>(
        _ body: (Span<UInt8>) throws(E) -> R
    ) throws(E) -> R {
        try body(buffer.span)
    }

    /// Forgets the commands and keeps the memory.
    package mutating func removeAll() {
        buffer.removeAll(keepingCapacity: true)
    }

    private mutating func format(
        _ pointers: inout [UnsafePointer<CChar>?], _ lengths: inout [Int]
    ) {
        var command: sds?
        let count = unsafe Int32(pointers.count)
        let length = unsafe redisFormatSdsCommandArgv(&command, count, &pointers, lengths)
        guard length >= 0, let command = unsafe command else {
            preconditionFailure("out of memory")
        }
        unsafe buffer.append(
            contentsOf: UnsafeRawBufferPointer(start: command, count: Int(length)))
        unsafe redisFreeSdsCommand(command)
    }
}
