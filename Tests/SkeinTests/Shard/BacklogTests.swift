import Testing

@testable import Skein

@Suite("Backlog")
struct BacklogTests {
    /// Beside a naive model: the same bytes and the same count of unfinished frames, whatever the
    /// kernel takes at once and however the queue grows meanwhile.
    @Test(arguments: 0..<40)
    func matchesAModel(seed: Int) {
        var random = SeededGenerator(seed: UInt64(seed))
        var backlog = Backlog(capacity: 16)
        var model: [UInt8] = []
        var ends: [Int] = []
        var sent = 0
        var total = 0
        for _ in 0..<300 {
            if Bool.random(using: &random) || backlog.isEmpty {
                let sizes = [0, 1, 125, 126, 127, 4_000, 65_535, 65_536, 70_000]
                let payload = [UInt8](
                    repeating: UInt8.random(in: 0...255, using: &random),
                    count: sizes.randomElement(using: &random)!)
                let frame = serverFrame(payload)
                withBytes(frame) { backlog.append($0, messages: 1) }
                model += frame
                total += frame.count
                ends.append(total)
            } else {
                let flight = backlog.takeOff()
                let count = Int.random(in: 1...flight.count, using: &random)
                let expected = Array(model.prefix(count))
                // What is appended while a send is in flight must not move its bytes.
                let extra = serverFrame([1, 2, 3])
                withBytes(extra) { backlog.append($0, messages: 1) }
                model += extra
                total += extra.count
                ends.append(total)
                let seen = flight.slice(from: 0, count: count).array
                #expect(seen == expected)
                backlog.sent(count)
                model.removeFirst(count)
                sent += count
            }
            let bytes = backlog.bytes
            let messages = backlog.messages
            #expect(bytes == model.count)
            #expect(messages == ends.count { $0 > sent })
        }
    }

    @Test("the answer to a handshake counts as one message and is not read as a frame")
    func handshakeAnswer() {
        let answer = Array("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n".utf8)
        let frame = serverFrame(Array("hello".utf8))
        var backlog = Backlog(capacity: 64)
        withBytes(answer) { backlog.append($0, messages: 1) }
        withBytes(frame) { backlog.append($0, messages: 1) }
        backlog.sent(answer.count - 1)
        let before = backlog.messages
        #expect(before == 2)
        backlog.sent(1)
        let after = backlog.messages
        #expect(after == 1)
        backlog.sent(frame.count)
        let end = backlog.messages
        #expect(end == 0)
    }
}
