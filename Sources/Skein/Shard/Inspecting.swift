// What the control plane asks of a shard, answered on the shard's own thread.

internal import SkeinIO
internal import SkeinWire

extension ShardCore {
    func connections(of user: UserID, hash: UInt64, names: [String]) -> [ConnectionInfo] {
        let found = user.withBytes { id in
            unsafe id.withUnsafeBufferPointer {
                state.users.find(unsafe Bytes($0.baseAddress!, count: $0.count), hash: hash)
            }
        }
        guard let found else { return [] }
        var infos: [ConnectionInfo] = []
        var slot = state.users[found].firstDevice
        while slot != ConnectionRecord.none {
            let record = state.connections[slot]
            if record.state == .open {
                infos.append(
                    ConnectionInfo(
                        connectionId: connectionID(reference(slot)), userId: user.description,
                        dialect: names[Int(record.dialect)], remoteAddress: record.address.host,
                        userAgent: record.userAgent.bytes.text,
                        connectedAtMilliseconds: record.connectedAtMilliseconds, shard: state.index,
                        sendQueueMessages: record.backlog.exists ? record.backlog.value.messages : 0,
                        sendQueueBytes: record.backlog.exists ? record.backlog.value.bytes : 0))
            }
            slot = record.nextDevice
        }
        return infos
    }

    func disconnect(_ user: UserID, code: UInt16, reason: String) -> Int {
        var reason = reason
        return reason.withUTF8 { text in
            let reason = unsafe text.baseAddress.map { unsafe Bytes($0, count: text.count) } ?? .empty
            return user.withBytes { id in
                unsafe id.withUnsafeBufferPointer {
                    disconnectUser(unsafe Bytes($0.baseAddress!, count: $0.count), code: code, reason: reason)
                }
            }
        }
    }

    func disconnect(_ reference: ConnectionReference, code: UInt16, reason: String) -> Bool {
        guard let slot = slot(of: reference), state.connections[slot].state == .open else { return false }
        var reason = reason
        reason.withUTF8 { text in
            let reason = unsafe text.baseAddress.map { unsafe Bytes($0, count: text.count) } ?? .empty
            close(slot, code: code, reason: reason)
        }
        return true
    }
}

extension ShardState {
    init(
        index: Int, shared: ServerShared, configuration: ServerConfiguration,
        metrics: Shared<ShardMetrics>, dialects: [Dialect], buffers: BufferPool, counters: RingCounters,
        listener: Int32
    ) {
        var limits = configuration.limits
        if limits.sendQueueMessagesMax == 0 { limits.sendQueueMessagesMax = .max }
        if limits.sendQueueBytesMax == 0 { limits.sendQueueBytesMax = .max }
        let now = shared.host.clock.now()
        let slotsMax = 1 << 20
        self.init(
            index: index, shardCount: shared.shardCount, shared: shared, clock: shared.host.clock,
            limits: limits, metrics: metrics, dialects: DialectTable(dialects), paths: dialects.map(\.path),
            buffers: buffers, counters: counters,
            usesBackplane: configuration.backplane != .memory,
            keepsHistory: limits.historyEventsMax > 0,
            history: configuration.backplane == .memory
                ? HistoryLimits(limits, shardCount: shared.shardCount)
                    .map { OwnedPointer(HistoryTable($0)) } ?? .none : .none,
            epoch: UInt64(shared.nodeID, radix: 16) ?? 0,
            decoder: FrameDecoder(role: .server, payloadBytesMax: limits.messageBytesMax),
            compressedDecoder: FrameDecoder(
                role: .server, payloadBytesMax: Deflater.bytesMax(for: limits.messageBytesMax),
                allowsCompression: true),
            compression: Compression(
                settings: DeflateSettings(configuration.compression),
                contextBytesMax: configuration.compression.contextBytesMax / shared.shardCount),
            tls: shared.tls.map { OwnedPointer(TLSDoor($0.contextAtStart())) } ?? .none,
            connections: Slab(maxSlots: slotsMax), users: UserTable(usersMax: slotsMax),
            timers: TimerWheel(start: now),
            outbox: Outbox(
                targets: shared.shardInboxes + [shared.routerInbox],
                // Nearly all of it goes to the router.
                pool: ParcelPool(parcelsMax: limits.parcelsMax), sparing: shared.routerIndex,
                borrowing: Outbox.Borrowing(
                    own: shared.shardInboxes[index], lightKind: ShardRecord.deliver.rawValue)),
            draft: Scratch(capacity: limits.messageBytesMax * 2 + 16_384),
            messageInterval: limits.messageRate > 0 ? 1_000_000_000 / Int64(limits.messageRate) : 0,
            messageLead: limits.messageRate > 0
                ? 1_000_000_000 / Int64(limits.messageRate) * Int64(max(1, limits.messageBurst)) : 0,
            now: now, turnStart: Instant(nanoseconds: 0), listener: listener,
            reserve: (try? shared.host.openReserve()) ?? -1)
    }
}
