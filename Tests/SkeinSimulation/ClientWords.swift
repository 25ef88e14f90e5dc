// What a client writes, and how it reads what it is told: plain bytes, so that a run is fast.

enum ClientWords {
    static func request(path: String, token: String?, resume: String? = nil) -> [UInt8] {
        var query = token.map { "?token=\($0)" } ?? ""
        if let resume { query += "&resume=\(resume)" }
        return Array(
            """
            GET \(path)\(query) HTTP/1.1\r\nHost: simulated\r\nUpgrade: websocket\r\n\
            Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nUser-Agent: simulation\r\n\r\n
            """.utf8)
    }

    static func frame(_ opcode: UInt8, _ payload: [UInt8], isLast: Bool = true, mask: UInt32) -> [UInt8] {
        var frame: [UInt8] = []
        frame.reserveCapacity(payload.count + 14)
        frame.append((isLast ? 0x80 : 0) | opcode)
        switch payload.count {
        case ..<126: frame.append(0x80 | UInt8(payload.count))
        case ..<65_536: frame += [0xFE, UInt8(payload.count >> 8), UInt8(payload.count & 0xFF)]
        default:
            frame.append(0xFF)
            for shift in stride(from: 56, through: 0, by: -8) {
                frame.append(UInt8(truncatingIfNeeded: payload.count >> shift))
            }
        }
        let key = [UInt8(truncatingIfNeeded: mask >> 24), UInt8(truncatingIfNeeded: mask >> 16),
            UInt8(truncatingIfNeeded: mask >> 8), UInt8(truncatingIfNeeded: mask)]
        frame += key
        let start = frame.count
        frame += payload
        frame.withUnsafeMutableBufferPointer { frame in
            for index in 0..<payload.count { frame[start + index] ^= key[index & 3] }
        }
        return frame
    }

    /// `m:sender:message:count:` and as many letters, which follow from the numbers.
    static func content(_ number: Int, _ message: Int, bytes: Int) -> [UInt8] {
        var content = Array("m:\(number):\(message):\(bytes):".utf8)
        content.reserveCapacity(content.count + bytes)
        for index in 0..<bytes { content.append(letter(number, message, index)) }
        return content
    }

    private static func letter(_ number: Int, _ message: Int, _ index: Int) -> UInt8 {
        UInt8(97 + (number &+ message &* 7 &+ index) % 26)
    }

    static func chatMessage(to receiver: String, _ content: [UInt8], request: Int) -> [UInt8] {
        var text = Array(#"{"type":"chat_message","data":{"receiverId":"\#(receiver)","message":""#.utf8)
        text += content
        text += Array(#""},"requestId":\#(request)}"#.utf8)
        return text
    }

    static func isLater(_ offset: String, than other: String) -> Bool {
        func numbers(_ text: String) -> (UInt64, UInt64) {
            let parts = text.split(separator: "-").compactMap { UInt64($0) }
            return parts.count == 2 ? (parts[0], parts[1]) : (0, 0)
        }
        return numbers(offset) > numbers(other)
    }

    /// A backend's envelope on a relay channel.
    static func note(_ content: [UInt8]) -> [UInt8] {
        Array(#"{"type":"note","data":{"message":""#.utf8) + content + Array(#""}}"#.utf8)
    }
}

/// What an event says.
struct ClientReader {
    let bytes: UnsafeBufferPointer<UInt8>

    func starts(with text: StaticString) -> Bool {
        let count = text.utf8CodeUnitCount
        guard bytes.count >= count else { return false }
        for index in 0..<count where bytes[index] != text.utf8Start[index] { return false }
        return true
    }

    func place(after text: StaticString) -> Int? {
        let count = text.utf8CodeUnitCount
        guard bytes.count >= count else { return nil }
        let first = text.utf8Start[0]
        for start in 0...bytes.count - count where bytes[start] == first {
            var index = 1
            while index < count, bytes[start + index] == text.utf8Start[index] { index += 1 }
            if index == count { return start + count }
        }
        return nil
    }

    /// What stands between `text` and the next quote.
    func text(after text: StaticString) -> String? {
        guard let start = place(after: text) else { return nil }
        var end = start
        while end < bytes.count, bytes[end] != UInt8(ascii: "\"") { end += 1 }
        return String(decoding: bytes[start..<end], as: UTF8.self)
    }

    func number(at place: inout Int) -> Int? {
        var value = 0
        let start = place
        while place < bytes.count, bytes[place] >= 48, bytes[place] <= 57 {
            value = value * 10 + Int(bytes[place]) - 48
            place += 1
        }
        return place > start ? value : nil
    }

    /// The numbers of a content that is whole; `nil` when it is not.
    func content() -> (number: Int, message: Int)? {
        guard var place = place(after: "\"m:"), let number = number(at: &place) else { return nil }
        place += 1
        guard let message = self.number(at: &place) else { return nil }
        place += 1
        guard let count = self.number(at: &place), place + 1 + count < bytes.count else { return nil }
        place += 1
        var letter = (number &+ message &* 7) % 26
        for index in place..<place + count {
            guard bytes[index] == UInt8(97 + letter) else { return nil }
            letter = letter == 25 ? 0 : letter + 1
        }
        guard bytes[place + count] == UInt8(ascii: "\"") else { return nil }
        return (number, message)
    }
}
