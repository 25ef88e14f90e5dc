// What the deflate tests share: codecs fed with arrays, and messages worth compressing.

import SkeinWire

typealias Inflated = Result<[UInt8], WebSocketError>

extension Deflater {
    mutating func compressed(_ input: [UInt8], keepingContext: Bool = false) -> [UInt8]? {
        compressed(input, keepingContext: keepingContext, room: Deflater.bytesMax(for: input.count))
    }

    mutating func compressed(_ input: [UInt8], keepingContext: Bool, room: Int) -> [UInt8]? {
        let memory = UnsafeMutablePointer<UInt8>.allocate(capacity: max(room, 1))
        defer { memory.deallocate() }
        var writer = ByteWriter(unsafe: memory, capacity: room)
        guard compress(input.span, keepingContext: keepingContext, into: &writer) else {
            return writer.count == 0 ? nil : []
        }
        return Array(UnsafeBufferPointer(start: memory, count: writer.count))
    }
}

extension Inflater {
    /// One whole message out of `pieces`; more than `bytesMax` bytes are too many.
    mutating func message(
        _ pieces: [[UInt8]], scratchBytes: Int = 4_096, bytesMax: Int = .max
    ) -> Inflated {
        let scratch = UnsafeMutableBufferPointer<UInt8>.allocate(capacity: scratchBytes)
        defer { scratch.deallocate() }
        var output: [UInt8] = []
        do throws(WebSocketError) {
            for i in 0..<max(pieces.count, 1) {
                let piece = pieces.isEmpty ? [] : pieces[i]
                try inflate(piece.span, isLast: i + 1 >= pieces.count, scratch: scratch) {
                    (bytes) throws(WebSocketError) in
                    precondition(bytes.count > 0 && bytes.count <= scratchBytes)
                    guard bytes.count <= bytesMax - output.count else { throw .messageTooBig }
                    bytes.withUnsafeBufferPointer { output.append(contentsOf: $0) }
                }
            }
            return .success(output)
        } catch {
            return .failure(error)
        }
    }

    mutating func message(_ whole: [UInt8]) -> Inflated { message([whole]) }
}

func inflated(_ pieces: [[UInt8]], windowBits: UInt8 = 15, scratchBytes: Int = 4_096) -> Inflated {
    var inflater = Inflater(windowBits: windowBits)
    return inflater.message(pieces, scratchBytes: scratchBytes)
}

extension SeededGenerator {
    /// Text, JSON, noise or repetition of about `count` bytes.
    mutating func message(_ count: Int) -> [UInt8] {
        switch Int.random(in: 0..<5, using: &self) {
        case 0: return bytes(count)
        case 1: return [UInt8](repeating: UInt8.random(in: 0...255, using: &self), count: count)
        case 2:
            var text: [UInt8] = []
            let words = ["grün ", "the ", "station ", "nine ", "at ", "on ", "☕️ ", "meet "].map(\.bytes)
            while text.count < count { text += words.randomElement(using: &self)! }
            return text
        case 3:
            // Long matches from far away: a window's worth of noise, over and over.
            let block = bytes(Int.random(in: 1...40_000, using: &self) % (count + 1) + 1)
            var noise: [UInt8] = []
            while noise.count < count { noise += block }
            return noise
        default:
            var json = "{\"type\":\"notification_bulk\",\"data\":{\"notifications\":[".bytes
            while json.count < count {
                let isRead = Bool.random(using: &self)
                json += "{\"id\":\"\(next())\",\"kind\":\"like\",\"read\":\(isRead)},".bytes
            }
            return json
        }
    }
}

func bytes(hex: String) -> [UInt8] {
    let digits = hex.filter { $0 != " " }.utf8.map { UInt8($0 < 0x3A ? $0 - 0x30 : $0 - 0x57) }
    return stride(from: 0, to: digits.count, by: 2).map { digits[$0] << 4 | digits[$0 + 1] }
}
