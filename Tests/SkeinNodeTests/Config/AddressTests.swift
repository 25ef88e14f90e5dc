// How addresses are read, and which of several Redis addresses counts.

import Skein
import SkeinNode
import Testing

@Suite struct AddressTests {
    private func backplane(_ environment: [String: String], flags: [String: String] = [:])
        -> BackplaneChoice?
    {
        var environment = environment
        environment["JWT_SECRET"] = "0123456789abcdef0123456789abcdef"
        let sources = ConfigurationSources(flags: flags, environment: environment)
        return NodeConfiguration.load(sources).configuration?.server.backplane
    }

    private func tcp(_ host: String, _ port: UInt16) -> RedisAddress {
        RedisAddress(endpoint: .tcp(host: host, port: port))
    }

    @Test func redisPrecedence() {
        var all = [
            "WS_REDIS_URL": "redis://two", "REDIS_URL": "redis://three", "REDIS_HOST": "four",
            "REDIS_PORT": "7000",
        ]
        #expect(backplane(all, flags: ["WS_REDIS_URL": "redis://one:1"]) == .redis(tcp("one", 1)))
        #expect(backplane(all) == .redis(tcp("two", 6379)))
        all["WS_REDIS_URL"] = nil
        #expect(backplane(all) == .redis(tcp("three", 6379)))
        all["REDIS_URL"] = nil
        #expect(backplane(all) == .redis(tcp("four", 7000)))
        all["WS_ADAPTER"] = "memory"
        #expect(backplane(all) == .memory)
        #expect(backplane(["REDIS_PORT": "7000"]) == .memory)
    }

    @Test func redisURLs() throws {
        let full = try RedisURL.parse("redis://me:p%40ss%3A@h.example:7000/0", key: "REDIS_URL")
        #expect(full.endpoint == .tcp(host: "h.example", port: 7000))
        #expect(full.username == "me")
        #expect(full.password == "p@ss:")
        #expect(full.tls == nil)
        let v6 = try RedisURL.parse("redis://[::1]", key: "REDIS_URL")
        #expect(v6.endpoint == .tcp(host: "::1", port: 6379))
        let local = try RedisURL.parse("unix://:pw@/run/redis.sock?db=0", key: "REDIS_URL")
        #expect(local.endpoint == .unix(path: "/run/redis.sock"))
        #expect(local.password == "pw")
        #expect(local.username == nil)
        let secure = try RedisURL.parse("rediss://h:7001", key: "REDIS_URL")
        #expect(secure.endpoint == .tcp(host: "h", port: 7001))
        #expect(secure.tls == RedisTLS())
    }

    @Test("a database in the URL would have no effect, so it is refused", arguments: [
        "redis://h/1", "redis://h:6379/5", "redis://h?db=2", "unix:///run/redis.sock?db=4",
    ])
    func databases(url: String) {
        #expect(throws: ConfigurationProblem.self) { try RedisURL.parse(url, key: "REDIS_URL") }
    }

    @Test func sentinels() {
        var sentinels = RedisSentinels(
            addresses: [.init(host: "10.0.0.1", port: 26_379), .init(host: "::1", port: 5)],
            primary: "chat")
        sentinels.password = "watch"
        var address = RedisAddress(endpoint: .sentinels(sentinels))
        address.username = "skein"
        address.password = "pw"
        address.tls = RedisTLS()
        address.tls?.authorityFile = "/ca.pem"
        let given = [
            "REDIS_SENTINELS": "10.0.0.1, [::1]:5", "REDIS_SENTINEL_MASTER": "chat",
            "REDIS_SENTINEL_PASSWORD": "watch", "REDIS_USERNAME": "skein", "REDIS_PASSWORD": "pw",
            "REDIS_TLS": "true", "REDIS_TLS_CA": "/ca.pem",
        ]
        #expect(backplane(given) == .redis(address))
    }

    @Test("what contradicts itself is refused", arguments: [
        ["REDIS_SENTINELS": "h:26379", "REDIS_URL": "redis://h"],
        ["REDIS_SENTINELS": "h:x"], ["REDIS_SENTINELS": ":26379"], ["REDIS_SENTINELS": ","],
        ["REDIS_HOST": "h", "REDIS_TLS_CA": "/ca.pem"],
        ["REDIS_URL": "rediss://h", "REDIS_TLS_CERTIFICATE": "/c.pem"],
        ["REDIS_URL": "rediss://h", "REDIS_TLS_KEY": "/k.pem"],
    ])
    func contradictions(given: [String: String]) {
        #expect(backplane(given) == nil)
    }

    @Test func listenAddresses() {
        #expect(ListenAddress(":8080")?.text == "0.0.0.0:8080")
        #expect(ListenAddress("[::1]:80")?.host == "::1")
        #expect(ListenAddress("::1:80") == nil)
        #expect(ListenAddress("localhost") == nil)
        #expect(ListenAddress("h:+80") == nil)
        #expect(ListenAddress("127.8.0.1:1")?.isLoopback == true)
        #expect(ListenAddress("127.0.0.1.evil.example:1")?.isLoopback == false)
    }

    @Test(arguments: [
        ("redis://u:p@h", "redis://u:***@h"), ("redis://:p@x@h", "redis://:***@h"),
        ("redis://token@h", "redis://***@h"), ("redis://h", "redis://h"), ("p@h", "***"),
    ])
    func masks(url: String, shown: String) {
        #expect(ConfigurationKey.maskPassword(url) == shown)
    }

    @Test(arguments: [
        (Duration.seconds(25), "25s"), (.milliseconds(250), "250ms"), (.seconds(600), "10m"),
        (.seconds(3_600), "1h"), (.zero, "0s"), (.seconds(60), "60s"),
    ])
    func durationsReadBack(duration: Duration, text: String) {
        #expect(DurationText.write(duration) == text)
        #expect(DurationText.read(text) == duration)
    }
}
