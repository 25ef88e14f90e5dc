import SkeinWire
import Testing

@Suite struct FrameEncoderTests {
    @Test(arguments: [0, 1, 125, 126, 65_535, 65_536, 70_000])
    func sealsAFrameOfALengthThatWasNotKnown(payloadBytes: Int) {
        let payload = (0..<payloadBytes).map { UInt8(truncatingIfNeeded: $0) }
        ByteWriter.withTemporary(capacity: 80_000) { writer in
            writer.append("before")
            let mark = FrameEncoder.reserve(in: &writer)
            writer.append(payload.span)
            let start = FrameEncoder.seal(.text, reservedAt: mark, rsv1: true, in: &writer)
            let direct = written(capacity: 80_000) {
                FrameEncoder.writeHeader(.text, payloadBytes: payloadBytes, rsv1: true, into: &$0)
                $0.append(payload.span)
            }
            #expect(writer.withWritten(from: start) { copy($0) } == direct)
            #expect(writer.withWritten { copy($0.extracting(0..<6)) } == "before".bytes)
        }
    }

    @Test func writesControlFrames() {
        let ping = written {
            FrameEncoder.writeControl(.ping, payload: "abc".bytes.span, into: &$0)
        }
        #expect(ping == [0x89, 3, 0x61, 0x62, 0x63])
        let pong = written { FrameEncoder.writeControl(.pong, payload: [UInt8]().span, into: &$0) }
        #expect(pong == [0x8A, 0])
    }

    @Test func writesCloseFramesThatDecode() throws {
        for code in CloseCode.allCases {
            let frame = written { FrameEncoder.writeClose(code, reason: "go away", into: &$0) }
            #expect(frame[0] == 0x88)
            #expect(Int(frame[1]) == frame.count - 2)
            let payload = Array(frame[2...])
            let close = try ClosePayload.decode(payload.span)
            #expect(close.code == code.rawValue)
            #expect(payload.text(close.reason) == "go away")
        }
        let bare = written { FrameEncoder.writeClose(.normal, into: &$0) }
        #expect(bare == [0x88, 2, 0x03, 0xE8])
    }

    @Test func cutsLongReasonsBetweenCharacters() throws {
        for padding in 0..<4 {
            let reason = String(repeating: "x", count: 118 + padding) + "日本語日本語"
            let frame = written {
                FrameEncoder.writeClose(code: 4_008, reason: reason.bytes.span, into: &$0)
            }
            #expect(frame[1] <= 125)
            #expect(frame[1] > 120)
            let payload = Array(frame[2...])
            let close = try ClosePayload.decode(payload.span)
            #expect(reason.hasPrefix(payload.text(close.reason)))
        }
        // Not UTF-8 at all: still bounded.
        let noise = [UInt8](repeating: 0x80, count: 500)
        let frame = written { FrameEncoder.writeClose(code: 1_000, reason: noise.span, into: &$0) }
        #expect(frame == [0x88, 2, 0x03, 0xE8])
    }
}

@Suite struct ClosePayloadTests {
    static func decode(_ bytes: [UInt8]) -> Result<ClosePayload, WebSocketError> {
        do throws(WebSocketError) {
            return .success(try ClosePayload.decode(bytes.span))
        } catch {
            return .failure(error)
        }
    }

    @Test func readsNothingCodeAndReason() throws {
        #expect(try Self.decode([]).get().code == nil)
        #expect(Self.decode([3]) == .failure(.closePayloadTruncated))
        let payload = [0x0F, 0xA0] + "žluť".bytes
        let close = try Self.decode(payload).get()
        #expect(close.code == 4_000)
        #expect(payload.text(close.reason) == "žluť")
        #expect(Self.decode([0x03, 0xE8, 0xC3]) == .failure(.closeReasonNotUTF8))
    }

    @Test func knowsEveryCode() {
        for code in UInt16.min...UInt16.max {
            let isValid =
                (1_000...1_003).contains(code) || (1_007...1_014).contains(code)
                || (3_000...4_999).contains(code)
            let outcome = Self.decode([UInt8(code >> 8), UInt8(code & 0xFF)])
            if isValid {
                #expect((try? outcome.get())?.code == code)
            } else {
                #expect(outcome == .failure(.closeCodeInvalid))
            }
        }
    }
}
