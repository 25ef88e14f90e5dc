import SkeinIO
import Testing

@Suite("Ranges of addresses")
struct AddressRangeTests {
    static func contains(_ range: String, _ host: String) -> Bool? {
        guard let range = AddressRange(parsing: range),
            let address = SocketAddress(host: host, port: 7).flatMap(PeerAddress.init)
        else { return nil }
        return range.contains(address)
    }

    @Test(arguments: [
        ("10.0.0.0/8", "10.255.0.1", true), ("10.0.0.0/8", "11.0.0.0", false),
        ("10.1.2.3/8", "10.9.9.9", true), ("192.0.2.1", "192.0.2.1", true),
        ("192.0.2.1", "192.0.2.2", false), ("192.0.2.0/31", "192.0.2.1", true),
        ("192.0.2.0/31", "192.0.2.2", false), ("0.0.0.0/0", "203.0.113.9", true),
        ("0.0.0.0/0", "2001:db8::1", false), ("0.0.0.0/1", "127.255.255.255", true),
        ("0.0.0.0/1", "128.0.0.0", false), ("::/0", "2001:db8::1", true),
        ("::/0", "10.0.0.1", false), ("2001:db8::/32", "2001:db8:ffff::1", true),
        ("2001:db8::/32", "2001:db9::", false), ("2001:db8::/64", "2001:db8::ffff", true),
        ("2001:db8::/65", "2001:db8::8000:0:0:0", false), ("2001:db8::/65", "2001:db8::7fff:0:0:0", true),
        ("::1", "::1", true), ("::1", "::2", false), ("::1/128", "::1", true),
        ("10.0.0.0/8", "::ffff:10.1.1.1", true), ("::ffff:10.0.0.0/104", "10.1.1.1", true),
        ("::ffff:0:0/96", "10.1.1.1", true), ("::ffff:0:0/95", "10.1.1.1", false),
        ("::/1", "7fff::", true), ("::/1", "8000::", false),
    ])
    func contains(range: String, host: String, isIn: Bool) {
        #expect(Self.contains(range, host) == isIn, "\(range) and \(host)")
    }

    @Test(arguments: [
        "", "/8", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/+8", "10.0.0.0/8/8", "10.0.0/8",
        "::/129", "::1/", "[::1]/128", "fe80::1%lo/64", "localhost", "/run/socket", "10.0.0.0/ 8",
        "10.0.0.0/0008", "unix:/a", "10.0.0.0:80",
    ])
    func refuses(_ text: String) {
        #expect(AddressRange(parsing: text) == nil)
    }

    @Test func isWrittenAsItIsMeant() {
        #expect(AddressRange(parsing: "10.1.2.3/8")?.description == "10.0.0.0/8")
        #expect(AddressRange(parsing: "2001:db8::1/32")?.description == "2001:db8::/32")
        #expect(AddressRange(parsing: "::ffff:10.1.2.3/104") == AddressRange(parsing: "10.0.0.0/8"))
        #expect(AddressRange(parsing: "0.0.0.0/0")?.isEverything == true)
        #expect(AddressRange(parsing: "::/0")?.isEverything == true)
        #expect(AddressRange(parsing: "0.0.0.0/1")?.isEverything == false)
    }

    /// Against arithmetic on single bits.
    @Test func everyPrefixHolds() {
        var generator = Random(seed: 5)
        for bits in 0...128 {
            let base = PeerAddress(high: generator.next(), low: generator.next(), port: 0)
            let range = AddressRange(parsing: "\(base.host)/\(bits)")
            for bit in 0..<128 {
                let high = bit < 64 ? base.high ^ 1 << (63 - UInt64(bit)) : base.high
                let low = bit < 64 ? base.low : base.low ^ 1 << (127 - UInt64(bit))
                let other = PeerAddress(high: high, low: low, port: 1)
                #expect(range?.contains(other) == (bit >= bits), "/\(bits), bit \(bit)")
            }
            #expect(range?.contains(base) == true)
        }
    }
}
