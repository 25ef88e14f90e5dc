// As much of an envelope as coming back needs: where `type`, `offset` and `data` lie, and what the two
// frames say that tell of a connection's history.

struct Envelope {
    var type: Range<Int>?
    var offset: Range<Int>?
    /// The object, braces and all.
    var data: Range<Int>?

    /// `nil` where the bytes are no JSON object.
    init?(_ bytes: Span<UInt8>) {
        var found = (type: Range<Int>?.none, offset: Range<Int>?.none, data: Range<Int>?.none)
        let isWhole = JSONMembers.forEach(in: bytes, 0..<bytes.count) { name, value, isString in
            switch name.count {
            case 4 where isString && name.equals("type", in: bytes): found.type = value
            case 4 where !isString && name.equals("data", in: bytes): found.data = value
            case 6 where isString && name.equals("offset", in: bytes): found.offset = value
            default: break
            }
        }
        guard isWhole else { return nil }
        type = found.type
        offset = found.offset
        data = found.data
    }

    func type(equals text: StaticString, in bytes: Span<UInt8>) -> Bool {
        type?.equals(text, in: bytes) ?? false
    }
}

/// The data of `connected`.
struct Greeting {
    var epoch: String?
    var offset: EventOffset?
    var mayResume = false

    init?(_ bytes: Span<UInt8>, _ range: Range<Int>) {
        var found = (epoch: String?.none, offset: EventOffset?.none, mayResume: false)
        let isWhole = JSONMembers.forEach(in: bytes, range) { name, value, isString in
            if isString, name.equals("epoch", in: bytes) { found.epoch = value.text(in: bytes) }
            if isString, name.equals("offset", in: bytes) { found.offset = EventOffset(bytes, value) }
            if name.equals("resume", in: bytes) { found.mayResume = value.equals("true", in: bytes) }
        }
        guard isWhole else { return nil }
        epoch = found.epoch
        offset = found.offset
        mayResume = found.mayResume
    }
}

/// The data of `resumed`.
struct Outcome {
    var isRecovered = false
    var replayed = 0

    init?(_ bytes: Span<UInt8>, _ range: Range<Int>) {
        var found = (isRecovered: false, replayed: 0)
        let isWhole = JSONMembers.forEach(in: bytes, range) { name, value, _ in
            if name.equals("recovered", in: bytes) { found.isRecovered = value.equals("true", in: bytes) }
            if name.equals("replayed", in: bytes) { found.replayed = value.number(in: bytes) ?? 0 }
        }
        guard isWhole else { return nil }
        isRecovered = found.isRecovered
        replayed = found.replayed
    }
}
