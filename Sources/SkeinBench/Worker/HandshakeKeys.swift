// A few keys for all handshakes: what is checked is that the server answers the key that it was given, and
// another key for each would be the client's time and nobody's gain.

internal import SkeinWire

struct HandshakeKeys: Sendable {
    private let keys: [[UInt8]]

    init(seed: UInt64, count: Int = 16) {
        var state = seed
        var keys: [[UInt8]] = []
        for _ in 0..<count {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            let first = state
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            var buffer = RawBuffer()
            buffer.write(room: WebSocketKey.keyBytes) {
                WebSocketKey.writeKey(random: (first, state), into: &$0)
            }
            keys.append(buffer.withSpan { bytes in bytes.indices.map { bytes[$0] } })
            buffer.free()
        }
        self.keys = keys
    }

    subscript(number: UInt8) -> [UInt8] { keys[Int(number) % keys.count] }
}
