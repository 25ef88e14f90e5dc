// What a link says first, and what it takes up when Redis has agreed: who we are, which database,
// whether this is a primary at all, a name for CLIENT LIST; then the role's own work.

internal import SkeinIO
internal import SkeinWire

extension RouterCore {
    /// How long a link that was refused something has to stand before it counts again.
    static var provingMilliseconds: Int { 1_500 }

    func greet(_ role: RedisLink.Role) {
        state.links[role].state = .greeting
        let redis = state.redis
        let user = redis?.username
        if let password = redis?.password ?? (user == nil ? nil : "") {
            let room = password.utf8.count + (user?.utf8.count ?? 0) + 96
            state.links[role].command(Awaited(kind: .authenticate), room: room) { writer in
                RESPCommand.writeArray(user == nil ? 2 : 3, into: &writer)
                writer.appendBulk("AUTH")
                for var text in [user, password].compactMap({ $0 }) {
                    text.withUTF8 { span in unsafe RESPCommand.writeBulk(span.span, into: &writer) }
                }
            }
        }
        state.links[role].command(Awaited(kind: .select), room: 64) { writer in
            RESPCommand.writeArray(2, into: &writer)
            writer.appendBulk("SELECT")
            writer.appendBulk(decimal: Int64(role.database))
        }
        state.links[role].command(Awaited(kind: .role), room: 32) { writer in
            RESPCommand.writeArray(1, into: &writer)
            writer.appendBulk("ROLE")
        }
        if role == .publish { askForMark() }
        for name in LoadedScripts.Name.allCases where name.role == role {
            guard let text = state.scripts.text(name) else { continue }
            let awaited = Awaited(kind: .load, argument: name.rawValue)
            state.links[role].command(awaited, room: text.count + 96) { writer in
                RESPCommand.writeArray(3, into: &writer)
                writer.appendBulk("SCRIPT")
                writer.appendBulk("LOAD")
                RESPCommand.writeBulk(text.span, into: &writer)
            }
        }
        state.links[role].command(Awaited(kind: .setName), room: 96) { writer in
            RESPCommand.writeArray(3, into: &writer)
            writer.appendBulk("CLIENT")
            writer.appendBulk("SETNAME")
            writer.append("$22\r\nskein-")
            writer.appendHex(state.node)
            writer.append("\r\n")
        }
        if !state.links[role].isReceiving { receive(role) }
    }

    func becameReady(_ role: RedisLink.Role) {
        state.links[role].state = .ready
        state.links[role].deadline = nil
        state.links[role].lastReply = state.now
        state.links[role].readyAt = state.now
        // ROLE's answer was long; from here on all are lines again.
        state.links[role].reader = nil
        if state.links[role].isProving {
            state.links[role].provenAt = state.now.advanced(byMilliseconds: Self.provingMilliseconds)
        } else {
            state.links[role].failure = nil
            if !state.wasWhole { tellReason() }
        }
        if role.carriesEvents { state.canaryAsked = nil }
        switch role {
        case .publish:
            // What Redis did not answer for is sent again, in order; whoever heard it knows by its
            // number, and so does the append script.
            state.doubtfulThrough = max(state.doubtfulThrough, state.sentSequence)
            state.sentSequence = state.acknowledgedSequence
            state.appendedSequence = 0
        case .subscribe:
            state.links[.subscribe].filling.write(room: 512) { writer in
                RESPCommand.writeArray(5, into: &writer)
                writer.appendBulk("SUBSCRIBE")
                writer.appendBulk("websocket:broadcast")
                writer.appendBulk("chat:broadcast")
                RESPCommand.writeBulk(state.canaryChannel.span, into: &writer)
                RESPCommand.writeBulk(state.commandChannel.span, into: &writer)
            }
            subscribeEveryone()
        case .presence:
            state.registry.nameAgain()
            resendRevocations()
            restateAfterLoss()
        case .own:
            beginLease()
            askForEpoch()
        }
    }

    /// Whether this Redis is the one that takes writes.
    func roleAnswered(_ role: RedisLink.Role, isPrimary: Bool) {
        guard !isPrimary else { return }
        allFailed(.refused(.replica, .greeting, reply: "ROLE"))
    }
}
