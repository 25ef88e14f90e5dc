import Foundation
import SkeinServices
import Testing

@testable import Skein

/// Sends `count` numbered messages to `receiver`, where there is one, and sees as many come, and as
/// many confirmations of the user's own, each in order.
private func converse(_ device: TestClient, _ receiver: String?, _ count: Int) throws {
    if let receiver {
        for message in 0..<count {
            device.send(
                #"{"type":"chat_message","data":{"receiverId":"\#(receiver)","message":\#(message)}}"#)
        }
    }
    var received = 0
    var confirmed = 0
    while received < count || confirmed < count {
        let event = try device.receiveObject()
        let message = (event["data"] as? [String: Any])?["message"] as? Int
        switch event["type"] as? String {
        case "chat_message":
            #expect(message == received)
            received += 1
        case "chat_message_sent":
            #expect(message == confirmed)
            confirmed += 1
        default:
            Issue.record("unexpected \(event)")
            return
        }
    }
}

/// Takes any token for the user's ID, but `wrong`.
private struct OpenDoor: Authenticator {
    func authenticate(token: String) async throws(AuthenticationFailure) -> Identity {
        guard token != "wrong", let user = UserID(token) else { throw .badSignature }
        return Identity(userID: user)
    }
}

private func makeServer(
    _ io: IOChoice, shards: Int = 2, _ change: (inout ServerConfiguration) -> Void = { _ in }
) throws -> Server {
    var configuration = ServerConfiguration()
    configuration.listen = "127.0.0.1:0"
    configuration.shardCount = shards
    configuration.pinning = .none
    configuration.io = io
    configuration.echoPath = "/echo"
    configuration.limits.handshakeRate = 0
    configuration.limits.messageRate = 0
    change(&configuration)
    let server = try Server(
        configuration, authenticator: OpenDoor(), dialects: [relayDialect()], log: { _ in })
    try server.start()
    return server
}

/// Runs blocking work on a thread of its own: the cooperative pool has few, and the servers under
/// test verify tokens on them.
private func onThread<R: Sendable>(_ body: @escaping @Sendable () throws -> R) async throws -> R {
    try await withCheckedThrowingContinuation { continuation in
        Thread.detachNewThread { continuation.resume(with: Result(catching: body)) }
    }
}

/// Whole servers in this process, on both rings: what ThreadSanitizer should see.
@Suite("Server", .serialized)
struct ServerTests {
    static let rings: [IOChoice] = [.auto, .epoll]

    @Test(arguments: rings)
    func messagesKeepTheirOrderAcrossShards(io: IOChoice) async throws {
        let server = try makeServer(io)
        let address = server.listenAddress
        let users = (0..<6).map { "user-\($0)" }
        let count = 400
        // Everyone sends to the next; each receiver must see 0, 1, 2 … from its one sender, on each of
        // its two devices, and each sender its confirmations in the same order.
        let connected = try await onThread {
            try users.flatMap { user in
                try (0..<2).map { _ in
                    let device = try TestClient(address, path: "/ws", token: user)
                    let first = try device.receiveObject()
                    #expect(first["type"] as? String == "connected")
                    return device
                }
            }
        }
        try await withThrowingTaskGroup(of: Void.self) { group in
            for (index, device) in connected.enumerated() {
                let receiver = users[(index / 2 + 1) % users.count]
                group.addTask {
                    try await onThread { try converse(device, index % 2 == 0 ? receiver : nil, count) }
                }
            }
            try await group.waitForAll()
        }
        // Until here the devices stay connected.
        let snapshot = withExtendedLifetime(connected) { server.snapshot() }
        #expect(snapshot.users == users.count)
        #expect(snapshot.connections == users.count * 2)
        let deliveries = snapshot.shards.reduce(0) { $0 + $1.deliveries }
        #expect(deliveries == UInt64(users.count * count * 4))
        server.close()
        _ = await server.drained()
    }

    @Test(arguments: rings)
    func echoIsChoppedAtEveryByte(io: IOChoice) async throws {
        let server = try makeServer(io, shards: 1) { $0.echoIsOpen = true }
        try await onThread {
        let client = try TestClient(server.listenAddress, path: "/echo", token: nil)
        let text = "žluťoučký kůň 🐴 " + String(repeating: "x", count: 120)
        var bytes: [UInt8] = []
        // One whole, one in fragments with a ping between, one long.
        bytes += TestClient.frame(Array(text.utf8), opcode: 1)
        let half = Array(text.utf8.prefix(9))
        bytes += TestClient.frame(half, opcode: 1, fin: false)
        bytes += TestClient.frame([1, 2, 3], opcode: 9)
        bytes += TestClient.frame(Array(text.utf8.dropFirst(9)), opcode: 0)
        bytes += TestClient.frame([UInt8](repeating: 65, count: 300), opcode: 2)
        for byte in bytes { client.write([byte]) }
        #expect(try client.receive() == text)
        #expect(try client.receive() == text)
        #expect(try client.receive() == String(repeating: "A", count: 300))
        }
        server.close()
        _ = await server.drained()
    }

    @Test(arguments: rings)
    func textFailsAtItsFirstBadByte(io: IOChoice) async throws {
        let server = try makeServer(io, shards: 1) { $0.echoIsOpen = true }
        try await onThread {
        let client = try TestClient(server.listenAddress, path: "/echo", token: nil)
        // A frame of 1,000 bytes of which only the first few ever come, the third being impossible.
        let frame = TestClient.frame([0x61, 0x62, 0xFF] + [UInt8](repeating: 0x63, count: 997), opcode: 1)
        client.write(Array(frame.prefix(8 + 3)))
        do {
            _ = try client.receive()
            Issue.record("the bad byte was taken")
        } catch let closed as TestClient.Closed {
            #expect(closed.code == 1007)
        }
        }
        server.close()
        _ = await server.drained()
    }

    @Test(arguments: rings)
    func aReaderThatStoppedIsClosedAndOthersGoOn(io: IOChoice) async throws {
        let server = try makeServer(io) { $0.limits.writeTimeout = .seconds(60) }
        try await onThread {
        let slow = try TestClient(server.listenAddress, path: "/ws", token: "slow")
        let quick = try TestClient(server.listenAddress, path: "/ws", token: "quick")
        let sender = try TestClient(server.listenAddress, path: "/ws", token: "sender")
        for client in [slow, quick, sender] { _ = try client.receive() }
        let filler = String(repeating: "f", count: 60_000)
        // `slow` reads nothing: some megabytes fill both sockets, then its send queue.
        for _ in 0..<2_000 where server.snapshot().shards.allSatisfy({ $0.slowConsumers == 0 }) {
            sender.send(#"{"type":"chat_message","data":{"receiverId":"slow","message":"\#(filler)"}}"#)
            _ = try sender.receive()
        }
        #expect(server.snapshot().shards.reduce(0) { $0 + $1.slowConsumers } == 1)
        sender.send(#"{"type":"chat_message","data":{"receiverId":"quick","message":1}}"#)
        #expect(try quick.receiveObject()["type"] as? String == "chat_message")
        // What was queued before the limit still comes, then the reason.
        var code: UInt16?
        do {
            while true { _ = try slow.receive() }
        } catch let closed as TestClient.Closed {
            code = closed.code
        }
        #expect(code == 4008)
        }
        server.close()
        _ = await server.drained()
    }

    @Test(arguments: rings)
    func drainTellsEveryoneAndReports(io: IOChoice) async throws {
        let server = try makeServer(io)
        try await onThread {
        var clients: [TestClient] = []
        for number in 0..<20 {
            let client = try TestClient(server.listenAddress, path: "/ws", token: "u\(number)")
            _ = try client.receive()
            clients.append(client)
        }
        var plan = DrainPlan()
        plan.deadline = .seconds(30)
        plan.wave = .milliseconds(20)
        server.drain(plan)
        for client in clients {
            do {
                _ = try client.receive()
                Issue.record("a message during the drain")
            } catch let closed as TestClient.Closed {
                #expect(closed.code == 1012)
            }
            client.write(TestClient.frame([0x03, 0xF4], opcode: 8))
        }
        }
        let report = await server.drained()
        #expect(report.told == 20)
        #expect(report.moved == 20)
        #expect(report.eventsLeft == 0)
        #expect(report.closedAtDeadline == 0)
    }

    @Test func refusals() async throws {
        let server = try makeServer(.auto) {
            $0.limits.connectionsPerUserMax = 1
            $0.limits.connectionsMax = 3
        }
        try await onThread {
        func status(_ path: String, _ token: String?) -> UInt16? {
            do {
                _ = try TestClient(server.listenAddress, path: path, token: token)
                return 101
            } catch let closed as TestClient.Closed {
                return closed.code
            } catch {
                return nil
            }
        }
        let first = try TestClient(server.listenAddress, path: "/ws", token: "a")
        _ = try first.receive()
        #expect(status("/ws", "a") == 429)
        #expect(status("/ws", "wrong") == 401)
        #expect(status("/ws", nil) == 401)
        #expect(status("/nowhere", "b") == 404)
        }
        server.close()
        _ = await server.drained()
    }

    @Test func onlyOneServerGetsAPort() async throws {
        let server = try makeServer(.auto)
        #expect(throws: ServerError.self) {
            _ = try makeServer(.auto) { $0.listen = server.listenAddress }
        }
        server.close()
        _ = await server.drained()
    }
}
