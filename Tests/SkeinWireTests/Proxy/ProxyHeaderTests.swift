import Testing

@testable import SkeinWire

@Suite("PROXY headers")
struct ProxyHeaderTests {
    enum Outcome: Equatable {
        case header(ProxyHeader)
        case more
        case error(ProxyError)

        var header: ProxyHeader? { if case .header(let header) = self { header } else { nil } }
    }

    static func decode(_ bytes: [UInt8]) -> Outcome {
        do throws(ProxyError) {
            return try ProxyHeader.decode(bytes.span).map(Outcome.header) ?? .more
        } catch {
            return .error(error)
        }
    }

    static let signature: [UInt8] = [13, 10, 13, 10, 0, 13, 10, 81, 85, 73, 84, 10]

    /// Version 2; `length` may lie.
    static func binary(
        _ family: UInt8, _ block: [UInt8], command: UInt8 = 0x21, length: Int? = nil
    ) -> [UInt8] {
        let length = length ?? block.count
        return signature + [command, family, UInt8(length >> 8), UInt8(length & 255)] + block
    }

    static func extend(_ type: UInt8, _ value: [UInt8], length: Int? = nil) -> [UInt8] {
        let length = length ?? value.count
        return [type, UInt8(length >> 8), UInt8(length & 255)] + value
    }

    static let v4Block: [UInt8] = [192, 0, 2, 1, 198, 51, 100, 2, 0x12, 0x34, 0, 80]
    static let v6Block: [UInt8] =
        [0x20, 1, 0xD, 0xB8] + Array(repeating: 0, count: 11) + [1]
        + [0x20, 1, 0xD, 0xB8] + Array(repeating: 0, count: 11) + [2, 0x12, 0x34, 0, 80]

    /// A header with a checksum, made bit by bit from the definition and not by our own code.
    static func checked(_ block: [UInt8], flip: Bool = false) -> [UInt8] {
        var header = binary(0x11, block + extend(0x03, [0, 0, 0, 0]) + extend(0x04, [1, 2, 3]))
        var sum: UInt32 = 0xFFFF_FFFF
        for byte in header {
            for bit in 0..<8 {
                let low = (sum ^ UInt32(byte >> UInt8(bit))) & 1
                sum = (sum >> 1) ^ (low == 1 ? 0x82F6_3B78 : 0)
            }
        }
        sum = ~sum ^ (flip ? 1 : 0)
        let place = header.count - 6 - 4
        for i in 0..<4 { header[place + i] = UInt8(truncatingIfNeeded: sum >> UInt32(24 - 8 * i)) }
        return header
    }

    static func source(_ text: String) -> EndpointAddress? { EndpointAddressTests.parse(text) }

    static let good: [(String, [UInt8], String?)] = [
        ("v1 TCP4", "PROXY TCP4 192.0.2.1 198.51.100.2 4660 80\r\n".bytes, "192.0.2.1:4660"),
        ("v1 widest TCP4", "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n".bytes,
            "255.255.255.255:65535"),
        ("v1 TCP6", "PROXY TCP6 2001:db8::1 2001:db8::2 4660 80\r\n".bytes, "[2001:db8::1]:4660"),
        ("v1 mapped", "PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n".bytes, "192.0.2.1:1"),
        ("v1 port 0", "PROXY TCP4 192.0.2.1 192.0.2.2 0 0\r\n".bytes, "192.0.2.1"),
        ("v1 UNKNOWN", "PROXY UNKNOWN\r\n".bytes, nil),
        ("v1 UNKNOWN with words", "PROXY UNKNOWN ffff::1 x y z\r\n".bytes, nil),
        ("v1 of 107 bytes", ("PROXY UNKNOWN " + String(repeating: "x", count: 91) + "\r\n").bytes, nil),
        ("v2 INET", binary(0x11, v4Block), "192.0.2.1:4660"),
        ("v2 INET6", binary(0x21, v6Block), "[2001:db8::1]:4660"),
        ("v2 UNIX", binary(0x31, Array(repeating: 0x2F, count: 216)), nil),
        ("v2 UNSPEC", binary(0x00, []), nil),
        ("v2 UNSPEC with extensions", binary(0x00, extend(0x04, [])), nil),
        ("v2 LOCAL", binary(0x00, [], command: 0x20), nil),
        ("v2 LOCAL with whatever", binary(0xFF, [1, 2, 3], command: 0x20), nil),
        ("v2 with extensions",
            binary(0x11, v4Block + extend(0x02, "host".bytes) + extend(0xEE, []) + extend(0x04, [0])),
            "192.0.2.1:4660"),
        ("v2 with a checksum", checked(v4Block), "192.0.2.1:4660"),
        ("v2 of 4096 bytes",
            binary(0x11, v4Block + extend(0x04, Array(repeating: 0, count: 4_096 - 16 - 12 - 3))),
            "192.0.2.1:4660"),
    ]

    @Test(arguments: good)
    func takes(what: String, bytes: [UInt8], source: String?) throws {
        let header = try #require(Self.decode(bytes).header, "\(what): \(Self.decode(bytes))")
        #expect(header.headerBytes == bytes.count)
        #expect(header.source == source.flatMap(Self.source))
        #expect((header.destination == nil) == (source == nil))
        #expect(Self.decode(bytes + "GET /ws".bytes) == .header(header), "what follows is the client's")
    }

    @Test func tellsBothEnds() throws {
        for bytes in [
            Self.binary(0x11, Self.v4Block), "PROXY TCP4 192.0.2.1 198.51.100.2 4660 80\r\n".bytes,
        ] {
            let header = try #require(Self.decode(bytes).header)
            #expect(header.destination == Self.source("198.51.100.2:80"))
        }
        let six = try #require(Self.decode(Self.binary(0x21, Self.v6Block)).header)
        #expect(six.destination == Self.source("[2001:db8::2]:80"))
    }

    static let bad: [(ProxyError, [UInt8])] = [
        (.missing, "GET /ws HTTP/1.1\r\n".bytes), (.missing, [0x16, 3, 1]), (.missing, [0]),
        (.missing, "POST".bytes), (.missing, "PROXYTCP4 ".bytes), (.missing, "proxy TCP4".bytes),
        (.missing, "\r\nPROXY TCP4".bytes), (.missing, [13, 10, 13, 10, 0, 13, 10, 81, 85, 73, 84, 13]),
        (.lineMalformed, "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n".bytes),
        (.lineMalformed, "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\rx".bytes),
        (.lineMalformed, "PROXY TCP4\t192.0.2.1 192.0.2.2 1 2\r\n".bytes),
        (.lineMalformed, "PROXY UNKNOWN \0\r\n".bytes),
        (.lineMalformed, "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n".bytes),
        (.lineMalformed, "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n".bytes),
        (.addressMalformed, "PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n".bytes),
        (.addressMalformed, "PROXY TCP4\r\n".bytes),
        (.lineTooLong, ("PROXY UNKNOWN " + String(repeating: "x", count: 92) + "\r\n").bytes),
        (.lineTooLong, ("PROXY TCP4 " + String(repeating: "1", count: 500)).bytes),
        (.familyNotSupported, "PROXY \r\n".bytes), (.familyNotSupported, "PROXY  TCP4 1 2\r\n".bytes),
        (.familyNotSupported, "PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n".bytes),
        (.familyNotSupported, "PROXY tcp4 192.0.2.1 192.0.2.2 1 2\r\n".bytes),
        (.addressMalformed, "PROXY TCP4 192.0.2.256 192.0.2.2 1 2\r\n".bytes),
        (.addressMalformed, "PROXY TCP4 192.0.2.1 192.0.2 1 2\r\n".bytes),
        (.addressMalformed, "PROXY TCP4 ::1 ::2 1 2\r\n".bytes),
        (.addressMalformed, "PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n".bytes),
        (.addressMalformed, "PROXY TCP6 [::1] ::2 1 2\r\n".bytes),
        (.addressMalformed, "PROXY TCP4 192.0.2.1  1 2\r\n".bytes),
        (.addressMalformed, "PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n".bytes),
        (.addressMalformed, "PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n".bytes),
        (.addressMalformed, "PROXY TCP4 192.0.2.1 192.0.2.2 -1 2\r\n".bytes),
        (.versionNotSupported, binary(0x11, v4Block, command: 0x11)), (.versionNotSupported, binary(0x11, [], command: 0x31)),
        (.commandNotSupported, binary(0x11, v4Block, command: 0x22)), (.commandNotSupported, binary(0, [], command: 0x2F)),
        (.familyNotSupported, binary(0x12, v4Block)), (.familyNotSupported, binary(0x10, v4Block)),
        (.familyNotSupported, binary(0x22, v6Block)), (.familyNotSupported, binary(0x32, v6Block)),
        (.familyNotSupported, binary(0x41, v4Block)), (.familyNotSupported, binary(0x01, [])),
        (.tooShort, binary(0x11, Array(v4Block.dropLast()))), (.tooShort, binary(0x21, v4Block)),
        (.tooShort, binary(0x31, v6Block)), (.tooShort, binary(0x11, [])),
        (.tooLong, binary(0x11, v4Block, length: 4_081)), (.tooLong, binary(0, [], command: 0x20, length: 65_535)),
        (.extensionMalformed, binary(0x11, v4Block + [0x04])),
        (.extensionMalformed, binary(0x11, v4Block + [0x04, 0])),
        (.extensionMalformed, binary(0x11, v4Block + extend(0x04, [1], length: 2))),
        (.extensionMalformed, binary(0x11, v4Block + extend(0x03, [1, 2, 3]))),
        (.checksumWrong, checked(v4Block, flip: true)),
        (.checksumWrong, binary(0x11, v4Block + extend(0x03, [0, 0, 0, 0]))),
    ]

    @Test(arguments: bad)
    func refuses(error: ProxyError, bytes: [UInt8]) {
        #expect(Self.decode(bytes) == .error(error))
    }

    @Test func aSecondChecksumIsRefused() {
        // Each verifies only with the other in place, so one that is right comes first.
        let whole = Self.checked(Self.v4Block)
        let twice = Self.binary(
            0x11, Array(whole[16...]) + Self.extend(0x03, [0, 0, 0, 0]))
        #expect(Self.decode(twice) == .error(.checksumWrong))
    }

    @Test func everyRuleHasItsTest() {
        #expect(Set(Self.bad.map(\.0)) == Set(ProxyError.allCases))
    }

    @Test func theChecksumIsCastagnolis() {
        // RFC 3720 §B.4, and the check value that catalogues of checksums give.
        #expect(CRC32C.of("123456789".bytes.span, zeroing: 0..<0) == 0xE306_9283)
        #expect(CRC32C.of([UInt8](repeating: 0, count: 32).span, zeroing: 0..<0) == 0x8A91_36AA)
        #expect(CRC32C.of([UInt8](repeating: 7, count: 32).span, zeroing: 0..<32) == 0x8A91_36AA)
    }

    @Test func theChecksumCoversEveryByte() {
        let bytes = Self.checked(Self.v4Block)
        // Its own type apart: without that there is no checksum.
        for place in bytes.indices where place != 16 + Self.v4Block.count {
            var changed = bytes
            changed[place] ^= 0x40
            #expect(Self.decode(changed) != Self.decode(bytes), "byte \(place) is not covered")
        }
    }

    @Test func everyCutGivesTheSameAnswer() {
        for bytes in Self.good.map(\.1) + Self.bad.map(\.1) {
            let whole = Self.decode(bytes)
            var outcome = Outcome.more
            for length in 0...bytes.count where outcome == .more {
                outcome = Self.decode(Array(bytes[0..<length]))
            }
            #expect(outcome == whole)
        }
    }

    @Test func randomBytesNeverTrap() {
        var generator = SeededGenerator(seed: 9)
        for _ in 0..<20_000 {
            var bytes = (Self.good.map(\.1) + Self.bad.map(\.1)).randomElement(using: &generator)!
            for _ in 0..<Int.random(in: 1...3, using: &generator) where !bytes.isEmpty {
                let place = Int.random(in: 0..<bytes.count, using: &generator)
                if Bool.random(using: &generator) {
                    bytes[place] = UInt8.random(in: 0...255, using: &generator)
                } else {
                    bytes.remove(at: place)
                }
            }
            let whole = Self.decode(bytes)
            var outcome = Outcome.more
            var received: [UInt8] = []
            for piece in bytes.chopped(using: &generator, longest: 40) where outcome == .more {
                received += piece
                outcome = Self.decode(received)
            }
            #expect(outcome == whole)
            if let header = whole.header { #expect(header.headerBytes <= bytes.count) }
        }
    }
}
