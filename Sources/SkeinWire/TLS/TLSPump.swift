// Where all TLS sessions of one loop read their ciphertext from and write it to: one OpenSSL BIO over
// two pointers. A BIO pair of its own would cost every idle session 3 KB; the price of sharing is
// that `input` and `output` belong to one session at a time, for the length of one call.

internal import COpenSSL

/// A handle for one loop's thread, 8 bytes, copied freely; ``free()`` ends it.
// Safe: the state behind the pointer lives until `free` and the last attached session have let go of
// the BIO, and only the owning thread touches it.
@safe @frozen @usableFromInline
package struct TLSPump: BitwiseCopyable {
    @usableFromInline let state: UnsafeMutablePointer<TLSPumpState>

    /// - Parameter outputBytesKept: how much room for output stays after a burst.
    package init(outputBytesKept: Int = 65_536) {
        precondition(outputBytesKept > 0)
        guard let bio = unsafe BIO_new(TLSPumpState.method) else {
            preconditionFailure("no memory for a TLS pump")
        }
        unsafe state = .allocate(capacity: 1)
        unsafe state.initialize(to: TLSPumpState(bio: bio, outputBytesKept: outputBytesKept))
        unsafe BIO_set_data(bio, state)
        unsafe BIO_set_init(bio, 1)
    }

    /// Sessions still attached may be freed afterwards, but not used.
    package func free() { unsafe BIO_free_all(state.pointee.bio) }

    /// Ciphertext for the peer of whichever session was called since ``clearOutput()``; good until
    /// the next call of any session.
    package var output: UnsafeBufferPointer<UInt8> {
        unsafe UnsafeBufferPointer(start: state.pointee.output, count: state.pointee.outputCount)
    }

    package var outputCount: Int { unsafe state.pointee.outputCount }

    /// To be called once the output was copied away, before another session has its turn. Gives room
    /// back that recent turns did not need.
    package func clearOutput() { unsafe state.pointee.clearOutput() }

    /// How many bytes at the end of the last input nobody read, because `body` said stop.
    package var unreadCount: Int { unsafe state.pointee.inputCount }

    /// Room held for output now, for metrics and tests.
    package var outputCapacity: Int { unsafe state.pointee.outputCapacity }
}

/// Freed by the BIO's own destructor, so that it outlives every session that could write to it.
@unsafe @usableFromInline
struct TLSPumpState {
    let bio: OpaquePointer
    var input: UnsafePointer<UInt8>?
    var inputCount = 0
    var output: UnsafeMutablePointer<UInt8>?
    var outputCount = 0
    var outputCapacity = 0
    /// The most that recent turns wrote, forgotten by an eighth a turn.
    private var outputPeak = 0
    private let outputBytesKept: Int

    init(bio: OpaquePointer, outputBytesKept: Int) {
        unsafe self.bio = bio
        unsafe input = nil
        unsafe output = nil
        unsafe self.outputBytesKept = outputBytesKept
    }

    /// Takes everything, always: a BIO that refuses would leave bytes inside OpenSSL.
    mutating func append(_ bytes: UnsafeRawPointer, count: Int) {
        let needed = unsafe outputCount + count
        if unsafe needed > outputCapacity { unsafe resize(to: max(needed, 2 * outputCapacity, 4_096)) }
        unsafe UnsafeMutableRawPointer(output! + outputCount).copyMemory(from: bytes, byteCount: count)
        unsafe outputCount = needed
    }

    mutating func take(into target: UnsafeMutableRawPointer, atMost countMax: Int) -> Int {
        guard let source = unsafe input else { return 0 }
        let count = unsafe min(countMax, inputCount)
        unsafe target.copyMemory(from: source, byteCount: count)
        unsafe input = source + count
        unsafe inputCount -= count
        return count
    }

    mutating func clearOutput() {
        unsafe outputPeak = max(outputCount, outputPeak - outputPeak / 8)
        unsafe outputCount = 0
        let kept = unsafe max(outputBytesKept, 2 * outputPeak)
        if unsafe outputCapacity > 2 * kept { unsafe resize(to: kept) }
    }

    private mutating func resize(to capacity: Int) {
        let room = UnsafeMutablePointer<UInt8>.allocate(capacity: capacity)
        if let old = unsafe output {
            unsafe room.update(from: old, count: outputCount)
            unsafe old.deallocate()
        }
        unsafe output = room
        unsafe outputCapacity = capacity
    }
}

extension TLSPumpState {
    /// How OpenSSL calls a pump. Made once and kept for the life of the program.
    nonisolated(unsafe) static let method: OpaquePointer = {
        guard let method = unsafe BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "skein pump") else {
            preconditionFailure("no memory for OpenSSL")
        }
        unsafe BIO_meth_set_read(method) { bio, target, count in
            guard let bio = unsafe bio, let target = unsafe target, count > 0,
                let state = unsafe TLSPumpState.of(bio)
            else { return 0 }
            unsafe skein_BIO_clear_retry(bio)
            let taken = unsafe state.pointee.take(into: target, atMost: Int(count))
            if taken > 0 { return Int32(taken) }
            unsafe skein_BIO_set_retry_read(bio)
            return -1
        }
        unsafe BIO_meth_set_write(method) { bio, source, count in
            guard let bio = unsafe bio, let source = unsafe source, count > 0,
                let state = unsafe TLSPumpState.of(bio)
            else { return 0 }
            unsafe skein_BIO_clear_retry(bio)
            unsafe state.pointee.append(source, count: Int(count))
            return count
        }
        // Flushing has nothing to do, and is all that must not fail.
        unsafe BIO_meth_set_ctrl(method) { _, command, _, _ in command == BIO_CTRL_FLUSH ? 1 : 0 }
        unsafe BIO_meth_set_destroy(method) { bio in
            guard let bio = unsafe bio, let state = unsafe TLSPumpState.of(bio) else { return 1 }
            unsafe state.pointee.output?.deallocate()
            unsafe state.deallocate()
            return 1
        }
        return unsafe method
    }()

    private static func of(_ bio: OpaquePointer) -> UnsafeMutablePointer<TLSPumpState>? {
        unsafe BIO_get_data(bio)?.assumingMemoryBound(to: TLSPumpState.self)
    }
}
