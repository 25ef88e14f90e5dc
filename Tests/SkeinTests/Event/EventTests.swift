import Foundation
import SkeinWire
import Testing

@testable import Skein

@Suite("Events between threads and in envelopes")
struct EventTests {
    @Test func recordsKeepEveryPart() {
        withBytes("alice") { user in
            withBytes("{\"a\":[1,2]}") { data in
                var event = EventView(type: Bytes("chat_message"), data: data, timestamp: Bytes("2026-01-02T03:04:05.678Z"))
                event.user = user
                event.userHash = 0xDEAD_BEEF
                event.requestID = Bytes("\"r1\"")
                event.target = Bytes("bob")
                event.origin = ConnectionReference(shard: 3, slot: 77, generation: 0xABCDEF)
                event.flags = .exceptOrigin
                let memory = UnsafeMutablePointer<UInt8>.allocate(capacity: event.recordBytes)
                defer { memory.deallocate() }
                event.store(to: memory)
                let read = EventView(record: Bytes(memory, count: event.recordBytes))
                #expect(read.user.text == "alice")
                #expect(read.userHash == 0xDEAD_BEEF)
                #expect(read.type.text == "chat_message")
                #expect(read.data.text == "{\"a\":[1,2]}")
                #expect(read.timestamp.text == "2026-01-02T03:04:05.678Z")
                #expect(read.requestID.text == "\"r1\"")
                #expect(read.target.text == "bob")
                #expect(read.origin == event.origin)
                #expect(read.origin.shard == 3 && read.origin.slot == 77 && read.origin.generation == 0xABCDEF)
                #expect(read.flags == .exceptOrigin)
            }
        }
    }

    @Test(arguments: [EnvelopeShape.relay, .chat, .live])
    func envelopesAreJSON(shape: EnvelopeShape) throws {
        var event = EventView(
            type: Bytes("notification"), data: Bytes("{\"n\":{\"id\":1}}"),
            timestamp: Bytes("2026-01-02T03:04:05.678Z"))
        event.requestID = Bytes("\"r1\"")
        event.target = Bytes("bob")
        let text = ByteWriter.withTemporary(capacity: shape.bytesMax(for: event)) { writer in
            shape.write(event, requestID: true, into: &writer)
            return writer.withWritten { span in span.indices.map { span[$0] } }
        }
        let object = try #require(
            try JSONSerialization.jsonObject(with: Data(text)) as? [String: Any])
        #expect(object["type"] as? String == "notification")
        #expect((object[shape == .chat ? "payload" : "data"] as? [String: [String: Int]])?["n"]?["id"] == 1)
        #expect(object["requestId"] as? String == "r1")
        #expect((object["timestamp"] != nil) == shape.hasTimestamp)
        #expect((object["targetUserId"] as? String == "bob") == shape.hasTarget)
    }
}
