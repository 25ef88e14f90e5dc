// The codecs, alone: bytes in memory to values and back.

import SkeinWire

/// Bytes that stay where they are until the process ends; a plain value, so that using it counts nothing.
struct Block: BitwiseCopyable {
    let base: UnsafeMutablePointer<UInt8>
    let count: Int

    init(_ bytes: [UInt8]) {
        count = bytes.count
        base = .allocate(capacity: max(count, 1))
        base.initialize(from: bytes, count: count)
    }

    init(_ text: String) { self.init(Array(text.utf8)) }
}

/// A client's frame around `payload`.
func maskedFrame(_ payload: [UInt8], opcode: Opcode = .text, key: UInt32 = 0x5A3C_96E1) -> [UInt8] {
    var frame = [UInt8](repeating: 0, count: payload.count + FrameEncoder.maxClientHeaderBytes)
    let used = frame.withUnsafeMutableBufferPointer { room in
        var writer = ByteWriter(unsafe: room.baseAddress!, capacity: room.count)
        FrameEncoder.writeClientHeader(opcode, payloadBytes: payload.count, key: key, into: &writer)
        let start = writer.count
        payload.withUnsafeBufferPointer { writer.append($0.span) }
        var masked = MutableSpan(_unsafeStart: room.baseAddress! + start, count: payload.count)
        unmask(&masked, key: key)
        return writer.count
    }
    return Array(frame[..<used])
}

/// JSON as clients send it, of about `count` bytes.
func chatJSON(_ count: Int) -> String {
    let head = #"{"type":"chat_message","data":{"receiverId":"user-4711","message":{"id":"m-1","text":""#
    let tail = #""}},"timestamp":"2026-01-02T03:04:05.678Z","requestId":"r-17"}"#
    let words = ["the ", "quick ", "brown ", "fox ", "jumps ", "over ", "a ", "lazy ", "dog, ", "twice. "]
    var text = head
    var place = 0
    while text.utf8.count + tail.utf8.count < count {
        text += words[(place * 7 + place / 10) % words.count]
        place += 1
    }
    return text + tail
}

private func frameBenchmark(_ name: String, _ payloadBytes: Int) -> Benchmark {
    Benchmark(name) {
        // Eight of slightly different lengths, so that nothing is the same from one to the next.
        let frames = (0..<8).map { Block(maskedFrame([UInt8](repeating: 97, count: payloadBytes + $0))) }
        let decoder = FrameDecoder(role: .server, payloadBytesMax: 65_536, allowsCompression: true)
        return { count in
            for index in 0..<count {
                let frame = frames[index & 7]
                let bytes = Span(_unsafeStart: frame.base, count: frame.count)
                guard let header = try? decoder.header(in: bytes) else { fatalError("not a frame") }
                sink &+= header.frameBytes
            }
        }
    }
}

private func unmaskBenchmark(_ bytes: Int) -> Benchmark {
    Benchmark("unmask \(bytes) B") {
        let block = Block([UInt8](repeating: 97, count: bytes))
        return { count in
            for index in 0..<count {
                var payload = MutableSpan(_unsafeStart: block.base, count: bytes)
                unmask(&payload, key: 0x1234_5678 &+ UInt32(truncatingIfNeeded: index))
            }
            sink &+= Int(block.base[0])
        }
    }
}

private func textBenchmark(_ name: String, _ text: String) -> Benchmark {
    Benchmark(name) {
        let block = Block(text)
        return { count in
            for index in 0..<count {
                // From other ASCII characters each time.
                let skipped = index & 7
                let text = Span(_unsafeStart: block.base + skipped, count: block.count - skipped)
                let isValid = UTF8Validator.isValid(text)
                precondition(isValid)
            }
        }
    }
}

private let push =
    "*3\r\n$7\r\nmessage\r\n$9\r\nuser:4711\r\n$200\r\n" + chatJSON(200).prefix(200) + "\r\n"

let wireBenchmarks = [
    frameBenchmark("frame decode, 100 B", 100),
    frameBenchmark("frame decode, 1 KiB", 1_024),
    Benchmark("frame encode, 128 B in place") {
        let memory = UnsafeMutablePointer<UInt8>.allocate(capacity: 512)
        let payload = Block([UInt8](repeating: 97, count: 136))
        return { count in
            for index in 0..<count {
                var writer = ByteWriter(unsafe: memory, capacity: 512)
                let mark = FrameEncoder.reserve(in: &writer)
                writer.append(Span(_unsafeStart: payload.base + (index & 7), count: 128))
                sink &+= FrameEncoder.seal(.text, reservedAt: mark, in: &writer)
            }
        }
    },
    unmaskBenchmark(128),
    unmaskBenchmark(4_096),
    textBenchmark("UTF-8, 1 KiB ASCII", String(repeating: "abcdefgh", count: 128)),
    textBenchmark("UTF-8, 1 KiB mixed", "abcdefgh" + String(repeating: "Grüße, 世界 🌍 ok ", count: 40)),
    Benchmark("envelope scan, 200 B") {
        let texts = (0..<8).map { Block(chatJSON(200 + $0 * 8)) }
        return { count in
            for index in 0..<count {
                let block = texts[index & 7]
                let text = Span(_unsafeStart: block.base, count: block.count)
                ObjectIndex.withTemporary { envelope in
                    guard envelope.index(text), let type = envelope.find("type", in: text),
                        let data = envelope.find("data", in: text)
                    else { fatalError("not an envelope") }
                    ObjectIndex.withTemporary { members in
                        guard members.indexTrusted(text, object: data.value),
                            let receiver = members.find("receiverId", in: text)
                        else { fatalError("not a message") }
                        sink &+= receiver.value.start &+ type.value.end
                    }
                }
            }
        }
    },
    Benchmark("deflate 1 KiB JSON", operations: 200) {
        let block = Block(chatJSON(1_024))
        let room = Deflater.bytesMax(for: block.count)
        let memory = UnsafeMutablePointer<UInt8>.allocate(capacity: room)
        let settings = DeflateSettings()
        let deflater = DeflaterBox(settings)
        return { count in
            for _ in 0..<count {
                var writer = ByteWriter(unsafe: memory, capacity: room)
                let fits = deflater.deflater.compress(
                    Span(_unsafeStart: block.base, count: block.count), keepingContext: false, into: &writer)
                precondition(fits && writer.count < block.count)
            }
        }
    },
    Benchmark("inflate 1 KiB JSON", operations: 200) {
        let block = Block(chatJSON(1_024))
        let compressed = DeflaterBox(DeflateSettings()).compress(block)
        let inflater = InflaterBox()
        let scratch = UnsafeMutableBufferPointer<UInt8>.allocate(capacity: 4_096)
        return { count in
            for _ in 0..<count {
                var bytes = 0
                inflater.inflater.reset()
                do throws(WebSocketError) {
                    try inflater.inflater.inflate(
                        Span(_unsafeStart: compressed.base, count: compressed.count), isLast: true,
                        scratch: scratch
                    ) { (piece) throws(WebSocketError) in bytes += piece.count }
                } catch { fatalError("\(error)") }
                precondition(bytes == block.count)
            }
        }
    },
    Benchmark("push scan, 200 B message") {
        let block = Block(String(repeating: push, count: 8))
        let scanner = PushScanner(bulkBytesMax: 1 << 20)
        let step = block.count / 8
        return { count in
            for index in 0..<count {
                let stream = Span(_unsafeStart: block.base, count: block.count)
                guard let push = try? scanner.next(in: stream, at: (index & 7) * step),
                    push.kind == .message
                else { fatalError("not a push") }
                sink &+= push.payload.start
            }
        }
    },
    Benchmark("push by hiredis's reader, beside it") {
        let block = Block(push)
        let reader = ReaderBox()
        return { count in
            for _ in 0..<count {
                do throws(RESPError) {
                    try reader.reader.feed(Span(_unsafeStart: block.base, count: block.count))
                    guard let reply = try reader.reader.next() else { fatalError("not a reply") }
                    sink &+= reply.value.count
                } catch { fatalError("\(error)") }
            }
        }
    },
]

// Places for values that cannot be copied, and so not be captured.

private final class DeflaterBox {
    var deflater: Deflater

    init(_ settings: DeflateSettings) {
        deflater = Deflater(
            windowBits: settings.serverWindowBits, level: settings.level, memoryLevel: settings.memoryLevel)
    }

    func compress(_ block: Block) -> Block {
        let bytesMax = Deflater.bytesMax(for: block.count)
        let bytes = [UInt8](unsafeUninitializedCapacity: bytesMax) { room, used in
            var writer = ByteWriter(unsafe: room.baseAddress!, capacity: room.count)
            let text = Span(_unsafeStart: block.base, count: block.count)
            let fits = deflater.compress(text, keepingContext: false, into: &writer)
            precondition(fits)
            used = writer.count
        }
        return Block(bytes)
    }
}

private final class InflaterBox {
    var inflater = Inflater(windowBits: 15)
}

private final class ReaderBox {
    var reader = RESPReader()
}
