import Foundation
import SkeinWire
import Testing

@Suite struct ObjectIndexTests {
    /// Key, raw value and kind of each member; nil when the text was refused.
    static func members(_ text: String) -> [(String, String, JSONKind)]? {
        let bytes = text.bytes
        return ObjectIndex.withTemporary { index in
            guard index.index(bytes.span) else { return nil }
            return (0..<index.count).map {
                (text.text(index[$0].key), text.text(index[$0].value), index[$0].kind)
            }
        }
    }

    static func find(_ key: StaticString, in text: String) -> String? {
        let bytes = text.bytes
        return ObjectIndex.withTemporary { index in
            guard index.index(bytes.span) else { return nil }
            return index.find(key, in: bytes.span).map { text.text($0.value) }
        }
    }

    static let envelope = """
        {"type":"chat_message","data":{"receiverId":"u2","message":{"text":"hi \\"you\\" }"}},\
        "requestId":"r1", "timestamp" : "2026-11-21T11:16:00.123Z","n":-1.5e3,"t":true,"f":false,\
        "z":null,"l":[1,[2]]}
        """

    @Test func findsMembers() {
        let text = Self.envelope
        #expect(Self.find("type", in: text) == "\"chat_message\"")
        #expect(
            Self.find("data", in: text)
                == "{\"receiverId\":\"u2\",\"message\":{\"text\":\"hi \\\"you\\\" }\"}}")
        #expect(Self.find("requestId", in: text) == "\"r1\"")
        #expect(Self.find("timestamp", in: text) == "\"2026-11-21T11:16:00.123Z\"")
        #expect(Self.find("payload", in: text) == nil)
        #expect(Self.find("typ", in: text) == nil)
        #expect(Self.find("receiverId", in: text) == nil)
        let kinds = Self.members(text)?.map(\.2)
        #expect(
            kinds == [.string, .object, .string, .string, .number, .true, .false, .null, .array])
    }

    @Test func lastDuplicateWinsAndEscapedKeysCount() {
        #expect(Self.find("a", in: "{\"a\":1,\"b\":2,\"a\":3}") == "3")
        #expect(Self.find("type", in: "{\"t\\u0079pe\":1}") == "1")
        #expect(Self.find("type", in: "{\"type\":0,\"\\u0074\\u0079\\u0070\\u0065\":1}") == "1")
        #expect(Self.find("type", in: "{\"t\\u0079pes\":1}") == nil)
        #expect(Self.find("a\"b", in: "{\"a\\\"b\":1}") == "1")
        #expect(Self.find("", in: "{\"\":1}") == "1")
    }

    @Test(arguments: [
        "", " ", "[]", "1", "\"a\"", "null", "{", "{}x", "{} {}", "{\"a\":1", "{\"a\":1,}", "{,}",
        "{\"a\"}", "{\"a\":}", "{\"a\":x}", "{\"a\":[1,]}", "{\"a\":{\"b\":}}", "{\"a\":\"\\x\"}",
        "{\"a\":01}", "{\"a\" \"b\"}", "{\"a\":1 \"b\":2}", "{\"a\\x\":1}",
    ])
    func refusesWhatIsNoObject(_ text: String) {
        #expect(Self.members(text) == nil)
    }

    @Test func agreesWithTheScannerOnMutations() {
        var generator = SeededGenerator(seed: 10)
        let base = Self.envelope.bytes
        for _ in 0..<10_000 {
            var bytes = base
            for _ in 0..<Int.random(in: 0...2, using: &generator) {
                let position = Int.random(in: 0..<bytes.count, using: &generator)
                if Bool.random(using: &generator) {
                    bytes.remove(at: position)
                } else {
                    bytes[position] = Array("{}[]\",:\\ 0e".utf8).randomElement(using: &generator)!
                }
            }
            let isObject = bytes.first { ![0x20, 0x0A, 0x0D, 0x09].contains($0) } == 0x7B
            let expected = isObject && JSONScannerTests.isValid(bytes)
            let ours = ObjectIndex.withTemporary { $0.index(bytes.span) }
            #expect(ours == expected, "\(string(bytes))")
            // The trusting way in is given the same garbage: it may answer anything, and stays inside.
            ObjectIndex.withTemporary { index in
                _ = index.indexTrusted(bytes.span, object: ByteRange(0, bytes.count))
                for i in 0..<index.count { #expect(index[i].value.end <= bytes.count) }
            }
        }
    }

    @Test func trustedIndexSeesTheSame() {
        let text = Self.envelope
        let bytes = text.bytes
        ObjectIndex.withTemporary { index in
            guard index.index(bytes.span), let data = index.find("data", in: bytes.span) else {
                Issue.record("no data")
                return
            }
            let found = ObjectIndex.withTemporary { inner in
                let isObject = inner.indexTrusted(bytes.span, object: data.value)
                let receiver = inner.find("receiverId", in: bytes.span)
                let message = inner.find("message", in: bytes.span)
                return (
                    isObject, receiver.map { text.text($0.string) },
                    message.map { text.text($0.value) }
                )
            }
            #expect(found.0)
            #expect(found.1 == "u2")
            #expect(found.2 == "{\"text\":\"hi \\\"you\\\" }\"}")
            let type = index.find("type", in: bytes.span)
            let isObject = ObjectIndex.withTemporary {
                $0.indexTrusted(bytes.span, object: type?.value ?? .empty)
            }
            #expect(!isObject)
        }
    }

    @Test func tellsOfMembersPastTheTable() {
        let text = "{" + (0..<5).map { "\"k\($0)\":\($0)" }.joined(separator: ",") + "}"
        let bytes = text.bytes
        let broken = (text.dropLast(2) + "x}").bytes
        ObjectIndex.withTemporary(capacity: 4) { index in
            let isObject = index.index(bytes.span)
            let state = (isObject, index.count, index.overflowed)
            #expect(state == (true, 4, true))
            let found = (
                index.find("k3", in: bytes.span) != nil, index.find("k4", in: bytes.span) != nil
            )
            #expect(found == (true, false))
            let brokenIsObject = index.index(broken.span)
            #expect(!brokenIsObject)
            let count = index.count
            #expect(count == 0)
        }
    }
}
