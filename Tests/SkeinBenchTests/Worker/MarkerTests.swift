import SkeinBench
import Testing

@Suite("Marker")
struct MarkerTests {
    static func frame(_ marker: Marker, before: String = "{\"m\":\"", after: String = "\"}") -> [UInt8] {
        var bytes = Array(before.utf8) + [UInt8](repeating: 0, count: Marker.bytes) + Array(after.utf8)
        bytes.withUnsafeMutableBufferPointer { marker.write(to: $0.baseAddress! + before.utf8.count) }
        return bytes
    }

    @Test("comes back as it was written", arguments: [
        Marker(stream: 0, number: 0), Marker(stream: 1, number: 0xFFFF_FFFF),
        Marker(stream: 0xDEAD_BEEF, number: 10),
        Marker(stream: 0x0123_4567, number: 0x89AB_CDEF),
    ])
    func roundTrip(marker: Marker) {
        let bytes = Self.frame(marker)
        var hint: UInt32 = 0
        #expect(Marker.find(in: bytes.span, hint: &hint) == marker)
        #expect(hint == 6)
        #expect(Marker.find(in: bytes.span, hint: &hint) == marker)
        let text = String(decoding: bytes[6..<24], as: UTF8.self)
        let stream = String(marker.stream, radix: 16), number = String(marker.number, radix: 16)
        #expect(text.hasSuffix(number) && text.dropFirst(2).prefix(8).hasSuffix(stream))
    }

    @Test("moves with its envelope")
    func moves() {
        var hint: UInt32 = 0
        for before in ["", "a", "a much longer envelope @@ with a false start ", "@"] {
            let marker = Marker(stream: 3, number: UInt32(before.utf8.count))
            #expect(Marker.find(in: Self.frame(marker, before: before).span, hint: &hint) == marker)
        }
    }

    @Test("is not seen where it is cut or damaged", arguments: [
        "", "@@", "@@0000000000000", "@@000000000000000G", "@@0000000000000O00", "@ @0000000000000000",
        "@@ABCDEF0000000000",
    ])
    func damaged(text: String) {
        var hint: UInt32 = 0
        #expect(Marker.find(in: Array(text.utf8).span, hint: &hint) == nil)
    }
}
