import Foundation
import SkeinWire
import Testing

@Suite struct JSONScannerTests {
    static func isValid(_ bytes: [UInt8]) -> Bool { JSONScanner.isValid(bytes.span) }

    static let valid: [String] = [
        "{}", "[]", "0", "-0", "-1", "1", "10", "1.5", "-0.5", "1e5", "1E+5", "1e-5", "0e0",
        "1.25e10",
        "123456789012345678901234567890", "\"\"", "\"a\"", "\"\\\"\"", "\"\\\\\"", "\"\\/\"",
        "\"\\b\\f\\n\\r\\t\"", "\"\\u0000\"", "\"\\u00e9\\uABCD\"", "\"\\uD83D\\uDE00\"",
        "\"žluť 日本語 😀\"", "\"\u{7F}\"", "true", "false", "null", " [ ] ", "\t{\r\n}\n",
        "[1,2,3]", "[ 1 , 2 ]", "[[],[[]],{}]", "{\"a\":1}", "{\"a\":{\"b\":[{}]},\"c\":null}",
        "{\"\":0}", "{\"a\":1,\"a\":2}", "[\"]\",\"}\"]", "{\"a b\":\"c:d,e\"}",
        "[null,true,false]",
        "[1]", "[-1.0e+1]", "\"0123456789abcdef0123456789abcdef0123456789abcdef\"",
        "\"0123456789abcdef0123456789abcdef0123456789abc\\n0123456789abcdef\"",
        "{\"u\":\"\\u2028\"}", "[\"\\uD800\\uDC00\"]", "[\"\\uDBFF\\uDFFF\"]",
        String(repeating: "[", count: 64) + String(repeating: "]", count: 64),
        String(repeating: "{\"a\":", count: 63) + "{}" + String(repeating: "}", count: 63),
    ]

    static let invalid: [String] = [
        "", " ", "{", "}", "[", "]", "[}", "{]", "[1", "[1,", "[1,]", "[,1]", "[,]", "[1,,2]",
        "[1 2]",
        "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{,\"a\":1}", "{\"a\" 1}", "{\"a\"::1}", "{a:1}",
        "{1:1}", "{\"a\":1 \"b\":2}", "{\"a\":1,,\"b\":2}", "{null:1}", "{\"a\":1}}", "[]]", "[][]",
        "1 2", "01", "-01", "00", "+1", "-", "-a", ".5", "1.", "1.e5", "1e", "1e+", "1E-", "0x10",
        "1_000", "NaN", "Infinity", "-Infinity", "1a", "0.", "--1", "2.5.1", "1e5.5",
        "tru", "true1", "True", "nul", "nulll", "fals", "falsey", "t", "\"", "\"a", "\"\\",
        "\"\\\"",
        "\"\\x\"", "\"\\u\"", "\"\\u12\"", "\"\\u12g4\"", "\"\\uD800\"", "\"\\uDC00\"",
        "\"\\U0041\"",
        "\"\\uD800x\"", "\"\\uD800\\n\"", "\"\\uD800\\uD800\"", "\"\\uD83D\\u0041\"", "'a'",
        "\"a\nb\"", "\"a\tb\"", "\"\u{0}\"", "\"\u{1F}\"", "\"0123456789\u{1F}0123456789\"",
        "\"0123456789abcdef0123456789abcdef0123456789\u{A}0123456789abcdef01234567\"",
        "// c\n1", "/* */1", "[1]//", "\u{FEFF}1", "\u{A0}1", "\u{B}1", "\u{C}1", "undefined",
        "{\"a\":1]", "[\"a\":1]", "{\"a\":[}", "[\"a\"", "[\"a", "{\"a", "{\"a\"", "{\"a\":",
        "{\"a\":1",
        String(repeating: "[", count: 65) + String(repeating: "]", count: 65),
        String(repeating: "[", count: 100_000), String(repeating: "{\"a\":", count: 100_000),
    ]

    @Test(arguments: valid) func takes(_ text: String) {
        #expect(Self.isValid(text.bytes))
        #expect(Self.isValid(" \n\r\t".bytes + text.bytes + " \n\r\t".bytes))
        #expect(!Self.isValid(text.bytes + [0x2C]))
        #expect(!Self.isValid(text.bytes + [0]))
    }

    @Test(arguments: invalid) func refuses(_ text: String) {
        #expect(!Self.isValid(text.bytes))
    }

    @Test func aCutContainerOrStringIsInvalid() {
        for text in Self.valid {
            guard let first = text.first, "{[\"".contains(first) else { continue }
            for length in 0..<text.utf8.count {
                #expect(!Self.isValid(Array(text.bytes[0..<length])), "\(text) cut at \(length)")
            }
        }
    }

    /// Each special byte at each place of a long string, so that every step width meets it.
    @Test func findsSpecialsAtEveryPlace() {
        for length in 0...100 {
            let plain = [UInt8](repeating: 0x61, count: length)
            #expect(Self.isValid([0x22] + plain + [0x22]))
            #expect(!Self.isValid([0x22] + plain))
            for place in 0..<length {
                for byte in [0x00, 0x1F, 0x0A, 0x22, 0x5C] as [UInt8] {
                    var broken = plain
                    broken[place] = byte
                    #expect(!Self.isValid([0x22] + broken + [0x22]))
                }
                for byte in [0x20, 0x21, 0x23, 0x5B, 0x5D, 0x7F] as [UInt8] {
                    var whole = plain
                    whole[place] = byte
                    #expect(Self.isValid([0x22] + whole + [0x22]))
                }
            }
        }
    }

    @Test func scansOneValueAmongOthers() {
        func end(_ text: String, at start: Int, depth: Int = 0) -> Int? {
            let bytes = text.bytes
            return JSONScanner.scanValue(in: bytes.span, at: start, depth: depth)
        }
        #expect(end("x[1,2]y", at: 1) == 6)
        #expect(end("1,2", at: 0) == 1)
        #expect(end("\"a\"b", at: 0) == 3)
        #expect(end(" 1", at: 0) == nil)
        #expect(end("1", at: 1) == nil)
        #expect(end("[[]]", at: 0, depth: 62) == 4)
        #expect(end("[[]]", at: 0, depth: 63) == nil)
    }

    @Test func randomMutationsAgreeWithFoundation() {
        var generator = SeededGenerator(seed: 9)
        let alphabet = Array("{}[]\",:\\ \n0123456789.-+eEtruefalsn/bu\u{1}".utf8)
        let bases = Self.valid.map(\.bytes)
        var (agreed, accepted) = (0, 0)
        for _ in 0..<20_000 {
            var bytes = bases.randomElement(using: &generator)!
            for _ in 0..<Int.random(in: 1...3, using: &generator) {
                let position = Int.random(in: 0...bytes.count, using: &generator)
                let byte = alphabet.randomElement(using: &generator)!
                switch Int.random(in: 0...2, using: &generator) {
                case 0: bytes.insert(byte, at: position)
                case 1 where position < bytes.count: bytes[position] = byte
                case 2 where position < bytes.count: bytes.remove(at: position)
                default: break
                }
            }
            guard let text = String(validating: bytes, as: UTF8.self), Self.isComparable(text)
            else {
                continue
            }
            let oracle =
                (try? JSONSerialization.jsonObject(with: Data(bytes), options: .fragmentsAllowed))
                != nil
            let ours = Self.isValid(bytes)
            #expect(ours == oracle, "\(text)")
            agreed += 1
            accepted += ours ? 1 : 0
        }
        #expect(agreed > 10_000)
        #expect(accepted > 1_000)
    }

    /// Where Foundation's reader keeps to the RFC as we do: it takes a comma before a closing bracket,
    /// bounds depth elsewhere, and refuses numbers that are valid but do not fit a Double.
    static func isComparable(_ text: String) -> Bool {
        let dense = String(decoding: text.utf8.filter { $0 > 0x20 }, as: UTF8.self)
        guard !dense.contains(",]") && !dense.contains(",}") else { return false }
        let brackets = text.utf8.count { $0 == 0x5B || $0 == 0x7B }
        let exponents = text.utf8.contains { $0 | 0x20 == 0x65 }
        return brackets < 60 && !(exponents && text.utf8.contains { $0 == 0x2B || $0.isDigit })
    }
}

extension UInt8 {
    fileprivate var isDigit: Bool { self >= 0x30 && self <= 0x39 }
}
