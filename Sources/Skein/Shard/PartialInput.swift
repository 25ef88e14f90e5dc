// What a connection has sent of a frame or message that is not whole yet. It is made when a receive
// ends inside one and freed when the message is complete, so an idle connection has none.

internal import SkeinWire

struct PartialInput: ~Copyable {
    /// The start of a frame's header, while it is too short to be one.
    var head = ByteBlock()
    /// The frame whose payload is arriving, when `frameRemaining` or a decision is open.
    var frame: FrameHeader?
    var frameReceived = 0
    /// Payload so far, unmasked and checked: of the message, or of the one control frame that may
    /// come between its fragments.
    var message = ByteBlock()
    var control = ByteBlock()
    var fragments = FragmentState()
    /// Of the message, not of its continuation frames.
    var opcode = Opcode.text
    var text = UTF8Validator()

    /// Memory that it takes.
    var bytesHeld: Int { MemoryLayout<PartialInput>.stride + message.capacity + control.capacity }

    /// Nothing is left that the next byte would need.
    var isSpent: Bool { head.count == 0 && frame == nil && !fragments.isActive }
}

/// A growable run of bytes with one owner.
@safe
struct ByteBlock: ~Copyable {
    private var base: UnsafeMutablePointer<UInt8>?
    private(set) var capacity = 0
    private(set) var count = 0

    init() { unsafe base = nil }

    deinit { unsafe base?.deallocate() }

    var bytes: Bytes {
        guard let base = unsafe base else { return .empty }
        return unsafe Bytes(base, count: count)
    }

    mutating func append(_ bytes: Bytes) {
        guard bytes.count > 0 else { return }
        reserve(count + bytes.count)
        unsafe bytes.copy(to: base! + count)
        count += bytes.count
    }

    /// Makes room for `total` bytes in all, at least doubling, so that a message that trickles in
    /// is copied a few times and not once per receive.
    mutating func reserve(_ total: Int) {
        guard total > capacity else { return }
        let size = max(total, min(capacity * 2, capacity + (1 << 20)), 64)
        let larger = UnsafeMutablePointer<UInt8>.allocate(capacity: size)
        if let old = unsafe base {
            unsafe larger.update(from: old, count: count)
            unsafe old.deallocate()
        }
        unsafe base = larger
        capacity = size
    }

    /// The bytes from `start` on, for unmasking in place.
    mutating func withTail(from start: Int, _ body: (inout MutableSpan<UInt8>) -> Void) {
        guard start < count, let base = unsafe base else { return }
        var tail = unsafe MutableSpan(_unsafeStart: base + start, count: count - start)
        body(&tail)
    }

    /// All of it, for whoever changes it in place.
    @unsafe
    mutating func withBuffer(_ body: (UnsafeMutableBufferPointer<UInt8>) -> Void) {
        guard count > 0, let base = unsafe base else { return }
        unsafe body(UnsafeMutableBufferPointer(start: base, count: count))
    }

    mutating func removeFirst(_ number: Int) {
        guard let base = unsafe base, number > 0 else { return }
        precondition(number <= count, "more taken than there is")
        unsafe base.update(from: base + number, count: count - number)
        count -= number
    }

    mutating func removeAll() { count = 0 }
}

/// A handshake between its first byte and its answer.
struct HandshakeState: ~Copyable {
    /// The PROXY header where one has to come first, and whatever came with it.
    var proxyHeader = ByteBlock()
    /// Not read yet; what comes belongs to it first.
    var needsProxyHeader: Bool
    /// The request head, and whatever the client sent behind it.
    var bytes = ByteBlock()
    /// Ciphertext that waits for its turn's share of TLS handshakes.
    var sealed = ByteBlock()
    var scanned = 0
    var request: UpgradeRequest?
    /// The answer carries the subprotocol `bearer`.
    var hasBearerProtocol = false
    /// The name in a verified token, for dialects that show it.
    var username = OwnedText.none
    /// Whose it is, where its move home waits until all that was sent is out.
    var userID = OwnedText.none

    init(needsProxyHeader: Bool = false) { self.needsProxyHeader = needsProxyHeader }

    var bytesHeld: Int {
        MemoryLayout<HandshakeState>.stride + proxyHeader.capacity + bytes.capacity + sealed.capacity
    }

    mutating func freeTexts() {
        username.free()
        userID.free()
    }
}
