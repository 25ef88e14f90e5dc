// How a dialect writes an event and reads a message: the names of the members, and which of them
// it has. A frame is encoded from the shape as plain data, so adding a dialect adds no code here.

internal import SkeinWire

/// The envelope around an event, both ways.
public struct EnvelopeShape: Sendable, Equatable {
    /// What the event's name is called: `type` or `event`.
    public enum NameKey: UInt8, Sendable { case type, event }
    /// What the event's value is called: `data` or `payload`.
    public enum DataKey: UInt8, Sendable { case data, payload }

    public var nameKey: NameKey
    public var dataKey: DataKey
    public var hasTimestamp: Bool
    public var hasTarget: Bool
    public var hasRequestID: Bool

    public init(
        nameKey: NameKey, dataKey: DataKey, hasTimestamp: Bool, hasTarget: Bool, hasRequestID: Bool
    ) {
        self.nameKey = nameKey
        self.dataKey = dataKey
        self.hasTimestamp = hasTimestamp
        self.hasTarget = hasTarget
        self.hasRequestID = hasRequestID
    }

    /// `{"type","targetUserId"?,"data":{},"timestamp","requestId"?}`
    public static let relay = EnvelopeShape(
        nameKey: .type, dataKey: .data, hasTimestamp: true, hasTarget: true, hasRequestID: true)
    /// `{"type","payload":{},"requestId"?}`
    public static let chat = EnvelopeShape(
        nameKey: .type, dataKey: .payload, hasTimestamp: false, hasTarget: false, hasRequestID: true)
    /// `{"type","data":{},"timestamp"}`
    public static let live = EnvelopeShape(
        nameKey: .type, dataKey: .data, hasTimestamp: true, hasTarget: false, hasRequestID: true)

    var nameText: StaticString { nameKey == .type ? "type" : "event" }
    var dataText: StaticString { dataKey == .data ? "data" : "payload" }
}

extension EnvelopeShape {
    /// An upper bound of what `write` writes.
    @inline(__always)
    func bytesMax(for event: EventView) -> Int {
        event.type.count + event.data.count + event.timestamp.count + event.target.count
            + event.requestID.count + 96 + Offset.textBytesMax + 12
    }

    /// Splices the event's own bytes into this envelope. It is valid JSON because each part was
    /// checked to be when it came in.
    @inline(__always)
    func write(_ event: EventView, requestID: Bool, into writer: inout ByteWriter) {
        switch nameKey {
        case .type: writer.append("{\"type\":\"")
        case .event: writer.append("{\"event\":\"")
        }
        writer.append(event.type)
        if event.offset.hasEvent {
            writer.append("\",\"offset\":\"")
            writer.append(event.offset)
        }
        if hasTarget && !event.target.isEmpty {
            writer.append("\",\"targetUserId\":\"")
            writer.append(event.target)
        }
        switch dataKey {
        case .data: writer.append("\",\"data\":")
        case .payload: writer.append("\",\"payload\":")
        }
        writer.append(event.data)
        if hasTimestamp {
            writer.append(",\"timestamp\":\"")
            writer.append(event.timestamp)
            writer.append(UInt8(ascii: "\""))
        }
        if requestID && hasRequestID && !event.requestID.isEmpty {
            writer.append(",\"requestId\":")
            writer.append(event.requestID)
        }
        writer.append(UInt8(ascii: "}"))
    }
}
