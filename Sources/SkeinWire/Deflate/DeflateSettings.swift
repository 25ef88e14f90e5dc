// What one end wants of permessage-deflate (RFC 7692) before it has met its peer. The defaults keep no
// state between messages, so that one compressor serves all connections of a shard and one compressed
// broadcast serves all of its receivers.

package struct DeflateSettings: Equatable, Sendable {
    /// What zlib can compress with: at 8 it would use 9, and say nothing.
    package static let compressingWindowBits: ClosedRange<UInt8> = 9...15
    /// What RFC 7692 §7.1.2 knows.
    package static let windowBits: ClosedRange<UInt8> = 8...15
    package static let levels: ClosedRange<UInt8> = 1...9
    package static let memoryLevels: ClosedRange<UInt8> = 1...9

    package var isEnabled: Bool
    /// The server forgets each message once it is compressed.
    package var serverNoContextTakeover: Bool
    /// The client is asked to do the same; it has to (RFC 7692 §7.1.1.2).
    package var clientNoContextTakeover: Bool
    /// Binary logarithm of the window that the server compresses with, 9 to 15.
    package var serverWindowBits: UInt8
    /// The same for the client, 8 to 15. A client that cannot be told its window uses 15.
    package var clientWindowBits: UInt8
    /// zlib's effort, 1 to 9. On a kilobyte of JSON 6 takes a quarter more time than 1, and saves 5 %.
    package var level: UInt8
    /// zlib's hash table and symbol buffer, 1 to 9. Without takeover the table is cleared for each
    /// message: 6 costs one microsecond less than 8 and 98 KB less, and compresses as well.
    package var memoryLevel: UInt8
    /// Messages shorter than this go as they are: near 250 bytes of JSON a quarter is saved, near 130
    /// little, and the time is nearly the same.
    package var bytesMin: Int

    package init(
        isEnabled: Bool = true, serverNoContextTakeover: Bool = true,
        clientNoContextTakeover: Bool = true, serverWindowBits: UInt8 = 15,
        clientWindowBits: UInt8 = 15, level: UInt8 = 1, memoryLevel: UInt8 = 6, bytesMin: Int = 256
    ) {
        precondition(Self.compressingWindowBits.contains(serverWindowBits))
        precondition(Self.windowBits.contains(clientWindowBits))
        precondition(Self.levels.contains(level))
        precondition(Self.memoryLevels.contains(memoryLevel))
        precondition(bytesMin >= 0)
        self.isEnabled = isEnabled
        self.serverNoContextTakeover = serverNoContextTakeover
        self.clientNoContextTakeover = clientNoContextTakeover
        self.serverWindowBits = serverWindowBits
        self.clientWindowBits = clientWindowBits
        self.level = level
        self.memoryLevel = memoryLevel
        self.bytesMin = bytesMin
    }
}
