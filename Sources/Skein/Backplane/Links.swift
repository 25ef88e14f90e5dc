// The links to Redis over their lives: connecting, greeting, replies, failure, back-off. One failed
// link is replaced alone; a silent canary replaces the two that it travels on.

internal import Glibc
internal import SkeinIO
internal import SkeinWire

extension RouterCore {
    static var connectMilliseconds: Int { 2_000 }
    static var backoffMilliseconds: (first: Int, most: Int) { (50, 2_000) }

    // MARK: Connecting

    func connect(_ role: RedisLink.Role) {
        state.links[role].retryAt = nil
        guard let address = state.resolver.current else {
            failed(role, "the address of Redis, \(state.resolver.text), cannot be resolved")
            return
        }
        let fd: Int32
        do throws(SystemError) { fd = try state.shared.host.stream(for: address) } catch {
            failed(role, "no socket for Redis: \(error)")
            return
        }
        if !address.isLocal { state.shared.host.setNoDelay(fd) }
        let memory = unsafe state.socketAddress + Int(role.rawValue) * 128
        let length = unsafe address.copy(to: memory)
        state.links[role].reset()
        state.links[role].fd = fd
        state.links[role].generation = (state.links[role].generation + 1) & 0xFF_FFFF
        state.links[role].state = .connecting
        state.links[role].deadline = state.now.advanced(byMilliseconds: Self.connectMilliseconds)
        state.links[role].isSending = true
        state.pending.append(
            Submission(
                .connect, fd: fd, token: state.links[role].token(RouterOperation.connect),
                address: UInt(bitPattern: memory), count: length))
    }

    private func greet(_ role: RedisLink.Role) {
        state.links[role].state = .greeting
        let redis = state.redis
        if let password = redis?.password {
            let user = redis?.username
            let room = password.utf8.count + (user?.utf8.count ?? 0) + 96
            state.links[role].command(Awaited(kind: .authenticate), room: room) { writer in
                RESPCommand.writeArray(user == nil ? 2 : 3, into: &writer)
                writer.appendBulk("AUTH")
                for var text in [user, password].compactMap({ $0 }) {
                    text.withUTF8 { span in unsafe RESPCommand.writeBulk(span.span, into: &writer) }
                }
            }
        }
        let database = state.links[role].database
        state.links[role].command(Awaited(kind: .select), room: 64) { writer in
            RESPCommand.writeArray(2, into: &writer)
            writer.appendBulk("SELECT")
            writer.appendBulk(decimal: Int64(database))
        }
        state.links[role].command(Awaited(kind: .setName), room: 96) { writer in
            RESPCommand.writeArray(3, into: &writer)
            writer.appendBulk("CLIENT")
            writer.appendBulk("SETNAME")
            writer.append("$22\r\nskein-")
            writer.appendHex(state.node)
            writer.append("\r\n")
        }
        receive(role)
    }

    private func receive(_ role: RedisLink.Role) {
        state.links[role].isReceiving = true
        state.pending.append(
            Submission(
                .receiveMany, fd: state.links[role].fd,
                token: state.links[role].token(RouterOperation.receive)))
    }

    private func becameReady(_ role: RedisLink.Role) {
        state.links[role].state = .ready
        state.links[role].deadline = nil
        state.links[role].lastReply = state.now
        if role != .presence { state.canaryAsked = nil }
        switch role {
        case .publish:
            // What Redis did not answer for is sent again, in order; whoever heard it knows by its
            // number.
            state.sentSequence = state.acknowledgedSequence
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
            resendRevocations()
            for shard in 0..<state.shardCount {
                let memory = unsafe state.outbox.append(to: shard, kind: ShardRecord.announce.rawValue)
                if unsafe memory == nil { metrics.overload.add() }
            }
        }
    }

    // MARK: Failing

    /// Gives a link up and tries again after a while.
    func failed(_ role: RedisLink.Role, _ why: String) {
        let was = state.links[role].state
        state.links[role].attempts += 1
        let most = min(
            Self.backoffMilliseconds.most,
            Self.backoffMilliseconds.first << min(10, state.links[role].attempts))
        let wait = state.shared.host.random(in: Int64(most / 2)...Int64(most))
        state.links[role].retryAt = state.now.advanced(byMilliseconds: Int(wait))
        state.links[role].state = .idle
        state.links[role].deadline = nil
        metrics.reconnects.add()
        state.reason.set(why)
        metrics.set(.degraded)
        // All links fail for one reason as a rule; it is said once.
        if was == .ready || state.links[role].attempts == 1, why != state.lastFailure {
            state.lastFailure = why
            log(.warning, "link to Redis lost: \(why)", [("link", "\(role)")])
        }
        if state.resolver.isNamed { state.resolver.refresh() }
        closeLink(role)
        if role != .presence { stopWaiting(why) }
        switch role {
        case .publish: break
        case .subscribe: hearNobody()
        case .presence: releaseSessions()
        }
        evaluate()
    }

    private func closeLink(_ role: RedisLink.Role) {
        guard state.links[role].fd >= 0 else { return }
        state.links[role].isClosing = true
        if state.links[role].isSending || state.links[role].isReceiving {
            state.pending.append(Submission(.cancel, fd: state.links[role].fd, token: .ignored))
        }
        closeIfIdle(role)
    }

    private func closeIfIdle(_ role: RedisLink.Role) {
        guard state.links[role].isClosing, !state.links[role].isSending,
            !state.links[role].isReceiving
        else { return }
        state.pending.append(Submission(.close, fd: state.links[role].fd, token: .ignored))
        state.links[role].fd = -1
        state.links[role].isClosing = false
        state.links[role].reset()
    }

    /// Handshakes that wait for a session cannot be answered now.
    private func releaseSessions() {
        for place in 0..<UInt32(state.waiters.highWater) where state.waiters.isLive(place) {
            if state.waiters[place].needsSession && !state.waiters[place].hasSession {
                endWaiter(place, .unavailable)
            }
        }
    }

    // MARK: Completions

    func handle(_ completion: Completion) {
        guard let role = RedisLink.Role(rawValue: UInt8(truncatingIfNeeded: completion.token.slot)),
            completion.token.generation == state.links[role].generation
        else {
            if completion.hasBuffer { state.buffers.recycle(completion.buffer) }
            return
        }
        switch completion.token.operation {
        case RouterOperation.connect: connected(role, completion.result)
        case RouterOperation.send: sent(role, completion.result)
        case RouterOperation.receive: received(role, completion)
        default: break
        }
        if state.links[role].isClosing { closeIfIdle(role) }
    }

    private func connected(_ role: RedisLink.Role, _ result: Int32) {
        state.links[role].isSending = false
        guard !state.links[role].isClosing else { return }
        guard result >= 0 else {
            failed(role, "Redis at \(state.resolver.text) does not answer: \(unsafe String(cString: strerror(-result)))")
            return
        }
        greet(role)
    }

    private func sent(_ role: RedisLink.Role, _ result: Int32) {
        state.links[role].isSending = false
        guard !state.links[role].isClosing else { return }
        guard result > 0 else {
            failed(role, "Redis closed the connection")
            return
        }
        state.links[role].sentOfFlying += Int(result)
        if state.links[role].sentOfFlying < state.links[role].flying.count {
            state.pending.append(state.links[role].sendRest())
        }
    }

    private func received(_ role: RedisLink.Role, _ completion: Completion) {
        if !completion.hasMore { state.links[role].isReceiving = false }
        defer { if completion.hasBuffer { state.buffers.recycle(completion.buffer) } }
        guard !state.links[role].isClosing else { return }
        guard completion.result > 0, completion.hasBuffer else {
            if completion.result == -ENOBUFS || completion.result == -EINTR {
                if !state.links[role].isReceiving { receive(role) }
            } else {
                failed(role, "Redis closed the connection")
            }
            return
        }
        let base = unsafe state.buffers.bytes(of: completion.buffer)
        let bytes = unsafe Bytes(base, count: Int(completion.result))
        if state.links[role].input.count == 0 {
            let taken = read(role, bytes)
            guard !state.links[role].isClosing, state.links[role].fd >= 0 else { return }
            state.links[role].input.append(bytes.slice(from: taken, count: bytes.count - taken))
        } else {
            state.links[role].input.append(bytes)
            let taken = read(role, state.links[role].input.bytes)
            guard !state.links[role].isClosing, state.links[role].fd >= 0 else { return }
            state.links[role].input.removeFirst(taken)
        }
        if !completion.hasMore && !state.links[role].isClosing { receive(role) }
    }

    // MARK: Reading

    /// - Returns: how many of the bytes were whole replies.
    private func read(_ role: RedisLink.Role, _ bytes: Bytes) -> Int {
        var offset = 0
        while offset < bytes.count, !state.links[role].isClosing {
            let rest = bytes.slice(from: offset, count: bytes.count - offset)
            // Pushes begin when the greeting is over.
            let taken =
                role == .subscribe && state.links[role].awaited.isEmpty
                ? readPush(rest) : readReply(role, rest)
            guard taken > 0 else { break }
            offset += taken
        }
        return offset
    }

    private func readPush(_ bytes: Bytes) -> Int {
        do throws(RESPError) {
            let scanner = PushScanner(bulkBytesMax: state.limits.backplaneQueueBytesMax)
            guard let push = unsafe try scanner.next(in: bytes.buffer.span, at: 0) else { return 0 }
            switch push.kind {
            case .message: heard(bytes.slice(push.channel), bytes.slice(push.payload))
            case .subscribe: subscribed(bytes.slice(push.channel))
            case .unsubscribe: unsubscribed(bytes.slice(push.channel))
            case .pong: break
            case .error:
                failed(.subscribe, "Redis refused a subscription: \(bytes.slice(push.payload).text)")
                return 0
            case .other:
                failed(.subscribe, "Redis sent a push that is none of pub/sub's")
                return 0
            }
            return push.consumed
        } catch {
            failed(.subscribe, "what Redis sent is not its protocol")
            return 0
        }
    }

    private func readReply(_ role: RedisLink.Role, _ bytes: Bytes) -> Int {
        state.links[role].lastReply = state.now
        // Once a reply was longer than a line, the general reader may hold part of the next.
        if state.links[role].reader != nil { return readLongReply(role, bytes) }
        guard let (reply, count) = RedisLink.line(bytes) else { return 0 }
        if case .other = reply { return readLongReply(role, bytes) }
        guard let awaited = state.links[role].awaited.popFirst() else {
            failed(role, "Redis answered what was not asked")
            return 0
        }
        answered(role, awaited, reply)
        return count
    }

    /// Replies that are more than a line, through the general reader. It takes all bytes there are
    /// and gives back whole replies.
    private func readLongReply(_ role: RedisLink.Role, _ bytes: Bytes) -> Int {
        do throws(RESPError) {
            if state.links[role].reader == nil { state.links[role].reader = RESPReader() }
            unsafe try state.links[role].reader?.feed(bytes.buffer.span)
            while let reply = try state.links[role].reader?.next() {
                guard let awaited = state.links[role].awaited.popFirst() else { break }
                take(reply, role, awaited)
                guard state.links[role].state != .idle else { break }
            }
            return bytes.count
        } catch {
            failed(role, "what Redis sent is not its protocol")
            return 0
        }
    }

    private func take(_ reply: borrowing RESPReply, _ role: RedisLink.Role, _ awaited: Awaited) {
        if awaited.kind == .revocations, reply.value.kind == .array {
            revocationsHeard(reply)
            return
        }
        switch reply.value.kind {
        case .integer:
            answered(role, awaited, .integer(reply.value.integer ?? 0))
        case .error:
            reply.value.withBytes { text in
                unsafe text.withUnsafeBufferPointer { buffer in
                    let bytes = unsafe buffer.baseAddress.map { unsafe Bytes($0, count: buffer.count) }
                    answered(role, awaited, .error(bytes ?? .empty))
                }
            }
        case .string, .status, .array, .null:
            answered(role, awaited, .other)
        }
    }

    @inline(__always)
    private func answered(_ role: RedisLink.Role, _ awaited: Awaited, _ reply: LineReply) {
        var isPresent: Bool?
        switch reply {
        case .integer(let number): isPresent = number != 0
        case .error(let text):
            refused(role, awaited, text)
            return
        case .emptyArray:
            if awaited.kind == .revocations { revocationsHeard([]) }
        case .status, .other: break
        }
        switch awaited.kind {
        case .publish: acknowledged()
        case .setName: becameReady(role)
        case .session: sessionAnswered(awaited, isPresent)
        case .poll: pollAnswered(awaited, isPresent)
        case .revocation: revocationConfirmed()
        case .authenticate, .select, .canary, .revocations, .other: break
        }
    }

    private func refused(_ role: RedisLink.Role, _ awaited: Awaited, _ text: Bytes) {
        switch awaited.kind {
        case .authenticate:
            failed(role, "Redis refused the password (\(text.text)); check REDIS_PASSWORD or the URL")
        case .select where text.text.contains("cluster"):
            // One database serves all in a cluster.
            break
        case .select where text.dropping("NOAUTH") != nil:
            failed(role, "Redis wants a password: set REDIS_PASSWORD or give it in the URL")
        case .select, .canary:
            failed(role, "Redis refused a command: \(text.text)")
        case .setName:
            // Without a name all else works; an ACL may forbid CLIENT.
            if text.dropping("NOAUTH") != nil {
                failed(role, "Redis wants a password: set REDIS_PASSWORD or give it in the URL")
            } else {
                becameReady(role)
            }
        case .publish:
            failed(role, "Redis refused to publish: \(text.text)")
        case .session: sessionAnswered(awaited, nil)
        case .revocation: revocationRefused(text)
        case .revocations:
            log(.warning, "Redis refused to say what other nodes revoked: \(text.text)")
        case .poll, .other:
            metrics.malformed.add()
        }
    }
}
