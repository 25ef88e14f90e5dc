// Decompresses messages of permessage-deflate (RFC 7692 §7.2.2) piece by piece, so that whoever takes the
// pieces can stop a message that grows too big before it exists. What a peer sends can only end in an
// error; after one, the inflater takes nothing until it is reset.

import CZlib

// Safe: zlib is told the bounds of what it reads and writes, and keeps neither after a call; scratch
// memory is the caller's word, and said to be unsafe there.
@safe package struct Inflater: ~Copyable {
    private let stream = ZlibStream()
    private var position = Position.betweenStreams

    private enum Position {
        /// Before a message's first byte, or right after a block that said it was the last.
        case betweenStreams
        case insideStream
        case failed
    }

    /// - Parameter windowBits: the peer's, 8 to 15.
    package init(windowBits: UInt8) {
        precondition(DeflateSettings.windowBits.contains(windowBits))
        // Many a zlib compresses with 9 where it was told 8.
        let status = unsafe inflateInit2_(
            stream.pointer, -Int32(max(windowBits, 9)), ZLIB_VERSION,
            Int32(MemoryLayout<z_stream>.size))
        precondition(status == Z_OK, "out of memory")
    }

    deinit {
        _ = unsafe inflateEnd(stream.pointer)
    }

    /// Takes the next bytes of a message, and hands on what they decompress to, in order and in pieces of
    /// 1 to `scratch.count` bytes. Without context takeover call ``reset()`` before each message.
    /// - Parameters:
    ///   - isLast: the message ends with `input`.
    ///   - scratch: at least one byte; nothing in it is needed between calls.
    ///   - body: throws `.messageTooBig` when it has seen enough.
    /// - Throws: `.deflateCorrupt`, or what `body` throws. Only ``reset()`` leads on from there.
    package mutating func inflate(
        _ input: Span<UInt8>, isLast: Bool, scratch: UnsafeMutableBufferPointer<UInt8>,
        _ body: (Span<UInt8>) throws(WebSocketError) -> Void
    ) throws(WebSocketError) {
        guard position != .failed else { throw .deflateCorrupt }
        var next = position
        // Stands if anything below throws.
        position = .failed
        try unsafe run(input, from: &next, scratch: scratch, body)
        // A message may end with a block that said it was the last. The RFC asks for an empty one after
        // it, yet not everybody sends that.
        if isLast && next == .insideStream {
            let tail: InlineArray<4, UInt8> = [0x00, 0x00, 0xFF, 0xFF]
            try unsafe run(tail.span, from: &next, scratch: scratch, body)
            guard next == .betweenStreams || isAtBlockStart else { throw .deflateCorrupt }
            next = .betweenStreams
        }
        position = next
    }

    /// Forgets the message under way, all earlier ones, and any error.
    package mutating func reset() {
        let status = unsafe inflateReset(stream.pointer)
        precondition(status == Z_OK)
        position = .betweenStreams
    }

    private func run(
        _ input: Span<UInt8>, from position: inout Position,
        scratch: UnsafeMutableBufferPointer<UInt8>,
        _ body: (Span<UInt8>) throws(WebSocketError) -> Void
    ) throws(WebSocketError) {
        guard input.count > 0 else { return }
        guard let room = scratch.baseAddress, scratch.count > 0 else {
            preconditionFailure("scratch memory of no bytes")
        }
        let roomBytes = min(scratch.count, Int(Int32.max))
        try unsafe input.withUnsafeBufferPointer { source throws(WebSocketError) in
            let target = unsafe stream.pointer
            // zlib never writes to what it reads, it only forgot to say so.
            unsafe target.pointee.next_in = UnsafeMutablePointer(mutating: source.baseAddress)
            unsafe target.pointee.avail_in = UInt32(source.count)
            // Each turn takes a byte, gives one, or is the last.
            while true {
                unsafe target.pointee.next_out = room
                unsafe target.pointee.avail_out = UInt32(roomBytes)
                let status = unsafe CZlib.inflate(target, Z_SYNC_FLUSH)
                let left = unsafe Int(target.pointee.avail_out)
                if left < roomBytes {
                    let piece = unsafe Span(_unsafeStart: room, count: roomBytes - left)
                    try body(piece)
                }
                let isEmpty = unsafe target.pointee.avail_in == 0
                switch status {
                case Z_OK:
                    position = .insideStream
                    // With no room left there may be more to come of what was taken.
                    if isEmpty && left > 0 { return }
                case Z_STREAM_END:
                    position = .betweenStreams
                    // Keeps the window: a peer that began anew does not look back, others may (§7.2.1).
                    let isReset = unsafe inflateResetKeep(target) == Z_OK
                    precondition(isReset)
                    if isEmpty { return }
                case Z_BUF_ERROR where isEmpty:
                    return
                case Z_MEM_ERROR:
                    preconditionFailure("out of memory")
                default:
                    throw .deflateCorrupt
                }
            }
        }
    }

    /// All bytes are used up, and the next one begins a block.
    private var isAtBlockStart: Bool {
        // zlib counts unused bits here, and adds 64 inside a last block, 128 between blocks.
        unsafe stream.pointer.pointee.data_type == 128
    }
}

extension Inflater {
    /// Memory held now, in bytes, this value's own few not counted. The window comes with the first
    /// message, and stays.
    package var bytesHeld: Int { stream.bytesHeld }

    /// An upper bound on ``bytesHeld``.
    package static func bytesHeldMax(windowBits: UInt8) -> Int {
        // Tables and cursors, 7 KB, and the stream itself.
        ZlibStream.allocatedBytesMax(for: 1 << Int(max(windowBits, 9))) + 7_424
    }
}
