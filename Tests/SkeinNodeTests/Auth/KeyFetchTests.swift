// A JWKS by URL, from a server that does what such servers do on their bad days.

import Foundation
import NIOCore
import NIOPosix
import Skein
import SkeinNode
import Testing

/// Answers each connection with bytes as they are, or not at all.
private final class KeyServer: Sendable {
    enum Answer: Sendable {
        case body(String, status: String)
        case raw(String)
        /// Accepts and says nothing.
        case silence
        /// A head, and then a byte now and then.
        case drip
        case endless
    }

    private final class State: @unchecked Sendable {
        private let lock = NSLock()
        private var answer: Answer
        private var asked = 0

        init(_ answer: Answer) { self.answer = answer }

        var current: Answer {
            get { lock.withLock { answer } }
            set { lock.withLock { answer = newValue } }
        }
        var count: Int { lock.withLock { asked } }
        func next() -> Answer { lock.withLock { asked += 1; return answer } }
    }

    private final class Handler: ChannelInboundHandler, @unchecked Sendable {
        typealias InboundIn = ByteBuffer
        typealias OutboundOut = ByteBuffer
        private let state: State
        private var isAnswered = false

        init(_ state: State) { self.state = state }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            guard !isAnswered else { return }
            isAnswered = true
            switch state.next() {
            case .body(let body, let status):
                send(
                    "HTTP/1.1 \(status)\r\nContent-Length: \(body.utf8.count)\r\nConnection: close\r\n\r\n"
                        + body, context)
            case .raw(let text): send(text, context)
            case .silence: break
            case .drip:
                send("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", context)
                let loop = context.eventLoop
                let channel = context.channel
                _ = loop.scheduleRepeatedTask(initialDelay: .zero, delay: .milliseconds(20)) { task in
                    guard channel.isActive else { return task.cancel() }
                    channel.writeAndFlush(ByteBuffer(string: " "), promise: nil)
                }
            case .endless:
                send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", context)
                let chunk = "10000\r\n" + String(repeating: " ", count: 65_536) + "\r\n"
                for _ in 0..<40 { send(chunk, context) }
            }
        }

        private func send(_ text: String, _ context: ChannelHandlerContext) {
            context.writeAndFlush(wrapOutboundOut(ByteBuffer(string: text)), promise: nil)
        }
    }

    private let channel: any Channel
    private let state: State
    let url: String

    init(_ answer: Answer) async throws {
        let state = State(answer)
        self.state = state
        channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(Handler(state))
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        url = "http://127.0.0.1:\(channel.localAddress?.port ?? 0)/jwks"
    }

    var count: Int { state.count }
    func answer(_ answer: Answer) { state.current = answer }
    func keys(_ set: String) { state.current = .body(set, status: "200 OK") }
    func stop() async { try? await channel.close() }
}

@Suite struct KeyFetchTests {
    private func settings(_ server: KeyServer) -> JWTSettings {
        var settings = JWTSettings()
        settings.jwksURL = server.url
        settings.jwksTimeout = .milliseconds(700)
        return settings
    }

    @Test func fetchesAndRotates() async throws {
        let server = try await KeyServer(.body(keySet(Issuer.rsa.jwk(kid: "1")), status: "200 OK"))
        let authenticator = try JWTAuthenticator(settings(server))
        #expect(authenticator.keys.status.jwks?.state == .unread)
        await authenticator.keys.reload()
        #expect(try await authenticator.outcome(Issuer.rsa.token(kid: "1")) == "alice")
        #expect(authenticator.keys.status.jwks?.state == .ok)
        server.keys(keySet(Issuer.otherRSA.jwk(kid: "2")))
        await authenticator.keys.reload()
        #expect(try await authenticator.outcome(Issuer.rsa.token(kid: "1")) == "unknown_key")
        #expect(try await authenticator.outcome(Issuer.otherRSA.token(kid: "2")) == "alice")
        await server.stop()
    }

    /// The issuer changed keys a moment ago: the first token that names the new one has it fetched, and
    /// a flood of tokens with names that nobody knows does not.
    @Test func anUnknownKeyIsFetchedOnce() async throws {
        let server = try await KeyServer(.body(keySet(Issuer.rsa.jwk(kid: "1")), status: "200 OK"))
        let authenticator = try JWTAuthenticator(settings(server))
        await authenticator.keys.reload()
        #expect(server.count == 1)
        server.keys(keySet(Issuer.rsa.jwk(kid: "1"), Issuer.p256.jwk(kid: "2")))
        let token = try Issuer.p256.token(kid: "2")
        let outcomes = await withTaskGroup(of: String.self) { group in
            for _ in 0..<50 { group.addTask { await authenticator.outcome(token) } }
            return await group.reduce(into: Set<String>()) { $0.insert($1) }
        }
        #expect(outcomes == ["alice"])
        #expect(server.count == 2)
        for index in 0..<200 {
            let outcome = await authenticator.outcome(try Issuer.ed25519.token(kid: "x\(index)"))
            #expect(outcome == "unknown_key")
        }
        // What only looks wrong is no reason to ask either.
        #expect(try await authenticator.outcome(Issuer.otherRSA.token(kid: "1")) == "bad_signature")
        #expect(try await authenticator.outcome(Issuer.hmac.token(kid: "3")) == "bad_signature")
        #expect(server.count == 2)
        await server.stop()
    }

    private static let bad: [(KeyServer.Answer, String)] = [
        (.body("{}", status: "200 OK"), "no JWKS"), (.body("", status: "200 OK"), "no JWKS"),
        (.body(keySet(), status: "200 OK"), "no key"), (.body("no", status: "500 Oh"), "500"),
        (.body(keySet(Issuer.p256.jwk()), status: "404 No"), "404"),
        (.body(keySet(Issuer.p256.jwk()), status: "204 No"), "204"),
        (.raw("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n"), "302"),
        (.raw("\u{1}\u{2} garbage\r\n\r\n"), "JWT_JWKS_URL"),
        (.raw("HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n"), "JWT_JWKS_URL"),
        (.silence, "JWT_JWKS_URL"), (.drip, "JWT_JWKS_URL"), (.endless, "1 MiB"),
    ]

    @Test(arguments: bad.indices)
    func aBadAnswerTakesNoKeyAway(index: Int) async throws {
        let (answer, why) = Self.bad[index]
        let lines = Lines()
        let server = try await KeyServer(.body(keySet(Issuer.rsa.jwk(kid: "1")), status: "200 OK"))
        let settings = settings(server)
        let ring = try KeyRing(settings, log: { lines.append("\($0) \($1)") })
        let authenticator = JWTAuthenticator(settings, keys: ring)
        await ring.reload()
        server.answer(answer)
        await ring.reload()
        await ring.reload()
        #expect(try await authenticator.outcome(Issuer.rsa.token(kid: "1")) == "alice")
        let status = try #require(ring.status.jwks)
        #expect(status.state == .failing)
        #expect(status.reason?.contains(why) == true, "\(status.reason ?? "")")
        #expect(status.fetched == 1 && status.failed == 2)
        // Said once, for as long as it lasts.
        #expect(lines.all.filter { $0.hasPrefix("error") }.count == 1)
        server.keys(keySet(Issuer.p256.jwk(kid: "2")))
        await ring.reload()
        #expect(ring.status.jwks?.state == .ok)
        #expect(ring.status.jwks?.reason == nil)
        #expect(try await authenticator.outcome(Issuer.p256.token(kid: "2")) == "alice")
        #expect(lines.all.count == 3)
        await server.stop()
    }

    @Test func aServerThatIsNotThere() async throws {
        let server = try await KeyServer(.silence)
        await server.stop()
        let authenticator = try JWTAuthenticator(settings(server))
        await authenticator.keys.reload()
        #expect(authenticator.keys.status.jwks?.state == .failing)
        #expect(try await authenticator.outcome(Issuer.rsa.token(kid: "1")) == "unknown_key")
    }

    @Test func itIsFetchedAgainAndAgain() async throws {
        let server = try await KeyServer(.body(keySet(Issuer.rsa.jwk(kid: "1")), status: "200 OK"))
        var settings = settings(server)
        settings.jwksRefresh = .milliseconds(30)
        let ring = try KeyRing(settings)
        let running = Task { await ring.run() }
        while server.count < 4 { try await Task.sleep(for: .milliseconds(10)) }
        running.cancel()
        await running.value
        await server.stop()
    }
}
