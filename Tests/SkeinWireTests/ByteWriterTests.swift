import SkeinWire
import Testing

@Suite struct ByteWriterTests {
    @Test func appendsEveryForm() {
        let all = written { writer in
            writer.append(0x41)
            writer.append("bc")
            writer.append([0x64, 0x65].span)
            writer.append([UInt8]().span)
            writer.append("")
            writer.append(bigEndian: UInt16(0x0102))
            writer.append(bigEndian: UInt32(0x0304_0506))
            writer.append(bigEndian: UInt64(0x0708_090A_0B0C_0D0E))
            writer.append(repeating: 0xFF, count: 2)
        }
        #expect(all == "Abcde".bytes + Array(1...14) + [0xFF, 0xFF])
    }

    @Test(arguments: [0, 1, 9, 10, 99, 100, 65_535, 1_000_000, Int.max, -1, -10, Int.min])
    func writesDecimals(_ value: Int) {
        #expect(string(written { $0.appendDecimal(value) }) == String(value))
    }

    @Test func writesUnsignedAndPaddedAndHexadecimal() {
        #expect(string(written { $0.appendDecimal(UInt64.max) }) == String(UInt64.max))
        #expect(string(written { $0.appendDecimal(7, digits: 3) }) == "007")
        #expect(string(written { $0.appendHex(0x0123_4567_89AB_CDEF) }) == "0123456789abcdef")
        #expect(string(written { $0.appendHex(byte: 0x0F) }) == "0f")
    }

    @Test func countsWhatRemains() {
        ByteWriter.withTemporary(capacity: 8) { writer in
            writer.append("abc")
            writer.skip(2)
            let counts = (writer.count, writer.remaining, writer.capacity)
            #expect(counts == (5, 3, 8))
            writer.overwrite(at: 3, with: 0x2A)
            writer.withUnused { room in
                #expect(room.count == 3)
                room[0] = 0x21
                return 1
            }
            #expect(writer.withWritten { copy($0) } == "abc*\0!".bytes)
            #expect(writer.withWritten(from: 4) { copy($0) } == "\0!".bytes)
            writer.truncate(to: 1)
            #expect(writer.withWritten { copy($0) } == "a".bytes)
        }
    }

    @Test func overflowStopsTheProgram() async {
        await #expect(processExitsWith: .failure) {
            ByteWriter.withTemporary(capacity: 2) { $0.append("abc") }
        }
        await #expect(processExitsWith: .failure) {
            ByteWriter.withTemporary(capacity: 1) { $0.appendDecimal(10) }
        }
    }

    @Test func comparesSpansWithLiterals() {
        #expect(matches("".bytes, ""))
        for text in ["a", "ab", "abc", "type", "payload", "requestId", "targetUserId0123456789"] {
            let bytes = text.bytes
            #expect(matches(bytes, "type") == (text == "type"))
            #expect(matches(bytes, "abc") == (text == "abc"))
            #expect(matches(bytes, "requestId") == (text == "requestId"))
            #expect(
                matches(bytes, "targetUserId0123456789") == (text == "targetUserId0123456789"))
        }
        // A difference at every place is seen, at every length that has its own path.
        for (literal, text) in [
            ("abc", "abc"), ("abcdef", "abcdef"), ("abcdefghijk", "abcdefghijk"),
            ("abcdefghijklmnopqrst", "abcdefghijklmnopqrst"),
        ] as [(StaticString, String)] {
            #expect(matches(text.bytes, literal))
            for i in 0..<text.utf8.count {
                var changed = text.bytes
                changed[i] ^= 1
                #expect(!matches(changed, literal))
            }
        }
        #expect(matchesIgnoringCase("SeC-kEy".bytes, "sec-key"))
        #expect(!matchesIgnoringCase("sec_key".bytes, "sec-key"))
        #expect(!matchesIgnoringCase("\u{0D}".bytes, "-"))
    }
}
