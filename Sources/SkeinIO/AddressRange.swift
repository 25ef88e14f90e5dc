// A block of internet addresses as operators write it (CIDR, RFC 4632): which peers are proxies of ours.
// IPv4 is kept as `::ffff:a.b.c.d`, as in `PeerAddress`, so a peer of either family is two comparisons.

package struct AddressRange: Hashable, Sendable, BitwiseCopyable, CustomStringConvertible {
    private let high: UInt64
    private let low: UInt64
    private let highMask: UInt64
    private let lowMask: UInt64
    private let prefixBits: Int
    private let isV4: Bool

    /// `10.0.0.0/8`, `2001:db8::/32`, or one address. Bits behind the prefix do not count.
    package init?(parsing text: String) {
        let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        guard let host = parts.first, !host.isEmpty,
            let address = SocketAddress(host: String(host), port: 0).flatMap(PeerAddress.init)
        else { return nil }
        // Written as IPv6, `::ffff:10.0.0.0/104` is IPv4 all the same.
        let isWrittenAsV6 = host.contains(":")
        let bitsMax = isWrittenAsV6 ? 128 : 32
        var bits = bitsMax
        if parts.count == 2 {
            let isNumber = parts[1].utf8.count <= 3 && parts[1].utf8.allSatisfy { $0 >= 0x30 && $0 <= 0x39 }
            guard isNumber, let number = Int(parts[1]), number <= bitsMax else { return nil }
            bits = number
        }
        prefixBits = isWrittenAsV6 ? bits : bits + 96
        isV4 = address.isV4 && prefixBits >= 96
        // A smart shift by the whole width gives 0, which is what no prefix means.
        highMask = ~(UInt64.max >> min(prefixBits, 64))
        lowMask = ~(UInt64.max >> max(0, prefixBits - 64))
        high = address.high & highMask
        low = address.low & lowMask
    }

    /// Whether `address` lies in it. `::/0` is all of IPv6 and nothing of IPv4.
    package func contains(_ address: PeerAddress) -> Bool {
        address.isV4 == isV4 && address.high & highMask == high && address.low & lowMask == low
    }

    /// Every address of its family.
    package var isEverything: Bool { prefixBits == (isV4 ? 96 : 0) }

    package var description: String {
        let host = PeerAddress(high: high, low: low, port: 0).host
        return "\(host)/\(isV4 ? prefixBits - 96 : prefixBits)"
    }
}
