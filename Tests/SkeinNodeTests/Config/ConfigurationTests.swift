// What a node makes of flags, variables and files: who wins, what is refused, and what is shown.

import Foundation
import Skein
import SkeinNode
import Testing

private let secret = "0123456789abcdef0123456789abcdef"

@Suite struct ConfigurationTests {
    private func load(
        _ environment: [String: String], flags: [String: String] = [:], file: String? = nil,
        dev: Bool = false
    ) -> ConfigurationReport {
        var environment = environment
        if !dev, environment["JWT_SECRET"] == nil { environment["JWT_SECRET"] = secret }
        return NodeConfiguration.load(
            ConfigurationSources(flags: flags, environment: environment, filePath: file),
            isDevelopment: dev)
    }

    private func withFile<R>(_ name: String, _ text: String, _ body: (String) throws -> R) throws
        -> R
    {
        let directory = FileManager.default.temporaryDirectory.appending(path: UUID().uuidString)
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: directory) }
        let file = directory.appending(path: name)
        try Data(text.utf8).write(to: file)
        return try body(file.path)
    }

    private func entry(_ report: ConfigurationReport, _ key: String) -> ConfigurationEntry? {
        report.entries.first { $0.key == key }
    }

    @Test func everyLimitHasAKeyAndItsDefault() {
        let fields = Mirror(reflecting: Limits()).children.count
        #expect(ConfigurationTable.keys.filter { $0.limit != nil }.count == fields)
        #expect(Set(ConfigurationTable.names).count == ConfigurationTable.names.count)
        #expect(load([:]).configuration?.server.limits == Limits())
        #expect(load([:]).problems.isEmpty)
    }

    @Test func defaultsAreValid() throws {
        for key in ConfigurationTable.keys {
            guard let text = key.defaultText else { continue }
            _ = try key.parse(text, from: .default)
        }
    }

    @Test func flagBeatsVariableBeatsFileBeatsDefault() throws {
        try withFile("skein.yaml", "WS_SHARDS: 3\nWS_PING_INTERVAL: 7s\nLOG_LEVEL: debug\n") {
            path in
            let report = load(
                ["WS_SHARDS": "2", "WS_PING_INTERVAL": "8s"], flags: ["WS_SHARDS": "1"], file: path)
            let configuration = try #require(report.configuration)
            #expect(configuration.server.shardCount == 1)
            #expect(configuration.server.limits.pingInterval == .seconds(8))
            #expect(configuration.logs.level == "debug")
            #expect(entry(report, "WS_SHARDS")?.origin == "flag --shards")
            #expect(entry(report, "WS_PING_INTERVAL")?.origin == "environment")
            #expect(entry(report, "LOG_LEVEL")?.origin == "file \(path)")
            #expect(entry(report, "WS_PIN")?.origin == "default")
        }
    }

    @Test(arguments: [
        (
            "skein.json",
            #"{"WS_PONG_TIMEOUT":90,"READY_WHEN_DEGRADED":true,"#
                + #""WS_ALLOWED_ORIGINS":["https://a.b","https://c.d"]}"#
        ),
        (
            "skein.yaml",
            "WS_PONG_TIMEOUT: 90\nREADY_WHEN_DEGRADED: true\n"
                + "WS_ALLOWED_ORIGINS:\n  - https://a.b\n  - https://c.d\n"
        ),
    ])
    func filesOfBothKinds(name: String, text: String) throws {
        try withFile(name, text) { path in
            let configuration = try #require(load([:], file: path).configuration)
            #expect(configuration.server.limits.pongTimeout == .seconds(90))
            #expect(configuration.control.readyWhenDegraded)
            #expect(configuration.server.allowedOrigins == ["https://a.b", "https://c.d"])
        }
    }

    @Test func brokenFilesSayNothingOfTheirContent() throws {
        try withFile("skein.yaml", "JWT_SECRET: \"hunter2hunter2\n  : [") { path in
            let report = load([:], file: path)
            #expect(report.configuration == nil)
            #expect(report.errors.count == 1)
            #expect(!report.errors[0].message.contains("hunter2"))
        }
        #expect(load([:], file: "/no/such/file").errors.count == 1)
    }

    @Test func unknownKeys() throws {
        try withFile("skein.yaml", "WS_PNG_INTERVAL: 3s\nws:\n  shards: 2\n") { path in
            let messages = load([:], file: path).errors.map(\.message)
            #expect(messages.count == 2)
            #expect(messages[0].contains("did you mean WS_PING_INTERVAL?"))
        }
        let report = load([
            "WS_SHARD": "2", "SKEIN_X": "1", "OTHER": "1", "DRAIN_DEADLIN": "3s", "AUTH_SESION": "required",
            "REDIS_SERVICE_HOST": "10.0.0.5", "REDIS_PORT_6379_TCP": "tcp://10.0.0.5:6379",
        ])
        #expect(report.configuration != nil)
        #expect(report.warnings.compactMap(\.key) == ["AUTH_SESION", "DRAIN_DEADLIN", "SKEIN_X", "WS_SHARD"])
        #expect(report.warnings.map(\.isUnknownVariable) == [true, true, true, true])
        #expect(report.warnings[0].message.contains("did you mean AUTH_SESSION?"))
        #expect(report.warnings[3].message.contains("did you mean WS_SHARDS?"))
    }

    @Test(arguments: [
        ("WS_PING_INTERVAL", "soon"), ("WS_PING_INTERVAL", "-3s"), ("WS_SHARDS", "two"),
        ("WS_SHARDS", "99999"), ("WS_MAX_MESSAGE_SIZE", "0"), ("WS_ADAPTER", "nats"),
        ("WS_IO", "kqueue"), ("WS_PIN", "0,0"), ("WS_PIN", "a"), ("WS_LISTEN", "8080"),
        ("WS_LISTEN", "0.0.0.0:70000"), ("READY_WHEN_DEGRADED", "maybe"), ("LOG_LEVEL", "loud"),
        ("REDIS_URL", "redis://h:6379/3"), ("REDIS_URL", "http://h"), ("REDIS_URL", "redis://h:1/x"),
        ("JWT_SECRET", "short"), ("API_KEY", "\(secret),short"), ("WS_RECEIVE_BUFFERS", "500"),
        ("WS_PONG_TIMEOUT", "20s"), ("WS_SEND_QUEUE_BYTES", "2KiB"), ("WS_MESSAGE_BURST", "0"),
        ("AUTH_SESSION", "required"), ("WS_ADAPTER", "redis"), ("WS_ECHO_PATH", "/ws"),
        ("WS_REDIS_PREFIX", String(repeating: "p", count: 65)),
        ("WS_ALLOWED_ORIGINS", "example.com"), ("CONTROL_LISTEN", "0.0.0.0:8080"),
        ("DRAIN_WAVE", "40s"), ("WS_HANDSHAKE_BURST", "0"),
    ])
    func refusedOnce(key: String, text: String) {
        let report = load([key: text])
        #expect(report.configuration == nil)
        #expect(report.errors.count == 1, "\(report.errors.map(\.message))")
        #expect(report.errors.first?.message.contains("short,") != true)
    }

    @Test func sizesAndDurations() throws {
        let environment = [
            "WS_MAX_MESSAGE_SIZE": "512KiB", "WS_PING_INTERVAL": "1m30s", "WS_PONG_TIMEOUT": "0.5h",
            "DRAIN_DEADLINE": "45", "DRAIN_WAVE": "100ms", "REDIS_URL": "",
        ]
        let configuration = try #require(load(environment).configuration)
        #expect(configuration.server.limits.messageBytesMax == 524_288)
        #expect(configuration.server.limits.pingInterval == .seconds(90))
        #expect(configuration.server.limits.pongTimeout == .seconds(1_800))
        #expect(configuration.control.drain.deadline == .seconds(45))
        #expect(configuration.control.drain.wave == .milliseconds(100))
        #expect(configuration.server.backplane == .memory)
    }

    @Test func originsOfAllThreeNamesAreMerged() throws {
        let configuration = try #require(
            load([
                "WS_ALLOWED_ORIGINS": "https://a.b, https://c.d",
                "CORS_ALLOWED_ORIGINS": "https://c.d",
                "WEBSOCKET_CORS_ORIGINS": "http://localhost:3000",
            ]).configuration)
        #expect(
            configuration.server.allowedOrigins == [
                "https://a.b", "https://c.d", "http://localhost:3000",
            ])
    }

    @Test func secretsAreMasked() {
        let report = load([
            "API_KEY": "\(secret)A,\(secret)B", "REDIS_URL": "redis://me:hunter2@h:1",
            "REDIS_PASSWORD": "hunter2", "DATABASE_URL": "postgres://u:hunter2@h/db",
        ])
        let shown = "\(report.entries) \(report.problems)"
        #expect(!shown.contains("hunter2"))
        #expect(!shown.contains(secret))
        #expect(entry(report, "JWT_SECRET")?.value == "***")
        #expect(entry(report, "REDIS_URL")?.value == "redis://me:***@h:1")
        #expect(report.entries.count == ConfigurationTable.keys.count)
    }

    @Test func withoutASecretANodeDoesNotStart() {
        let report = NodeConfiguration.load(ConfigurationSources())
        #expect(report.configuration == nil)
        #expect(report.errors.map(\.key) == ["JWT_SECRET"])
    }

    @Test func development() throws {
        let report = load([:], dev: true)
        let configuration = try #require(report.configuration)
        #expect(configuration.jwt.secret?.utf8.count == 64)
        #expect(report.isSecretMade)
        #expect(configuration.server.echoPath == "/echo")
        #expect(configuration.server.echoIsOpen)
        #expect(configuration.server.limits == Limits())
        #expect(load([:], dev: true).configuration?.jwt.secret != configuration.jwt.secret)
        let own = load(["JWT_SECRET": secret], dev: true)
        #expect(own.configuration?.jwt.secret == secret)
        #expect(!own.isSecretMade)
        #expect(load([:]).configuration?.server.echoPath == nil)
    }

    @Test func proxiesAreRangesOfAddresses() {
        let report = load([
            "WS_PROXY_PROTOCOL": "10.1.0.0/16, fd00::/8", "WS_TRUSTED_PROXIES": "192.0.2.7",
            "TRUSTED_PROXIES": "198.51.100.0/24", "WS_FORWARDED_HEADER": "Forwarded",
        ])
        let server = report.configuration?.server
        #expect(server?.proxyProtocol == ["10.1.0.0/16", "fd00::/8"])
        #expect(server?.trustedProxies == ["192.0.2.7", "198.51.100.0/24"])
        #expect(server?.forwardedHeader == .forwarded)
        #expect(report.warnings.isEmpty)

        for key in ["WS_PROXY_PROTOCOL", "WS_TRUSTED_PROXIES", "TRUSTED_PROXIES"] {
            for text in ["10.0.0.0/33", "lb.example", "10.0.0/8", "10.0.0.0/", "::/129"] {
                let bad = load([key: "10.0.0.1,\(text)"])
                #expect(bad.configuration == nil)
                #expect(bad.errors.map(\.key) == [key])
                #expect(bad.errors.allSatisfy { $0.message.contains("`\(text)`") })
            }
            #expect(load([key: "0.0.0.0/0"]).warnings.map(\.key) == [key])
        }
        #expect(load(["WS_FORWARDED_HEADER": "x-real-ip"]).errors.map(\.key) == ["WS_FORWARDED_HEADER"])
    }

    @Test func whatIsNotInThisReleaseIsSaid() {
        let report = load(["PUSH_WEBHOOK_URL": "https://push.example", "API_LISTEN": "0.0.0.0:8081"])
        #expect(report.configuration != nil)
        #expect(report.warnings.map(\.key) == ["API_LISTEN", "PUSH_WEBHOOK_URL"])
        #expect(report.warnings.allSatisfy { $0.message.contains("not in this release") })
        #expect(load(["WS_ENABLE_COMPRESSION": "false"]).warnings.isEmpty)
    }
}
