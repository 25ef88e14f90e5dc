// From no socket to an open WebSocket: when to begin, the request, and the server's answer.

internal import SkeinClient
internal import SkeinIO
internal import SkeinWire
internal import Synchronization

extension Worker {
    /// As many as may be under way, and as the pace allows.
    mutating func connectSome(_ submissions: inout SubmissionQueue) {
        if scenario == .connect {
            if phase == .running { connectNewUsers(shared.plan, &submissions) }
            return
        }
        guard connectCursor < connectQueue.count else {
            if connectCursor > 0 {
                connectQueue.removeAll()
                connectCursor = 0
            }
            return
        }
        let plan = shared.plan
        // Who comes back is not held up: a crowd is what is to be measured.
        let isFirst = phase == .connecting
        let concurrency = isFirst || scenario != .storm
            ? max(1, plan.connectConcurrency / plan.threads) : Int.max
        let limit = isFirst ? shareOfLimit(plan) : Int.max
        while connectCursor < connectQueue.count, pendingCount < concurrency {
            if isFirst, begun >= UInt64(limit) || !mayBegin(plan) { return }
            let slot = connectQueue[connectCursor]
            connectCursor += 1
            connections[slot].flags.remove(.queued)
            begun += 1
            connect(slot, &submissions)
        }
    }

    private func shareOfLimit(_ plan: BenchPlan) -> Int {
        let limit = shared.control.connectMax.load(ordering: .relaxed)
        guard limit < plan.connections else { return .max }
        return BenchPlan.share(of: limit, number: number, threads: plan.threads)
    }

    private mutating func mayBegin(_ plan: BenchPlan) -> Bool {
        guard plan.connectRate > 0 else { return true }
        if pacedFrom == 0 { pacedFrom = now }
        return Double(begun) <= Double(now - pacedFrom) / 1e9 * plan.connectRate / Double(plan.threads)
    }

    /// From when on the next connection's time counts: at a pace, it may have waited for a free place.
    private func connectDueAt(_ plan: BenchPlan) -> Int64 {
        guard plan.connectRate > 0 else { return now }
        return pacedFrom + Int64(Double(begun) * 1e9 * Double(plan.threads) / plan.connectRate)
    }

    private mutating func connectNewUsers(_ plan: BenchPlan, _ submissions: inout SubmissionQueue) {
        while !freeSlots.isEmpty, mayBegin(plan), result.refused == 0, let slot = freeSlots.popLast() {
            let identity = Int(begun) * plan.threads + number
            connections[slot].identity = UInt32(truncatingIfNeeded: identity)
            connections[slot].target = UInt16(identity % plan.targets.count)
            dueTimes[Int(slot) &* Int(ringMask &+ 1)] = connectDueAt(plan)
            begun += 1
            connect(slot, &submissions)
        }
    }

    mutating func enqueue(_ slot: UInt32) {
        guard connections[slot].state == .closed, !connections[slot].flags.contains(.queued) else { return }
        connections[slot].flags.insert(.queued)
        connectQueue.append(slot)
    }

    mutating func connect(_ slot: UInt32, _ submissions: inout SubmissionQueue) {
        let plan = shared.plan
        let target = Int(connections[slot].target)
        let address = target < plan.targets.count ? plan.targets[target].address : nil
        let identity = Int(connections[slot].identity)
        let fd: Int32
        do throws(SystemError) {
            fd = try Sockets.stream(for: address ?? publisherAddress(plan))
            if !plan.sources.isEmpty {
                do throws(SystemError) {
                    try Sockets.bindWithoutPort(fd, to: plan.sources[identity / 2 % plan.sources.count])
                } catch {
                    Sockets.close(fd)
                    throw error
                }
            }
        } catch {
            pendingCount += 1
            connections[slot].since = now
            refused(slot, status: -Int(error.errno), retryAfter: nil, &submissions)
            return
        }
        Sockets.setNoDelay(fd)
        connections[slot].fd = fd
        connections[slot].state = .connecting
        connections[slot].flags.insert(.connecting)
        connections[slot].flags.remove(.told)
        connections[slot].scanned = 0
        if !connections[slot].flags.contains(.wasOpen) { connections[slot].since = now }
        pendingCount += 1
        timers.schedule(
            slot, at: Instant(nanoseconds: now).advanced(bySeconds: BenchPlan.Limits.handshakeSeconds))
        submissions.append(
            Submission(
                .connect, fd: fd, token: connections[slot].token(slot, Operation.connect),
                address: unsafe UInt(bitPattern: addresses + 128 * target), count: addressBytes[target]))
    }

    private func publisherAddress(_ plan: BenchPlan) -> SocketAddress {
        switch plan.publisher {
        case .redis(let address, _): address
        case .url(let target): target.address
        case .user: plan.targets[0].address
        }
    }

    /// Whether the completion is of the socket that the connection has now.
    func isCurrent(_ completion: Completion) -> Bool {
        let slot = completion.token.slot
        return Int(slot) < connections.highWater
            && connections[slot].life & 0xFF_FFFF == completion.token.generation
    }

    mutating func connected(_ completion: Completion, _ submissions: inout SubmissionQueue) {
        guard isCurrent(completion) else { return }
        let slot = completion.token.slot
        connections[slot].flags.remove(.connecting)
        if connections[slot].state == .leaving {
            closeIfIdle(slot, &submissions)
            return
        }
        guard completion.result == 0 else {
            refused(slot, status: Int(completion.result), retryAfter: nil, &submissions)
            return
        }
        receive(slot, &submissions)
        if connections[slot].flags.contains(.redis) {
            opened(slot, &submissions)
        } else if isSecure(slot) {
            secure(slot, &submissions)
        } else {
            writeRequest(slot)
        }
    }

    func target(_ slot: UInt32) -> BenchTarget? {
        let plan = shared.plan
        let number = Int(connections[slot].target)
        return number < plan.targets.count ? plan.targets[number] : plan.publisherTarget
    }

    func isSecure(_ slot: UInt32) -> Bool { shared.tls != nil && target(slot)?.isSecure == true }

    /// The upgrade, token and templates filled in.
    mutating func writeRequest(_ slot: UInt32) {
        guard let target = target(slot) else { return }
        let plan = shared.plan
        connections[slot].state = .upgrading
        var names = names(slot)
        names.token = plan.tokens.token(
            names.index, secondsSince1970: WallClock.millisecondsSince1970() / 1_000)
        var path = target.target.render(names).bytes
        func addQuery(_ text: [UInt8]) {
            path.append(path.contains(0x3F) ? 0x26 : 0x3F)
            path += text
        }
        if plan.tokenPlace == .query, !names.token.isEmpty { addQuery(Array("token=".utf8) + names.token) }
        if scenario.comesBack, Int(slot) < clients.count, let query = clients[Int(slot)].query {
            addQuery(Array(query.utf8))
        }
        var fields: [UInt8] = []
        for header in plan.headers { fields += header.render(names).bytes + [0x0D, 0x0A] }
        let host = Array(target.authority.utf8)
        let key = keys[connections[slot].key]
        let token = plan.tokenPlace == .header ? names.token : []
        let protocols = plan.tokenPlace == .subprotocol && !names.token.isEmpty
            ? Array("bearer, ".utf8) + names.token : []
        let room = ClientHandshake.requestBytes(
            targetBytes: path.count, hostBytes: host.count, tokenBytes: token.count,
            protocolsBytes: protocols.count, extensionsBytes: 0, fieldsBytes: fields.count)
        write(slot, room: room) {
            ClientHandshake.writeRequest(
                target: path.span, host: host.span, key: key.span, token: token.span,
                protocols: protocols.span, extensions: Span(), fields: fields.span, into: &$0)
        }
    }

    /// - Returns: how many bytes were the head's; `nil` while it is not whole, or where the connection has
    ///   ended by what it says.
    mutating func upgrade(
        _ slot: UInt32, _ bytes: Span<UInt8>, _ submissions: inout SubmissionQueue
    ) -> Int? {
        var scanned = Int(connections[slot].scanned)
        let parsed: ResponseHead?
        do throws(HandshakeError) {
            parsed = try ResponseHead.parse(bytes, scanned: &scanned)
        } catch {
            refused(slot, status: 1, retryAfter: nil, &submissions)
            return nil
        }
        connections[slot].scanned = Int32(scanned)
        guard let head = parsed else { return nil }
        guard head.status == 101 else {
            var seconds: Int?
            if let range = head.retryAfter {
                let text = bytes.extracting(range.range)
                seconds = Int(String(decoding: text.indices.map { text[$0] }, as: UTF8.self))
            }
            refused(slot, status: head.status, retryAfter: seconds, &submissions)
            return nil
        }
        guard head.isAccepted(key: keys[connections[slot].key].span, in: bytes) else {
            refused(slot, status: 1, retryAfter: nil, &submissions)
            return nil
        }
        connections[slot].state = .greeting
        if let first = shared.plan.firstMessage {
            var names = names(slot)
            names.token = shared.plan.tokens.token(
                names.index, secondsSince1970: WallClock.millisecondsSince1970() / 1_000)
            sendText(slot, first.render(names).bytes)
        }
        if shared.plan.awaits == nil { opened(slot, &submissions) }
        return head.headBytes
    }

    mutating func opened(_ slot: UInt32, _ submissions: inout SubmissionQueue) {
        connections[slot].state = .open
        pendingCount -= 1
        timers.cancel(slot)
        result.opened += 1
        if connections[slot].flags.contains(.publisher) { return }
        openCount += 1
        if scenario == .connect {
            if phase == .running, connections[slot].since >= recordsFrom {
                result.latency.record(now - dueTimes[Int(slot) &* Int(ringMask &+ 1)])
            }
            result.countedOpens += connections[slot].since >= recordsFrom ? 1 : 0
            if shared.plan.closesByFrame {
                sendClose(slot, code: 1000)
            } else {
                leave(slot, &submissions)
            }
            return
        }
        guard connections[slot].flags.contains(.wasOpen) else {
            connections[slot].flags.insert(.wasOpen)
            return
        }
        result.returned += 1
        connections[slot].flags.remove(.parting)
        connections[slot].unnumbered = 0
        tellPartner(of: slot, .online)
        result.absence.record(now - connections[slot].since)
    }

    /// A connection that was never open. `status`: HTTP's, minus an errno, or 1 for an answer that is none.
    /// The first that is kept is of what is to be mended: a limit may only stand before it.
    mutating func refused(
        _ slot: UInt32, status: Int, retryAfter: Int?, _ submissions: inout SubmissionQueue
    ) {
        result.refused += 1
        let isRedis = connections[slot].flags.contains(.redis)
        result.firstRefusal = Refusal.first(result.firstRefusal, isRedis ? Refusal.ofRedis(status) : status)
        pendingCount -= 1
        connections[slot].flags.insert(.told)
        let mayReturn = scenario.comesBack && connections[slot].flags.contains(.wasOpen)
        if mayReturn {
            let next = status >= 100
                ? clients[Int(slot)].refused(status: status, retryAfterSeconds: retryAfter)
                : clients[Int(slot)].lost()
            comeBack(slot, next)
        }
        leave(slot, &submissions)
    }

    /// Whether who has ended returns at all.
    var mayComeBack: Bool {
        guard phase != .leaving else { return false }
        switch scenario {
        case .chat, .storm: return true
        case .drain: return shared.plan.targets.count > 1 || shared.plan.comesBack
        case .connect, .hold, .echo, .fanout, .pair: return false
        }
    }

    /// Waits for its time in the timer wheel; the socket that was is let go meanwhile.
    mutating func comeBack(_ slot: UInt32, _ next: ReconnectingClient.Next) {
        switch next {
        case .connect(let milliseconds, _), .renewToken(let milliseconds, _):
            let plan = shared.plan
            if plan.targets.count > 1 {
                connections[slot].target = UInt16((Int(connections[slot].target) + 1) % plan.targets.count)
            }
            timers.schedule(slot, at: Instant(nanoseconds: now).advanced(byMilliseconds: milliseconds))
        case .giveUp:
            timers.cancel(slot)
            result.gaveUp += 1
        }
    }

    /// The handshake took too long, or it is time to come back.
    mutating func fired(_ slot: UInt32, _ submissions: inout SubmissionQueue) {
        switch connections[slot].state {
        case .closed: enqueue(slot)
        case .leaving:
            timers.schedule(slot, at: Instant(nanoseconds: now).advanced(byMilliseconds: 1))
        case .connecting, .securing, .upgrading, .greeting:
            refused(slot, status: -110, retryAfter: nil, &submissions)
        case .open: break
        case .closing:
            // The server did not close the socket behind its close frame, or sent none.
            closed(slot, code: 1006, reason: "", &submissions)
            let returns = timers.isScheduled(slot) || connections[slot].flags.contains(.told)
            leave(slot, &submissions)
            if scenario.comesBack, returns, mayComeBack {
                timers.schedule(slot, at: Instant(nanoseconds: now).advanced(byMilliseconds: 1))
            }
        }
    }
}
