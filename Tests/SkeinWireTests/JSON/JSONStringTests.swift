import Foundation
import SkeinWire
import Testing

@Suite struct JSONStringTests {
    static func escape(_ bytes: [UInt8]) -> [UInt8] {
        written(capacity: JSONString.escapedBytesMax(bytes.count)) {
            $0.appendJSONString(bytes.span)
        }
    }

    static func unescape(_ bytes: [UInt8]) -> [UInt8] {
        written(capacity: bytes.count) { JSONString.unescape(bytes.span, into: &$0) }
    }

    @Test func escapesWhatMustBe() {
        #expect(string(Self.escape("plain žluť 😀/".bytes)) == "\"plain žluť 😀/\"")
        #expect(string(Self.escape("a\"b\\c\n\r\t\u{8}\u{C}".bytes)) == #""a\"b\\c\n\r\t\b\f""#)
        #expect(string(Self.escape([0x00, 0x1F, 0x7F])) == "\"\\u0000\\u001f\u{7F}\"")
        #expect(string(Self.escape([])) == "\"\"")
        let worst = [UInt8](repeating: 1, count: 50)
        #expect(Self.escape(worst).count == JSONString.escapedBytesMax(50))
    }

    @Test func roundTripsAndFoundationAgrees() throws {
        var generator = SeededGenerator(seed: 11)
        for _ in 0..<2_000 {
            let text = String(
                (0..<Int.random(in: 0...60, using: &generator)).map { _ in
                    Character(
                        Bool.random(using: &generator)
                            ? Unicode.Scalar(UInt8.random(in: 0...127, using: &generator))
                            : ["ž", "日", "😀", "\"", "\\", "\u{2028}"].randomElement(
                                using: &generator)!)
                })
            let escaped = Self.escape(text.bytes)
            #expect(JSONScannerTests.isValid(escaped))
            #expect(Self.unescape(Array(escaped.dropFirst().dropLast())) == text.bytes)
            let theirs = try JSONSerialization.jsonObject(
                with: Data(escaped), options: .fragmentsAllowed)
            #expect(Array((theirs as? String ?? "").utf8) == text.bytes)
        }
    }

    @Test func undoesEveryEscape() {
        #expect(string(Self.unescape(#"\"\\\/\b\f\n\r\t"#.bytes)) == "\"\\/\u{8}\u{C}\n\r\t")
        #expect(string(Self.unescape(#"\u0041\u00e9\u20AC\uD83D\uDE00z"#.bytes)) == "Aé€😀z")
        #expect(Self.unescape(#"\u0000"#.bytes) == [0])
        #expect(string(Self.unescape(#"\uD800\uDC00\uDBFF\uDFFF"#.bytes)) == "\u{10000}\u{10FFFF}")
        // Against the agreement, but never past the end.
        for broken in ["\\", "\\u12", "\\uD800", "\\x", "a\"b", "\u{1}"] {
            #expect(Self.unescape(broken.bytes).count <= broken.utf8.count)
        }
    }

    @Test func comparesOnceUnescaped() {
        func equals(_ content: String, _ other: StaticString) -> Bool {
            let bytes = content.bytes
            return JSONString.equals(bytes.span, other)
        }
        #expect(equals("ping", "ping"))
        #expect(equals("\\u0070ing", "ping"))
        #expect(!equals("pong", "ping"))
        #expect(!equals("ping\\n", "ping"))
        #expect(!equals(String(repeating: "x", count: 10_000), "ping"))
    }

    @Test(
        arguments: [
            ("0", 0), ("-0", 0), ("42", 42), ("-7", -7), ("9223372036854775807", .max),
            ("-9223372036854775808", .min), ("9223372036854775808", nil), ("1.0", nil),
            ("1e3", nil),
            ("", nil), ("-", nil), ("99999999999999999999999", nil),
        ] as [(String, Int?)])
    func readsIntegers(text: String, value: Int?) {
        let bytes = text.bytes
        let integer = JSONNumber.integer(bytes.span)
        #expect(integer == value)
    }
}

@Suite struct TimestampTests {
    static func timestamp(_ milliseconds: Int64) -> String {
        string(
            written(capacity: RFC3339.timestampBytes) {
                $0.appendTimestamp(millisecondsSince1970: milliseconds)
            })
    }

    static func isValid(_ text: String) -> Bool {
        let bytes = text.bytes
        return RFC3339.isValid(bytes.span)
    }

    @Test func writesKnownTimes() {
        #expect(Self.timestamp(0) == "1970-01-01T00:00:00.000Z")
        #expect(Self.timestamp(-1) == "1969-12-31T23:59:59.999Z")
        #expect(Self.timestamp(1_795_259_760_123) == "2026-11-21T11:16:00.123Z")
        #expect(Self.timestamp(951_782_400_000) == "2000-02-29T00:00:00.000Z")
        #expect(Self.timestamp(.max) == "9999-12-31T23:59:59.999Z")
        #expect(Self.timestamp(.min) == "0000-01-01T00:00:00.000Z")
    }

    @Test func agreesWithFoundation() {
        let style = Date.ISO8601FormatStyle(includingFractionalSeconds: true)
        var generator = SeededGenerator(seed: 12)
        for _ in 0..<3_000 {
            let seconds = Int64.random(in: -2_208_988_800...4_102_444_800, using: &generator)
            let expected = Date(timeIntervalSince1970: Double(seconds)).formatted(style)
            #expect(Self.timestamp(seconds * 1_000) == expected)
        }
        // Every day of four centuries is a valid one, and a new one.
        var last = ""
        for day in 0..<146_097 as Range<Int64> {
            let text = Self.timestamp(day * 86_400_000)
            guard Self.isValid(text), text > last else {
                Issue.record("\(text) after \(last)")
                return
            }
            last = text
        }
        #expect(last == "2369-12-31T00:00:00.000Z")
    }

    @Test(arguments: [
        "2026-11-21T11:16:00Z", "2026-11-21T11:16:00.1Z", "2026-11-21T11:16:00.123456789Z",
        "2026-11-21t11:16:00z", "2026-11-21T11:16:00+01:00", "2026-11-21T11:16:00.5-23:59",
        "2024-02-29T00:00:00Z", "2000-02-29T00:00:00Z", "2016-12-31T23:59:60Z",
    ])
    func takes(_ text: String) {
        #expect(Self.isValid(text))
        for length in 0..<text.utf8.count { #expect(!Self.isValid(String(text.prefix(length)))) }
        #expect(!Self.isValid(text + "Z"))
    }

    @Test(arguments: [
        "", "2026-11-21", "2026-11-21 11:16:00Z", "2026-13-01T00:00:00Z", "2026-00-01T00:00:00Z",
        "2026-02-29T00:00:00Z", "1900-02-29T00:00:00Z", "2026-04-31T00:00:00Z",
        "2026-01-00T00:00:00Z", "2026-01-01T24:00:00Z", "2026-01-01T00:60:00Z",
        "2026-01-01T00:00:61Z", "2026-01-01T00:00:00", "2026-01-01T00:00:00.Z",
        "2026-01-01T00:00:00.1234567890Z", "2026-01-01T00:00:00+24:00", "2026-01-01T00:00:00+0100",
        "2026-01-01T00:00:00+01:60", "20260101T000000Z", "2026-1-1T00:00:00Z 00000",
    ])
    func refuses(_ text: String) {
        #expect(!Self.isValid(text))
    }
}
