// Devices that were welcomed while there was no history know no offset, and are given what is heard as
// it is heard. A read that finds where their user stands is ahead of what is still being pushed to them,
// and that must not count as known: a mark through Redis tells when it has all come.

internal import SkeinIO
internal import SkeinWire

extension RouterCore {
    /// What the payload of such a mark begins with, on the canary's channel.
    private static var placeMark: StaticString { "place-" }

    /// Whether a device of the user's here does not wait to be welcomed.
    func hasOpenDevice(_ user: UInt32) -> Bool {
        var waiting: UInt32 = 0
        var place = state.users[user].firstWaiter
        while place != ConnectionRecord.none {
            waiting += 1
            place = state.waiters[place].next
        }
        return state.users[user].deviceCount > waiting
    }

    func placeBehindMark(_ user: UInt32, _ tip: Offset) {
        state.users[user].place = .found(tip)
        let generation = state.users.generation(of: user)
        publishOnCanary { writer in
            let bytesMax = Self.placeMark.utf8CodeUnitCount + 16 + Offset.textBytesMax
            ByteWriter.withTemporary(capacity: bytesMax) { text in
                text.append(Self.placeMark)
                text.appendHex(UInt64(generation) << 32 | UInt64(user))
                text.append(tip)
                text.withWritten { RESPCommand.writeBulk($0, into: &writer) }
            }
        }
    }

    /// - Returns: false when it is no such mark.
    func heardPlaceMark(_ payload: Bytes) -> Bool {
        guard let text = payload.dropping(Self.placeMark), let raw = text.hex(at: 0),
            let tip = Offset(parsing: text.slice(from: 16, count: text.count - 16))
        else { return false }
        let user = UInt32(truncatingIfNeeded: raw)
        // One of another place is of before a link broke, or Redis began anew: it says nothing of what was
        // published since. Anyone can publish there: at worst a device misses what it was never promised.
        guard Int(user) < state.users.highWater,
            state.users.isLive(user, generation: UInt32(truncatingIfNeeded: raw >> 32)),
            case .found(tip) = state.users[user].place
        else { return true }
        state.users[user].place = .known(max(tip, state.users[user].left))
        serveWaiters(of: user)
        return true
    }

    /// The marks on their way are lost with their link: whoever waits for one asks again.
    func forgetPlaceMarks() {
        for user in 0..<UInt32(state.users.highWater)
        where state.users.isLive(user) && state.users[user].awaitsMark {
            state.users[user].place = .unknown
            serveWaiters(of: user)
        }
    }
}
