import Dispatch
import Foundation
import Testing

@testable import Skein

/// Takes any token for the user's ID.
private struct OpenDoor: Authenticator {
    func authenticate(token: String) async throws(AuthenticationFailure) -> Identity {
        guard let user = UserID(token) else { throw .badSignature }
        return Identity(userID: user)
    }
}

/// Whatever it is told goes to the devices of `slow`; and `watcher` hears of everyone who goes.
private final class Tattler: Dialect {
    private let slow: UserID
    private let watcher: UserID

    init(slow: UserID, watcher: UserID) {
        self.slow = slow
        self.watcher = watcher
        super.init(path: "/tattle", name: "tattle", envelope: .relay)
    }

    override func received(_ message: borrowing Message, from connection: borrowing Connection) {
        var draft = connection.draft(like: message)
        draft.addAll(of: message, without: "nothing")
        try? connection.send(&draft, to: slow)
    }

    override func disconnected(_ connection: borrowing Connection) {
        var draft = connection.draft("gone")
        if let user = connection.userID { draft.add("user", user: user) }
        try? connection.send(&draft, to: watcher)
    }
}

private func makeServer(
    _ io: IOChoice, _ change: (inout ServerConfiguration) -> Void = { _ in }
) throws -> Server {
    var configuration = ServerConfiguration()
    configuration.listen = "127.0.0.1:0"
    configuration.shardCount = 1
    configuration.pinning = .none
    configuration.io = io
    configuration.limits.handshakeRate = 0
    configuration.limits.messageRate = 0
    change(&configuration)
    let slow = try #require(UserID("slow"))
    let watcher = try #require(UserID("watcher"))
    let server = try Server(
        configuration, authenticator: OpenDoor(),
        dialects: [DialectFactory { Tattler(slow: slow, watcher: watcher) }], log: { _ in })
    try server.start()
    return server
}

private func onThread<R: Sendable>(_ body: @escaping @Sendable () throws -> R) async throws -> R {
    try await withCheckedThrowingContinuation { continuation in
        Thread.detachNewThread { continuation.resume(with: Result(catching: body)) }
    }
}

@Suite("Who goes, and who is told", .timeLimit(.minutes(2)))
struct PartingTests {
    static let rings: [IOChoice] = [.uring, .epoll]

    @Test("a dialect that sends when someone goes, who went because of what it was sending", arguments: rings)
    func sendingInDisconnected(io: IOChoice) async throws {
        let server = try makeServer(io) { $0.limits.writeTimeout = .seconds(60) }
        try await onThread {
            let devices = try (0..<3).map { _ in
                try TestClient(server.listenAddress, path: "/tattle", token: "slow")
            }
            let watcher = try TestClient(server.listenAddress, path: "/tattle", token: "watcher")
            let sender = try TestClient(server.listenAddress, path: "/tattle", token: "sender")
            for client in devices + [watcher, sender] { _ = try client.receive() }
            let filler = String(repeating: "f", count: 60_000)
            func closed() -> UInt64 { server.snapshot().shards.reduce(0) { $0 + $1.slowConsumers } }
            for _ in 0..<2_000 where closed() < 3 {
                sender.send(#"{"type":"fill","data":{"text":"\#(filler)"}}"#)
                // Not faster than it is handled.
                sender.write(TestClient.frame([1], opcode: 9))
                usleep(500)
            }
            #expect(closed() == 3)
            for _ in 0..<3 {
                let event = try watcher.receiveObject()
                #expect(event["type"] as? String == "gone")
                #expect((event["data"] as? [String: Any])?["user"] as? String == "slow")
            }
            // And those who just leave.
            sender.write(TestClient.frame([0x03, 0xE8], opcode: 8))
            let last = try watcher.receiveObject()
            #expect((last["data"] as? [String: Any])?["user"] as? String == "sender")
            withExtendedLifetime(devices) {}
        }
        server.close()
        _ = await server.drained()
    }

    @Test("a shard with too much waiting still hears whom another node revokes")
    func revocationAtAFullInbox() async throws {
        let server = try makeServer(.auto) { $0.limits.postsMax = 4 }
        try await onThread {
            let client = try TestClient(server.listenAddress, path: "/tattle", token: "someone")
            _ = try client.receive()
            let stalled = DispatchSemaphore(value: 0)
            let told = DispatchSemaphore(value: 0)
            let inbox = server.shared.shardInboxes[0]
            let kind = ShardRecord.task.rawValue
            _ = LoopTask<ShardCore>.post(to: inbox, kind: kind) { _ in stalled.wait() }
            while LoopTask<ShardCore>.post(to: inbox, kind: kind, { _ in }) {}
            let expiry = server.shared.host.clock.wallMilliseconds() + 60_000
            let before = expiry
            _ = LoopTask<RouterCore>.post(
                to: server.shared.routerInbox, kind: RouterRecord.task.rawValue, always: true
            ) { core in
                withBytes("u:\(before):someone") { core.heardRevoke(entry: $0, expiresAt: expiry) }
                told.signal()
            }
            told.wait()
            stalled.signal()
            do {
                _ = try client.receive()
                Issue.record("a message instead of a close")
            } catch let closed as TestClient.Closed {
                #expect(closed.code == 4401)
            }
        }
        server.close()
        _ = await server.drained()
    }
}
