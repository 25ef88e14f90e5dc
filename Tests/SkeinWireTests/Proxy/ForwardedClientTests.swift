import SkeinWire
import Testing

@Suite("Who is behind a proxy")
struct ForwardedClientTests {
    /// `lines` in a request's head; addresses that begin with 10. are proxies of ours.
    static func find(_ header: ForwardedHeader, _ lines: [String]) throws -> ForwardedClient {
        let head = UpgradeRequestTests.request(adding: lines)
        var scanned = 0
        let request = try #require(try UpgradeRequest.parse(head.bytes.span, scanned: &scanned))
        let range = header == .forwarded ? request.forwardedLines : request.forwardedForLines
        guard let range else { return .none }
        return ForwardedClient.find(header, lines: range, in: head.bytes.span) {
            $0.high == 0 && $0.low >> 24 == 0xFFFF_0A
        }
    }

    static func address(_ text: String) throws -> ForwardedClient {
        .address(try #require(EndpointAddressTests.parse(text)))
    }

    @Test(arguments: [
        (["192.0.2.1"], "192.0.2.1"), (["192.0.2.1:4711"], "192.0.2.1:4711"),
        (["[2001:db8::1]:4711"], "[2001:db8::1]:4711"), (["2001:db8::1"], "2001:db8::1"),
        (["198.51.100.1, 192.0.2.1"], "192.0.2.1"),
        (["192.0.2.1, 10.0.0.1"], "192.0.2.1"), (["192.0.2.1,10.0.0.1,10.0.0.2"], "192.0.2.1"),
        (["203.0.113.1, 10.0.0.9, 192.0.2.1, 10.0.0.1"], "192.0.2.1"),
        (["10.0.0.1, 10.0.0.2"], "10.0.0.1"), (["10.0.0.1"], "10.0.0.1"),
        // What a client writes left of the truth does not matter.
        (["lies, 192.0.2.1"], "192.0.2.1"), (["unknown, , 192.0.2.1 , 10.0.0.1"], "192.0.2.1"),
        (["192.0.2.1", "10.0.0.1"], "192.0.2.1"), (["192.0.2.9", "192.0.2.1, 10.0.0.1"], "192.0.2.1"),
        (["192.0.2.1", "", ","], "192.0.2.1"),
    ])
    func findsInForwardedFor(lines: [String], client: String) throws {
        let found = try Self.find(.xForwardedFor, lines.map { "X-Forwarded-For: \($0)" })
        #expect(found == (try Self.address(client)))
    }

    @Test(arguments: [
        ["unknown"], ["192.0.2.1, x"], ["192.0.2.1, x, 10.0.0.1"], ["192.0.2.1 10.0.0.1"], ["x"],
        ["192.0.2.1", "x"], ["\"192.0.2.1\""], ["for=192.0.2.1"], ["192.0.2.1;"], ["010.0.0.1"],
    ])
    func refusesInForwardedFor(_ lines: [String]) throws {
        #expect(try Self.find(.xForwardedFor, lines.map { "X-Forwarded-For: \($0)" }) == .malformed)
    }

    @Test(arguments: [
        (["for=192.0.2.1"], "192.0.2.1"), (["For=192.0.2.1;proto=https;by=10.0.0.1"], "192.0.2.1"),
        (["for=\"[2001:db8::1]:4711\""], "[2001:db8::1]:4711"),
        (["for=[2001:db8::1]"], "2001:db8::1"), (["for=\"192.0.2.1:80\""], "192.0.2.1:80"),
        (["host=\"a,b;c\"; for=192.0.2.1 , for=10.0.0.1"], "192.0.2.1"),
        (["for=_gateway, for=192.0.2.1", "FOR=10.0.0.1"], "192.0.2.1"),
    ])
    func findsInForwarded(lines: [String], client: String) throws {
        let found = try Self.find(.forwarded, lines.map { "Forwarded: \($0)" })
        #expect(found == (try Self.address(client)))
    }

    @Test(arguments: [
        "for=unknown", "for=_hidden", "proto=https", "for=", "for=\"\"", "for=\"192.0.2.1", "for=192.0.2.1\"",
        "for=192.0.2.1;for=192.0.2.1", "192.0.2.1", "for =192.0.2.1", "for=\"192.0.2.1\", for=\"10.0.0.1",
        "for=\"192\\.0.2.1\"",
    ])
    func refusesInForwarded(_ line: String) throws {
        #expect(try Self.find(.forwarded, ["Forwarded: \(line)"]) == .malformed)
    }

    @Test func believesOneHeaderOnly() throws {
        let both = ["X-Forwarded-For: 192.0.2.1", "Forwarded: for=198.51.100.1", "X-Forwarded-For: 10.0.0.1"]
        #expect(try Self.find(.xForwardedFor, both) == (try Self.address("192.0.2.1")))
        #expect(try Self.find(.forwarded, both) == (try Self.address("198.51.100.1")))
        #expect(try Self.find(.forwarded, ["X-Forwarded-For: 192.0.2.1"]) == .none)
        #expect(try Self.find(.xForwardedFor, ["Forwarded: for=192.0.2.1"]) == .none)
        #expect(try Self.find(.xForwardedFor, ["X-Forwarded-For:"]) == .none)
    }

    @Test func randomHeadersNeverTrap() throws {
        var generator = SeededGenerator(seed: 3)
        let alphabet = "0123:., ;\"=[]forFOR\\".bytes
        for _ in 0..<5_000 {
            let count = Int.random(in: 0...30, using: &generator)
            let text = string((0..<count).map { _ in alphabet.randomElement(using: &generator)! })
            let lines = ["Forwarded: \(text)", "X-Forwarded-For: \(text)"]
            // Right of everything else, and so the only one that counts.
            let last = lines + ["Forwarded: for=192.0.2.1", "X-Forwarded-For: 192.0.2.1"]
            _ = try Self.find(.forwarded, lines)
            _ = try Self.find(.xForwardedFor, lines)
            #expect(try Self.find(.xForwardedFor, last) == (try Self.address("192.0.2.1")))
            #expect(try Self.find(.forwarded, last) == (try Self.address("192.0.2.1")))
        }
    }
}
