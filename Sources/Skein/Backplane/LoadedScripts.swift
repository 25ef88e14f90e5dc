// The scripts that run with each event or each leaving: a link gives them to Redis once, when
// it greets, and calls them by the hash that Redis answers. A Redis that has forgotten one costs the link,
// and the next gives it again. All others are rarer, or on the link that the lease needs, and go along whole.

internal import SkeinWire

struct LoadedScripts {
    enum Name: UInt32, CaseIterable {
        case append, quiet

        /// The link that calls it.
        var role: RedisLink.Role {
            switch self {
            case .append: .publish
            case .quiet: .presence
            }
        }
    }

    /// By name; `nil` where there is nothing to call it for.
    private let texts: [[UInt8]?]
    /// What Redis calls them: SHA-1, in hexadecimal.
    private var hashes = [InlineArray<40, UInt8>](repeating: .init(repeating: 48), count: Name.allCases.count)

    init(_ limits: Limits, keepsHistory: Bool) {
        texts = Name.allCases.map { name in
            switch name {
            case .append:
                keepsHistory
                    ? HistoryScripts.append(
                        eventsMax: limits.historyEventsMax,
                        ageMilliseconds: Int(limits.historyAge.milliseconds),
                        positionMilliseconds: Int(max(limits.historyPositionAge, limits.historyAge).milliseconds))
                    : nil
            case .quiet: PresenceScripts.quiet
            }
        }.map { $0.map { Array($0.utf8) } }
    }

    func text(_ name: Name) -> [UInt8]? { texts[Int(name.rawValue)] }

    /// Redis has it, and calls it so.
    mutating func loaded(_ name: Name, as hash: String) {
        for (index, byte) in hash.utf8.prefix(40).enumerated() { hashes[Int(name.rawValue)][index] = byte }
    }

    /// `EVALSHA hash keys`, of a command with so many keys and arguments to follow.
    func writeCall(_ name: Name, keys: Int, arguments: Int, into writer: inout ByteWriter) {
        RESPCommand.writeArray(3 + keys + arguments, into: &writer)
        writer.appendBulk("EVALSHA")
        let hash = hashes[Int(name.rawValue)]
        RESPCommand.writeBulk(hash.span, into: &writer)
        writer.appendBulk(decimal: Int64(keys))
    }
}
