// RFC 6455 read once more, without thought for speed: the whole stream is there, each frame is looked at
// in the order of its bytes, and text is judged by the standard library.

import SkeinWire

struct FrameOracle {
    private let rules: FrameRules
    private var bytes: ArraySlice<UInt8>
    private var outcome = FrameOutcome()
    private var message: (opcode: Opcode, isCompressed: Bool, payload: [UInt8], announced: Int)?

    static func run(_ stream: [UInt8], _ rules: FrameRules) -> FrameOutcome {
        var oracle = FrameOracle(rules: rules, bytes: stream[...])
        do throws(WebSocketError) {
            while !oracle.outcome.isClosed, try oracle.frame() {}
        } catch {
            oracle.outcome.error = error
        }
        return oracle.outcome
    }

    private init(rules: FrameRules, bytes: ArraySlice<UInt8>) {
        self.rules = rules
        self.bytes = bytes
    }

    /// A big-endian number of the next bytes, or nil.
    private mutating func number(_ count: Int) -> UInt64? {
        guard bytes.count >= count else { return nil }
        defer { bytes.removeFirst(count) }
        return bytes.prefix(count).reduce(0) { $0 * 256 + UInt64($1) }
    }

    private mutating func frame() throws(WebSocketError) -> Bool {
        guard let first = number(1) else { return false }
        let bits = (0..<4).map { first & (0x80 >> UInt64($0)) != 0 }
        guard !bits[2], !bits[3], !bits[1] || rules.allowsCompression else { throw .reservedBitSet }
        guard let opcode = Opcode(rawValue: UInt8(first % 16)) else { throw .reservedOpcode }
        let isData = opcode == .text || opcode == .binary
        let isControl = !isData && opcode != .continuation
        guard !bits[1] || isData else { throw .reservedBitSet }
        guard !isControl || bits[0] else { throw .controlFrameFragmented }

        guard let second = number(1) else { return false }
        let isMasked = second >= 128
        if rules.role == .server && !isMasked { throw .frameNotMasked }
        if rules.role == .client && isMasked { throw .frameMasked }
        var length = second % 128
        if isControl && length > 125 { throw .controlFrameTooLong }
        if length == 126 {
            guard let long = number(2) else { return false }
            guard long >= 126 else { throw .lengthNotMinimal }
            length = long
        } else if length == 127 {
            guard let long = number(8) else { return false }
            guard long < 1 << 63 else { throw .lengthOverflow }
            guard long >= 65_536 else { throw .lengthNotMinimal }
            length = long
        }
        if !isControl && length > UInt64(rules.payloadBytesMax) { throw .messageTooBig }
        var key = [UInt8](repeating: 0, count: 4)
        if isMasked {
            guard bytes.count >= 4 else { return false }
            key = Array(bytes.prefix(4))
            bytes.removeFirst(4)
        }
        try place(opcode, isCompressed: bits[1], length: Int(length))

        let isWhole = bytes.count >= Int(length)
        let masked = bytes.prefix(Int(length))
        bytes.removeFirst(masked.count)
        let payload = masked.enumerated().map { $1 ^ key[$0 % 4] }
        if isControl {
            guard isWhole else { return false }
            return try take(opcode, payload)
        }
        try take(payload, isLast: bits[0], isWhole: isWhole)
        return isWhole
    }

    /// Whether such a frame may come here.
    private mutating func place(
        _ opcode: Opcode, isCompressed: Bool, length: Int
    ) throws(WebSocketError) {
        switch opcode {
        case .text, .binary:
            guard message == nil else { throw .messageInsideMessage }
            guard length <= rules.messageBytesMax else { throw .messageTooBig }
            message = (opcode, isCompressed, [], length)
        case .continuation:
            guard message != nil else { throw .continuationWithoutStart }
            message?.announced += length
            if let message, message.announced > rules.messageBytesMax { throw .messageTooBig }
        case .close, .ping, .pong: break
        }
    }

    private mutating func take(_ opcode: Opcode, _ payload: [UInt8]) throws(WebSocketError) -> Bool {
        switch opcode {
        case .ping: outcome.events.append(.ping(payload))
        case .pong: outcome.events.append(.pong(payload))
        default:
            if payload.isEmpty {
                outcome.events.append(.close(nil, reason: []))
                return true
            }
            guard payload.count >= 2 else { throw .closePayloadTruncated }
            let code = Int(payload[0]) * 256 + Int(payload[1])
            // RFC 6455 §7.4 and the registry: 1004 to 1006 and 1015 are never sent.
            let isReserved = [1004, 1005, 1006].contains(code) || (1015...2999).contains(code)
            guard code >= 1000, code < 5000, !isReserved else { throw .closeCodeInvalid }
            let reason = Array(payload[2...])
            guard String(validating: reason, as: UTF8.self) != nil else { throw .closeReasonNotUTF8 }
            outcome.events.append(.close(UInt16(code), reason: reason))
        }
        return true
    }

    private mutating func take(
        _ payload: [UInt8], isLast: Bool, isWhole: Bool
    ) throws(WebSocketError) {
        message?.payload += payload
        guard let message else { return }
        let isEnd = isLast && isWhole
        if message.opcode == .text && !message.isCompressed {
            let isText =
                isEnd
                ? String(validating: message.payload, as: UTF8.self) != nil
                : Self.canBecomeText(message.payload)
            guard isText else { throw .textNotUTF8 }
        }
        if isEnd {
            outcome.events.append(
                .message(message.opcode, isCompressed: message.isCompressed, message.payload))
            self.message = nil
        }
    }

    /// Whether some continuation makes `bytes` valid: tried out, with bytes from each class.
    private static func canBecomeText(_ bytes: [UInt8]) -> Bool {
        var endings: [[UInt8]] = [[]]
        for _ in 0...3 {
            let isText = endings.contains { String(validating: bytes + $0, as: UTF8.self) != nil }
            if isText { return true }
            endings = endings.flatMap { ending in [0x80, 0x90, 0xA0].map { ending + [$0] } }
        }
        return false
    }
}
