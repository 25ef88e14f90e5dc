import SkeinWire
import Testing

@Suite struct PushScannerTests {
    static let scanner = PushScanner(bulkBytesMax: 1_000)

    enum Outcome: Equatable {
        case push(Push)
        case more
        case error(RESPError)
    }

    static func next(_ bytes: [UInt8], at offset: Int = 0) -> Outcome {
        do throws(RESPError) {
            return try scanner.next(in: bytes.span, at: offset).map(Outcome.push) ?? .more
        } catch {
            return .error(error)
        }
    }

    static func bulk(_ text: String) -> String { "$\(text.utf8.count)\r\n\(text)\r\n" }

    static func message(_ channel: String, _ payload: String) -> String {
        "*3\r\n$7\r\nmessage\r\n" + bulk(channel) + bulk(payload)
    }

    static let pushes: [String] = [
        message("user:1", "{\"type\":\"x\"}"), message("", ""), message("a", "\r\n$1\r\n"),
        message("c", String(repeating: "y", count: 1_000)),
        "*3\r\n$9\r\nsubscribe\r\n" + bulk("user:1") + ":1\r\n",
        "*3\r\n$11\r\nunsubscribe\r\n" + bulk("user:1") + ":0\r\n",
        "*3\r\n$11\r\nunsubscribe\r\n$-1\r\n:0\r\n",
        "*2\r\n$4\r\npong\r\n$0\r\n\r\n", "*2\r\n$4\r\npong\r\n" + bulk("canary"), "+PONG\r\n",
        "-ERR bad\r\n", "-\r\n",
    ]

    static let others: [String] = [
        "+OK\r\n", ":1\r\n", "$1\r\na\r\n", "*0\r\n", "*-1\r\n", "*1\r\n:1\r\n",
        "*4\r\n$8\r\npmessage\r\n" + bulk("p") + bulk("c") + bulk("d"),
        "*3\r\n$8\r\nsmessage\r\n" + bulk("c") + bulk("d"),
        "*3\r\n$10\r\npsubscribe\r\n" + bulk("p") + ":1\r\n", "*2\r\n$4\r\nPONG\r\n$0\r\n\r\n",
    ]

    /// What RESPReader makes of the bytes that one push took, in the same words.
    static func oracle(_ bytes: [UInt8]) -> [Reply] { RESPReaderTests.read([bytes]).0 }

    static func words(_ push: Push, in bytes: [UInt8], at offset: Int) -> Reply {
        let (channel, payload) = (bytes.slice(push.channel), bytes.slice(push.payload))
        let count = Reply.integer(Int64(push.subscriptions))
        let raw = bytes[offset..<(offset + push.consumed)]
        let unnamed = Array(raw).starts(with: "*3\r\n$11\r\nunsubscribe\r\n$-1\r\n".bytes)
        return switch push.kind {
        case .message: .array([.text("message"), .string(channel), .string(payload)])
        case .subscribe: .array([.text("subscribe"), .string(channel), count])
        case .unsubscribe:
            .array([.text("unsubscribe"), unnamed ? .null : .string(channel), count])
        case .pong:
            raw.first == 0x2B ? .status("PONG") : .array([.text("pong"), .string(payload)])
        case .error: .error(string(payload))
        case .other: .null
        }
    }

    @Test(arguments: pushes) func readsEachShapeAsTheReaderDoes(_ text: String) {
        let bytes = "xx".bytes + text.bytes + "+more".bytes
        guard case .push(let push) = Self.next(bytes, at: 2) else {
            Issue.record("\(Self.next(bytes, at: 2))")
            return
        }
        #expect(push.consumed == text.utf8.count)
        #expect([Self.words(push, in: bytes, at: 2)] == Self.oracle(text.bytes))
    }

    @Test(arguments: pushes + others) func everyPrefixIsNotYetDecided(_ text: String) {
        let bytes = text.bytes
        let whole = Self.next(bytes)
        let isOther = Self.others.contains(text)
        for length in 0..<bytes.count {
            let outcome = Self.next(Array(bytes[0..<length]))
            // What is left to the reader may be known early, and once known stays so.
            #expect(outcome == .more || (isOther && outcome == whole))
        }
    }

    @Test(arguments: others) func leavesTheRestToTheReader(_ text: String) {
        guard case .push(let push) = Self.next(text.bytes) else {
            Issue.record("\(Self.next(text.bytes))")
            return
        }
        #expect(push.kind == .other)
        #expect(push.consumed == 0)
        #expect(Self.oracle(text.bytes).count == 1)
    }

    @Test(
        arguments: [
            ("*3\r\n$7\r\nmessage\r\n$1001\r\n", .tooLarge),
            ("*3\r\n$7\r\nmessage\r\n$99999999999999999999999\r\n", .tooLarge),
            ("*3\r\n$7\r\nmessage\r\n$00000000000000000000000000000", .malformed),
            ("*3\r\n$7\r\nmessage\r\n$01\r\n", .malformed),
            ("*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:00\r\n", .malformed),
            ("*3\r\n$7\r\nmessage\r\n$\r\n", .malformed),
            ("*3\r\n$7\r\nmessage\r\n$-1\r\n", .malformed),
            ("*3\r\n$7\r\nmessage\r\n:1\r\n", .malformed),
            ("*3\r\n$7\r\nmessage\r\n$1x", .malformed),
            ("*3\r\n$7\r\nmessage\r\n$1\rx", .malformed),
            ("*3\r\n$7\r\nmessage\r\n$1\r\nabc", .malformed),
            ("*3\r\n$7\r\nmessage\r\n$1\r\na\rx", .malformed),
            ("*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n$1\r\n1\r\n", .malformed),
            ("*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:x\r\n", .malformed),
            ("-a\rb\r\n", .malformed),
            ("-" + String(repeating: "e", count: 2_000), .tooLarge),
        ] as [(String, RESPError)])
    func refuses(text: String, error: RESPError) {
        let bytes = text.bytes
        #expect(Self.next(bytes) == .error(error))
        for length in 0..<bytes.count {
            let outcome = Self.next(Array(bytes[0..<length]))
            #expect(outcome == .more || outcome == .error(error))
        }
    }

    @Test func streamsAgreeWithTheReaderHoweverCut() {
        var generator = SeededGenerator(seed: 16)
        for _ in 0..<200 {
            var stream: [UInt8] = []
            for _ in 0..<Int.random(in: 1...20, using: &generator) {
                stream += Self.pushes.randomElement(using: &generator)!.bytes
            }
            var received: [UInt8] = []
            var offset = 0
            var found: [Reply] = []
            for piece in stream.chopped(using: &generator, longest: 200) {
                received += piece
                while case .push(let push) = Self.next(received, at: offset) {
                    found.append(Self.words(push, in: received, at: offset))
                    offset += push.consumed
                }
            }
            #expect(offset == stream.count)
            #expect(found == Self.oracle(stream))
        }
    }

    @Test func randomMutationsNeverTrapAndCutsAgree() {
        var generator = SeededGenerator(seed: 17)
        for _ in 0..<10_000 {
            var bytes = Self.pushes.randomElement(using: &generator)!.bytes
            for _ in 0..<Int.random(in: 1...3, using: &generator) {
                let position = Int.random(in: 0..<bytes.count, using: &generator)
                bytes[position] = "*$:+-\r\n0123456789x".bytes.randomElement(using: &generator)!
            }
            let whole = Self.next(bytes)
            for length in 0..<min(bytes.count, 60) {
                let outcome = Self.next(Array(bytes[0..<length]))
                #expect(outcome == .more || outcome == whole)
            }
            // Whatever it understands, the reader understands alike.
            if case .push(let push) = whole, push.kind != .other {
                let taken = Array(bytes[0..<push.consumed])
                #expect(Self.oracle(taken) == [Self.words(push, in: bytes, at: 0)])
            }
        }
    }
}
