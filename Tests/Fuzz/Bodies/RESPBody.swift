// What Redis may send: the push scanner whole and chopped, and each push it takes against hiredis's
// reader; the reader itself whole and chopped, and what it read written again.

import SkeinWire

/// A reply taken out of its tree, so that it can be compared.
private indirect enum Reply: Equatable {
    case string([UInt8])
    case status([UInt8])
    case error([UInt8])
    case integer(Int64)
    case array([Reply])
    case null

    init(_ value: borrowing RESPValue) {
        switch value.kind {
        case .string: self = .string(value.withBytes { copy($0) })
        case .status: self = .status(value.withBytes { copy($0) })
        case .error: self = .error(value.withBytes { copy($0) })
        case .integer: self = .integer(value.integer ?? 0)
        case .null: self = .null
        case .array:
            var elements: [Reply] = []
            for i in 0..<value.count { elements.append(Reply(value[i])) }
            self = .array(elements)
        }
    }

    static func text(_ text: String) -> Reply { .string(Array(text.utf8)) }
}

private struct Replies: Equatable {
    var replies: [Reply] = []
    var error: RESPError?

    init(_ pieces: [[UInt8]], limits: RESPLimits) {
        var reader = RESPReader(limits: limits)
        do throws(RESPError) {
            for piece in pieces {
                try reader.feed(piece.span)
                while let reply = try reader.next() { replies.append(Reply(reply.value)) }
            }
        } catch {
            self.error = error
        }
    }
}

/// Every push of a stream with its bytes, up to an error or to what is left to the reader.
private struct Pushes: Equatable {
    struct Taken: Equatable {
        let push: Push
        let bytes: [UInt8]
    }

    var taken: [Taken] = []
    var error: RESPError?
    var isOther = false

    init(_ pieces: [[UInt8]], bulkBytesMax: Int) {
        let scanner = PushScanner(bulkBytesMax: bulkBytesMax)
        var unread: [UInt8] = []
        do throws(RESPError) {
            for piece in pieces where !isOther {
                unread += piece
                while let push = try scanner.next(in: unread.span) {
                    guard push.kind != .other else {
                        isOther = true
                        break
                    }
                    taken.append(Taken(push: push, bytes: Array(unread.prefix(push.consumed))))
                    unread.removeFirst(push.consumed)
                }
            }
        } catch {
            self.error = error
        }
    }
}

@Sendable func checkRESP(_ input: [UInt8]) throws(Contradiction) {
    guard let choice = input.first else { return }
    let stream = Array(input[1...])
    let pieces = stream.cut(by: choice)

    let limits = RESPLimits(replyBytesMax: 4_096, elementsMax: 64)
    let replies = Replies([stream], limits: limits)
    let choppedReplies = Replies(pieces, limits: limits)
    try expect(choppedReplies == replies, "chopped \(choppedReplies), whole \(replies)")

    let pushes = Pushes([stream], bulkBytesMax: 256)
    let choppedPushes = Pushes(pieces, bulkBytesMax: 256)
    try expect(choppedPushes == pushes, "chopped \(choppedPushes), whole \(pushes)")
    for taken in pushes.taken {
        let read = Replies([taken.bytes], limits: limits)
        try expect(
            read.error == nil && read.replies == [words(taken)],
            "the scanner took \(taken.bytes.shown), the reader \(read)")
    }
    try checkCommands(replies.replies)
}

/// What the reader makes of such a push.
private func words(_ taken: Pushes.Taken) -> Reply {
    let push = taken.push
    let (channel, payload) = (Array(taken.bytes[push.channel.range]), Array(taken.bytes[push.payload.range]))
    let count = Reply.integer(Int64(push.subscriptions))
    let namesNone = taken.bytes.starts(with: "*3\r\n$11\r\nunsubscribe\r\n$-1\r\n".utf8)
        || taken.bytes.starts(with: "*3\r\n$9\r\nsubscribe\r\n$-1\r\n".utf8)
    switch push.kind {
    case .message: return .array([.text("message"), .string(channel), .string(payload)])
    case .subscribe: return .array([.text("subscribe"), namesNone ? .null : .string(channel), count])
    case .unsubscribe: return .array([.text("unsubscribe"), namesNone ? .null : .string(channel), count])
    case .pong:
        let isSimple = taken.bytes[0] == 0x2B
        return isSimple ? .status(Array("PONG".utf8)) : .array([.text("pong"), .string(payload)])
    case .error: return .error(payload)
    case .other: return .null
    }
}

/// A command of the same strings reads as itself, and both writers write the same.
private func checkCommands(_ replies: [Reply]) throws(Contradiction) {
    for case .array(let elements) in replies where !elements.isEmpty {
        let words = elements.compactMap { element -> [UInt8]? in
            if case .string(let word) = element { return word }
            return nil
        }
        guard words.count == elements.count else { continue }
        var writer = RESPWriter()
        writer.append(words)
        let general = writer.withBytes { copy($0) }
        let size = words.reduce(RESPCommand.arrayBytes(words.count)) { $0 + RESPCommand.bulkBytes($1.count) }
        let direct = ByteWriter.withTemporary(capacity: size) { command in
            RESPCommand.writeArray(words.count, into: &command)
            for word in words { RESPCommand.writeBulk(word.span, into: &command) }
            return command.withWritten { copy($0) }
        }
        try expect(direct == general && direct.count == size, "\(direct.shown) and \(general.shown)")
        let read = Replies([direct], limits: RESPLimits(replyBytesMax: 4_096, elementsMax: 64))
        // Framing takes room too: a reply near the bound may be refused when it comes as one feed.
        let isSame = read.replies == [.array(elements)]
        try expect(isSame || read.error == .tooLarge, "\(direct.shown) reads \(read)")
    }
}
