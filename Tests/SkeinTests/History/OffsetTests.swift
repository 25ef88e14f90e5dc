import SkeinWire
import Testing

@testable import Skein

@Suite("Offsets")
struct OffsetTests {
    static let texts: [(String, Offset?)] = [
        ("0-0", Offset(first: 0, number: 0)),
        ("57-12", Offset(first: 57, number: 12)),
        ("1767000000000-3", Offset(first: 1_767_000_000_000, number: 3)),
        ("9999999999999999999-1", Offset(first: 9_999_999_999_999_999_999, number: 1)),
        ("007-01", Offset(first: 7, number: 1)),
        ("", nil), ("-", nil), ("5", nil), ("5-", nil), ("-5", nil), ("5-6-7", nil), ("5-6 ", nil),
        (" 5-6", nil), ("+5-6", nil), ("5--6", nil), ("a-6", nil), ("5-0x6", nil), ("5:6", nil),
        ("10000000000000000000-1", nil), ("1-10000000000000000000", nil),
    ]

    @Test("read as they are written, and nothing else", arguments: texts)
    func reading(text: String, offset: Offset?) {
        withBytes(text) { #expect(Offset(parsing: $0) == offset) }
    }

    @Test func written() {
        for offset in [Offset.none, Offset(first: 57, number: 12), Offset(first: .max / 2, number: .max / 2)] {
            ByteWriter.withTemporary(capacity: Offset.textBytesMax) { writer in
                writer.append(offset)
                writer.withWritten { text in
                    let text = text.indices.map { text[$0] }
                    withBytes(text) { #expect(Offset(parsing: $0) == offset) }
                }
            }
        }
    }

    @Test func order() {
        let offsets = [(0, 0), (1, 1), (1, 2), (5, 1), (5, 3), (6, 3)].map { Offset(first: $0, number: $1) }
        #expect(offsets == offsets.shuffled().sorted())
        #expect(Offset(first: 9, number: 4).follows(Offset(first: 9, number: 3)))
        #expect(Offset(first: 10, number: 4).follows(Offset(first: 9, number: 3)))
        #expect(!Offset(first: 10, number: 5).follows(Offset(first: 9, number: 3)))
        // A user's count began again.
        #expect(!Offset(first: 8, number: 4).follows(Offset(first: 9, number: 3)))
    }

    static let point = ResumeRequest.point(ResumePoint(epoch: 0xAB, offset: Offset(first: 57, number: 12)))

    static let queries: [(String, ResumeRequest)] = [
        ("", .none), ("token=abc", .none), ("resumed=1", .none),
        ("token=abc&resume=00000000000000ab:57-12", point),
        ("resume=00000000000000ab%3A57-12&token=a", point),
        ("resume=00000000000000AB:57-12", point),
        ("resume=%30%30000000000000ab:57-12", point),
        ("resume=", .malformed), ("resume", .malformed), ("resume=:", .malformed),
        ("resume=ab:57-12", .malformed), ("resume=00000000000000ab", .malformed),
        ("resume=00000000000000ab:", .malformed), ("resume=00000000000000ab-57-12", .malformed),
        ("resume=00000000000000zz:57-12", .malformed), ("resume=00000000000000ab:57-12x", .malformed),
        ("resume=%zz", .malformed), ("resume=00000000000000ab:57+12", .malformed),
        ("resume=" + String(repeating: "9", count: 5_000), .malformed),
    ]

    @Test("what a handshake asks for", arguments: queries)
    func requests(query: String, request: ResumeRequest) {
        withBytes(query) { #expect(ResumeRequest(query: $0) == request) }
    }
}
