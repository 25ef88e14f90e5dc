// Asks a node's control listener: one request, one connection, HTTP/1.1, over TLS where the URL says
// https.

internal import AsyncHTTPClient
internal import FoundationEssentials
internal import NIOCore
internal import NIOHTTP1
internal import SkeinNode

struct ControlClient {
    private static let answerBytesMax = 64 << 20

    let url: ServerURL
    let trust: ControlTrust
    /// `X-API-Key` or `Authorization` with its value, for nodes on other machines.
    let credential: (name: String, value: String)?

    struct Answer {
        let status: Int
        let body: Data

        func decode<Value: Decodable>(_ type: Value.Type) throws(CommandFailure) -> Value {
            guard let value = try? JSONDecoder().decode(type, from: body) else {
                throw CommandFailure(
                    "The answer (\(status)) is not a Skein node's; check --control.")
            }
            return value
        }
    }

    func get(_ path: String) async throws(CommandFailure) -> Answer {
        try await send("GET", path, body: nil)
    }

    func post(_ path: String, _ body: some Encodable) async throws(CommandFailure) -> Answer {
        try await send("POST", path, body: Array(ControlJSON.encode(body).utf8))
    }

    /// Throws where nothing answers there.
    func send(
        _ method: String, _ path: String, body: [UInt8]?
    ) async throws(CommandFailure) -> Answer {
        url.isSecure ? try await sendSecurely(method, path, body) : try sendPlainly(method, path, body)
    }

    private func sendSecurely(
        _ method: String, _ path: String, _ body: [UInt8]?
    ) async throws(CommandFailure) -> Answer {
        var request = HTTPClientRequest(url: "https://\(url.authority)\(path)")
        request.method = .init(rawValue: method)
        request.headers.add(name: "Connection", value: "close")
        if let credential { request.headers.add(name: credential.name, value: credential.value) }
        if let body {
            request.headers.add(name: "Content-Type", value: "application/json")
            request.body = .bytes(ByteBuffer(bytes: body))
        }
        do throws(SocketFailure) {
            return try await trust.send(request, bytesMax: Self.answerBytesMax)
        } catch {
            throw CommandFailure(
                "https://\(url.authority) cannot be asked over TLS (\(error.reason)); name a node's control "
                    + "listener with --control, its authorities with --ca and, where it asks for one, a "
                    + "certificate with --cert and --key.",
                isUnreachable: true)
        }
    }

    private func sendPlainly(
        _ method: String, _ path: String, _ body: [UInt8]?
    ) throws(CommandFailure) -> Answer {
        var head = "\(method) \(path) HTTP/1.1\r\nHost: \(url.authority)\r\nConnection: close\r\n"
        if let credential { head += "\(credential.name): \(credential.value)\r\n" }
        if let body {
            head += "Content-Type: application/json\r\nContent-Length: \(body.count)\r\n"
        }
        var received: [UInt8] = []
        do throws(SocketFailure) {
            let socket = try BlockingSocket.connect(host: url.host, port: url.port)
            try socket.write(Array((head + "\r\n").utf8) + (body ?? []))
            while received.count < Self.answerBytesMax {
                let bytes = try socket.read()
                if bytes.isEmpty { break }
                received += bytes
            }
        } catch {
            throw CommandFailure(
                "Nothing answers at http://\(url.authority) (\(error.reason)); start a node with "
                    + "`skein serve`, or name its control listener with --control.",
                isUnreachable: true)
        }
        guard let answer = Self.parse(received) else {
            throw CommandFailure(
                "What answers at http://\(url.authority) does not speak HTTP; check --control.",
                isUnreachable: received.isEmpty)
        }
        return answer
    }

    /// The connection was closed after the answer, so the body is what is left; our listener always
    /// gives a length and never sends chunks.
    private static func parse(_ bytes: [UInt8]) -> Answer? {
        let text = bytes[...]
        guard let end = text.firstRange(of: Array("\r\n\r\n".utf8)),
            bytes.starts(with: Array("HTTP/1.".utf8)), bytes.count > 12,
            let status = Int(String(decoding: bytes[9..<12], as: UTF8.self))
        else { return nil }
        return Answer(status: status, body: Data(text[end.upperBound...]))
    }
}
