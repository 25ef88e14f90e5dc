// How an input of the fuzzer is read: a first byte for the cuts, often one for the settings, then the
// bytes that a peer would send.

/// SplitMix64: the same seed gives the same run everywhere.
package struct FuzzGenerator: RandomNumberGenerator {
    private var state: UInt64

    package init(seed: UInt64) {
        state = seed
    }

    package mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}

extension Array where Element == UInt8 {
    /// These bytes in pieces, as `choice` says: 0 is byte by byte, others cut at random, the higher the
    /// longer the pieces.
    package func cut(by choice: UInt8) -> [[UInt8]] {
        var generator = FuzzGenerator(seed: UInt64(choice))
        let longest = choice == 0 ? 1 : 2 << (Int(choice) >> 5)
        var pieces: [[UInt8]] = []
        var start = 0
        while start < count {
            let end = Swift.min(count, start + Int.random(in: 1...longest, using: &generator))
            pieces.append(Array(self[start..<end]))
            start = end
        }
        return pieces
    }

    /// With what cannot be shown escaped, for reports.
    package var shown: String {
        map { $0 >= 0x20 && $0 < 0x7F ? String(UnicodeScalar($0)) : "\\x" + String($0, radix: 16) }.joined()
    }
}

package func copy(_ span: Span<UInt8>) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(span.count)
    for i in 0..<span.count { bytes.append(span[i]) }
    return bytes
}
