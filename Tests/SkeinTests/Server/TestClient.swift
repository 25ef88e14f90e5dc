import Foundation
import Glibc
import SkeinIO

/// A blocking WebSocket client that shares no code with the broker's codecs. Used by one thread at a
/// time, which is what makes it safe to hand on.
final class TestClient: @unchecked Sendable {
    struct Closed: Error { var code: UInt16? }
    private let fd: Int32
    private var input: [UInt8] = []

    init(_ address: String, path: String, token: String?) throws {
        guard let target = SocketAddress(parsing: address) else { throw Closed() }
        fd = try Sockets.connect(to: target)
        var timeout = timeval(tv_sec: 60, tv_usec: 0)
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, socklen_t(MemoryLayout<timeval>.size))
        let query = token.map { "?token=\($0)" } ?? ""
        write(
            Array(
                """
                GET \(path)\(query) HTTP/1.1\r\nHost: \(address)\r\nUpgrade: websocket\r
                Connection: Upgrade\r\nSec-WebSocket-Version: 13\r
                Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n
                """.utf8))
        var head = ""
        while !head.hasSuffix("\r\n\r\n") { head += String(decoding: try take(1), as: UTF8.self) }
        guard head.hasPrefix("HTTP/1.1 101"), head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=") else {
            throw Closed(code: UInt16(head.split(separator: " ")[1]))
        }
    }

    deinit { Sockets.close(fd) }

    func write(_ bytes: [UInt8]) {
        var sent = 0
        while sent < bytes.count {
            let count = bytes[sent...].withUnsafeBytes { Glibc.send(fd, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
            guard count > 0 else { return }
            sent += count
        }
    }

    func send(_ text: String, opcode: UInt8 = 1, fin: Bool = true) {
        write(Self.frame(Array(text.utf8), opcode: opcode, fin: fin))
    }

    static func frame(_ payload: [UInt8], opcode: UInt8, fin: Bool = true) -> [UInt8] {
        let key: [UInt8] = [0x12, 0x34, 0x56, 0x78]
        var frame: [UInt8] = [(fin ? 0x80 : 0) | opcode]
        switch payload.count {
        case ..<126: frame.append(0x80 | UInt8(payload.count))
        case ..<65_536: frame += [0xFE, UInt8(payload.count >> 8), UInt8(payload.count & 0xFF)]
        default:
            frame.append(0xFF)
            for shift in stride(from: 56, through: 0, by: -8) {
                frame.append(UInt8(truncatingIfNeeded: payload.count >> shift))
            }
        }
        frame += key
        for (index, byte) in payload.enumerated() { frame.append(byte ^ key[index & 3]) }
        return frame
    }

    /// The next data message; pings are answered on the way.
    func receive() throws -> String {
        while true {
            let head = try take(2)
            var count = Int(head[1] & 0x7F)
            // One or the other: a length of 16 bits may be 127, too.
            if count >= 126 { count = try take(count == 126 ? 2 : 8).reduce(0) { $0 << 8 | Int($1) } }
            let payload = try take(count)
            switch head[0] & 0x0F {
            case 8:
                throw Closed(code: payload.count >= 2 ? UInt16(payload[0]) << 8 | UInt16(payload[1]) : nil)
            case 9: write(Self.frame(payload, opcode: 10))
            case 10: break
            default: return String(decoding: payload, as: UTF8.self)
            }
        }
    }

    func receiveObject() throws -> [String: Any] {
        let object = try JSONSerialization.jsonObject(with: Data(try receive().utf8))
        return object as? [String: Any] ?? [:]
    }

    private func take(_ count: Int) throws -> [UInt8] {
        while input.count < count {
            var buffer = [UInt8](repeating: 0, count: 65_536)
            let got = recv(fd, &buffer, buffer.count, 0)
            guard got > 0 else { throw Closed() }
            input += buffer[..<got]
        }
        defer { input.removeFirst(count) }
        return Array(input[..<count])
    }
}
