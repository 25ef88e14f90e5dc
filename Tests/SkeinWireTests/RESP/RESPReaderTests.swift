import SkeinWire
import Testing

/// A reply taken out of its tree, so that it can be compared.
indirect enum Reply: Equatable {
    case string([UInt8])
    case status(String)
    case error(String)
    case integer(Int64)
    case array([Reply])
    case null

    init(_ value: borrowing RESPValue) {
        switch value.kind {
        case .string: self = .string(value.withBytes { copy($0) })
        case .status: self = .status(value.text ?? "?")
        case .error: self = .error(value.text ?? "?")
        case .integer: self = .integer(value.integer ?? -1)
        case .null: self = .null
        case .array:
            var elements: [Reply] = []
            for i in 0..<value.count { elements.append(Reply(value[i])) }
            self = .array(elements)
        }
    }

    static func text(_ text: String) -> Reply { .string(text.bytes) }
}

@Suite struct RESPReaderTests {
    /// All replies, and the error that ended them.
    static func read(
        _ pieces: [[UInt8]], limits: RESPLimits = RESPLimits()
    ) -> ([Reply], RESPError?) {
        var reader = RESPReader(limits: limits)
        var replies: [Reply] = []
        do throws(RESPError) {
            for piece in pieces {
                try reader.feed(piece.span)
                while let reply = try reader.next() { replies.append(Reply(reply.value)) }
            }
            return (replies, nil)
        } catch {
            return (replies, error)
        }
    }

    static let stream =
        "+OK\r\n-ERR no\r\n:42\r\n:-7\r\n$5\r\nhello\r\n$0\r\n\r\n$-1\r\n*0\r\n*-1\r\n"
        + "*3\r\n$1\r\na\r\n:1\r\n*2\r\n$-1\r\n+x\r\n$4\r\na\r\nb\r\n"

    static let replies: [Reply] = [
        .status("OK"), .error("ERR no"), .integer(42), .integer(-7), .text("hello"), .text(""),
        .null, .array([]), .null,
        .array([.text("a"), .integer(1), .array([.null, .status("x")])]),
        .text("a\r\nb"),
    ]

    @Test func readsEveryTypeHoweverCut() {
        let bytes = Self.stream.bytes
        #expect(Self.read([bytes]) == (Self.replies, nil))
        #expect(Self.read(bytes.map { [$0] }) == (Self.replies, nil))
        for cut in 0...bytes.count {
            #expect(
                Self.read([Array(bytes[0..<cut]), Array(bytes[cut...])]) == (Self.replies, nil))
        }
        var generator = SeededGenerator(seed: 13)
        for _ in 0..<100 {
            #expect(Self.read(bytes.chopped(using: &generator)) == (Self.replies, nil))
        }
    }

    @Test(arguments: [
        "hello\r\n", "$x\r\n", "*x\r\n", ":x\r\n", "$-2\r\n", "*-2\r\n", "%1\r\n", "\0",
        "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n",
    ])
    func refusesOtherProtocols(_ text: String) {
        let (replies, error) = Self.read([text.bytes])
        #expect(replies.isEmpty)
        #expect(error == .malformed)
    }

    @Test func errorsAreFinal() throws {
        var reader = RESPReader()
        try reader.feed("?\r\n".bytes.span)
        var errors: [RESPError?] = []
        for _ in 0..<2 {
            do throws(RESPError) {
                _ = try reader.next()
                errors.append(nil)
            } catch {
                errors.append(error)
            }
        }
        do throws(RESPError) {
            try reader.feed("+OK\r\n".bytes.span)
            errors.append(nil)
        } catch {
            errors.append(error)
        }
        #expect(errors == [.malformed, .malformed, .malformed])
    }

    @Test func boundsReplies() {
        let limits = RESPLimits(replyBytesMax: 100, elementsMax: 10)
        let long = "$101\r\n" + String(repeating: "x", count: 101) + "\r\n"
        #expect(Self.read([long.bytes], limits: limits).1 == .tooLarge)
        #expect(Self.read(long.bytes.map { [$0] }, limits: limits).1 == .tooLarge)
        // Refused by its header: nobody waits for the elements, or makes room for them.
        #expect(Self.read(["*11\r\n".bytes], limits: limits).1 == .tooLarge)
        #expect(Self.read(["*2147483647\r\n".bytes]).1 == .tooLarge)
        let nested = "*2\r\n*5\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n*4\r\n"
        #expect(Self.read([nested.bytes], limits: limits).1 == .tooLarge)
        let strings =
            "*3\r\n"
            + String(repeating: "$40\r\n\(String(repeating: "y", count: 40))\r\n", count: 3)
        #expect(Self.read(strings.bytes.map { [$0] }, limits: limits).1 == .tooLarge)
        // The bounds are of one reply, not of the stream.
        let many = String(
            repeating: "*2\r\n$20\r\n\(String(repeating: "z", count: 20))\r\n:1\r\n", count: 9)
        let (replies, error) = Self.read(many.bytes.map { [$0] }, limits: limits)
        #expect(replies.count == 9)
        #expect(error == nil)
    }

    @Test func randomBytesNeverTrap() {
        var generator = SeededGenerator(seed: 14)
        let base = Self.stream.bytes
        for _ in 0..<3_000 {
            var bytes = base
            for _ in 0..<Int.random(in: 1...3, using: &generator) {
                let position = Int.random(in: 0..<bytes.count, using: &generator)
                bytes[position] = UInt8.random(in: 0...255, using: &generator)
            }
            let whole = Self.read([bytes])
            let chopped = Self.read(bytes.chopped(using: &generator))
            #expect(whole.1 == chopped.1)
            #expect(whole.0 == chopped.0)
        }
    }
}

@Suite struct RESPWriterTests {
    @Test func formatsAnyBytes() {
        var writer = RESPWriter()
        writer.append("GET", "key")
        writer.append([Array("SET".utf8), [], [0, 13, 10, 255]])
        let bytes = writer.withBytes { copy($0) }
        #expect(
            bytes == Array(
                "*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n*3\r\n$3\r\nSET\r\n$0\r\n\r\n$4\r\n".utf8)
                + [0, 13, 10, 255, 13, 10])
        let count = writer.count
        #expect(count == bytes.count)
        writer.removeAll()
        let isEmpty = writer.isEmpty
        #expect(isEmpty)
        writer.append([[]])
        #expect(string(writer.withBytes { copy($0) }) == "*1\r\n$0\r\n\r\n")
    }

    @Test func hotCommandsAreTheSameBytes() {
        var generator = SeededGenerator(seed: 15)
        for length in [0, 1, 9, 10, 99, 100, 1_000] {
            let channel = "user:\(length)".bytes
            let payload = generator.bytes(length)
            var writer = RESPWriter()
            writer.append(["PUBLISH".bytes, channel, payload])
            let direct = written {
                RESPCommand.writePublish(channel: channel.span, payload: payload.span, into: &$0)
            }
            #expect(direct == writer.withBytes { copy($0) })
            #expect(
                direct.count
                    == RESPCommand.publishBytes(channelBytes: channel.count, payloadBytes: length))
        }
        var writer = RESPWriter()
        writer.append("EXPIRE", "k", "-60", "300")
        let pieces = written {
            RESPCommand.writeArray(4, into: &$0)
            RESPCommand.writeBulk("EXPIRE", into: &$0)
            RESPCommand.writeBulk("k".bytes.span, into: &$0)
            RESPCommand.writeBulk(decimal: -60, into: &$0)
            RESPCommand.writeBulk(decimal: 300, into: &$0)
        }
        #expect(pieces == writer.withBytes { copy($0) })
        #expect(
            written { RESPCommand.writeArray(12, into: &$0) }.count == RESPCommand.arrayBytes(12))
    }
}
