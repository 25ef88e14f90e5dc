import SkeinWire
import Testing

@Suite struct InflaterTests {
    static let hello = bytes(hex: "f2 48 cd c9 c9 07 00")

    /// RFC 7692 §7.2.3, each whole, cut at every place, and byte by byte.
    @Test(arguments: [
        ("f2 48 cd c9 c9 07 00", "Hello"),
        // Not compressed.
        ("00 05 00 fa ff 48 65 6c 6c 6f 00", "Hello"),
        // A block that says it is the last, and an empty one after it; then without that one.
        ("f3 48 cd c9 c9 07 00 00", "Hello"),
        ("f3 48 cd c9 c9 07 00", "Hello"),
        // Two blocks, a flush between them.
        ("f2 48 05 00 00 00 ff ff ca c9 c9 07 00", "Hello"),
        // A last block, and another message's worth after it.
        ("f3 48 cd c9 c9 07 00 f2 48 cd c9 c9 07 00", "HelloHello"),
        ("f3 48 cd c9 c9 07 00 f3 48 cd c9 c9 07 00 00", "HelloHello"),
        // The second looks back across the end of the first.
        ("f3 48 cd c9 c9 07 00 f2 00 11 00 00", "HelloHello"),
        ("01 05 00 fa ff 48 65 6c 6c 6f 00", "Hello"),
        ("01 05 00 fa ff 48 65 6c 6c 6f", "Hello"),
        ("00", ""),
        ("01", ""),
        ("03 00", ""),
        ("02 00", ""),
        ("00 00 00 ff ff 00", ""),
        ("", ""),
    ])
    func readsTheExamplesOfTheRFC(hex: String, text: String) {
        let message = bytes(hex: hex)
        for cut in 0...message.count {
            for scratchBytes in [1, 2, 4, 5, 6, 10, 11, 100] {
                // Three times in one inflater: each message must leave it ready for the next.
                var inflater = Inflater(windowBits: 15)
                for _ in 0..<3 {
                    let pieces = [Array(message[..<cut]), Array(message[cut...])]
                    let result = inflater.message(pieces, scratchBytes: scratchBytes)
                    #expect(result == .success(text.bytes))
                }
                #expect(inflater.message(Self.hello) == .success("Hello".bytes))
            }
        }
        #expect(inflated(message.map { [$0] }, scratchBytes: 1) == .success(text.bytes))
    }

    @Test func sharesTheWindowUntilReset() {
        var inflater = Inflater(windowBits: 15)
        let second = bytes(hex: "f2 00 11 00 00")
        #expect(inflater.message(Self.hello) == .success("Hello".bytes))
        #expect(inflater.message(second) == .success("Hello".bytes))
        #expect(inflater.message([]) == .success([]))
        #expect(inflater.message(second) == .success("Hello".bytes))
        inflater.reset()
        // Looks back further than there is anything.
        #expect(inflater.message(second) == .failure(.deflateCorrupt))
        #expect(inflater.message(Self.hello) == .failure(.deflateCorrupt))
        inflater.reset()
        #expect(inflater.message(Self.hello) == .success("Hello".bytes))
    }

    /// What Python's zlib made of four messages in one window, and of single ones with other flushes.
    @Test func readsWhatPythonWrote() {
        let typing = "{\"type\":\"typing\",\"data\":{\"senderId\":\"u-1\",\"isTyping\":"
        let messages = [
            typing + "true}}", typing + "false}}", "", String(repeating: "Grüße aus Köln ", count: 20),
        ].map(\.bytes)
        let first =
            "aa562aa92c4855b202519979e94a3a4a298925894a56d54ac5a97929a9459e2940b9525d43a044667108448d55"
            + "4951696a6d2d00"
        for (windowBits, last) in [
            (15, "722f3abce7f0fc5485c4d26205efc3db72f214464568210200"),
            (12, "722f3abce7f0fc5485c4d26205efc3db72f214464568111a0000"),
        ] as [(UInt8, String)] {
            var inflater = Inflater(windowBits: windowBits)
            let compressed = [first, "aa26476b5a624e31502f00", "00", last]
            for (hex, message) in zip(compressed, messages) {
                #expect(inflater.message(bytes(hex: hex)) == .success(message))
            }
        }
        let full =
            first + "0000ffffaa562aa92c4855b202519979e94a3a4a298925894a56d54ac5a97929a9459e2940b9525d"
            + "43a044667108448d555a624e716a6d2d00"
        #expect(inflated([bytes(hex: full)]) == .success(messages[0] + messages[1]))
        #expect(inflated([bytes(hex: "ab" + first.dropFirst(2))]) == .success(messages[0]))
        let dynamic =
            "04c1890180200c00b1556e0fa611aca082850a7ed39bf424b4b1861d6f7a1f2cfab08d524ff412a327214fdfcb"
            + "acd1d193d0c61a76bce97db0e8c3364a3dd14b8c9e843c7d2fb346474f421b6bd8f1a6f7c1a20fdb28f5442f"
            + "317a12f2f4bdcc1a1d3d096dac61c79bde078b3e6ca3d413bdc4e849c8d3f7326b74f424b4b1861d6f7a1f2c"
            + "fab08d524ff412a327214fdfcbacd1d193d0c61a76bce97db0e8c3364a3dd14b8c9e843c7d2fb346c70f"
        let fox = String(repeating: "the quick brown fox jumps over the lazy dog; ", count: 6).bytes
        #expect(inflated([bytes(hex: dynamic)]) == .success(fox))
    }

    /// A megabyte fits; of 64, no more than was asked for comes into being.
    @Test func stopsBombs() {
        var deflater = Deflater(windowBits: 15, level: 9, memoryLevel: 9)
        let small = deflater.compressed([UInt8](repeating: 0, count: 1 << 20)) ?? []
        let large = deflater.compressed([UInt8](repeating: 0, count: 64 << 20)) ?? []
        #expect(small.count < 1_100)
        #expect(large.count < 70_000)
        var inflater = Inflater(windowBits: 15)
        let most = 1 << 20
        #expect(inflater.message([small], bytesMax: most) == .success([UInt8](repeating: 0, count: most)))
        inflater.reset()
        #expect(inflater.message([small], bytesMax: most - 1) == .failure(.messageTooBig))
        inflater.reset()

        let scratch = UnsafeMutableBufferPointer<UInt8>.allocate(capacity: 16_384)
        defer { scratch.deallocate() }
        var seen = 0
        #expect(throws: WebSocketError.messageTooBig) {
            try inflater.inflate(large.span, isLast: true, scratch: scratch) {
                (piece) throws(WebSocketError) in
                seen += piece.count
                guard seen <= most else { throw .messageTooBig }
            }
        }
        #expect(seen > most && seen <= most + scratch.count)
        #expect(inflater.bytesHeld <= Inflater.bytesHeldMax(windowBits: 15))
        #expect(inflater.message(Self.hello) == .failure(.deflateCorrupt))
        inflater.reset()
        #expect(inflater.message(Self.hello) == .success("Hello".bytes))
    }

    @Test(arguments: [
        // A kind of block that does not exist.
        "06", "07", "f6 48 cd",
        // Cut short: the flush is not where it must be.
        "f2", "f2 48 cd c9 c9 07", "f2 48 cd c9 c9", "f3 48 cd c9 c9 07", "00 05 00 fa ff 48 65 6c 6c 6f",
        // A stored block whose length contradicts itself, and one that wants more than there is.
        "00 05 00 fa fe 48 65 6c 6c 6f 00", "00 ff ff 00 00 41",
        // The flush was not taken off.
        "f2 48 cd c9 c9 07 00 00 00 ff ff",
        // Tables that are no code.
        "04 ff ff ff ff ff ff ff ff ff", "fc ff ff ff",
        // Behind a last block, rubbish.
        "f3 48 cd c9 c9 07 00 06",
    ])
    func refusesCorruptMessages(hex: String) {
        let message = bytes(hex: hex)
        #expect(inflated([message]) == .failure(.deflateCorrupt))
        #expect(inflated(message.map { [$0] }, scratchBytes: 1) == .failure(.deflateCorrupt))
        #expect(WebSocketError.deflateCorrupt.closeCode == .invalidPayload)
    }

    /// Rubbish and damaged messages end in output or in an error, the same however they are cut, and
    /// leave an inflater that a reset makes as good as new.
    @Test func survivesAnything() {
        var whole = Inflater(windowBits: 15)
        var chopped = Inflater(windowBits: 15)
        var deflater = Deflater(windowBits: 15, level: 6, memoryLevel: 8)
        var (good, bad) = (0, 0)
        for seed in 0..<10_000 as Range<UInt64> {
            var generator = SeededGenerator(seed: seed)
            var message: [UInt8]
            if seed % 2 == 0 {
                message = generator.bytes(Int.random(in: 0...60, using: &generator))
            } else {
                let intact = generator.message(Int.random(in: 1...300, using: &generator))
                message = deflater.compressed(intact) ?? []
                for _ in 0..<Int.random(in: 1...3, using: &generator) {
                    let place = Int.random(in: 0..<message.count, using: &generator)
                    message[place] ^= 1 << UInt8.random(in: 0..<8, using: &generator)
                }
            }
            let result = whole.message([message])
            let pieces = message.chopped(using: &generator, longest: 20)
            let scratchBytes = Int.random(in: 1...300, using: &generator)
            #expect(chopped.message(pieces, scratchBytes: scratchBytes) == result, "seed \(seed)")
            switch result {
            case .success: good += 1
            case .failure(let error):
                #expect(error == .deflateCorrupt)
                bad += 1
            }
            for _ in 0..<2 {
                whole.reset()
                chopped.reset()
                guard seed % 100 == 0 else { break }
                #expect(whole.message(Self.hello) == .success("Hello".bytes))
                #expect(chopped.message(Self.hello) == .success("Hello".bytes))
            }
        }
        #expect(good > 100)
        #expect(bad > 5_000)
    }

    /// What is freed halfway through a message, or after an error, leaves nothing behind.
    @Test func endsAnywhere() {
        let scratch = UnsafeMutableBufferPointer<UInt8>.allocate(capacity: 2)
        defer { scratch.deallocate() }
        for cut in 0..<Self.hello.count {
            var inflater = Inflater(windowBits: 9)
            var output: [UInt8] = []
            try? inflater.inflate(Array(Self.hello[..<cut]).span, isLast: false, scratch: scratch) {
                output += copy($0)
            }
            #expect("Hello".bytes.starts(with: output))
            inflater.reset()
            #expect(inflater.message(Self.hello) == .success("Hello".bytes))
        }
        var inflater = Inflater(windowBits: 15)
        #expect(inflater.message([0x06]) == .failure(.deflateCorrupt))
    }

    @Test func toleratesAPeerThatWasToldEightBits() {
        var generator = SeededGenerator(seed: 8)
        var deflater = Deflater(windowBits: 9, level: 9, memoryLevel: 8)
        var inflater = Inflater(windowBits: 8)
        let block = generator.bytes(240)
        for _ in 0..<20 {
            let message = block + generator.bytes(10) + block
            let compressed = deflater.compressed(message, keepingContext: true) ?? []
            #expect(compressed.count < 300)
            #expect(inflater.message([compressed], scratchBytes: 1) == .success(message))
        }
    }
}
