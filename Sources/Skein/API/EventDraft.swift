// An event being written: a type, and data put together from a message's own bytes and a few fields.
// There is one at a time on a shard, in memory that is used again and again.

internal import SkeinWire

/// An event before it is sent. Get one from ``Connection/draft(_:)``, add its fields, send it to one
/// user or several, and let go of it.
public struct EventDraft: ~Copyable {
    let core: ShardCore
    /// What is written outside the string of `type` in JSON, as it is.
    let type: Bytes
    /// Whether who is away gets it on return.
    let isKept: Bool
    private var isEmpty = true
    private(set) var isTooLarge = false
    /// Data that was given whole.
    private var isWhole = false

    init(core: ShardCore, type: Bytes, isKept: Bool = true) {
        precondition(!core.state.draftInUse, "one draft at a time")
        self.core = core
        self.type = type
        self.isKept = isKept
        core.state.draftInUse = true
        core.state.draft.clear()
        core.state.draft.writer.append(UInt8(ascii: "{"))
    }

    deinit { core.state.draftInUse = false }

    /// A member with a value of the message in hand, exactly as the client wrote it.
    public mutating func add(_ name: StaticString, _ field: Message.Field, of message: borrowing Message) {
        let raw = message.raw(field)
        guard begin(name, room: raw.count) else { return }
        core.state.draft.writer.append(raw)
    }

    /// A member with a user's ID.
    public mutating func add(_ name: StaticString, user: UserID) {
        user.withBytes { id in
            guard begin(name, room: JSONString.escapedBytesMax(id.count) + 2) else { return }
            core.state.draft.writer.appendJSONString(id)
        }
    }

    public mutating func add(_ name: StaticString, bool: Bool) {
        guard begin(name, room: 5) else { return }
        core.state.draft.writer.append(bool ? "true" : "false")
    }

    public mutating func add(_ name: StaticString, number: Int) {
        guard begin(name, room: 20) else { return }
        core.state.draft.writer.appendDecimal(number)
    }

    public mutating func add(_ name: StaticString, string: String) {
        var string = string
        string.withUTF8 { text in
            guard begin(name, room: JSONString.escapedBytesMax(text.count) + 2) else { return }
            unsafe core.state.draft.writer.appendJSONString(text.span)
        }
    }

    /// Every member of the message's own data but those named `without`, as the client wrote them.
    public mutating func addAll(of message: borrowing Message, without name: StaticString) {
        let count = core.state.data.index.count
        for index in 0..<count {
            let member = core.state.data.index[index]
            let key = message.bytes.slice(member.key)
            guard unsafe !JSONString.equals(key.buffer.span, name) else { continue }
            let value = message.bytes.slice(member.value)
            guard begin(room: key.count + value.count + 3) else { return }
            core.state.draft.writer.append(UInt8(ascii: "\""))
            core.state.draft.writer.append(key)
            core.state.draft.writer.append("\":")
            core.state.draft.writer.append(value)
        }
    }

    /// The data as JSON. Good until the draft ends.
    @inline(__always)
    mutating func seal() -> Bytes {
        if !isWhole {
            core.state.draft.writer.append(UInt8(ascii: "}"))
            isWhole = true
        }
        return core.state.draft.bytes
    }

    private mutating func begin(_ name: StaticString, room: Int) -> Bool {
        guard begin(room: room + name.utf8CodeUnitCount + 3) else { return false }
        core.state.draft.writer.append(UInt8(ascii: "\""))
        core.state.draft.writer.append(name)
        core.state.draft.writer.append("\":")
        return true
    }

    private mutating func begin(room: Int) -> Bool {
        precondition(!isWhole, "a draft was changed after it was sent")
        // One byte each for the comma and the closing brace.
        guard !isTooLarge, core.state.draft.writer.remaining >= room + 2 else {
            isTooLarge = true
            return false
        }
        if isEmpty { isEmpty = false } else { core.state.draft.writer.append(UInt8(ascii: ",")) }
        return true
    }
}
