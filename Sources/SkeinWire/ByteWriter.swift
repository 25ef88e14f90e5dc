// A bump cursor over memory that the caller owns: all encoders of this target write through it.
// Callers size their memory first (each encoder says how much it can need), so running over is our
// bug and stops the program; nothing here ever allocates.

// Safe: whoever calls init(unsafe:) vouches for `capacity` writable bytes for the writer's lifetime,
// and each append checks its length against what remains before it stores.
@safe @frozen @usableFromInline package struct ByteWriter: ~Copyable {
    @usableFromInline let base: UnsafeMutablePointer<UInt8>
    @usableFromInline package let capacity: Int
    @usableFromInline var used: Int

    @inlinable package init(unsafe base: UnsafeMutablePointer<UInt8>, capacity: Int) {
        precondition(capacity >= 0)
        unsafe self.base = base
        self.capacity = capacity
        used = 0
    }

    /// Bytes written so far, reserved ones included.
    @inlinable package var count: Int { used }
    @inlinable package var remaining: Int { capacity &- used }

    /// Runs `body` with a writer over `capacity` bytes of stack (large ones: heap) memory.
    @inlinable package static func withTemporary<R: ~Copyable, E: Error>(
        capacity: Int, _ body: (inout ByteWriter) throws(E) -> R
    ) throws(E) -> R {
        try unsafe withUnsafeTemporaryAllocation(of: UInt8.self, capacity: max(capacity, 1)) {
            buffer throws(E) in
            // The buffer holds at least one byte, so it has an address.
            var writer = unsafe ByteWriter(unsafe: buffer.baseAddress!, capacity: capacity)
            return try body(&writer)
        }
    }
}

extension ByteWriter {
    @inlinable @inline(__always) package mutating func append(_ byte: UInt8) {
        precondition(used < capacity, "ByteWriter overflow")
        unsafe base[used] = byte
        used &+= 1
    }

    @inlinable @inline(__always) package mutating func append(_ string: StaticString) {
        unsafe append(unsafe: string.utf8Start, count: string.utf8CodeUnitCount)
    }

    /// `bytes` must not lie in this writer's own memory.
    @inlinable @inline(__always) package mutating func append(_ bytes: Span<UInt8>) {
        let length = bytes.count
        precondition(length <= remaining, "ByteWriter overflow")
        let target = unsafe base + used
        unsafe bytes.withUnsafeBufferPointer { source in
            guard let start = source.baseAddress else { return }
            unsafe target.initialize(from: start, count: length)
        }
        used &+= length
    }

    /// The caller vouches for `count` readable bytes that do not lie in this writer's memory.
    @inlinable @inline(__always)
    package mutating func append(unsafe source: UnsafePointer<UInt8>, count length: Int) {
        precondition(length >= 0 && length <= remaining, "ByteWriter overflow")
        unsafe (base + used).initialize(from: source, count: length)
        used &+= length
    }

    @inlinable @inline(__always)
    package mutating func append(repeating byte: UInt8, count length: Int) {
        precondition(length >= 0 && length <= remaining, "ByteWriter overflow")
        unsafe (base + used).initialize(repeating: byte, count: length)
        used &+= length
    }

    @inlinable @inline(__always) package mutating func append(bigEndian value: UInt16) {
        store(value.bigEndian)
    }

    @inlinable @inline(__always) package mutating func append(bigEndian value: UInt32) {
        store(value.bigEndian)
    }

    @inlinable @inline(__always) package mutating func append(bigEndian value: UInt64) {
        store(value.bigEndian)
    }

    /// Stores the bytes of `value` in memory order.
    // Safe: plain integers, and the room was checked.
    @inlinable @inline(__always)
    package mutating func store<Value: FixedWidthInteger & BitwiseCopyable>(_ value: Value) {
        let size = MemoryLayout<Value>.size
        precondition(size <= remaining, "ByteWriter overflow")
        unsafe UnsafeMutableRawPointer(base + used).storeBytes(of: value, as: Value.self)
        used &+= size
    }
}

extension ByteWriter {
    @inlinable package mutating func appendDecimal(_ value: Int) {
        if value < 0 { append(0x2D) }
        appendDecimal(UInt64(value.magnitude))
    }

    @inlinable package mutating func appendDecimal(_ value: UInt64) {
        let digits = Self.decimalDigits(value)
        precondition(digits <= remaining, "ByteWriter overflow")
        var rest = value
        var position = used &+ digits
        repeat {
            position &-= 1
            unsafe base[position] = 0x30 &+ UInt8(truncatingIfNeeded: rest % 10)
            rest /= 10
        } while position > used
        used &+= digits
    }

    /// `value` in exactly `digits` digits, zeros in front; higher digits are lost.
    @inlinable package mutating func appendDecimal(_ value: Int, digits: Int) {
        precondition(value >= 0 && digits >= 0 && digits <= remaining, "ByteWriter overflow")
        var rest = value
        var position = used &+ digits
        while position > used {
            position &-= 1
            unsafe base[position] = 0x30 &+ UInt8(truncatingIfNeeded: rest % 10)
            rest /= 10
        }
        used &+= digits
    }

    /// How many decimal digits `value` has.
    @inlinable package static func decimalDigits(_ value: UInt64) -> Int {
        var digits = 1
        var rest = value
        while rest >= 10 {
            digits &+= 1
            rest /= 10
        }
        return digits
    }

    /// Two lower-case digits.
    @inlinable package mutating func appendHex(byte: UInt8) {
        appendHexDigit(byte >> 4)
        appendHexDigit(byte & 15)
    }

    /// Sixteen lower-case digits, zeros in front.
    @inlinable package mutating func appendHex(_ value: UInt64) {
        var shift = 64
        while shift > 0 {
            shift -= 4
            appendHexDigit(UInt8(truncatingIfNeeded: value >> UInt64(shift)) & 15)
        }
    }

    @inlinable @inline(__always) mutating func appendHexDigit(_ digit: UInt8) {
        append(digit < 10 ? 0x30 &+ digit : 0x57 &+ digit)
    }
}

extension ByteWriter {
    /// Leaves `length` bytes to be filled in later by ``overwrite(at:with:)``. They are zeroed, so
    /// that memory of an earlier message can never leave by mistake.
    @inlinable package mutating func skip(_ length: Int) {
        append(repeating: 0, count: length)
    }

    /// Forgets everything past the first `length` bytes.
    @inlinable package mutating func truncate(to length: Int) {
        precondition(length >= 0 && length <= used)
        used = length
    }

    /// Undoes ``truncate(to:)`` after earlier bytes were written anew.
    @inlinable mutating func restore(to length: Int) {
        precondition(length >= used && length <= capacity)
        used = length
    }

    @inlinable package mutating func overwrite(at position: Int, with byte: UInt8) {
        precondition(position >= 0 && position < used)
        unsafe base[position] = byte
    }

    /// Lets `body` fill what remains; it returns how many bytes it wrote.
    @inlinable package mutating func withUnused<E: Error>(
        _ body: (inout MutableSpan<UInt8>) throws(E) -> Int
    ) throws(E) {
        let room = remaining
        // The memory is the caller's and plain bytes: handing it out unwritten exposes nothing that
        // the caller did not put there.
        var unused = unsafe MutableSpan(_unsafeStart: base + used, count: room)
        let written = try body(&unused)
        precondition(written >= 0 && written <= room)
        used &+= written
    }

    /// The bytes written from `start` on.
    @inlinable package borrowing func withWritten<R: ~Copyable, E: Error>(
        from start: Int = 0, _ body: (Span<UInt8>) throws(E) -> R
    ) throws(E) -> R {
        precondition(start >= 0 && start <= used)
        let written = unsafe Span(_unsafeStart: base + start, count: used &- start)
        return try body(written)
    }
}
