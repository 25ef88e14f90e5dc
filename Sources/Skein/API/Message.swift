// A client's message in hand: the envelope was read once, and what is asked for here are places in
// the received bytes. Nothing is copied, and nothing of it can be kept.

internal import SkeinWire

/// One message, for the length of a ``Dialect/received(_:from:)`` call.
public struct Message: ~Copyable {
    let core: ShardCore
    let bytes: Bytes
    let typeRange: ByteRange

    /// A member of the message's data: where it is and what kind of value.
    public struct Field {
        /// What a JSON value is.
        public enum Kind: Sendable { case string, number, object, array, bool, null }
        public let kind: Kind
        let member: ObjectIndex.Member
    }

    /// Whether this is the message's type.
    @inline(__always)
    public func isType(_ name: StaticString) -> Bool {
        let type = bytes.slice(typeRange)
        return type.equals(name)
    }

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

    /// Whether a string member holds at least one character.
    public func isNonemptyString(_ field: Field) -> Bool {
        field.kind == .string && !field.member.string.isEmpty
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
