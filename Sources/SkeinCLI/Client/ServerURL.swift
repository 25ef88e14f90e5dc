// Where a tool finds a node: `ws://host:port/path` or `http://host:port`, or just `host:port`.

internal import SkeinNode

struct ServerURL: Equatable {
    let host: String
    let port: Int
    /// Path and query, as they go on the request line.
    let target: String
    /// `wss` or `https`.
    let isSecure: Bool

    /// - Parameters:
    ///   - scheme: `ws` or `http`.
    ///   - takesTLS: whether its secure twin is taken too, or refused with a reason.
    init(
        _ text: String, scheme: String, option: String, takesTLS: Bool = false
    ) throws(CommandFailure) {
        var rest = text[...]
        var isSecure = false
        if let mark = text.firstRange(of: "://") {
            let given = text[..<mark.lowerBound].lowercased()
            isSecure = given == scheme + "s"
            if isSecure, !takesTLS {
                throw CommandFailure(
                    "\(option) asks for TLS (\(given)://), which this tool does not speak in this "
                        + "release; use \(scheme):// or a TLS tunnel.", status: 64)
            }
            guard given == scheme || isSecure else {
                throw CommandFailure(
                    "\(option) starts with \(given)://; write \(scheme)://host:port.", status: 64)
            }
            rest = text[mark.upperBound...]
        }
        let authority = rest.prefix { $0 != "/" && $0 != "?" }
        let target = rest[authority.endIndex...]
        let withPort = authority.contains(":") && !authority.hasSuffix("]")
        let address = ListenAddress(withPort ? String(authority) : "\(authority):\(isSecure ? 443 : 80)")
        let isPlain = target.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F }
        guard !authority.isEmpty, let address, address.port > 0, isPlain else {
            throw CommandFailure(
                "\(option) is `\(text)`, which is no address; write \(scheme)://host:port.", status: 64)
        }
        self.isSecure = isSecure
        host = address.host
        port = address.port
        self.target = target.hasPrefix("/") ? String(target) : "/" + target
    }

    /// As the `Host` header has it.
    var authority: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }
}
