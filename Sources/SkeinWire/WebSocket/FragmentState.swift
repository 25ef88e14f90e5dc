// Where a connection stands between frames: outside any message, or inside a fragmented one. It is fed
// every header before its payload is awaited, and keeps the one invariant that frames become messages
// in order, each within the size that was agreed.

@frozen @usableFromInline package struct FragmentState: Equatable, Sendable {
    @frozen @usableFromInline package enum Step: Equatable, Sendable {
        /// Handle it now; the message around it, if any, goes on afterwards.
        case control
        /// A message in one frame.
        case whole
        case begin
        case middle
        case end
    }

    /// Payload bytes announced so far of the message under way, 0 outside one.
    @usableFromInline var announced: Int
    @usableFromInline var firstOpcode: Opcode
    @usableFromInline var compressed: Bool
    @usableFromInline var active: Bool

    @inlinable package init() {
        announced = 0
        firstOpcode = .text
        compressed = false
        active = false
    }

    /// A fragmented message has begun and not ended.
    @inlinable package var isActive: Bool { active }
    /// Payload bytes announced so far of the message under way; after `.end`, all of its bytes.
    @inlinable package var messageBytes: Int { announced }
    /// `.text` or `.binary`: of the message under way, or of the one that just ended.
    @inlinable package var opcode: Opcode { firstOpcode }
    @inlinable package var isCompressed: Bool { compressed }

    /// What `header` is to the message it belongs to.
    @inlinable package mutating func accept(
        _ header: FrameHeader, messageBytesMax: Int
    ) throws(WebSocketError) -> Step {
        switch header.opcode {
        case .close, .ping, .pong:
            return .control
        case .text, .binary:
            guard !active else { throw .messageInsideMessage }
            guard header.payloadBytes <= messageBytesMax else { throw .messageTooBig }
            announced = header.payloadBytes
            firstOpcode = header.opcode
            compressed = header.rsv1
            active = !header.fin
            return header.fin ? .whole : .begin
        case .continuation:
            guard active else { throw .continuationWithoutStart }
            // Subtracted, not added: the sum of two announced lengths could overflow.
            guard header.payloadBytes <= messageBytesMax &- announced else { throw .messageTooBig }
            announced &+= header.payloadBytes
            active = !header.fin
            return header.fin ? .end : .middle
        }
    }
}
