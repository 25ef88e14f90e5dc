// Compresses messages as permessage-deflate wants them (RFC 7692 §7.2.1): raw DEFLATE, flushed to a byte
// boundary, without the four bytes that every such flush ends in. It allocates when it is made and
// never again.

import CZlib

// Safe: zlib is told the bounds of what it reads and writes, and keeps neither after a call.
@safe package struct Deflater: ~Copyable {
    private let stream = ZlibStream()
    /// Nothing was compressed since the last reset.
    private var isFresh = true

    /// - Parameters:
    ///   - windowBits: 9 to 15.
    ///   - level: 1 to 9.
    ///   - memoryLevel: 1 to 9.
    package init(windowBits: UInt8, level: UInt8, memoryLevel: UInt8) {
        precondition(DeflateSettings.compressingWindowBits.contains(windowBits))
        precondition(DeflateSettings.levels.contains(level))
        precondition(DeflateSettings.memoryLevels.contains(memoryLevel))
        // Negative: raw, without zlib's own header and checksum.
        let status = unsafe deflateInit2_(
            stream.pointer, Int32(level), Z_DEFLATED, -Int32(windowBits), Int32(memoryLevel),
            Z_DEFAULT_STRATEGY, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size))
        precondition(status == Z_OK, "out of memory")
    }

    deinit {
        // Only says whether something was still to be written.
        _ = unsafe deflateEnd(stream.pointer)
    }

    /// Appends `input`, compressed, which is never nothing: an empty message is one byte long.
    /// - Parameters:
    ///   - keepingContext: whether `input` may refer to the messages before it. The peer must have got
    ///     those: after one that was compressed and not sent, ``reset()``.
    ///   - writer: ``bytesMax(for:)`` bytes of room always do.
    /// - Returns: false when it does not fit: nothing was appended, and earlier messages are forgotten.
    package mutating func compress(
        _ input: Span<UInt8>, keepingContext: Bool, into writer: inout ByteWriter
    ) -> Bool {
        if !keepingContext { reset() }
        guard input.count > 0 else {
            // The header of an empty stored block; zlib would write nothing twice at one place.
            guard writer.remaining > 0 else {
                reset()
                return false
            }
            writer.append(0)
            return true
        }
        isFresh = false
        var isWhole = false
        writer.withUnused { room in
            let written = unsafe room.withUnsafeMutableBufferPointer { unsafe write(input, into: $0) }
            isWhole = written > 0
            return written
        }
        if !isWhole { reset() }
        return isWhole
    }

    /// Forgets the messages so far: what follows can be understood without them.
    package mutating func reset() {
        guard !isFresh else { return }
        let status = unsafe deflateReset(stream.pointer)
        precondition(status == Z_OK)
        isFresh = true
    }

    /// Returns how many bytes it wrote, or 0 when there was too little room.
    @unsafe private func write(
        _ input: Span<UInt8>, into room: UnsafeMutableBufferPointer<UInt8>
    ) -> Int {
        unsafe input.withUnsafeBufferPointer { source in
            let target = unsafe stream.pointer
            let roomBytes = min(room.count, Int(Int32.max))
            // zlib never writes to what it reads, it only forgot to say so.
            unsafe target.pointee.next_in = UnsafeMutablePointer(mutating: source.baseAddress)
            unsafe target.pointee.avail_in = UInt32(source.count)
            unsafe target.pointee.next_out = room.baseAddress
            unsafe target.pointee.avail_out = UInt32(roomBytes)
            let status = unsafe deflate(target, Z_SYNC_FLUSH)
            let left = unsafe Int(target.pointee.avail_out)
            // zlib's sign that there may be more.
            guard left > 0 else { return 0 }
            precondition(status == Z_OK, "deflate was called wrongly")
            let written = roomBytes - left
            let end = unsafe UnsafeRawPointer(room.baseAddress! + written - 4)
            let tail = unsafe end.loadUnaligned(as: UInt32.self)
            precondition(written > 4 && UInt32(littleEndian: tail) == 0xFFFF_0000)
            return written - 4
        }
    }
}

extension Deflater {
    /// The room that ``compress(_:keepingContext:into:)`` can need for `count` bytes, whatever they are.
    // At worst zlib writes literals of nine bits, where its window is too small to store a block as it
    // is, or stored blocks of at least 127 bytes with five more each; and then flushes.
    package static func bytesMax(for count: Int) -> Int {
        precondition(count >= 0)
        return count + count >> 3 + count >> 5 + 64
    }

    /// Memory held now, in bytes, this value's own few not counted. It does not change.
    package var bytesHeld: Int { stream.bytesHeld }

    /// An upper bound on ``bytesHeld``.
    package static func bytesHeldMax(windowBits: UInt8, memoryLevel: UInt8) -> Int {
        let window = ZlibStream.allocatedBytesMax(for: 2 << Int(windowBits))
        let chains = ZlibStream.allocatedBytesMax(for: 2 << Int(windowBits))
        let hashes = ZlibStream.allocatedBytesMax(for: 2 << (Int(memoryLevel) + 7))
        let symbols = ZlibStream.allocatedBytesMax(for: 5 << (Int(memoryLevel) + 6))
        // Trees and cursors, 6 KB, and the stream itself.
        return window + chains + hashes + symbols + 6_400
    }
}
