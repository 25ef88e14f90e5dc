import COpenSSL
import Testing
@testable import SkeinWire

@Suite("TLS contexts")
struct TLSContextTests {
    @Test(arguments: [
        ("localhost", "CN=rsa"), ("chat.example.org", "CN=chat"), ("other.example.org", "CN=wild"),
        ("CHAT.EXAMPLE.ORG", "CN=chat"), ("plain.example.org", "CN=wild"), ("a.b.example.org", "CN=rsa"),
        ("example.org", "CN=rsa"), ("rsa.example.org", "CN=rsa"), ("nobody.test", "CN=rsa"),
    ], [TLSVersion.tls12, .tls13])
    func choosesByName(of choice: (name: String, subject: String), version: TLSVersion) throws {
        // The default has another kind of key than the rest: it must not be preferred for that.
        let context = try TLSContext(TLSFixture.settings("rsa", "wild", "chat"))
        let trusting = try TLSFixture.client(version: version)
        SSL_CTX_set_verify(trusting.context, SSL_VERIFY_NONE, nil)
        let server = TLSPeer(server: context)
        let client = TLSPeer(client: trusting, name: choice.name)
        exchange(client, server)
        #expect(client.session.peerSubject == choice.subject)
        #expect(server.session.isEstablished)
    }

    @Test func readsNames() throws {
        #expect(try Certificates.shared.identity("rsa").names == ["localhost", "rsa.example.org"])
        #expect(try Certificates.shared.identity("wild").names == ["*.example.org"])
        #expect(try Certificates.shared.identity("plain").names == ["plain.example.org"])
    }

    @Test(arguments: [TLSVersion.tls12, .tls13])
    func verifiesServers(version: TLSVersion) throws {
        for (name, isRight) in [("localhost", true), ("127.0.0.1", true), ("127.0.0.2", false), ("redis", false)] {
            let server = TLSPeer(server: try TLSFixture.server())
            let client = TLSPeer(client: try TLSFixture.client(version: version), name: name)
            exchange(client, server)
            #expect(client.session.isEstablished == isRight, "\(name)")
            #expect(client.failure?.kind == (isRight ? nil : .certificateRejected))
            #expect(server.failure?.kind == (isRight ? nil : .refusedByPeer))
        }
    }

    @Test func saysWhyAServerIsRefused() throws {
        func reason(_ context: TLSContext, _ identity: String, _ name: String) throws -> String? {
            let client = TLSPeer(client: context, name: name)
            exchange(client, TLSPeer(server: try TLSFixture.server(identity)))
            return client.failure?.reason
        }
        let stranger = try TLSContext(TLSClientSettings(authority: Certificates.shared.authority("stranger")))
        #expect(try reason(stranger, "ec", "localhost") == "unable to get local issuer certificate")
        #expect(try reason(TLSContext(TLSClientSettings()), "ec", "localhost")
            == "unable to get local issuer certificate")
        #expect(try reason(TLSFixture.client(), "expired", "localhost") == "certificate has expired")
        #expect(try reason(TLSFixture.client(), "ec", "redis.test") == "hostname mismatch")
        #expect(try reason(TLSFixture.client(), "ec", "10.1.2.3") == "IP address mismatch")
    }

    @Test(arguments: [TLSVersion.tls12, .tls13])
    func asksClientsForCertificates(version: TLSVersion) throws {
        typealias Case = (mode: TLSSettings.ClientCertificates, identity: String?, failure: TLSFailure.Kind?)
        let cases: [Case] = [
            (.required, "client", nil), (.required, nil, .certificateMissing),
            (.required, "intruder", .certificateRejected), (.optional, "client", nil), (.optional, nil, nil),
            (.optional, "intruder", .certificateRejected), (.none, "client", nil),
        ]
        for (mode, identity, failure) in cases {
            var settings = try TLSFixture.settings("ec")
            settings.clientCertificates = mode
            settings.clientAuthority = try Certificates.shared.authority()
            let server = TLSPeer(server: try TLSContext(settings))
            let client = TLSPeer(client: try TLSFixture.client(identity: identity, version: version))
            exchange(client, server)
            #expect(server.failure?.kind == failure, "\(mode) \(identity ?? "without")")
            let isShown = mode != .none && identity != nil && failure == nil
            #expect(server.session.peerSubject == (isShown ? "CN=client seven,O=Skein" : nil))
        }
    }

    @Test(arguments: [TLSVersion.tls12, .tls13])
    func resumesWithTickets(version: TLSVersion) throws {
        let settings = try TLSFixture.settings("ec")
        let context = try TLSFixture.client(version: version)
        let first = TLSPeer(client: context)
        exchange(first, TLSPeer(server: try TLSContext(settings)))
        let ticket = try #require(SSL_get1_session(first.session.ssl))
        defer { SSL_SESSION_free(ticket) }

        // Another shard: same keys, another context.
        let again = try resume(context, ticket, at: TLSContext(settings))
        #expect(again.client.session.isResumed && again.server.session.isResumed)
        // The new session brought a ticket of its own.
        let next = try #require(SSL_get1_session(again.client.session.ssl))
        defer { SSL_SESSION_free(next) }
        #expect(SSL_SESSION_has_ticket(next) == 1)

        settings.ticketKeys.rotate()
        settings.ticketKeys.rotate()
        let later = try resume(context, ticket, at: TLSContext(settings))
        #expect(later.client.session.isResumed)
        settings.ticketKeys.rotate()
        let late = try resume(context, ticket, at: TLSContext(settings))
        #expect(!late.client.session.isResumed && late.client.session.isEstablished)
        let elsewhere = try resume(context, ticket, at: TLSFixture.server())
        #expect(!elsewhere.client.session.isResumed && elsewhere.client.session.isEstablished)
    }

    @Test func forgetsTicketsWhenAuthoritiesChange() throws {
        var settings = try TLSFixture.settings("ec")
        settings.clientCertificates = .required
        settings.clientAuthority = try Certificates.shared.authority()
        let context = try TLSFixture.client(identity: "client")
        let first = TLSPeer(client: context)
        exchange(first, TLSPeer(server: try TLSContext(settings)))
        let ticket = try #require(SSL_get1_session(first.session.ssl))
        defer { SSL_SESSION_free(ticket) }

        let same = try resume(context, ticket, at: TLSContext(settings))
        #expect(same.server.session.isResumed)
        #expect(same.server.session.peerSubject == "CN=client seven,O=Skein")
        settings.clientAuthority = try Certificates.shared.authority("stranger")
        let other = try resume(context, ticket, at: TLSContext(settings))
        #expect(!other.server.session.isEstablished, "a ticket outlived its authority")
    }

    @Test func rotatesTicketKeysInTheirTime() throws {
        let keys = TLSTicketKeys()
        let first = try #require(keys.sealingKey())
        #expect(keys.sealingKey()?.name ?? (0, 0) == first.name)
        for age in 1...4 {
            keys.rotate()
            let found = keys.openingKey(name: first.name)
            #expect((found != nil) == (age < 3), "after \(age) rotations")
            #expect(found?.isCurrent != true)
        }
        #expect(keys.sealingKey()?.name ?? (0, 0) != first.name)
    }

    @Test func keepsOldSessionsOverAReload() throws {
        let client = TLSPeer(client: try TLSFixture.client())
        var context: TLSContext? = try TLSFixture.server("ec")
        let server = TLSPeer(server: try #require(context))
        weak let old = context
        // In mid-handshake the owner has a new one.
        context = try TLSFixture.server("rsa")
        #expect(old == nil)
        exchange(client, server)
        #expect(client.session.peerSubject == "CN=ec")
        client.send([1, 2])
        exchange(client, server)
        #expect(server.heard == [1, 2])
        let newcomer = TLSPeer(client: try TLSFixture.client())
        exchange(newcomer, TLSPeer(server: try #require(context)))
        #expect(newcomer.session.peerSubject == "CN=rsa")
    }

    private func resume(
        _ context: TLSContext, _ ticket: OpaquePointer, at server: TLSContext
    ) throws -> (client: TLSPeer, server: TLSPeer) {
        // By hand, because a session has to be set before the first flight.
        let pump = TLSPump()
        let ssl = try #require(SSL_new(context.context))
        SSL_set_connect_state(ssl)
        #expect(SSL_set_session(ssl, ticket) == 1)
        _ = skein_SSL_set_tlsext_host_name(ssl, "localhost")
        let session = TLSSession(ssl)
        session.attach(to: pump)
        SSL_do_handshake(ssl)
        let pair = (client: TLSPeer(session: session, pump: pump), server: TLSPeer(server: server))
        exchange(pair.client, pair.server)
        return pair
    }
}
