// permessage-deflate: what peers ask for in the handshake, and what they send afterwards, whole and
// chopped and beside zlib itself in one call. Nothing grows past the bound that it was given.

import CZlib
import SkeinWire

@Sendable func checkDeflate(_ input: [UInt8]) throws(Contradiction) {
    guard input.count >= 2 else { return }
    let rest = Array(input[2...])
    switch input[0] % 3 {
    case 0: try checkNegotiation(rest, choice: input[1])
    case 1: try checkInflating(rest, choice: input[1])
    default: try checkRoundTrip(rest, choice: input[1])
    }
}

private func checkNegotiation(_ text: [UInt8], choice: UInt8) throws(Contradiction) {
    let settings = DeflateSettings(
        serverNoContextTakeover: choice & 1 != 0, clientNoContextTakeover: choice & 2 != 0,
        serverWindowBits: 9 + (choice >> 2) % 7, clientWindowBits: 8 + (choice >> 5))
    // A stranger's answer to our offer: taken or refused, never more than we can keep.
    if let given = try? DeflateNegotiation.check(answer: text.span, settings: settings) {
        try expect(given.serverWindowBits <= settings.serverWindowBits, "a larger window: \(text.shown)")
        try expect(
            given.serverNoContextTakeover || !settings.serverNoContextTakeover, "takeover: \(text.shown)")
    }
    guard let agreed = DeflateNegotiation.accept(offer: text.span, settings: settings) else { return }
    try expect(agreed.serverWindowBits <= settings.serverWindowBits, "a larger window: \(text.shown)")
    let answer = ByteWriter.withTemporary(capacity: DeflateNegotiation.headerBytesMax) { writer in
        DeflateNegotiation.writeAnswer(agreed, into: &writer)
        return writer.withWritten { copy($0) }
    }
    // Whoever offers all that we may answer with takes the answer, and reads the same in it.
    let open = DeflateSettings(serverNoContextTakeover: false, clientNoContextTakeover: false)
    guard agreed.clientWindowBits >= 9 else { return }
    guard let read = try? DeflateNegotiation.check(answer: answer.span, settings: open) else {
        throw Contradiction("our answer \(answer.shown) is refused")
    }
    try expect(
        read.serverWindowBits == agreed.serverWindowBits && read.clientWindowBits == agreed.clientWindowBits
            && read.serverNoContextTakeover == agreed.serverNoContextTakeover
            && read.clientNoContextTakeover == agreed.clientNoContextTakeover,
        "our answer \(answer.shown) reads \(read)")
}

private struct Inflated: Equatable {
    static let bytesMax = 65_536

    var bytes: [UInt8] = []
    var error: WebSocketError?

    init(_ pieces: [[UInt8]], windowBits: UInt8, scratchBytes: Int) {
        var inflater = Inflater(windowBits: windowBits)
        var scratch = [UInt8](repeating: 0, count: scratchBytes)
        var output: [UInt8] = []
        do throws(WebSocketError) {
            for (position, piece) in pieces.enumerated() {
                let isLast = position == pieces.count - 1
                try scratch.withUnsafeMutableBufferPointer { room throws(WebSocketError) in
                    try unsafe inflater.inflate(piece.span, isLast: isLast, scratch: room) {
                        (out) throws(WebSocketError) in
                        guard output.count + out.count <= Self.bytesMax else { throw .messageTooBig }
                        output += copy(out)
                    }
                }
            }
        } catch {
            self.error = error
            output = []
        }
        bytes = output
    }
}

private func checkInflating(_ message: [UInt8], choice: UInt8) throws(Contradiction) {
    let windowBits = 8 + (choice & 7)
    let whole = Inflated([message], windowBits: windowBits, scratchBytes: 4_096)
    let pieces = message.isEmpty ? [[]] : message.cut(by: choice)
    let chopped = Inflated(pieces, windowBits: windowBits, scratchBytes: 1 + Int(choice))
    let errors = "chopped \(chopped.error as Any), whole \(whole.error as Any)"
    // A look back past a smaller window than the largest is the peer's fault that zlib sees only when the
    // bytes meant have left the memory it writes to; then one way may fail where the other does not.
    let isSameFault = windowBits == 15 || chopped.error == whole.error
    try expect(!isSameFault || chopped == whole, "\(errors): \(message.shown)")
    guard whole.error == nil else { return }
    try expect(inflatedAtOnce(message, windowBits: windowBits) == whole.bytes, "zlib: \(message.shown)")
}

/// As RFC 7692 §7.2.2 says it, the tail appended; nil when zlib does not get through one stream.
private func inflatedAtOnce(_ message: [UInt8], windowBits: UInt8) -> [UInt8] {
    var output: [UInt8] = []
    var rest = message + [0x00, 0x00, 0xFF, 0xFF]
    var stream = z_stream()
    inflateInit2_(&stream, -Int32(max(windowBits, 9)), ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size))
    defer { inflateEnd(&stream) }
    var room = [UInt8](repeating: 0, count: Inflated.bytesMax + 1_024)
    rest.withUnsafeMutableBufferPointer { source in
        stream.next_in = source.baseAddress
        stream.avail_in = UInt32(source.count)
        var status = Z_OK
        while status == Z_OK || status == Z_STREAM_END {
            let isEnd = status == Z_STREAM_END
            if isEnd { inflateResetKeep(&stream) }
            guard stream.avail_in > 0 else { break }
            room.withUnsafeMutableBufferPointer { target in
                stream.next_out = target.baseAddress
                stream.avail_out = UInt32(target.count)
                status = inflate(&stream, Z_SYNC_FLUSH)
                output += target.prefix(target.count - Int(stream.avail_out))
            }
        }
    }
    return output
}

private func checkRoundTrip(_ message: [UInt8], choice: UInt8) throws(Contradiction) {
    let windowBits = 9 + choice % 7
    var deflater = Deflater(
        windowBits: windowBits, level: 1 + choice % 9, memoryLevel: 1 + choice / 9 % 9)
    var inflater = Inflater(windowBits: windowBits)
    var scratch = [UInt8](repeating: 0, count: 64)
    // Twice: the second may look back at the first.
    for _ in 0..<2 {
        let room = Deflater.bytesMax(for: message.count)
        let packed: [UInt8]? = ByteWriter.withTemporary(capacity: room) { writer in
            guard deflater.compress(message.span, keepingContext: true, into: &writer) else { return nil }
            return writer.withWritten { copy($0) }
        }
        guard let packed else { throw Contradiction("no room in the bound for \(message.shown)") }
        var output: [UInt8] = []
        do throws(WebSocketError) {
            try scratch.withUnsafeMutableBufferPointer { room throws(WebSocketError) in
                try unsafe inflater.inflate(packed.span, isLast: true, scratch: room) {
                    (out) throws(WebSocketError) in output += copy(out)
                }
            }
        } catch {
            throw Contradiction("\(error) from our own \(packed.shown)")
        }
        try expect(output == message, "\(message.shown) came back as \(output.shown)")
    }
}
