// Redis's answers, in the order of the commands: handed to whom they concern, or, where Redis said
// no, judged: what ends the link, what leaves it, and what does not matter.

internal import SkeinIO
internal import SkeinWire

extension RouterCore {
    // MARK: Reading

    /// - Returns: how many of the bytes were whole replies.
    func read(_ role: RedisLink.Role, _ bytes: Bytes) -> Int {
        var offset = 0
        // A link that fails while its answers are read may be closed at once.
        while offset < bytes.count, !state.links[role].isClosing, state.links[role].state != .idle {
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
                let text = bytes.slice(push.payload)
                failed(
                    .subscribe,
                    .refused(
                        Refusal(text), .subscribe(prefix: state.channelPrefix),
                        reply: String(text.text.prefix(160))))
                return 0
            case .other:
                failed(.subscribe, .notRedis)
                return 0
            }
            return push.consumed
        } catch {
            failed(.subscribe, .notRedis)
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
            failed(role, .notRedis)
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
            // A TLS alert: two bytes that begin no reply.
            let isAlert = bytes.count > 1 && bytes.begins("\u{15}\u{03}")
            failed(role, isAlert ? .tlsNeeded : .notRedis)
            return 0
        }
    }

    private func take(_ reply: borrowing RESPReply, _ role: RedisLink.Role, _ awaited: Awaited) {
        if awaited.kind == .revocations, reply.value.kind == .array {
            revocationsHeard(reply)
            return
        }
        if awaited.kind == .nodes, reply.value.kind == .array {
            nodesHeard(reply)
            return
        }
        if awaited.kind == .clear, reply.value.kind == .array {
            cleared(reply)
            return
        }
        if awaited.kind == .history, reply.value.kind == .array {
            historyHeard(reply)
            return
        }
        if reply.value.kind == .string, let text = reply.value.text, took(text, awaited) { return }
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
        case .array where awaited.kind == .role:
            roleAnswered(role, isPrimary: reply.value.count > 0 && reply.value[0].text == "master")
        case .null:
            answered(role, awaited, .null)
        case .string, .status, .array:
            answered(role, awaited, .other)
        }
    }

    /// - Returns: whether a text is what was asked for.
    private func took(_ text: String, _ awaited: Awaited) -> Bool {
        switch awaited.kind {
        case .epoch, .ending: epochHeard(text)
        case .mark: markHeard(text)
        case .load: LoadedScripts.Name(rawValue: awaited.argument).map { state.scripts.loaded($0, as: text) }
        default: return false
        }
        return true
    }

    @inline(__always)
    private func answered(_ role: RedisLink.Role, _ awaited: Awaited, _ reply: LineReply) {
        var number: Int64?
        switch reply {
        case .integer(let value): number = value
        case .error(let text):
            refused(role, awaited, text)
            return
        case .emptyArray:
            if awaited.kind == .revocations { revocationsHeard([]) }
        case .status, .null, .other: break
        }
        let isPresent = number.map { $0 != 0 }
        switch awaited.kind {
        case .publish: acknowledged()
        case .append:
            if case .integer(let count) = reply { metrics.historyEvents.add(UInt64(clamping: count)) }
            acknowledged(kept: Int(awaited.argument))
        case .epoch:
            if case .null = reply { makeEpoch() }
        case .mark:
            if case .null = reply { markHeard("") }
        case .history: historyUnreadable()
        case .setName: becameReady(role)
        case .session: sessionAnswered(awaited, isPresent)
        case .poll: pollAnswered(awaited, isPresent)
        case .probe: probeAnswered()
        case .revocation: revocationConfirmed()
        case .arrival: arrivalAnswered(awaited, number)
        case .crowded: crowdAnswered(awaited, isPresent)
        case .sweep: swept(awaited, hasMore: isPresent == true)
        case .beat: beatAnswered(was: isPresent ?? true)
        case .authenticate, .select, .role, .load, .canary, .write, .pulse, .ending, .revocations, .nodes, .clear,
            .restoredRevocation:
            break
        }
    }

    private func refused(_ role: RedisLink.Role, _ awaited: Awaited, _ text: Bytes) {
        var text = text
        if awaited.kind == .append, let (done, rest) = HistoryScripts.partlyDone(text) {
            acknowledged(kept: min(done, Int(awaited.argument)))
            text = rest
        }
        let refusal = Refusal(text)
        if awaited.kind == .append, refusal == .clusterMoved { state.isCluster = true }
        if isMinor(refusal, awaited, text) {
            if awaited.kind == .setName { becameReady(role) }
            return
        }
        // A key of another type, say: one user's trouble, not the link's.
        if awaited.kind == .history, refusal == .other {
            historyUnreadable()
            return
        }
        if awaited.kind == .session { sessionAnswered(awaited, nil) }
        if awaited.kind == .arrival { arrivalAnswered(awaited, nil) }
        if awaited.kind == .crowded { crowdAnswered(awaited, nil) }
        if awaited.kind == .sweep { swept(awaited, hasMore: false) }
        if awaited.kind == .revocation || awaited.kind == .revocations || awaited.kind == .restoredRevocation {
            revocationRefused(awaited.kind, text)
            guard refusal.leavesLink || refusal == .replica else { return }
        }
        // Leases are no reason to give up a link; presence tells of a Redis that takes no writes.
        let isOfRegistry = awaited.kind == .beat || awaited.kind == .nodes || awaited.kind == .clear
        if isOfRegistry, refusal.leavesLink || refusal == .other {
            if awaited.kind == .beat { state.registry.beatRefused() }
            registryRefused(text)
            return
        }
        if awaited.kind == .ending, refusal.leavesLink { return }
        let reply = String(text.text.prefix(160))
        let failure = LinkFailure.refused(refusal, need(awaited), reply: reply)
        if role == .presence, state.links[role].isReady {
            if refusal.leavesLink {
                writesRefused(refusal, failure)
                return
            }
            // A key of another type, say: one user's trouble, not the link's.
            if refusal == .other {
                metrics.malformed.add()
                return
            }
        }
        if refusal == .replica { allFailed(failure) } else { failed(role, failure) }
    }

    /// Refusals of the greeting that we can live with.
    private func isMinor(_ refusal: Refusal, _ awaited: Awaited, _ text: Bytes) -> Bool {
        switch awaited.kind {
        case .select:
            // One database serves all in a cluster.
            noticeCluster(text)
        case .role:
            // Writes will show whether it is a primary; after Sentinel's word it has to be known.
            (refusal == .forbidden || refusal == .commandUnknown) && !state.resolver.asksSentinels
        case .setName:
            refusal == .forbidden || refusal == .commandUnknown || refusal == .other
        default: false
        }
    }

    private func noticeCluster(_ text: Bytes) -> Bool {
        guard text.text.contains("cluster mode") else { return false }
        state.isCluster = true
        return true
    }

    private func need(_ awaited: Awaited) -> RedisNeed {
        switch awaited.kind {
        case .authenticate, .select, .role, .setName: .greeting
        case .publish, .canary: .publish(prefix: state.channelPrefix)
        case .probe, .write, .arrival, .crowded, .sweep: .presence(prefix: state.channelPrefix)
        case .pulse: .own
        case .beat, .nodes, .clear: .registry(prefix: state.channelPrefix)
        case .load: need(ofScript: LoadedScripts.Name(rawValue: awaited.argument))
        case .append, .mark: .append(prefix: state.channelPrefix)
        case .epoch, .history, .ending: .history(prefix: state.channelPrefix)
        case .session, .poll: .session
        case .revocation, .revocations, .restoredRevocation: .revocations(prefix: state.channelPrefix)
        }
    }

    private func need(ofScript name: LoadedScripts.Name?) -> RedisNeed {
        switch name {
        case .append, nil: .append(prefix: state.channelPrefix)
        case .quiet: .presence(prefix: state.channelPrefix)
        }
    }

    // MARK: Refused writes

    /// Redis takes no writes for now. The link is good for all else and stays.
    private func writesRefused(_ refusal: Refusal, _ failure: LinkFailure) {
        let until = state.now.advanced(byMilliseconds: refusal.quietSeconds * 1_000)
        if state.refusedWrites?.refusal == refusal {
            state.refusedWrites?.until = until
            return
        }
        state.refusedWrites = RefusedWrites(refusal: refusal, failure: failure, until: until)
        metrics.failures[failure.cause.rawValue].add()
        let text = failure.text(state.resolver.text)
        if state.news.isNews(text, at: state.now) {
            log(.warning, "presence is not written: \(text)", [("cause", failure.cause.name)])
        }
        evaluate()
        tellReason()
    }

    /// The presence link's canary came back.
    private func probeAnswered() {
        guard let refused = state.refusedWrites, state.now >= refused.until else { return }
        state.refusedWrites = nil
        restate()
        askForRevocations()
        tellReason()
    }
}

/// Why presence is not written, and until when that is believed without another refusal.
struct RefusedWrites {
    var refusal: Refusal
    var failure: LinkFailure
    var until: Instant
}
