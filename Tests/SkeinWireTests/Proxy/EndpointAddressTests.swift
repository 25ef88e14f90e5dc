import SkeinWire
import Testing

@Suite("Addresses as proxies write them")
struct EndpointAddressTests {
    static func parse(_ text: String) -> EndpointAddress? { EndpointAddress(parsing: text.bytes.span) }

    static let good: [(String, UInt64, UInt64, UInt16)] = [
        ("1.2.3.4", 0, 0xFFFF_0102_0304, 0), ("0.0.0.0", 0, 0xFFFF_0000_0000, 0),
        ("255.255.255.255", 0, 0xFFFF_FFFF_FFFF, 0), ("1.2.3.4:0", 0, 0xFFFF_0102_0304, 0),
        ("1.2.3.4:65535", 0, 0xFFFF_0102_0304, 65_535), ("::", 0, 0, 0), ("::1", 0, 1, 0),
        ("[::1]", 0, 1, 0), ("[::1]:8080", 0, 1, 8_080), ("1::", 1 << 48, 0, 0),
        ("2001:db8::8:800:200c:417a", 0x2001_0DB8_0000_0000, 0x0008_0800_200C_417A, 0),
        ("2001:DB8:0:0:8:800:200C:417A", 0x2001_0DB8_0000_0000, 0x0008_0800_200C_417A, 0),
        ("::ffff:1.2.3.4", 0, 0xFFFF_0102_0304, 0), ("::1.2.3.4", 0, 0x0102_0304, 0),
        ("1:2:3:4:5:6:1.2.3.4", 0x0001_0002_0003_0004, 0x0005_0006_0102_0304, 0),
        ("1:2:3:4:5:6:7::", 0x0001_0002_0003_0004, 0x0005_0006_0007_0000, 0),
        ("::2:3:4:5:6:7:8", 0x0000_0002_0003_0004, 0x0005_0006_0007_0008, 0),
        ("1:2:3:4:5:6:7:8", 0x0001_0002_0003_0004, 0x0005_0006_0007_0008, 0),
        ("ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255", .max, .max, 0),
    ]

    @Test(arguments: good)
    func reads(text: String, high: UInt64, low: UInt64, port: UInt16) throws {
        let address = try #require(Self.parse(text))
        #expect(address.high == high)
        #expect(address.low == low)
        #expect(address.port == port)
    }

    @Test(arguments: [
        "", " ", "1.2.3", "1.2.3.4.5", "1.2.3.256", "01.2.3.4", "1.2.3.00", "1..3.4", ".1.2.3.4",
        "1.2.3.4.", "1.2.3.-4", "1.2.3.4 ", " 1.2.3.4", "1.2.3.4:", "1.2.3.4:65536", "1.2.3.4:08",
        "1.2.3.4:+8", "1.2.3.4:8:8", "1.2.3.4:123456", ":", ":::", ":1", "1:", "1::2::3", "1:2:3:4:5:6:7",
        "1:2:3:4:5:6:7:8:9", "1:2:3:4:5:6:7:8::", "::1:2:3:4:5:6:7:8", "12345::", "g::", "1:::2",
        "::1.2.3", "1.2.3.4::", "::1.2.3.4:1", "1:2:3:4:5:6:7:1.2.3.4", "fe80::1%eth0", "[::1", "::1]",
        "[::1]8", "[::1]:", "[::1]:x", "[1.2.3.4]", "[]", "unknown", "_hidden", "0x7f.0.0.1", "2130706433",
        "1.2.3.4/8", "::ffff:0:1.2.3.4.5", "١.2.3.4",
    ])
    func refuses(_ text: String) {
        #expect(Self.parse(text) == nil)
    }

    @Test func randomTextNeverTraps() {
        var generator = SeededGenerator(seed: 11)
        let alphabet = "0123456789abcf:.[]% x".bytes
        var read = 0
        for _ in 0..<200_000 {
            let count = Int.random(in: 0...12, using: &generator)
            let text = (0..<count).map { _ in alphabet.randomElement(using: &generator)! }
            if EndpointAddress(parsing: text.span) != nil { read += 1 }
        }
        #expect(read > 0)
    }
}
