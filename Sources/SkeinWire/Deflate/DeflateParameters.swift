// What both ends of one connection agreed on: the outcome of a negotiation, and all that a connection
// keeps of it.

package struct DeflateParameters: BitwiseCopyable, Equatable, Sendable {
    package var serverNoContextTakeover: Bool
    package var clientNoContextTakeover: Bool
    /// Of the server's compressor, 9 to 15; a client may meet a server with 8.
    package var serverWindowBits: UInt8
    /// Of the client's compressor, 8 to 15.
    package var clientWindowBits: UInt8
    /// An offer that names the server's window is accepted by naming it too (RFC 7692 §7.1.2.1), even
    /// when it is the largest.
    package var namesServerWindowBits: Bool

    package init(
        serverNoContextTakeover: Bool, clientNoContextTakeover: Bool, serverWindowBits: UInt8,
        clientWindowBits: UInt8, namesServerWindowBits: Bool = false
    ) {
        precondition(DeflateSettings.windowBits.contains(serverWindowBits))
        precondition(DeflateSettings.windowBits.contains(clientWindowBits))
        self.serverNoContextTakeover = serverNoContextTakeover
        self.clientNoContextTakeover = clientNoContextTakeover
        self.serverWindowBits = serverWindowBits
        self.clientWindowBits = clientWindowBits
        self.namesServerWindowBits = namesServerWindowBits || serverWindowBits < 15
    }
}

extension DeflateParameters {
    /// In two bytes, for a connection's record; and back.
    package var packed: UInt16 {
        UInt16(serverWindowBits) | UInt16(clientWindowBits) << 4
            | (serverNoContextTakeover ? 256 : 0) | (clientNoContextTakeover ? 512 : 0)
            | (namesServerWindowBits ? 1_024 : 0)
    }

    package init(packed: UInt16) {
        self.init(
            serverNoContextTakeover: packed & 256 != 0, clientNoContextTakeover: packed & 512 != 0,
            serverWindowBits: UInt8(packed & 15), clientWindowBits: UInt8(packed >> 4 & 15),
            namesServerWindowBits: packed & 1_024 != 0)
    }
}
