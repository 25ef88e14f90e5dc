// Frames, whole and chopped, through the decoder, the fragment state, the UTF-8 check and the close
// payload, as a connection drives them; and once more by FrameOracle, which knows the whole stream.

import SkeinWire

/// The rules both ends of the comparison are given.
struct FrameRules {
    let role: Role
    let allowsCompression: Bool
    let payloadBytesMax: Int
    let messageBytesMax: Int

    init(choice: UInt8) {
        role = choice & 1 == 0 ? .server : .client
        allowsCompression = choice & 2 != 0
        payloadBytesMax = [16, 125, 300, 70_000][Int(choice >> 2 & 3)]
        messageBytesMax = choice & 16 == 0 ? payloadBytesMax : payloadBytesMax / 2
    }
}

/// What came of a stream: the messages and control frames, and what ended it.
struct FrameOutcome: Equatable {
    enum Event: Equatable {
        case message(Opcode, isCompressed: Bool, [UInt8])
        case ping([UInt8])
        case pong([UInt8])
        case close(UInt16?, reason: [UInt8])
    }

    var events: [Event] = []
    var error: WebSocketError?

    var isClosed: Bool {
        if case .close = events.last { return true }
        return false
    }
}

@Sendable func checkFrames(_ input: [UInt8]) throws(Contradiction) {
    guard input.count >= 2 else { return }
    let rules = FrameRules(choice: input[1])
    let stream = Array(input[2...])
    let whole = FrameDriver.run([stream], rules)
    let chopped = FrameDriver.run(stream.cut(by: input[0]), rules)
    try expect(chopped == whole, "chopped \(chopped), whole \(whole)")
    let naive = FrameOracle.run(stream, rules)
    try expect(whole == naive, "decoded \(whole), naively \(naive)")
    try checkEncoding(of: whole)
}

/// What was read can be written, and reads the same again.
private func checkEncoding(of outcome: FrameOutcome) throws(Contradiction) {
    for event in outcome.events {
        guard case .message(let opcode, _, let payload) = event else { continue }
        let key: UInt32 = 0xA1B2_C3D4
        let frame = ByteWriter.withTemporary(
            capacity: payload.count + FrameEncoder.maxClientHeaderBytes
        ) { writer in
            var masked = payload
            var span = masked.mutableSpan
            unmask(&span, key: key)
            FrameEncoder.writeClientHeader(opcode, payloadBytes: payload.count, key: key, into: &writer)
            writer.append(masked.span)
            return writer.withWritten { copy($0) }
        }
        let again = FrameDriver.run([frame], FrameRules(choice: 0x0C))
        let same = FrameOutcome(events: [.message(opcode, isCompressed: false, payload)], error: nil)
        // A compressed text is not UTF-8, so as plain text it may be refused.
        try expect(again == same || again.error == .textNotUTF8, "written \(frame.shown), read \(again)")
    }
}

/// A connection's reading side: bytes come in pieces, and everything is judged as soon as it can be.
struct FrameDriver {
    private let decoder: FrameDecoder
    private let messageBytesMax: Int
    private var fragments = FragmentState()
    private var text = UTF8Validator()
    private var message: [UInt8] = []
    private var unread: [UInt8] = []
    private var frame: (header: FrameHeader, step: FragmentState.Step, taken: Int)?
    private var control: [UInt8] = []
    private var outcome = FrameOutcome()

    static func run(_ pieces: [[UInt8]], _ rules: FrameRules) -> FrameOutcome {
        var driver = FrameDriver(rules)
        for piece in pieces where !driver.outcome.isClosed && driver.outcome.error == nil {
            driver.unread += piece
            do throws(WebSocketError) {
                while try driver.step() {}
            } catch {
                driver.outcome.error = error
            }
        }
        return driver.outcome
    }

    private init(_ rules: FrameRules) {
        decoder = FrameDecoder(
            role: rules.role, payloadBytesMax: rules.payloadBytesMax,
            allowsCompression: rules.allowsCompression)
        messageBytesMax = rules.messageBytesMax
    }

    /// False when more bytes are needed, or none are wanted any more.
    private mutating func step() throws(WebSocketError) -> Bool {
        guard !outcome.isClosed else { return false }
        if frame == nil {
            guard let header = try decoder.header(in: unread.span) else { return false }
            unread.removeFirst(header.headerBytes)
            let step = try fragments.accept(header, messageBytesMax: messageBytesMax)
            if step == .whole || step == .begin {
                message = []
                text = UTF8Validator()
            }
            control = []
            frame = (header, step, 0)
        }
        guard let (header, step, taken) = frame else { return false }
        let count = min(unread.count, header.payloadBytes - taken)
        var piece = Array(unread.prefix(count))
        unread.removeFirst(count)
        var span = piece.mutableSpan
        unmask(&span, key: header.maskKey, phase: taken)
        if step == .control {
            control += piece
        } else {
            message += piece
            if fragments.opcode == .text && !fragments.isCompressed {
                guard text.validate(piece.span) else { throw .textNotUTF8 }
            }
        }
        guard taken + count == header.payloadBytes else {
            frame = (header, step, taken + count)
            return false
        }
        frame = nil
        try end(header, step)
        return true
    }

    private mutating func end(_ header: FrameHeader, _ step: FragmentState.Step) throws(WebSocketError) {
        switch step {
        case .begin, .middle: break
        case .whole, .end:
            if fragments.opcode == .text && !fragments.isCompressed {
                guard text.isComplete else { throw .textNotUTF8 }
            }
            outcome.events.append(
                .message(fragments.opcode, isCompressed: fragments.isCompressed, message))
        case .control:
            switch header.opcode {
            case .ping: outcome.events.append(.ping(control))
            case .pong: outcome.events.append(.pong(control))
            default:
                let close = try ClosePayload.decode(control.span)
                outcome.events.append(.close(close.code, reason: Array(control[close.reason.range])))
            }
        }
    }
}
