// What the control plane answers, to whom, and what it asks of the node.

import Foundation
import Skein
import SkeinNode
import Testing

private let secret = "0123456789abcdef0123456789abcdef"

@Suite struct ControlPlaneTests {
    private let node = FakeNode()

    private func plane(
        listen: String = "127.0.0.1:9090", readyWhenDegraded: Bool = false
    ) async throws -> ControlPlane {
        var settings = ControlSettings(listen: try #require(ListenAddress(listen)))
        settings.apiKeys = [secret]
        settings.readyWhenDegraded = readyWhenDegraded
        settings.entries = [
            ConfigurationEntry(key: "JWT_SECRET", value: "***", origin: "environment")
        ]
        return ControlPlane(
            node: node, settings: settings,
            authenticator: try JWTAuthenticator(JWTSettings(secret: secret)),
            logs: LogQueue(LogSettings(), write: { _ in true }))
    }

    private func ask(
        _ plane: ControlPlane, _ method: String, _ path: String, body: String = ""
    ) async -> (status: Int, json: [String: Any]) {
        var request = ControlRequest(method, path)
        request.body = Array(body.utf8)
        return parsed(await plane.respond(to: request))
    }

    private func parsed(_ answer: ControlResponse) -> (status: Int, json: [String: Any]) {
        let json = try? JSONSerialization.jsonObject(with: Data(answer.body.utf8))
        return (answer.status, json as? [String: Any] ?? [:])
    }

    private func code(_ json: [String: Any]) -> String? {
        (json["error"] as? [String: Any])?["code"] as? String
    }

    @Test func health() async throws {
        node.state {
            var shard = ShardSnapshot()
            shard.connections = ["relay": 2]
            shard.users = 1
            $0.snapshot.shards = [shard]
        }
        let (status, json) = await ask(try await plane(), "GET", "/health")
        #expect(status == 200)
        #expect(json["status"] as? String == "ok")
        #expect(json["redis"] as? String == "memory")
        #expect(json["nodeId"] as? String == "n1")
        #expect((json["websocket"] as? [String: Int]) == ["users": 1, "connections": 2])
        #expect((json["shards"] as? [Any])?.count == 1)
        #expect(json["store"] != nil && json["version"] != nil)
    }

    @Test func nodesAreListedTheOneThatIsAskedFirst() async throws {
        let (status, json) = await ask(try await plane(), "GET", "/nodes")
        #expect(status == 200)
        let nodes = try #require(json["nodes"] as? [[String: Any]])
        #expect(nodes.map { $0["nodeId"] as? String } == ["n1", "n2"])
        #expect(nodes[0]["controlAddress"] as? String == "10.0.0.1:9090")
        #expect(nodes[0]["startedAt"] as? String == "2023-11-14T22:13:20.000Z")
        #expect(nodes[0]["draining"] as? Bool == false)
        #expect(nodes[0]["leaseMilliseconds"] == nil)
        #expect(nodes[1]["draining"] as? Bool == true)
        #expect(nodes[1]["leaseMilliseconds"] as? Int == 7_000)
    }

    @Test func aDrainTellsWhoPacesIt() async throws {
        node.state {
            $0.snapshot.drain.peers = 2
            $0.snapshot.drain.perSecond = 40
            $0.snapshot.drain.pacedBy = .deadline
        }
        let (status, json) = await ask(try await plane(), "GET", "/drain")
        #expect(status == 200)
        #expect(json["peers"] as? Int == 2)
        #expect(json["perSecond"] as? Int == 40)
        #expect(json["pacedBy"] as? String == "deadline")
    }

    @Test func readiness() async throws {
        let strict = try await plane()
        let lenient = try await plane(readyWhenDegraded: true)
        func check(_ plane: ControlPlane, _ status: Int, _ word: String) async {
            let answer = await ask(plane, "GET", "/ready")
            #expect(answer.status == status)
            #expect(answer.json["status"] as? String == word)
            #expect((answer.json["reason"] == nil) == (word == "ready"))
        }
        await check(strict, 200, "ready")
        node.state { $0.snapshot.backplane.state = .connecting }
        await check(strict, 503, "starting")
        node.state { $0.snapshot.backplane.state = .degraded }
        await check(strict, 503, "degraded")
        await check(lenient, 200, "degraded")
        #expect(await ask(strict, "GET", "/health").status == 200)
        node.state {
            $0.snapshot.backplane.state = .up
            $0.snapshot.backplane.canaryAgeSeconds = 6
        }
        await check(strict, 503, "degraded")
        node.state { $0.snapshot.backplane.canaryAgeSeconds = 1 }
        await check(strict, 200, "ready")
        node.state { $0.snapshot.isAccepting = false }
        await check(strict, 503, "starting")
        node.state { $0.snapshot.drain.phase = .preStop }
        await check(strict, 503, "draining")
    }

    @Test func drain() async throws {
        let plane = try await plane()
        let begun = await ask(
            plane, "POST", "/drain", body: #"{"deadlineSeconds":1.5,"waveMs":20}"#)
        #expect(begun.status == 202)
        #expect(begun.json["phase"] as? String == "waves")
        #expect(begun.json["remaining"] as? Int == 0)
        let plan = try #require(node.state { $0.plans.first })
        #expect(plan.deadline == .milliseconds(1_500))
        #expect(plan.wave == .milliseconds(20))
        #expect(await ask(plane, "POST", "/drain").status == 202)
        #expect(node.state { $0.plans.last } == DrainPlan())
        #expect(await ask(plane, "POST", "/drain", body: "no").status == 400)
        #expect(await ask(plane, "POST", "/drain", body: #"{"waveMs":-1}"#).status == 400)
        #expect(plane.hasFollower)
        plane.finish(DrainReport())
        let progress = await ask(plane, "GET", "/drain")
        #expect(progress.json["report"] != nil)
        #expect(!plane.hasFollower)
        node.state { $0.isCancellable = false }
        let late = await ask(plane, "DELETE", "/drain")
        #expect(late.status == 409)
        #expect(code(late.json) == "CONFLICT")
        node.state { $0.isCancellable = true }
        #expect(await ask(plane, "DELETE", "/drain").status == 200)
        #expect(await ask(plane, "DELETE", "/drain").status == 200)
    }

    @Test func administration() async throws {
        let plane = try await plane()
        var request = ControlRequest("GET", "/connections")
        request.query = ["user": "alice"]
        let (_, json) = parsed(await plane.respond(to: request))
        let first = (json["connections"] as? [[String: Any]])?.first
        #expect(first?["connectionId"] as? String == "c1")
        #expect(await ask(plane, "GET", "/connections").status == 400)

        let user = await ask(
            plane, "POST", "/disconnect", body: #"{"userId":"alice","code":4403,"reason":"bye"}"#)
        #expect(user.json["disconnected"] as? Int == 2)
        let one = await ask(plane, "POST", "/disconnect", body: #"{"connectionId":"c1"}"#)
        #expect(one.json["disconnected"] as? Int == 1)
        #expect(node.state { $0.closed } == ["alice 4403 bye", "c1 1000 "])
        let cases: [(String, Int)] = [
            (#"{"connectionId":"c2"}"#, 404), ("{}", 400), ("", 400), ("[]", 400),
            (#"{"userId":"a","connectionId":"c"}"#, 400), (#"{"userId":"a","code":1005}"#, 400),
            (#"{"userId":"a","code":99999}"#, 400), (#"{"userId":"a b"}"#, 400),
            (#"{"userId":"busy"}"#, 503),
            (#"{"userId":"a","reason":"\#(String(repeating: "x", count: 124))"}"#, 400),
        ]
        for (body, status) in cases {
            let answer = await ask(plane, "POST", "/disconnect", body: body)
            #expect(answer.status == status, "\(body)")
            #expect(code(answer.json) != nil)
        }
    }

    @Test func configurationIsMasked() async throws {
        let (_, json) = await ask(try await plane(), "GET", "/config")
        let entry = (json["config"] as? [String: [String: String]])?["JWT_SECRET"]
        #expect(entry == ["value": "***", "origin": "environment"])
    }

    @Test(arguments: [
        ("GET", "/nope", 404), ("GET", "/", 404), ("GET", "/nodes", 200), ("GET", "/rooms", 404),
        ("POST", "/health", 405), ("PUT", "/drain", 405), ("HEAD", "/health", 200),
        ("GET", "/health/", 200),
    ])
    func routes(method: String, path: String, status: Int) async throws {
        let answer = await ask(try await plane(), method, path)
        #expect(answer.status == status)
        #expect((code(answer.json) == nil) == (status == 200))
    }

    @Test func strangersNeedAKey() async throws {
        let plane = try await plane(listen: "0.0.0.0:9090")
        let minter = try await TokenMinter(JWTSettings(secret: secret))
        let user = try await minter.mint(user: "u", lifetime: .seconds(60))
        let admin = try await minter.mint(user: "u", role: .admin, lifetime: .seconds(60))
        func status(_ path: String, key: String? = nil, token: String? = nil) async -> Int {
            var request = ControlRequest("GET", path)
            request.isLocal = false
            request.host = "skein.internal:9090"
            request.apiKey = key
            request.token = token
            return await plane.respond(to: request).status
        }
        #expect(await status("/health") == 200)
        #expect(await status("/ready") == 200)
        #expect(await status("/metrics") == 200)
        #expect(await status("/config") == 401)
        #expect(await status("/drain") == 401)
        #expect(await status("/config", key: secret) == 200)
        #expect(await status("/config", key: secret + "x") == 401)
        #expect(await status("/config", token: admin) == 200)
        #expect(await status("/config", token: user) == 403)
        #expect(await status("/config", token: "x.y.z") == 401)
        // A service whose token was revoked is a stranger.
        node.state {
            $0.revocations = [
                Revocation(
                    .user(UserID("u")!), beforeMilliseconds: .max, expiresAtMilliseconds: .max)
            ]
        }
        #expect(await status("/config", token: admin) == 401)
        var request = ControlRequest("GET", "/config")
        request.isLocal = false
        request.hasCertificate = true
        #expect(await plane.respond(to: request).status == 200)
        request.origin = "https://evil.example"
        #expect(await plane.respond(to: request).status == 403)
    }

    @Test(arguments: [
        (#"{"userId":"alice"}"#, 200, ""), (#"{"tokenId":"t-1"}"#, 200, ""),
        (#"{"userId":"alice","before":1700000000,"ttlSeconds":60}"#, 200, ""),
        (#"{"userId":"alice","before":"2024-01-02T03:04:05Z"}"#, 200, ""),
        (#"{"userId":"alice","before":"2024-01-02T03:04:05.678+01:00"}"#, 200, ""),
        ("{}", 400, "one of the two"), (#"{"userId":"a","tokenId":"b"}"#, 400, "one of the two"),
        (#"{"userId":"a b"}"#, 400, "userId"), (#"{"tokenId":""}"#, 400, "tokenId"),
        (#"{"tokenId":"a\nb"}"#, 400, "tokenId"), (#"{"tokenId":"t","before":1}"#, 400, "before"),
        (#"{"userId":"a","before":"yesterday"}"#, 400, "before"),
        (#"{"userId":"a","before":1e300}"#, 400, "before"),
        (#"{"userId":"a","before":1700000000000}"#, 400, "before"),
        (#"{"userId":"a","ttlSeconds":0}"#, 400, "ttlSeconds"),
        (#"{"userId":"a","ttlSeconds":1e12}"#, 400, "ttlSeconds"),
        (#"{"tokenId":"full"}"#, 503, "no room"), ("[]", 400, "JSON"), ("", 400, "JSON"),
    ])
    func revoking(body: String, status: Int, word: String) async throws {
        let answer = await ask(try await plane(), "POST", "/revoke", body: body)
        #expect(answer.status == status, "\(answer.json)")
        guard status == 200 else {
            let message = (answer.json["error"] as? [String: Any])?["message"] as? String
            #expect(message?.contains(word) == true, "\(message ?? "")")
            return
        }
        #expect(answer.json["closed"] as? Int == 3)
        #expect(answer.json["scope"] as? String == "cluster")
    }

    @Test func whatWasRevoked() async throws {
        let plane = try await plane()
        let before = Int64(Date().timeIntervalSince1970 * 1_000)
        _ = await ask(plane, "POST", "/revoke", body: #"{"userId":"alice"}"#)
        _ = await ask(
            plane, "POST", "/revoke",
            body: #"{"userId":"bob","before":"2024-01-02T03:04:05.678Z","ttlSeconds":60}"#)
        _ = await ask(plane, "POST", "/revoke", body: #"{"tokenId":"t-1"}"#)
        let made = node.state { $0.revocations }
        #expect(made[0].beforeMilliseconds >= before)
        #expect(made[0].expiresAtMilliseconds >= before + 86_400_000)
        #expect(made[1].beforeMilliseconds == 1_704_164_645_678)
        #expect(made[1].expiresAtMilliseconds < before + 120_000)
        #expect(made[2].subject == .token("t-1"))
        let (status, json) = await ask(plane, "GET", "/revocations")
        #expect(status == 200)
        #expect(json["count"] as? Int == 3)
        let list = try #require(json["revocations"] as? [[String: String]])
        #expect(list.map { $0["userId"] ?? $0["tokenId"] ?? "" } == ["alice", "bob", "t-1"])
        #expect(list[1]["before"] == "2024-01-02T03:04:05.678Z")
        #expect(list.allSatisfy { $0["expiresAt"]?.hasSuffix("Z") == true })
        var request = ControlRequest("GET", "/revocations")
        request.query["limit"] = "2"
        let (_, short) = parsed(await plane.respond(to: request))
        #expect(short["count"] as? Int == 3)
        #expect((short["revocations"] as? [Any])?.count == 2)
        request.query["limit"] = "0"
        #expect(await plane.respond(to: request).status == 400)
    }

    @Test func webPagesAreRefused() async throws {
        let plane = try await plane()
        var request = ControlRequest("POST", "/drain")
        request.origin = "https://evil.example"
        #expect(await plane.respond(to: request).status == 403)
        request.origin = nil
        request.host = "evil.example:9090"
        #expect(await plane.respond(to: request).status == 403)
        request.host = "localhost:9090"
        #expect(await plane.respond(to: request).status == 202)
    }
}
