// One frame's header as a value (RFC 6455 §5.2): what FrameDecoder makes, and FragmentState takes.

@frozen @usableFromInline package enum Opcode: UInt8, Sendable, CaseIterable {
    case continuation = 0x0
    case text = 0x1
    case binary = 0x2
    case close = 0x8
    case ping = 0x9
    case pong = 0xA

    @inlinable package var isControl: Bool { rawValue & 0x8 != 0 }
}

/// Which end of the connection we are: it decides who masks.
@frozen @usableFromInline package enum Role: Sendable {
    case server
    case client
}

@frozen @usableFromInline package struct FrameHeader: Equatable, Sendable {
    @usableFromInline package let payloadBytes: Int
    /// In memory order, as ``unmask(_:key:phase:)`` takes it; 0 on frames without a mask.
    @usableFromInline package let maskKey: UInt32
    /// 2 to 14: the payload begins this far after the frame's first byte.
    @usableFromInline package let headerBytes: Int
    @usableFromInline package let opcode: Opcode
    @usableFromInline package let fin: Bool
    @usableFromInline package let rsv1: Bool

    @inlinable package init(
        payloadBytes: Int, maskKey: UInt32, headerBytes: Int, opcode: Opcode, fin: Bool, rsv1: Bool
    ) {
        self.payloadBytes = payloadBytes
        self.maskKey = maskKey
        self.headerBytes = headerBytes
        self.opcode = opcode
        self.fin = fin
        self.rsv1 = rsv1
    }

    @inlinable package var frameBytes: Int { headerBytes &+ payloadBytes }
}
