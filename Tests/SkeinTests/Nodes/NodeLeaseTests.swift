import SkeinWire
import Testing

@testable import Skein

/// What a node writes of itself, and what another makes of whatever is there.
@Suite("Node leases")
struct NodeLeaseTests {
    private func read(_ text: String) -> NodeInfo? {
        var table = MemberTable()
        let bytes = Array(text.utf8)
        return bytes.withUnsafeBufferPointer {
            NodeLease.read(Bytes($0.baseAddress!, count: $0.count), &table)
        }
    }

    private func write(_ node: NodeInfo) -> String {
        ByteWriter.withTemporary(capacity: 8_192) { writer in
            NodeLease.write(node, into: &writer)
            return writer.withWritten { span in span.withUnsafeBufferPointer { String(decoding: $0, as: UTF8.self) } }
        }
    }

    @Test("what is written is read")
    func roundTrip() throws {
        var node = NodeInfo()
        node.nodeId = "0123456789abcdef"
        node.address = "10.0.0.1:8080"
        node.controlAddress = "[::1]:9090"
        node.version = "1.2.3"
        node.startedAtMilliseconds = 1_700_000_000_123
        node.shards = 4
        node.connections = 17_000
        node.users = 9_000
        node.acceptPerSecond = 8_000
        node.arrivingPerSecond = 120
        node.leavingPerSecond = 3
        node.draining = true
        var found = try #require(read(write(node)))
        // Its ID is the key's.
        found.nodeId = node.nodeId
        #expect(found == node)
        node.controlAddress = nil
        node.draining = false
        found = try #require(read(write(node)))
        found.nodeId = node.nodeId
        #expect(found == node)
    }

    @Test("long names are cut, so that a lease stays within its bytes")
    func long() throws {
        var node = NodeInfo()
        node.address = String(repeating: "\u{1}", count: 10_000)
        node.version = String(repeating: "\"", count: 10_000)
        let text = write(node)
        #expect(text.utf8.count <= NodeLease.bytesMax)
        #expect(read(text) != nil)
    }

    @Test("what others wrote is never more than figures and names", arguments: [
        "", "[]", "{", "null", "{\"a\":}", String(repeating: " ", count: 5_000), "\u{0}",
    ])
    func noLease(text: String) {
        guard !text.isEmpty else { return }
        #expect(read(text) == nil)
    }

    @Test("wrong members count as missing")
    func wrongMembers() throws {
        let text = """
            {"address":5,"controlAddress":null,"version":["x"],"shards":-3,"connections":1e9,
            "users":"7","acceptPerSecond":99999999999999999999,"draining":"true","more":{"x":1}}
            """
        #expect(try #require(read(text)) == NodeInfo())
        #expect(read("{\"users\":9223372036854775807}")?.users == 1 << 50)
    }

    @Test("an ID is sixteen lower-case hexadecimal digits", arguments: [
        ("0123456789abcdef", true), ("0123456789ABCDEF", false), ("0123456789abcde", false),
        ("0123456789abcdefg", false), ("0123456789abcde:", false), ("", false),
    ])
    func ids(text: String, isID: Bool) { #expect(NodeRegistry.isNodeID(text) == isID) }

    @Test("rates are over the time between two beats, whatever the clock did")
    func rates() {
        #expect(NodeRegistry.rate(300, 3_000) == 100)
        #expect(NodeRegistry.rate(0, 1) == 0)
        #expect(NodeRegistry.rate(1, 10_000) == 0)
    }
}
