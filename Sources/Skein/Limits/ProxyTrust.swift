// Whom we believe when it says that it speaks for somebody else. The client's own address then serves
// for limits, logs and lists; who is not named here is a client itself, whatever it claims.

internal import SkeinIO
internal import SkeinWire

struct ProxyTrust: Sendable {
    /// Peers whose connections begin with a PROXY header, which is required from them.
    let speakers: [AddressRange]
    /// Peers whose forwarded header is believed.
    let forwarders: [AddressRange]
    let header: ForwardedHeader

    init(_ configuration: ServerConfiguration) throws(ServerError) {
        speakers = try Self.ranges(configuration.proxyProtocol)
        forwarders = try Self.ranges(configuration.trustedProxies)
        header =
            switch configuration.forwardedHeader {
            case .xForwardedFor: .xForwardedFor
            case .forwarded: .forwarded
            }
    }

    private static func ranges(_ texts: [String]) throws(ServerError) -> [AddressRange] {
        var ranges: [AddressRange] = []
        for text in texts {
            guard let range = AddressRange(parsing: text) else {
                throw ServerError(
                    "\(text) is no range of addresses; write 10.0.0.0/8, fd00::/8 or one address.")
            }
            ranges.append(range)
        }
        return ranges
    }

    func opensWithProxyHeader(_ peer: PeerAddress) -> Bool {
        speakers.contains { $0.contains(peer) }
    }

    func forwards(_ peer: PeerAddress) -> Bool {
        forwarders.contains { $0.contains(peer) }
    }

    /// Whether a connection of `peer` may turn out to be another's, so that it cannot be counted yet.
    func mayForward(_ peer: PeerAddress) -> Bool {
        opensWithProxyHeader(peer) || forwards(peer)
    }

    /// Whose the request is that `peer`, a forwarder, passed on.
    func client(of request: UpgradeRequest, _ head: Bytes) -> ForwardedClient {
        let lines =
            switch header {
            case .xForwardedFor: request.forwardedForLines
            case .forwarded: request.forwardedLines
            }
        guard let lines else { return .none }
        return unsafe ForwardedClient.find(header, lines: lines, in: head.buffer.span) { address in
            forwards(PeerAddress(address))
        }
    }
}

extension PeerAddress {
    init(_ address: EndpointAddress) {
        self.init(high: address.high, low: address.low, port: address.port)
    }
}
