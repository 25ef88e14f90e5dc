import SkeinWire
import Testing

@Suite struct MaskingTests {
    static func naive(_ bytes: [UInt8], _ key: [UInt8], phase: Int) -> [UInt8] {
        bytes.enumerated().map { $1 ^ key[($0 + phase) % 4] }
    }

    static func word(_ key: [UInt8]) -> UInt32 {
        key.reversed().reduce(0) { $0 << 8 | UInt32($1) }
    }

    @Test func agreesWithTheNaiveLoop() {
        var generator = SeededGenerator(seed: 1)
        for length in 0...200 {
            for phase in 0...8 {
                let key = generator.bytes(4)
                let bytes = generator.bytes(length + 2)
                // Guards on both sides: nothing outside the payload may change.
                var masked = bytes
                unsafe masked.withUnsafeMutableBufferPointer { all in
                    let inner = unsafe UnsafeMutableBufferPointer(rebasing: all[1..<(length + 1)])
                    var payload = unsafe MutableSpan(_unsafeElements: inner)
                    unmask(&payload, key: Self.word(key), phase: phase)
                }
                let expected = Self.naive(Array(bytes[1..<(length + 1)]), key, phase: phase)
                #expect(masked == [bytes[0]] + expected + [bytes[length + 1]])
            }
        }
    }

    @Test func choppedPayloadsGoOnWhereTheyStopped() {
        var generator = SeededGenerator(seed: 2)
        for _ in 0..<300 {
            let key = generator.bytes(4)
            let bytes = generator.bytes(Int.random(in: 0...500, using: &generator))
            var phase = 0
            var result: [UInt8] = []
            for piece in bytes.chopped(using: &generator, longest: 90) {
                var piece = piece
                var span = piece.mutableSpan
                unmask(&span, key: Self.word(key), phase: phase)
                phase += piece.count
                result += piece
            }
            #expect(result == Self.naive(bytes, key, phase: 0))
        }
    }

    @Test func isItsOwnInverse() {
        var generator = SeededGenerator(seed: 3)
        let bytes = generator.bytes(1_000)
        var twice = bytes
        var span = twice.mutableSpan
        unmask(&span, key: 0xDEAD_BEEF)
        unmask(&span, key: 0xDEAD_BEEF)
        #expect(twice == bytes)
    }
}
