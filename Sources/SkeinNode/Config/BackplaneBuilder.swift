// Where Redis is and how this node proves who it is there, from the keys that say so; what
// contradicts itself is refused here, before anything is connected.

internal import Skein

extension ConfigurationBuilder {
    /// How nodes reach each other, by whatever says where Redis is.
    mutating func makeBackplane() -> BackplaneChoice {
        let given = ["WS_REDIS_URL", "REDIS_URL", "REDIS_SENTINELS", "REDIS_HOST"]
            .first(where: values.isSet)
        switch values.text("WS_ADAPTER") {
        case "memory":
            if let given {
                warn(
                    given,
                    "\(given) is set, but WS_ADAPTER=memory (\(values.origin("WS_ADAPTER"))): this "
                        + "node talks to no other; remove one of the two.")
            }
            return .memory
        case "redis":
            guard given != nil else {
                fail(
                    "WS_ADAPTER",
                    "WS_ADAPTER is redis, but no address is given; set REDIS_URL, such as "
                        + "redis://127.0.0.1:6379.")
                return .memory
            }
        default:
            guard given != nil else { return .memory }
        }
        do throws(ConfigurationProblem) {
            return .redis(try makeRedisAddress())
        } catch {
            problems.append(error)
            return .memory
        }
    }

    private mutating func makeRedisAddress() throws(ConfigurationProblem) -> RedisAddress {
        var address = try makeRedisEndpoint()
        try setTLS(of: &address)
        return address
    }

    private mutating func makeRedisEndpoint() throws(ConfigurationProblem) -> RedisAddress {
        for key in ["WS_REDIS_URL", "REDIS_URL"] {
            guard let url = values.text(key) else { continue }
            guard values.list("REDIS_SENTINELS").isEmpty else {
                throw .error(
                    "REDIS_SENTINELS",
                    "REDIS_SENTINELS and \(key) both say where Redis is; remove one of them.")
            }
            let address = try RedisURL.parse(url, key: key)
            for given in ["REDIS_USERNAME", "REDIS_PASSWORD"] where values.isSet(given) {
                guard address.password == nil, address.username == nil else { continue }
                warn(
                    given,
                    "\(given) is set but goes with REDIS_HOST or REDIS_SENTINELS only, and \(key) is "
                        + "used; put it into \(key) as redis://user:password@host.")
            }
            return address
        }
        var address: RedisAddress
        if values.isSet("REDIS_SENTINELS") {
            address = RedisAddress(endpoint: .sentinels(try makeSentinels()))
        } else {
            address = RedisAddress(
                endpoint: .tcp(
                    host: values.text("REDIS_HOST") ?? "127.0.0.1",
                    port: UInt16(clamping: values.integer("REDIS_PORT") ?? 6_379)))
        }
        address.username = values.text("REDIS_USERNAME")
        address.password = values.text("REDIS_PASSWORD")
        if values.boolean("REDIS_TLS") { address.tls = RedisTLS() }
        return address
    }

    private mutating func makeSentinels() throws(ConfigurationProblem) -> RedisSentinels {
        var addresses: [RedisSentinels.Address] = []
        for text in values.list("REDIS_SENTINELS") {
            let isBare = text.hasPrefix("[") ? text.hasSuffix("]") : !text.contains(":")
            guard let address = ListenAddress(isBare ? text + ":26379" : text), address.port > 0,
                !text.hasPrefix(":")
            else {
                throw .error(
                    "REDIS_SENTINELS",
                    "REDIS_SENTINELS holds `\(text)`, which is no address; write host:port, such as "
                        + "10.0.0.5:26379, several with commas.")
            }
            addresses.append(RedisSentinels.Address(host: address.host, port: UInt16(address.port)))
        }
        guard !addresses.isEmpty else {
            throw .error("REDIS_SENTINELS", "REDIS_SENTINELS names none; write host:port, or unset it.")
        }
        let primary = values.text("REDIS_SENTINEL_MASTER") ?? "mymaster"
        var sentinels = RedisSentinels(addresses: addresses, primary: primary)
        sentinels.username = values.text("REDIS_SENTINEL_USERNAME")
        sentinels.password = values.text("REDIS_SENTINEL_PASSWORD")
        return sentinels
    }

    private mutating func setTLS(of address: inout RedisAddress) throws(ConfigurationProblem) {
        let keys = [
            "REDIS_TLS_CA", "REDIS_TLS_CERTIFICATE", "REDIS_TLS_KEY", "REDIS_TLS_SERVER_NAME",
        ]
        guard address.tls != nil else {
            if let given = keys.first(where: values.isSet) {
                throw .error(
                    given,
                    "\(given) is set, but Redis is reached without TLS; write rediss:// in the URL, or "
                        + "set REDIS_TLS=true beside REDIS_HOST or REDIS_SENTINELS.")
            }
            return
        }
        guard values.isSet("REDIS_TLS_CERTIFICATE") == values.isSet("REDIS_TLS_KEY") else {
            throw .error(
                "REDIS_TLS_KEY",
                "REDIS_TLS_CERTIFICATE and REDIS_TLS_KEY go together; set both or neither.")
        }
        address.tls?.authorityFile = values.text("REDIS_TLS_CA")
        address.tls?.certificateFile = values.text("REDIS_TLS_CERTIFICATE")
        address.tls?.keyFile = values.text("REDIS_TLS_KEY")
        address.tls?.serverName = values.text("REDIS_TLS_SERVER_NAME")
    }
}
