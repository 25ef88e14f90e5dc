// What travels in `user_data`: which slot asked, in which of the slot's lives, and for what. A
// completion whose generation is not the slot's own is stale: it is dropped and counted.

@frozen
@usableFromInline
package struct Token: RawRepresentable, Equatable, Sendable {
    @usableFromInline package let rawValue: UInt64

    @inlinable
    package init(rawValue: UInt64) { self.rawValue = rawValue }

    /// - Parameters:
    ///   - slot: place in the machine's table.
    ///   - generation: low 24 bits of how often the slot was reused.
    ///   - operation: the machine's own code for what was asked.
    @inlinable
    package init(slot: UInt32, generation: UInt32, operation: UInt8) {
        rawValue = UInt64(slot) << 32 | UInt64(generation & 0xFF_FFFF) << 8 | UInt64(operation)
    }

    @inlinable package var slot: UInt32 { UInt32(truncatingIfNeeded: rawValue >> 32) }
    @inlinable package var generation: UInt32 {
        UInt32(truncatingIfNeeded: rawValue >> 8) & 0xFF_FFFF
    }
    @inlinable package var operation: UInt8 { UInt8(truncatingIfNeeded: rawValue) }

    /// A wake-up by another thread. It is taken by the loop and never reaches a machine.
    @inlinable package static var wake: Token { Token(rawValue: .max) }
    /// The answer to something nobody waits for (a cancel, a close). Never reaches a machine.
    @inlinable package static var ignored: Token { Token(rawValue: .max - 1) }
}
