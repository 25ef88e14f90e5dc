// Small damage done to an input, the same for the same seed: what `swift test` has for a fuzzer. Chances
// are a fuzzer's own: bits, bytes, pieces moved, and values at which lengths and characters change kind.

package struct Mutator {
    private var generator: FuzzGenerator
    private static let telling: [UInt8] = [
        0, 1, 0x09, 0x0A, 0x0D, 0x20, 0x22, 0x2C, 0x2E, 0x30, 0x3A, 0x3D, 0x5C, 0x5B, 0x7B, 0x7D, 0x7E, 0x7F,
        0x80, 0x81, 0x8F, 0xA0, 0xBF, 0xC0, 0xC2, 0xE0, 0xED, 0xEF, 0xF0, 0xF4, 0xFE, 0xFF,
    ]

    package init(seed: UInt64) {
        generator = FuzzGenerator(seed: seed)
    }

    /// Some changes to one of `inputs`, which must not be empty.
    package mutating func mutate(_ inputs: [[UInt8]], bytesMax: Int = 4_096) -> [UInt8] {
        var bytes = inputs.randomElement(using: &generator) ?? []
        for _ in 0..<Int.random(in: 1...4, using: &generator) { change(&bytes, inputs) }
        return Array(bytes.prefix(bytesMax))
    }

    private mutating func change(_ bytes: inout [UInt8], _ inputs: [[UInt8]]) {
        guard !bytes.isEmpty else {
            bytes.append(UInt8.random(in: 0...255, using: &generator))
            return
        }
        let place = Int.random(in: 0..<bytes.count, using: &generator)
        switch Int.random(in: 0..<8, using: &generator) {
        case 0: bytes[place] ^= 1 << UInt8.random(in: 0..<8, using: &generator)
        case 1: bytes[place] = UInt8.random(in: 0...255, using: &generator)
        case 2: bytes[place] = Self.telling.randomElement(using: &generator) ?? 0
        case 3: bytes.insert(Self.telling.randomElement(using: &generator) ?? 0, at: place)
        case 4: bytes.removeSubrange(piece(of: bytes, from: place))
        case 5: bytes.insert(contentsOf: bytes[piece(of: bytes, from: place)], at: place)
        case 6: bytes.removeSubrange(place...)
        default:
            guard let other = inputs.randomElement(using: &generator), !other.isEmpty else { return }
            let start = Int.random(in: 0..<other.count, using: &generator)
            bytes.insert(contentsOf: other[piece(of: other, from: start)], at: place)
        }
    }

    private mutating func piece(of bytes: [UInt8], from start: Int) -> Range<Int> {
        start..<min(bytes.count, start + Int.random(in: 1...24, using: &generator))
    }
}
