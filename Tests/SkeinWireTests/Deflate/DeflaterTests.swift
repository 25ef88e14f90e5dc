import SkeinWire
import Testing

@Suite struct DeflaterTests {
    @Test(arguments: [1, 2, 3, 4, 5, 6, 7, 8, 9] as [UInt8])
    func writesTheExamplesOfTheRFC(level: UInt8) {
        var deflater = Deflater(windowBits: 15, level: level, memoryLevel: 8)
        let hello = bytes(hex: "f2 48 cd c9 c9 07 00")
        #expect(deflater.compressed("Hello".bytes, keepingContext: true) == hello)
        #expect(deflater.compressed("Hello".bytes, keepingContext: true) == bytes(hex: "f2 00 11 00 00"))
        #expect(deflater.compressed("Hello".bytes) == hello)
        #expect(deflater.compressed([], keepingContext: true) == [0])
        #expect(deflater.compressed([]) == [0])
        #expect(deflater.compressed("Hello".bytes) == hello)
        deflater.reset()
        #expect(deflater.compressed("Hello".bytes, keepingContext: true) == hello)
    }

    /// Sequences of messages over every window, through both ends, cut and handed on at random.
    @Test(arguments: [9, 10, 11, 12, 13, 14, 15] as [UInt8], [false, true])
    func roundTrips(windowBits: UInt8, keepingContext: Bool) {
        var generator = SeededGenerator(seed: UInt64(windowBits) * 2 + (keepingContext ? 1 : 0))
        for _ in 0..<6 {
            var deflater = Deflater(
                windowBits: windowBits, level: UInt8.random(in: 1...9, using: &generator),
                memoryLevel: UInt8.random(in: 1...9, using: &generator))
            var inflater = Inflater(windowBits: windowBits)
            for _ in 0..<6 {
                let most = [1, 130, 1_100, 70_000, 200_000].randomElement(using: &generator)!
                let message = generator.message(Int.random(in: 0...most, using: &generator))
                guard let compressed = deflater.compressed(message, keepingContext: keepingContext)
                else {
                    Issue.record("no room for \(message.count) bytes")
                    return
                }
                if !keepingContext { inflater.reset() }
                let pieces = compressed.chopped(
                    using: &generator, longest: compressed.count < 2_000 ? 16 : 9_000)
                let scratchBytes = message.count < 2_000 ? Int.random(in: 1...64, using: &generator) : 4_096
                let result = inflater.message(pieces, scratchBytes: scratchBytes)
                #expect(result == .success(message), "\(message.count) bytes")
            }
        }
    }

    @Test func everyCutOfASmallMessageAgrees() {
        var deflater = Deflater(windowBits: 15, level: 1, memoryLevel: 6)
        let message = String(repeating: "{\"type\":\"ping\",\"n\":1}", count: 5).bytes
        let compressed = deflater.compressed(message) ?? []
        for cut in 0...compressed.count {
            let pieces = [Array(compressed[..<cut]), Array(compressed[cut...])]
            for scratchBytes in [1, 2, 7, message.count - 1, message.count, message.count + 1] {
                #expect(inflated(pieces, scratchBytes: scratchBytes) == .success(message))
            }
        }
        #expect(inflated(compressed.map { [$0] }, scratchBytes: 1) == .success(message))
        #expect(inflated([[]] + compressed.map { [$0] } + [[]]) == .success(message))
    }

    @Test(arguments: [1, 2, 5, 8, 9] as [UInt8])
    func boundIsNeverExceeded(memoryLevel: UInt8) {
        var generator = SeededGenerator(seed: UInt64(memoryLevel))
        let noise = generator.bytes(70_000)
        // Bytes that the fixed code spends nine bits on.
        let high = noise.map { $0 | 0x90 }
        for windowBits in [9, 12, 15] as [UInt8] {
            for level in [1, 4, 9] as [UInt8] {
                var deflater = Deflater(windowBits: windowBits, level: level, memoryLevel: memoryLevel)
                for count in [0, 1, 2, 3, 5, 100, 127, 128, 129, 1_000, 16_384, 33_000, 70_000] {
                    for source in [noise, high] {
                        let message = Array(source[..<count])
                        for keepingContext in [false, true] {
                            #expect(deflater.compressed(message, keepingContext: keepingContext) != nil)
                        }
                    }
                }
            }
        }
    }

    @Test func tooLittleRoomLeavesNothingBehind() {
        var generator = SeededGenerator(seed: 3)
        let message = generator.bytes(300)
        var deflater = Deflater(windowBits: 15, level: 1, memoryLevel: 6)
        var inflater = Inflater(windowBits: 15)
        let first = "before and after".bytes
        let whole = deflater.compressed(message)?.count ?? 0
        #expect(whole > 300)
        for room in [0, 1, 3, 4, 5, 6, 7, 100, 300, whole, whole + 4] {
            deflater.reset()
            inflater.reset()
            let before = deflater.compressed(first, keepingContext: true) ?? []
            #expect(inflater.message(before) == .success(first))
            #expect(deflater.compressed(message, keepingContext: true, room: room) == nil)
            // What follows must not refer to a message that was never sent.
            let after = deflater.compressed(first + message, keepingContext: true) ?? []
            #expect(inflater.message(after) == .success(first + message))
        }
        #expect(deflater.compressed(message, keepingContext: false, room: whole + 5)?.count == whole)
        #expect(deflater.compressed([], keepingContext: true, room: 0) == nil)
        #expect(deflater.compressed([], keepingContext: true, room: 1) == [0])
    }

    @Test func memoryIsWhatItIsSaidToBe() {
        let message = [UInt8](repeating: 0x41, count: 100_000)
        for windowBits in [9, 12, 15] as [UInt8] {
            for memoryLevel in 1...9 as ClosedRange<UInt8> {
                var deflater = Deflater(windowBits: windowBits, level: 6, memoryLevel: memoryLevel)
                let held = deflater.bytesHeld
                let most = Deflater.bytesHeldMax(windowBits: windowBits, memoryLevel: memoryLevel)
                #expect(held <= most && most <= held + held / 4)
                for _ in 0..<3 { #expect(deflater.compressed(message) != nil) }
                #expect(deflater.bytesHeld == held)
            }
        }
        for windowBits in 8...15 as ClosedRange<UInt8> {
            var inflater = Inflater(windowBits: windowBits)
            let most = Inflater.bytesHeldMax(windowBits: windowBits)
            var deflater = Deflater(windowBits: max(windowBits, 9), level: 6, memoryLevel: 6)
            let compressed = deflater.compressed(message) ?? []
            for _ in 0..<3 { #expect(inflater.message(compressed) == .success(message)) }
            #expect(inflater.bytesHeld <= most && most <= inflater.bytesHeld + 1_024)
        }
    }
}
