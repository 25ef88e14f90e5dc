// The bodies of the broker's own codecs, which need no program around them.

extension FuzzTarget {
    package static let handshake = FuzzTarget("Handshake") { checkHandshake }
    package static let proxy = FuzzTarget("Proxy") { checkProxy }
    package static let webSocket = FuzzTarget("WebSocket") { checkFrames }
    package static let deflate = FuzzTarget("Deflate") { checkDeflate }
    package static let envelope = FuzzTarget("Envelope") { checkEnvelope }
    package static let resp = FuzzTarget("RESP") { checkRESP }

    package static let core: [FuzzTarget] = [
        .handshake, .proxy, .webSocket, .deflate, .envelope, .resp,
    ]
}
