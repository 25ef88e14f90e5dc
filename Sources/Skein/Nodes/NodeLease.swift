// A lease's text: what one node says of itself, as JSON in Redis. Whatever another version wrote there
// is read as far as it is understood, and never trusted for more than figures and names to show.

internal import SkeinIO
internal import SkeinWire

enum NodeLease {
    /// Bytes of one text that is shown.
    private static let textBytesMax = 256
    static let bytesMax = 4_096

    static func write(_ node: NodeInfo, into writer: inout ByteWriter) {
        writer.append("{\"nodeId\":")
        append(node.nodeId, to: &writer)
        writer.append(",\"address\":")
        append(node.address, to: &writer)
        if let control = node.controlAddress {
            writer.append(",\"controlAddress\":")
            append(control, to: &writer)
        }
        writer.append(",\"version\":")
        append(node.version, to: &writer)
        writer.append(",\"startedAtMilliseconds\":")
        writer.appendDecimal(Int(node.startedAtMilliseconds))
        writer.append(",\"shards\":")
        writer.appendDecimal(node.shards)
        writer.append(",\"connections\":")
        writer.appendDecimal(node.connections)
        writer.append(",\"users\":")
        writer.appendDecimal(node.users)
        writer.append(",\"acceptPerSecond\":")
        writer.appendDecimal(node.acceptPerSecond)
        writer.append(",\"arrivingPerSecond\":")
        writer.appendDecimal(node.arrivingPerSecond)
        writer.append(",\"leavingPerSecond\":")
        writer.appendDecimal(node.leavingPerSecond)
        writer.append(node.draining ? ",\"draining\":true}" : ",\"draining\":false}")
    }

    private static func append(_ text: String, to writer: inout ByteWriter) {
        var text = String(decoding: text.utf8.prefix(textBytesMax), as: UTF8.self)
        text.withUTF8 { unsafe writer.appendJSONString($0.span) }
    }

    /// - Returns: `nil` where it is no object.
    static func read(_ text: Bytes, _ table: inout MemberTable) -> NodeInfo? {
        guard text.count <= bytesMax, unsafe UTF8Validator.isValid(text.buffer.span),
            unsafe table.index.index(text.buffer.span)
        else { return nil }
        var node = NodeInfo()
        node.address = string("address", text, table) ?? ""
        node.controlAddress = string("controlAddress", text, table)
        node.version = string("version", text, table) ?? ""
        node.startedAtMilliseconds = Int64(number("startedAtMilliseconds", text, table))
        node.shards = number("shards", text, table)
        node.connections = number("connections", text, table)
        node.users = number("users", text, table)
        node.acceptPerSecond = number("acceptPerSecond", text, table)
        node.arrivingPerSecond = number("arrivingPerSecond", text, table)
        node.leavingPerSecond = number("leavingPerSecond", text, table)
        node.draining = unsafe table.index.find("draining", in: text.buffer.span)?.kind == .true
        return node
    }

    private static func string(
        _ name: StaticString, _ text: Bytes, _ table: borrowing MemberTable
    ) -> String? {
        guard let member = unsafe table.index.find(name, in: text.buffer.span), member.kind == .string
        else { return nil }
        let raw = text.slice(member.string)
        return raw.slice(from: 0, count: min(raw.count, textBytesMax)).text
    }

    /// Not below 0, and small enough that a thousand of them can be added up.
    private static func number(
        _ name: StaticString, _ text: Bytes, _ table: borrowing MemberTable
    ) -> Int {
        guard let member = unsafe table.index.find(name, in: text.buffer.span), member.kind == .number,
            let value = unsafe JSONNumber.integer(text.slice(member.value).buffer.span)
        else { return 0 }
        return min(max(0, value), 1 << 50)
    }
}
