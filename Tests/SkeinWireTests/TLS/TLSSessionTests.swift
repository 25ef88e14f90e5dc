import COpenSSL
import Testing
@testable import SkeinWire

@Suite("TLS sessions")
struct TLSSessionTests {
    @Test(arguments: [TLSVersion.tls12, .tls13], Cuts.allCases)
    func speaksBothWays(version: TLSVersion, cuts: Cuts) throws {
        for name in ["ec", "rsa"] {
            var random = SeededGenerator(seed: 7)
            let server = TLSPeer(server: try TLSFixture.server(name))
            let client = TLSPeer(client: try TLSFixture.client(version: version))
            #expect(!server.session.isEstablished)
            exchange(client, server, cuts: cuts, &random)
            try #require(server.failure?.description == nil)
            try #require(client.failure?.description == nil)
            #expect(server.session.isEstablished && client.session.isEstablished)
            #expect(server.session.version == (version == .tls12 ? "TLSv1.2" : "TLSv1.3"))
            #expect(server.session.cipher?.contains("GCM") == true)
            #expect(server.session.serverName == "localhost")
            #expect(client.session.peerSubject == "CN=\(name)")
            #expect(server.session.peerSubject == nil && !server.session.isResumed)
            for count in [1, 125, 16_384, 16_385, 70_000] {
                let question = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 31) }
                client.send(question)
                server.send(question.reversed())
                exchange(client, server, cuts: cuts, &random)
                #expect(server.heard == question && client.heard == question.reversed())
                server.forgetHeard()
                client.forgetHeard()
            }
            #expect(server.failure == nil && client.failure == nil)
        }
    }

    @Test func writesAMebibyteAtOnce() throws {
        let (client, server) = try pair()
        let payload = [UInt8](repeating: 0x5A, count: 1 << 20)
        server.send(payload)
        #expect(server.outbox.count == payload.count + 64 * 22)
        #expect(server.pump.outputCapacity >= payload.count)
        exchange(client, server)
        #expect(client.heard == payload)
        for _ in 0..<60 {
            server.send([1])
            exchange(client, server)
        }
        #expect(server.pump.outputCapacity <= 131_072, "the burst's room was kept")
    }

    @Test func stopsWhereItIsTold() throws {
        let (client, server) = try pair()
        client.send(Array("first".utf8))
        client.send(Array("second".utf8))
        let cipher = client.takeOutbox()
        var pieces: [String] = []
        let scratch = UnsafeMutableBufferPointer<UInt8>.allocate(capacity: 64)
        defer { scratch.deallocate() }
        cipher.withUnsafeBufferPointer { bytes in
            var rest = bytes[...]
            while !rest.isEmpty {
                _ = server.session.receive(
                    UnsafeBufferPointer(rebasing: rest).baseAddress, count: rest.count,
                    pump: server.pump, scratch: scratch
                ) {
                    pieces.append(String(decoding: $0, as: UTF8.self))
                    return false
                }
                rest = rest.suffix(server.pump.unreadCount)
            }
        }
        #expect(pieces == ["first", "second"])
    }

    @Test(arguments: [TLSVersion.tls12, .tls13])
    func closesInBothDirections(version: TLSVersion) throws {
        let (client, server) = try pair(version: version)
        client.send(Array("bye".utf8))
        client.closeNotify()
        exchange(client, server)
        #expect(server.isClosed && server.failure == nil)
        #expect(server.heard == Array("bye".utf8))
        // What follows a close_notify is nobody's business.
        if case .closed = server.receive([0x17, 3, 3, 0, 1, 0]) {} else { Issue.record("heard on") }
        server.closeNotify()
        exchange(client, server)
        #expect(client.isClosed && client.failure == nil)
    }

    @Test func sendsNothingBeforeItIsEstablished() throws {
        let server = TLSPeer(server: try TLSFixture.server())
        guard case .failed(let failure) = server.send([1]) else {
            Issue.record("sent without a session")
            return
        }
        #expect(failure.kind == .notEstablished && server.outbox.isEmpty)
        server.closeNotify()
        #expect(server.outbox.isEmpty)
    }

    @Test(arguments: [
        ("http/1.1", true), ("h2", false), (nil, true),
    ])
    func agreesOnHTTP1(offer: String?, isAccepted: Bool) throws {
        let server = TLSPeer(server: try TLSFixture.server())
        let client = TLSPeer(client: try TLSFixture.client(applicationProtocol: offer))
        exchange(client, server)
        #expect(server.session.isEstablished == isAccepted)
        #expect(client.session.applicationProtocol == (isAccepted ? offer : nil))
        #expect(server.session.applicationProtocol == (isAccepted ? offer : nil))
        #expect(server.failure?.kind == (isAccepted ? nil : .noApplicationProtocol))
        #expect(client.failure?.kind == (isAccepted ? nil : .refusedByPeer))
    }

    @Test(arguments: ["GET /ws HTTP/1.1\r\nHost: a\r\n\r\n", "POST / HTTP/1.1\r\n\r\n", "HEAD / HTTP/1.0\r\n\r\n"],
        Cuts.allCases)
    func tellsPlainHTTPApart(request: String, cuts: Cuts) throws {
        var random = SeededGenerator(seed: 1)
        let server = TLSPeer(server: try TLSFixture.server())
        for piece in cuts.pieces(Array(request.utf8), &random) where server.failure == nil {
            server.receive(piece)
        }
        #expect(server.failure?.kind == .plainHTTP)
        #expect(server.outbox.isEmpty, "a browser shows the 400, not an alert")
    }

    @Test func refusesWhatIsNotTLS() throws {
        let server = TLSPeer(server: try TLSFixture.server())
        server.receive(Array("SSH-2.0-OpenSSH_9.2\r\n".utf8))
        #expect(server.failure?.kind == .notTLS)
    }

    @Test func refusesTLS11() throws {
        let context = try TLSFixture.client()
        SSL_CTX_set_security_level(context.context, 0)
        _ = skein_SSL_CTX_set_min_proto_version(context.context, TLS1_VERSION)
        _ = skein_SSL_CTX_set_max_proto_version(context.context, TLS1_1_VERSION)
        _ = SSL_CTX_set_cipher_list(context.context, "ALL:@SECLEVEL=0")
        let server = TLSPeer(server: try TLSFixture.server())
        let client = TLSPeer(client: context)
        #expect(!client.outbox.isEmpty)
        exchange(client, server)
        #expect(server.failure?.kind == .unsupportedVersion)
        #expect(client.failure?.kind == .refusedByPeer)
    }

    @Test func honoursItsMinimum() throws {
        let server = TLSPeer(server: try TLSContext(TLSFixture.settings("ec", versionMin: .tls13)))
        let client = TLSPeer(client: try TLSFixture.client(version: .tls12))
        exchange(client, server)
        #expect(server.failure?.kind == .unsupportedVersion)
    }

    @Test func refusesRenegotiation() throws {
        let context = try TLSFixture.client(version: .tls12)
        SSL_CTX_clear_options(context.context, SSL_CTX_get_options(context.context))
        let server = TLSPeer(server: try TLSFixture.server())
        let client = TLSPeer(client: context)
        exchange(client, server)
        #expect(SSL_renegotiate(client.session.ssl) == 1)
        // Its receive goes on with the handshake it now wants.
        client.receive([])
        #expect(!client.outbox.isEmpty)
        server.receive(client.takeOutbox())
        #expect(server.failure == nil && server.session.isEstablished)
        #expect(!server.outbox.isEmpty)
        client.receive(server.takeOutbox())
        #expect(client.failure?.reason == "no renegotiation", "the warning is fatal to who insists")
    }

    @Test func answersKeyUpdates() throws {
        let (client, server) = try pair()
        #expect(SSL_key_update(client.session.ssl, SSL_KEY_UPDATE_REQUESTED) == 1)
        client.receive([])
        #expect(!client.outbox.isEmpty)
        client.send([1, 2, 3])
        var random = SeededGenerator(seed: 3)
        exchange(client, server, cuts: .bytewise, &random)
        server.send([4, 5])
        exchange(client, server, cuts: .bytewise, &random)
        #expect(server.heard == [1, 2, 3] && client.heard == [4, 5])
    }

    @Test func boundsAHandshake() throws {
        let server = TLSPeer(server: try TLSFixture.server())
        // A client hello that says it has 130,000 bytes, in records of 16,000.
        var message: [UInt8] = [1, 0x01, 0xFB, 0xD0]
        message += [3, 3] + [UInt8](repeating: 7, count: 129_998)
        var start = 0
        while start < message.count, server.failure == nil {
            let end = min(start + 16_000, message.count)
            server.receive([0x16, 3, 1, 0x3E, 0x80] + message[start..<end])
            start = end
        }
        #expect(server.failure?.kind == .handshakeTooLong)
        #expect(start <= 96_000)
    }

    private func pair(version: TLSVersion = .tls13) throws -> (client: TLSPeer, server: TLSPeer) {
        let server = TLSPeer(server: try TLSFixture.server())
        let client = TLSPeer(client: try TLSFixture.client(version: version))
        exchange(client, server)
        try #require(server.session.isEstablished && client.session.isEstablished)
        return (client, server)
    }
}
