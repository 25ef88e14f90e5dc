// Where Redis is, as it is written in a URL.

package import Skein

package enum RedisURL {
    /// `redis://[user[:password]@]host[:port][/0]`, the same with `rediss` for TLS, or
    /// `unix://[[user]:password@]/path/to.sock`.
    package static func parse(
        _ url: String, key: String
    ) throws(ConfigurationProblem) -> RedisAddress {
        func wrong(_ what: String) -> ConfigurationProblem {
            .error(
                key,
                "\(key) is `\(ConfigurationKey.maskPassword(url))`, \(what); write "
                    + "redis://:password@host:6379, rediss:// for TLS, or unix:///path/to.sock.")
        }
        guard let separator = url.firstRange(of: "://") else { throw wrong("which has no scheme") }
        let scheme = url[..<separator.lowerBound].lowercased()
        var rest = url[separator.upperBound...]
        var credentials: Substring?
        if let at = rest.lastIndex(of: "@") {
            credentials = rest[..<at]
            rest = rest[rest.index(after: at)...]
        }
        var address: RedisAddress
        switch scheme {
        case "redis", "rediss": address = try network(rest, wrong)
        case "unix": address = try local(rest, wrong)
        default: throw wrong("whose scheme is not redis, rediss or unix")
        }
        if scheme == "rediss" { address.tls = RedisTLS() }
        try setCredentials(credentials, of: &address, wrong)
        return address
    }

    private static func setCredentials(
        _ credentials: Substring?, of address: inout RedisAddress,
        _ wrong: (String) -> ConfigurationProblem
    ) throws(ConfigurationProblem) {
        guard let credentials else { return }
        let parts = credentials.split(
            separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
        guard let user = percentDecoded(parts[0]) else { throw wrong("whose user is ill-escaped") }
        address.username = user.isEmpty ? nil : user
        guard parts.count == 2 else { return }
        guard let password = percentDecoded(parts[1]) else {
            throw wrong("whose password is ill-escaped")
        }
        address.password = password.isEmpty ? nil : password
    }

    private static func network(
        _ text: Substring, _ wrong: (String) -> ConfigurationProblem
    ) throws(ConfigurationProblem) -> RedisAddress {
        let (path, query) = cut(text, at: "?")
        let (authority, databaseText) = cut(path, at: "/")
        var hostAndPort = String(authority)
        let hasPort =
            hostAndPort.hasPrefix("[") ? !hostAndPort.hasSuffix("]") : hostAndPort.contains(":")
        if !hasPort { hostAndPort += ":6379" }
        guard !authority.isEmpty, !hostAndPort.hasPrefix(":"),
            let listen = ListenAddress(hostAndPort), listen.port > 0
        else { throw wrong("which names no host and port") }
        try checkDatabase(databaseText, query, wrong)
        return RedisAddress(endpoint: .tcp(host: listen.host, port: UInt16(listen.port)))
    }

    private static func local(
        _ text: Substring, _ wrong: (String) -> ConfigurationProblem
    ) throws(ConfigurationProblem) -> RedisAddress {
        let (path, query) = cut(text, at: "?")
        guard path.hasPrefix("/"), path.utf8.count > 1, path.utf8.count < 108 else {
            throw wrong("whose socket path is not absolute or is 108 bytes or longer")
        }
        try checkDatabase("", query, wrong)
        return RedisAddress(endpoint: .unix(path: String(path)))
    }

    /// What lives in which database is fixed, for backends read it; and channels know no databases,
    /// so a number would not keep two deployments apart.
    private static func checkDatabase(
        _ path: Substring, _ query: Substring, _ wrong: (String) -> ConfigurationProblem
    ) throws(ConfigurationProblem) {
        var text = path
        for pair in query.split(separator: "&") {
            guard pair.hasPrefix("db=") else { throw wrong("whose query holds more than db=0") }
            text = pair.dropFirst(3)
        }
        guard !text.isEmpty, text != "0" else { return }
        throw wrong(
            "which names a database; they are fixed (0 Skein's own keys, 1 pub/sub, 4 sessions and "
                + "presence), and channels are the same in all, so leave the number out and give a "
                + "second deployment a Redis of its own")
    }

    private static func cut(_ text: Substring, at mark: Character) -> (Substring, Substring) {
        guard let index = text.firstIndex(of: mark) else { return (text, "") }
        return (text[..<index], text[text.index(after: index)...])
    }

    private static func percentDecoded(_ text: Substring) -> String? {
        var bytes: [UInt8] = []
        var rest = text.utf8[...]
        while let byte = rest.popFirst() {
            guard byte == UInt8(ascii: "%") else {
                bytes.append(byte)
                continue
            }
            let digits = rest.prefix(2)
            guard digits.count == 2, let text = String(digits), let value = UInt8(text, radix: 16)
            else { return nil }
            rest = rest.dropFirst(2)
            bytes.append(value)
        }
        return String(validating: bytes, as: UTF8.self)
    }
}
