// The epoch of all histories in Redis: made by whoever comes first, asked for again and again, since
// another one means that Redis has lost what it had.

internal import SkeinIO
internal import SkeinWire

extension RouterCore {
    /// Also the link's pulse: whoever deletes all keys under us is noticed within a second.
    func askForEpoch() {
        guard state.keepsHistory else { return }
        state.links[.own].command(Awaited(kind: .epoch), room: state.epochKey.count + 64) { writer in
            RESPCommand.writeArray(2, into: &writer)
            writer.appendBulk("GET")
            RESPCommand.writeBulk(state.epochKey.span, into: &writer)
        }
    }

    /// There is none: whoever comes first begins one, and all ask again what it is.
    func makeEpoch() {
        let new = max(1, state.shared.host.random())
        state.links[.own].command(Awaited(kind: .pulse), room: state.epochKey.count + 96) { writer in
            RESPCommand.writeArray(4, into: &writer)
            writer.appendBulk("SET")
            RESPCommand.writeBulk(state.epochKey.span, into: &writer)
            writer.append("$16\r\n")
            writer.appendHex(new)
            writer.append("\r\n")
            writer.appendBulk("NX")
        }
        askForEpoch()
    }

    func epochHeard(_ text: String) {
        guard let epoch = text.utf8.count == 16 ? UInt64(text, radix: 16) : nil else {
            metrics.malformed.add()
            return
        }
        guard epoch != state.epoch else { return }
        let isAnother = state.epoch != nil
        state.epoch = epoch
        guard isAnother else { return }
        // Redis lost what it had: what any of them missed is not to be known.
        log(.warning, "Redis began a new history: clients are told to come back and read their state again")
        for user in 0..<UInt32(state.users.highWater) where state.users.isLive(user) {
            guard state.users[user].isPlaced else { continue }
            state.users[user].isPlaced = false
            state.users[user].placesAt = .none
            state.users[user].left = .none
            if state.users[user].deviceCount > 0 { sendBack(user) }
        }
    }
}
