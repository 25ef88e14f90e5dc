// What a connection has accepted and the kernel has not: the send queue proper, in whole frames
// but for the first, part of which may be gone. It exists only while a peer reads too slowly.

@safe
struct Backlog: ~Copyable {
    private var base: UnsafeMutablePointer<UInt8>
    private var capacity: Int
    private var head = 0
    private var tail = 0
    /// Bytes up to the end of the frame that the head is in; 0 at a frame's start.
    private var frameRemaining = 0
    /// Frames that are not wholly out.
    private(set) var messages = 0
    /// A send of `unsent` is in flight: its bytes must stay where they are.
    private var isFlying = false
    /// Its messages are TLS records.
    private let isSealed: Bool
    /// Where the bytes in flight were before the queue grew.
    private var retired: UnsafeMutablePointer<UInt8>?
    private var retiredBytes = 0

    init(capacity: Int, isSealed: Bool = false) {
        self.isSealed = isSealed
        self.capacity = max(4_096, capacity)
        unsafe base = .allocate(capacity: self.capacity)
    }

    deinit {
        unsafe base.deallocate()
        unsafe retired?.deallocate()
    }

    /// Memory that it takes.
    var bytesHeld: Int { capacity + retiredBytes }
    var bytes: Int { tail - head }
    var isEmpty: Bool { head == tail }
    var unsent: Bytes { unsafe Bytes(base + head, count: tail - head) }

    /// The bytes for one send, which stay untouched until `sent` or `failed`.
    mutating func takeOff() -> Bytes {
        precondition(!isFlying, "one send at a time, or the bytes would be reordered")
        isFlying = true
        return unsent
    }

    /// Adds whole frames.
    mutating func append(_ bytes: Bytes, messages count: Int) {
        if tail + bytes.count > capacity { grow(bytes.count) }
        unsafe bytes.copy(to: base + tail)
        tail += bytes.count
        messages += count
    }

    /// Names how many frames the bytes so far are, where they came without boundaries.
    mutating func count(messages count: Int) { messages += count }

    /// Drops what has gone out and counts the frames that are finished with it.
    mutating func sent(_ count: Int) {
        precondition(count <= bytes, "more went out than was waiting")
        land()
        var left = count
        while left > 0 {
            if frameRemaining == 0 { frameRemaining = isSealed ? TLSRecords.bytes(unsent) : Self.frameBytes(unsent) }
            let step = min(left, frameRemaining)
            head += step
            left -= step
            frameRemaining -= step
            if frameRemaining == 0 { messages -= 1 }
        }
        if isEmpty {
            head = 0
            tail = 0
        }
    }

    /// The kernel has let go of the bytes in flight.
    private mutating func land() {
        isFlying = false
        unsafe retired?.deallocate()
        unsafe retired = nil
        retiredBytes = 0
    }

    /// Bytes of the frame, or of the handshake's answer, at the start of `bytes`: what we wrote
    /// ourselves, so a header says how long it is.
    private static func frameBytes(_ bytes: Bytes) -> Int {
        let base = unsafe bytes.base
        // No frame of ours starts with an `H` (RSV1 without FIN on a control frame).
        if unsafe base[0] == UInt8(ascii: "H") {
            var index = 4
            while unsafe index < bytes.count
                && !(base[index - 4] == 13 && base[index - 3] == 10 && base[index - 2] == 13
                    && base[index - 1] == 10)
            { index += 1 }
            return index
        }
        guard bytes.count >= 2 else { return bytes.count }
        let length = Int(unsafe base[1] & 0x7F)
        switch length {
        case 126 where bytes.count >= 4:
            return 4 + (Int(unsafe base[2]) << 8 | Int(unsafe base[3]))
        case 127 where bytes.count >= 10:
            var long = 0
            for index in 2..<10 { long = long << 8 | Int(unsafe base[index]) }
            return 10 + long
        default:
            return 2 + length
        }
    }

    private mutating func grow(_ wanted: Int) {
        let live = bytes
        var size = capacity
        while size < live + wanted { size *= 2 }
        let larger = UnsafeMutablePointer<UInt8>.allocate(capacity: size)
        unsafe larger.update(from: base + head, count: live)
        if isFlying && (unsafe retired == nil) {
            unsafe retired = base
            retiredBytes = capacity
        } else {
            unsafe base.deallocate()
        }
        unsafe base = larger
        capacity = size
        head = 0
        tail = live
    }
}
