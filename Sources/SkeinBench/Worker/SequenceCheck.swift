// What one receiver has seen of one stream. In order is one comparison; otherwise the last 64 numbers that
// were skipped are remembered, so that a late message is told from a second copy, and both from one that
// never came.

package struct SequenceCheck: BitwiseCopyable, Equatable {
    /// Bit n: number `next - 1 - n` was skipped and has not come yet.
    private var missing: UInt64 = 0
    package private(set) var next: UInt32 = 0

    package init() {}

    /// - Returns: false for a message that was here before.
    @inline(__always)
    package mutating func accept(_ number: UInt32, _ verdicts: inout Verdicts) -> Bool {
        if number == next {
            missing <<= 1
            next &+= 1
            verdicts.delivered &+= 1
            return true
        }
        return acceptUnordered(number, &verdicts)
    }

    @inline(never)
    private mutating func acceptUnordered(_ number: UInt32, _ verdicts: inout Verdicts) -> Bool {
        if number > next {
            let skipped = number - next
            missing = skipped >= 63 ? ~0 << 1 : (missing << skipped | (1 << skipped - 1)) << 1
            next = number + 1
            verdicts.delivered += 1
            return true
        }
        let age = next - 1 - number
        guard age < 64, missing >> age & 1 == 1 else {
            verdicts.duplicated += 1
            return false
        }
        missing &= ~(1 << age)
        verdicts.outOfOrder += 1
        verdicts.delivered += 1
        return true
    }
}

package struct Verdicts: Sendable, Equatable {
    /// Each message once.
    package var delivered: UInt64
    package var duplicated: UInt64
    package var outOfOrder: UInt64
    /// Came to a connection that it was not sent to, or was never sent.
    package var misrouted: UInt64

    package init(
        delivered: UInt64 = 0, duplicated: UInt64 = 0, outOfOrder: UInt64 = 0, misrouted: UInt64 = 0
    ) {
        self.delivered = delivered
        self.duplicated = duplicated
        self.outOfOrder = outOfOrder
        self.misrouted = misrouted
    }

    package static func += (left: inout Verdicts, right: Verdicts) {
        left.delivered += right.delivered
        left.duplicated += right.duplicated
        left.outOfOrder += right.outOfOrder
        left.misrouted += right.misrouted
    }
}

/// A set of message numbers, growing by doubling.
package struct NumberSet: Sendable {
    private var words: [UInt64] = []

    package init() {}

    package mutating func insert(_ number: UInt32) {
        let word = Int(number >> 6)
        if word >= words.count {
            words += Array(repeating: 0, count: max(words.count, word + 1 - words.count, 4))
        }
        words[word] |= 1 << UInt64(number & 63)
    }

    package func contains(_ number: UInt32) -> Bool {
        let word = Int(number >> 6)
        return word < words.count && words[word] >> UInt64(number & 63) & 1 == 1
    }
}
