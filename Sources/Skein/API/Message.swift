// A client's message in hand: the envelope was read once, and what is asked for here are places in
// the received bytes. Nothing is copied, and nothing of it can be kept.

internal import SkeinWire

/// One message, for the length of a ``Dialect/received(_:from:)`` call.
public struct Message: ~Copyable {
    let core: ShardCore
    let bytes: Bytes
    /// Without escapes.
    let type: Bytes
    /// As the client wrote it, without its quotes.
    let rawType: Bytes

    /// A member of the message's data: where it is and what kind of value.
    public struct Field {
        /// What a JSON value is.
        public enum Kind: Sendable { case string, number, object, array, bool, null }
        public let kind: Kind
        let member: ObjectIndex.Member
    }

    /// Whether this is the message's type.
    @inline(__always)
    public func isType(_ name: StaticString) -> Bool { type.equals(name) }

    /// A member of `data`; `nil` when it is not there. Of several with one name the last counts.
    public func field(_ name: StaticString) -> Field? {
        guard let member = unsafe core.state.data.index.find(name, in: bytes.buffer.span) else {
            return nil
        }
        return Field(kind: Field.Kind(member.kind), member: member)
    }

    /// The user that a string member names; `nil` unless it is a valid user ID.
    public func userID(_ field: Field) -> UserID? {
        guard field.kind == .string else { return nil }
        let text = bytes.slice(field.member.string)
        guard field.member.hasEscapes else { return unsafe UserID(bytes: text.buffer.span) }
        return ByteWriter.withTemporary(capacity: text.count + 4) { writer in
            unsafe JSONString.unescape(text.buffer.span, into: &writer)
            return writer.withWritten { UserID(bytes: $0) }
        }
    }

    /// `true` or `false`; `nil` for anything else.
    public func bool(_ field: Field) -> Bool? {
        switch field.member.kind {
        case .true: true
        case .false: false
        default: nil
        }
    }

    /// The text of a string member, as a copy.
    public func string(_ field: Field) -> String? {
        guard field.kind == .string else { return nil }
        let text = bytes.slice(field.member.string)
        guard field.member.hasEscapes else { return text.text }
        return ByteWriter.withTemporary(capacity: text.count + 4) { writer in
            unsafe JSONString.unescape(text.buffer.span, into: &writer)
            return writer.withWritten { String(copying: unsafe UTF8Span(unchecked: $0)) }
        }
    }

    /// Whether a member is an ID: a string of 1 to 128 visible ASCII characters.
    public func isID(_ field: Field) -> Bool { userID(field) != nil }

    /// Whether a member is an array of IDs and of nothing else.
    public func isIDArray(_ field: Field) -> Bool {
        guard field.kind == .array else { return false }
        let array = raw(field)
        let text = unsafe array.buffer
        var offset = 1
        while true {
            // The array was validated: between two strings there is one comma and white space.
            while offset < array.count, unsafe text[offset] != UInt8(ascii: "\"") {
                switch unsafe text[offset] {
                case UInt8(ascii: " "), UInt8(ascii: "\t"), UInt8(ascii: "\r"), UInt8(ascii: "\n"),
                    UInt8(ascii: ","):
                    offset += 1
                case UInt8(ascii: "]"):
                    return true
                default:
                    return false
                }
            }
            guard let end = unsafe JSONScanner.scanValue(in: text.span, at: offset) else { return false }
            let content = array.slice(from: offset + 1, count: end - offset - 2)
            guard isID(content) else { return false }
            offset = end
        }
    }

    private func isID(_ content: Bytes) -> Bool {
        ByteWriter.withTemporary(capacity: content.count + 4) { writer in
            unsafe JSONString.unescape(content.buffer.span, into: &writer)
            return writer.withWritten { UserID(bytes: $0) != nil }
        }
    }

    /// A member's value as the client wrote it.
    func raw(_ field: Field) -> Bytes { bytes.slice(field.member.value) }

    /// The whole of `data`, as the client wrote it.
    var data: Bytes {
        guard let member = envelopeMember(core.state.dataKey) else { return Bytes("{}") }
        return bytes.slice(member.value)
    }

    /// The request's ID as the client wrote it; empty when it gave none.
    var requestID: Bytes {
        guard let member = envelopeMember("requestId") else { return .empty }
        return bytes.slice(member.value)
    }

    /// A member of the envelope itself, beside `type`.
    public func envelopeField(_ name: StaticString) -> Field? {
        guard let member = envelopeMember(name) else { return nil }
        return Field(kind: Field.Kind(member.kind), member: member)
    }

    private func envelopeMember(_ name: StaticString) -> ObjectIndex.Member? {
        unsafe core.state.envelope.index.find(name, in: bytes.buffer.span)
    }
}

extension Message.Field.Kind {
    init(_ kind: JSONKind) {
        switch kind {
        case .string: self = .string
        case .number: self = .number
        case .object: self = .object
        case .array: self = .array
        case .true, .false: self = .bool
        case .null: self = .null
        }
    }
}
