import SkeinWire
import Testing

@Suite struct FrameDecoderTests {
    static let server = FrameDecoder(role: .server, payloadBytesMax: 65_536)
    static let client = FrameDecoder(role: .client, payloadBytesMax: 65_536)
    static let compressing = FrameDecoder(
        role: .server, payloadBytesMax: 65_536, allowsCompression: true)

    enum Outcome: Equatable {
        case header(FrameHeader)
        case more
        case error(WebSocketError)
    }

    static func decode(_ bytes: [UInt8], _ decoder: FrameDecoder, at offset: Int = 0) -> Outcome {
        do throws(WebSocketError) {
            guard let header = try decoder.header(in: bytes.span, at: offset) else { return .more }
            return .header(header)
        } catch {
            return .error(error)
        }
    }

    /// Every shorter prefix says "more", until one says what the whole says; and nothing changes with
    /// what comes after. Returns how many bytes it took to tell.
    @discardableResult
    static func chop(_ bytes: [UInt8], _ decoder: FrameDecoder) -> Int {
        let whole = decode(bytes, decoder)
        var decidedAt: Int?
        for length in 0...bytes.count {
            let outcome = decode(Array(bytes[0..<length]), decoder)
            if outcome == .more {
                #expect(decidedAt == nil, "undecided again after \(length) bytes")
            } else {
                #expect(outcome == whole)
                decidedAt = decidedAt ?? length
            }
        }
        #expect(decode([0xFF, 0xFF, 0xFF] + bytes + [0xAA], decoder, at: 3) == whole)
        return decidedAt ?? .max
    }

    @Test(arguments: [0, 1, 125, 126, 127, 255, 256, 65_535, 65_536])
    func readsWhatTheEncoderWrites(payloadBytes: Int) {
        for opcode in Opcode.allCases where !opcode.isControl || payloadBytes <= 125 {
            for fin in opcode.isControl ? [true] : [true, false] {
                let plain = written {
                    FrameEncoder.writeHeader(
                        opcode, payloadBytes: payloadBytes, fin: fin, into: &$0)
                }
                #expect(plain.count == FrameEncoder.headerBytes(forPayload: payloadBytes))
                #expect(
                    Self.decode(plain, Self.client)
                        == .header(
                            FrameHeader(
                                payloadBytes: payloadBytes, maskKey: 0, headerBytes: plain.count,
                                opcode: opcode, fin: fin, rsv1: false)))
                #expect(Self.chop(plain, Self.client) == plain.count)

                let masked = written {
                    FrameEncoder.writeClientHeader(
                        opcode, payloadBytes: payloadBytes, key: 0x0403_0201, fin: fin, into: &$0)
                }
                #expect(Array(masked.suffix(4)) == [1, 2, 3, 4])
                #expect(
                    Self.decode(masked, Self.server)
                        == .header(
                            FrameHeader(
                                payloadBytes: payloadBytes, maskKey: 0x0403_0201,
                                headerBytes: masked.count, opcode: opcode, fin: fin, rsv1: false)))
                #expect(Self.chop(masked, Self.server) == masked.count)
            }
        }
    }

    @Test func refusesReservedBits() {
        for bits: UInt8 in [0x10, 0x20, 0x40, 0x30, 0x50, 0x60, 0x70] {
            #expect(Self.decode([0x81 | bits], Self.server) == .error(.reservedBitSet))
            let compressed: Outcome = bits == 0x40 ? .more : .error(.reservedBitSet)
            #expect(Self.decode([0x81 | bits], Self.compressing) == compressed)
        }
        // RSV1 says something of a message, so it stands on its first frame only.
        for opcode: UInt8 in [0x80, 0x88, 0x89, 0x8A] {
            #expect(Self.decode([opcode | 0x40], Self.compressing) == .error(.reservedBitSet))
        }
        let frame: [UInt8] = [0xC1, 0x80, 1, 2, 3, 4]
        guard case .header(let header) = Self.decode(frame, Self.compressing) else {
            Issue.record("a compressed frame was refused")
            return
        }
        #expect(header.rsv1)
    }

    @Test func refusesReservedOpcodesAtTheFirstByte() {
        for opcode: UInt8 in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
            #expect(Self.decode([0x80 | opcode], Self.server) == .error(.reservedOpcode))
            #expect(Self.decode([opcode], Self.server) == .error(.reservedOpcode))
        }
    }

    @Test func refusesTheWrongMasking() {
        #expect(Self.decode([0x81, 0x05], Self.server) == .error(.frameNotMasked))
        #expect(Self.decode([0x81, 0x85], Self.client) == .error(.frameMasked))
        #expect(Self.decode([0x81, 0x7F], Self.server) == .error(.frameNotMasked))
    }

    @Test func refusesBadControlFrames() {
        for opcode: UInt8 in [8, 9, 10] {
            #expect(Self.decode([opcode], Self.server) == .error(.controlFrameFragmented))
            #expect(
                Self.decode([0x80 | opcode, 0xFE], Self.server) == .error(.controlFrameTooLong))
            #expect(
                Self.decode([0x80 | opcode, 0xFF], Self.server) == .error(.controlFrameTooLong))
            #expect(Self.decode([0x80 | opcode, 0xFD], Self.server) == .more)
        }
    }

    @Test func refusesLengthsThatAreNotMinimal() {
        for length: UInt8 in [0, 1, 125] {
            #expect(Self.decode([0x82, 0xFE, 0, length], Self.server) == .error(.lengthNotMinimal))
        }
        #expect(Self.decode([0x82, 0xFE, 0, 126], Self.server) == .more)
        let short: [UInt8] = [0x82, 0xFF, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF]
        #expect(Self.decode(short, Self.server) == .error(.lengthNotMinimal))
        let negative: [UInt8] = [0x82, 0xFF, 0x80, 0, 0, 0, 0, 1, 0, 0]
        #expect(Self.decode(negative, Self.server) == .error(.lengthOverflow))
    }

    @Test func refusesTooMuchFromTheHeaderAlone() {
        let small = FrameDecoder(role: .server, payloadBytesMax: 100)
        #expect(Self.decode([0x81, 0x80 | 100], small) == .more)
        #expect(Self.decode([0x81, 0x80 | 101], small) == .error(.messageTooBig))
        #expect(Self.decode([0x82, 0xFE, 0xFF, 0xFF], small) == .error(.messageTooBig))
        let huge: [UInt8] = [0x82, 0xFF, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]
        #expect(Self.decode(huge, Self.server) == .error(.messageTooBig))
        #expect(WebSocketError.messageTooBig.closeCode == .messageTooBig)
        // A limit on messages does not forbid a ping.
        let tiny = FrameDecoder(role: .server, payloadBytesMax: 10)
        #expect(Self.decode([0x89, 0x80 | 125], tiny) == .more)
    }

    @Test func everyCutOfRandomHeadersAgrees() {
        var generator = SeededGenerator(seed: 0x5EED)
        var reached: Set<String> = []
        for _ in 0..<4_000 {
            var bytes = generator.bytes(14)
            for i in 2..<8 where Bool.random(using: &generator) { bytes[i] = 0 }
            if Bool.random(using: &generator) { bytes[0] &= 0x8F }
            if Bool.random(using: &generator) { bytes[1] |= 0xFE }
            for decoder in [Self.server, Self.client, Self.compressing] {
                Self.chop(bytes, decoder)
                if case .error(let error) = Self.decode(bytes, decoder) {
                    reached.insert("\(error)")
                }
            }
        }
        #expect(reached.count == 9, "\(reached)")
    }

    @Test func namesEveryViolation() {
        for error in WebSocketError.allCases {
            #expect(error.reason.utf8CodeUnitCount <= 123)
            #expect([.protocolError, .invalidPayload, .messageTooBig].contains(error.closeCode))
        }
        #expect(WebSocketError.textNotUTF8.closeCode == .invalidPayload)
        #expect(WebSocketError.closeCodeInvalid.closeCode == .protocolError)
        #expect(WebSocketError.closeReasonNotUTF8.closeCode == .protocolError)
    }
}
