// Where to listen, and where Redis is, as they are written in flags, variables and files.

package import Skein

/// `host:port`, `[v6]:port` or `:port`.
package struct ListenAddress: Sendable, Equatable {
    package let host: String
    package let port: Int

    package init?(_ text: String) {
        guard let colon = text.lastIndex(of: ":") else { return nil }
        var host = String(text[..<colon])
        if host.hasPrefix("["), host.hasSuffix("]") {
            host = String(host.dropFirst().dropLast())
        } else if host.contains(":") {
            return nil
        }
        let digits = text[text.index(after: colon)...]
        guard let port = Int(digits), digits.allSatisfy(\.isNumber), (0...65_535).contains(port)
        else {
            return nil
        }
        self.host = host.isEmpty ? "0.0.0.0" : host
        self.port = port
    }

    package var isLoopback: Bool { Self.isLoopback(host) }

    package static func isLoopback(_ host: String) -> Bool {
        host == "localhost" || host == "::1" || host == "::ffff:127.0.0.1"
            || (host.hasPrefix("127.") && host.allSatisfy { $0.isNumber || $0 == "." })
    }

    package var text: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }
}

package enum RedisURL {
    /// `redis://[user[:password]@]host[:port][/database]` or
    /// `unix://[[user]:password@]/path/to.sock[?db=n]`.
    package static func parse(
        _ url: String, key: String
    ) throws(ConfigurationProblem) -> RedisAddress {
        func wrong(_ what: String) -> ConfigurationProblem {
            .error(
                key,
                "\(key) is `\(ConfigurationKey.maskPassword(url))`, \(what); write "
                    + "redis://:password@host:6379/0 or unix:///path/to.sock.")
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
        case "redis": address = try network(rest, wrong)
        case "unix": address = try local(rest, wrong)
        case "rediss":
            throw .error(
                key,
                "\(key) asks for TLS (rediss://), which is not in this release; use redis:// "
                    + "inside a private network, or put a TLS tunnel such as stunnel before Redis.")
        default: throw wrong("whose scheme is not redis or unix")
        }
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
        var address = RedisAddress(
            endpoint: .tcp(host: listen.host, port: UInt16(listen.port)))
        address.database = try database(databaseText, query, wrong)
        return address
    }

    private static func local(
        _ text: Substring, _ wrong: (String) -> ConfigurationProblem
    ) throws(ConfigurationProblem) -> RedisAddress {
        let (path, query) = cut(text, at: "?")
        guard path.hasPrefix("/"), path.utf8.count > 1, path.utf8.count < 108 else {
            throw wrong("whose socket path is not absolute or is 108 bytes or longer")
        }
        var address = RedisAddress(endpoint: .unix(path: String(path)))
        address.database = try database("", query, wrong)
        return address
    }

    private static func database(
        _ path: Substring, _ query: Substring, _ wrong: (String) -> ConfigurationProblem
    ) throws(ConfigurationProblem) -> Int {
        var text = path
        for pair in query.split(separator: "&") {
            guard pair.hasPrefix("db=") else { throw wrong("whose query holds more than db=n") }
            text = pair.dropFirst(3)
        }
        guard !text.isEmpty else { return 0 }
        guard let number = Int(text), (0...1_023).contains(number) else {
            throw wrong("whose database is not a number from 0 to 1023")
        }
        return number
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
