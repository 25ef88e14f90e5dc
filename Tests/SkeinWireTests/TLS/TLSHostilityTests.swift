import CZlib
import Foundation
import Glibc
import Testing
@testable import SkeinWire

/// What peers, loops and time do to sessions: damage, truncation, moves and sheer number.
@Suite("TLS under strain", .serialized)
struct TLSHostilityTests {
    @Test func survivesGarbage() throws {
        let context = try TLSFixture.server()
        for seed in 0..<500 as Range<UInt64> {
            var random = SeededGenerator(seed: seed)
            let server = TLSPeer(server: context)
            var bytes = random.bytes(Int.random(in: 1...3_000, using: &random))
            if seed.isMultiple(of: 2) { bytes.replaceSubrange(0..<1, with: [0x16, 3, 1, 4, 0, 1, 0]) }
            for piece in Cuts.random.pieces(bytes, &random) where server.failure == nil { server.receive(piece) }
            #expect(!server.session.isEstablished && server.heard.isEmpty)
        }
    }

    @Test(arguments: [TLSVersion.tls12, .tls13])
    func survivesMutations(version: TLSVersion) throws {
        let context = try TLSFixture.server()
        let clients = try TLSFixture.client(version: version)
        let text = Array("a message nobody may change".utf8)
        var noticed = 0
        for seed in 0..<1_000 as Range<UInt64> {
            var random = SeededGenerator(seed: seed)
            let server = TLSPeer(server: context)
            let client = TLSPeer(client: clients)
            // A third of the seeds lets the handshake pass; every other one damages the answers.
            var isDamaging = !seed.isMultiple(of: 3)
            let isServerDamaged = seed.isMultiple(of: 2)
            var sent = 0
            while !client.outbox.isEmpty || !server.outbox.isEmpty, client.failure == nil {
                var flight = client.takeOutbox()
                if isDamaging, !isServerDamaged { mutate(&flight, &random) }
                for piece in Cuts.random.pieces(flight, &random) { server.receive(piece) }
                var answer = server.takeOutbox()
                if isDamaging, isServerDamaged { mutate(&answer, &random) }
                client.receive(answer)
                if client.session.isEstablished, sent < 3 {
                    isDamaging = true
                    if case .ok = client.send(text) { sent += 1 }
                    if server.session.isEstablished { server.send(text) }
                }
            }
            // Whatever was damaged, nothing wrong was ever given out.
            for heard in [server.heard, client.heard] {
                let starts = stride(from: 0, to: heard.count, by: text.count)
                #expect(starts.allSatisfy { Array(heard[$0...].prefix(text.count)) == text })
            }
            let isWhole = server.heard.count == sent * text.count && sent == 3
            if server.failure != nil || client.failure != nil || !isWhole { noticed += 1 }
            // A failed session takes more without harm.
            server.receive(random.bytes(64))
            server.closeNotify()
        }
        #expect(noticed > 800, "the damage was not noticed: \(noticed)")
    }

    @Test func tellsTruncationFromAClose() throws {
        let (client, server) = try pair(TLSFixture.server())
        client.send(Array("cut".utf8))
        var cipher = client.takeOutbox()
        cipher.removeLast()
        server.receive(cipher)
        // The socket's end of file comes without a close_notify, and the session does not invent one.
        #expect(server.heard.isEmpty && !server.isClosed && server.failure == nil)
    }

    @Test func movesBetweenLoops() throws {
        let (client, server) = try pair(TLSFixture.server())
        client.send(Array("before ".utf8))
        exchange(client, server)
        client.send(Array("across ".utf8))
        let cut = client.takeOutbox()
        // Half a record is inside the session when it leaves.
        server.receive(Array(cut[..<9]))
        let bits = server.session.bits
        let moved = Moved()
        let thread = Thread {
            let session = TLSSession(bits: bits)
            let pump = TLSPump()
            session.attach(to: pump)
            let scratch = UnsafeMutableBufferPointer<UInt8>.allocate(capacity: 256)
            _ = Array(cut[9...]).withUnsafeBufferPointer { bytes in
                session.receive(bytes.baseAddress, count: bytes.count, pump: pump, scratch: scratch) {
                    moved.heard.append(contentsOf: $0)
                    return true
                }
            }
            _ = Array("answer".utf8).withUnsafeBufferPointer {
                session.send($0.baseAddress!, count: $0.count, pump: pump)
            }
            moved.sent.append(contentsOf: pump.output)
            pump.clearOutput()
            scratch.deallocate()
            // The session holds the old loop's BIO no more, and may outlive this pump's handle.
            pump.free()
            moved.done.signal()
        }
        thread.start()
        moved.done.wait()
        #expect(moved.heard == Array("across ".utf8))
        client.receive(moved.sent)
        #expect(client.heard == Array("answer".utf8))
        server.session.attach(to: server.pump)
        client.send(Array("home".utf8))
        exchange(client, server)
        #expect(server.heard == Array("before home".utf8))
    }

    @Test(arguments: [TLSVersion.tls12, .tls13], ["ec", "rsa"])
    func costsLittleWhenIdle(version: TLSVersion, name: String) throws {
        let context = try TLSFixture.server(name)
        let clients = try TLSFixture.client(version: version)
        let pump = TLSPump()
        let count = 1_000
        var sessions: [TLSSession] = []
        sessions.reserveCapacity(count)
        for _ in 0..<20 { try #require(establish(context, clients, pump)).free() }
        let before = try allocatedBytes()
        for _ in 0..<count { sessions.append(try #require(establish(context, clients, pump))) }
        let perSession = (try allocatedBytes() - before) / count
        for session in sessions { session.free() }
        let left = try allocatedBytes() - before
        pump.free()
        #expect(perSession <= 16_384, "an idle session costs \(perSession) bytes")
        // Malloc counts what it keeps at hand for a thread, up to 250 KB, as given out.
        #expect(left < 262_144, "\(left) bytes were not given back")
    }

    /// A server's session that has exchanged a message each way; its client is gone.
    private func establish(_ context: TLSContext, _ clients: TLSContext, _ pump: TLSPump) -> TLSSession? {
        let client = TLSPeer(client: clients)
        let session = TLSSession.server(context, pump: pump)
        let scratch = UnsafeMutableBufferPointer<UInt8>.allocate(capacity: 256)
        defer { scratch.deallocate() }
        var heard = 0
        for turn in 0..<4 {
            let cipher = client.takeOutbox()
            _ = cipher.withUnsafeBufferPointer { bytes in
                session.receive(bytes.baseAddress, count: bytes.count, pump: pump, scratch: scratch) {
                    heard += $0.count
                    return true
                }
            }
            if turn == 3 {
                let answer: [UInt8] = [1, 2, 3]
                _ = answer.withUnsafeBufferPointer {
                    session.send($0.baseAddress!, count: $0.count, pump: pump)
                }
            }
            client.receive(Array(pump.output))
            pump.clearOutput()
            if turn == 2 { client.send([7]) }
        }
        guard heard == 1, client.heard == [1, 2, 3] else { return nil }
        return session
    }

    /// What malloc has given out, all arenas together: what it took, less what is free in it.
    private func allocatedBytes() throws -> Int {
        typealias Report = @convention(c) (Int32, UnsafeMutablePointer<FILE>) -> Int32
        // Not in the headers that Swift sees.
        let symbol = try #require(dlsym(nil, "malloc_info"))
        var text: UnsafeMutablePointer<CChar>?
        var count = 0
        let stream = try #require(open_memstream(&text, &count))
        #expect(unsafeBitCast(symbol, to: Report.self)(0, stream) == 0)
        fclose(stream)
        defer { free(text) }
        let report = String(cString: try #require(text))
        let totals = report[(report.range(of: "</heap>", options: .backwards)?.upperBound ?? report.startIndex)...]
        func size(_ name: String) throws -> Int {
            let start = try #require(totals.range(of: name)).upperBound
            let value = try #require(totals[start...].range(of: "size=\""))
            return try #require(Int(totals[value.upperBound...].prefix { $0 != "\"" }))
        }
        return try size("<system type=\"current\"") + size("type=\"mmap\"")
            - size("type=\"fast\"") - size("type=\"rest\"")
    }

    private func pair(_ context: TLSContext) throws -> (client: TLSPeer, server: TLSPeer) {
        let pair = (client: TLSPeer(client: try TLSFixture.client()), server: TLSPeer(server: context))
        exchange(pair.client, pair.server)
        try #require(pair.server.session.isEstablished)
        return pair
    }

    private func mutate(_ bytes: inout [UInt8], _ random: inout SeededGenerator) {
        for _ in 0..<Int.random(in: 1...4, using: &random) where !bytes.isEmpty {
            let place = Int.random(in: 0..<bytes.count, using: &random)
            switch Int.random(in: 0..<4, using: &random) {
            case 0: bytes[place] ^= UInt8(1) << UInt8.random(in: 0..<8, using: &random)
            case 1: bytes[place] = UInt8.random(in: 0...255, using: &random)
            case 2: bytes.remove(at: place)
            default: bytes.insert(UInt8.random(in: 0...255, using: &random), at: place)
            }
        }
    }
}

/// Written by one thread, read by another after `done`.
private final class Moved: @unchecked Sendable {
    var heard: [UInt8] = []
    var sent: [UInt8] = []
    let done = DispatchSemaphore(value: 0)
}
