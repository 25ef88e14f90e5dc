// A node's numbers as Prometheus reads them. Labels that the contract names are always there, at
// zero if need be, so that a rate over them works from the first scrape.

package import Skein

package enum NodeMetrics {
    /// - Parameter logLinesDropped: what the log queue had no room for.
    package static func write(
        _ snapshot: ServerSnapshot, process: ProcessStatistics?, keys: KeyStatus? = nil,
        logLinesDropped: UInt64 = 0
    ) -> String {
        var out = Exposition()
        out.family("skein_info", .gauge, "What runs here; always 1.")
        out.sample(
            "skein_info",
            [("version", snapshot.version), ("node_id", snapshot.nodeID), ("io", snapshot.io)], 1)
        writeConnections(snapshot, into: &out)
        writeTraffic(snapshot, into: &out)
        writeHistory(snapshot, into: &out)
        writeLoops(snapshot, into: &out)
        writeBackplane(snapshot.backplane, hearsRedis: snapshot.hearsRedis, into: &out)
        writeLimits(snapshot.limits, into: &out)
        if let keys { writeKeys(keys, into: &out) }
        out.single(
            "skein_revocations", .gauge, snapshot.revocations, "Users and tokens that are revoked.")
        out.single(
            "skein_draining", .gauge, snapshot.drain.phase == .running ? 0 : 1,
            "1 from the begin of a drain on.")
        out.single(
            "skein_drain_clients_per_second", .gauge,
            snapshot.drain.perSecond.map { "\($0)" } ?? "NaN",
            "What the other nodes can take of a drain; NaN while nothing paces one.")
        out.single(
            "skein_drain_fences_late_total", .counter, snapshot.drain.fencesLate,
            "Waves of a drain that went before it was sure that all accepted for them had arrived.")
        out.single(
            "skein_uptime_seconds", .gauge, snapshot.uptimeSeconds, "Since the node started.")
        out.single(
            "skein_log_lines_dropped_total", .counter, logLinesDropped,
            "Log lines that found the queue full, or that stderr did not take.")
        if let process { writeProcess(process, into: &out) }
        return out.text
    }
}

private extension NodeMetrics {
    static func writeConnections(_ snapshot: ServerSnapshot, into out: inout Exposition) {
        out.family("skein_connections", .gauge, "Open connections.")
        for shard in snapshot.shards {
            var dialects = shard.connections
            dialects["relay", default: 0] += 0
            for (dialect, count) in dialects.sorted(by: { $0.key < $1.key }) {
                out.sample(
                    "skein_connections", [("shard", "\(shard.index)"), ("dialect", dialect)], count)
            }
        }
        out.family("skein_handshaking", .gauge, "Connections that are not open yet.")
        for shard in snapshot.shards {
            out.sample("skein_handshaking", [("shard", "\(shard.index)")], shard.handshaking)
        }
        out.single("skein_users", .gauge, snapshot.users, "Users with an open connection here.")
        labelled(
            "skein_handshakes_total", "result", ["accepted"], merge(snapshot, \.handshakes),
            "Handshakes by what came of them.", into: &out)
        var closes: [String: UInt64] = [:]
        for shard in snapshot.shards {
            for (code, count) in shard.closes { closes["\(code)", default: 0] += count }
        }
        labelled(
            "skein_closes_total", "code",
            ["1000", "1001", "1002", "1009", "1012", "4008", "4401", "4429"], closes,
            "Connections that ended, by close code.", into: &out)
    }

    static func writeTraffic(_ snapshot: ServerSnapshot, into out: inout Exposition) {
        func total(_ path: KeyPath<ShardSnapshot, UInt64>) -> UInt64 {
            snapshot.shards.reduce(0) { $0 + $1[keyPath: path] }
        }
        out.single(
            "skein_messages_received_total", .counter, total(\.messagesReceived),
            "Messages from clients.")
        out.single(
            "skein_messages_sent_total", .counter, total(\.messagesSent), "Messages to clients.")
        out.single(
            "skein_bytes_received_total", .counter, total(\.bytesReceived), "Bytes from clients.")
        out.single("skein_bytes_sent_total", .counter, total(\.bytesSent), "Bytes to clients.")
        out.single(
            "skein_deliveries_total", .counter, total(\.deliveries),
            "Events put into a connection's send queue.")
        out.single(
            "skein_slow_consumers_total", .counter, total(\.slowConsumers),
            "Connections that were closed because they did not read.")
        let dropped = merge(snapshot, \.dropped).merging(
            snapshot.backplane.dropped, uniquingKeysWith: +)
        labelled(
            "skein_dropped_total", "reason",
            ["slow_consumer", "rate_limited", "overload", "stale"],
            dropped, "Messages that were not passed on, by why.", into: &out)
        out.family("skein_malformed_total", .counter, "Messages that could not be read.")
        out.sample("skein_malformed_total", [("source", "client")], total(\.malformed))
        out.sample(
            "skein_malformed_total", [("source", "backplane")], snapshot.backplane.malformed)
        out.single(
            "skein_send_queue_high_water", .gauge,
            snapshot.shards.map(\.sendQueueHighWaterBytes).max() ?? 0,
            "Most bytes that ever waited for one connection.")
        out.single(
            "skein_deferred_reads_total", .counter, total(\.deferredReads),
            "Receives that waited a turn because their connection brought more than its share.")
        out.single(
            "skein_starved_reads_total", .counter, total(\.starvedReads),
            "Receives that found no buffer free and were asked for again; see WS_RECEIVE_BUFFERS.")
        out.single(
            "skein_sliced_broadcasts_total", .counter, total(\.slicedBroadcasts),
            "Events for everyone that took a shard more than one turn; see WS_FAN_OUT_TURN_SIZE.")
        out.single(
            "skein_ring_overflows_total", .counter, total(\.ringOverflows),
            "Turns in which the kernel had more answers than its queue has room for.")
        out.single(
            "skein_ring_refusals_total", .counter, total(\.ringRefusals),
            "Calls that the kernel had no memory for, and that were made again.")
        out.single(
            "skein_borrowed_turns_total", .counter, total(\.borrowedTurns),
            "Turns of shards that slept, run by another's thread within its own, instead of waking them.")
        out.single(
            "skein_tls_sessions", .gauge, snapshot.shards.reduce(0) { $0 + $1.tlsSessions },
            "TLS sessions of connections, now.")
        out.single(
            "skein_tls_handshakes_total", .counter, total(\.tlsHandshakes), "TLS handshakes that were done.")
        out.single(
            "skein_tls_resumed_total", .counter, total(\.tlsResumed),
            "TLS handshakes that a ticket made short.")
        out.single(
            "skein_memory_bytes", .gauge, total(\.memoryBytes),
            "What connections hold: records, send queues, partial messages, contexts.")
        out.single(
            "skein_memory_bytes_max", .gauge, snapshot.memoryBytesMax,
            "Where those that hold the most are reset; at 80 % of it newcomers are refused.")
        out.single(
            "skein_compressed_connections_total", .counter, total(\.compressed),
            "Handshakes that agreed on permessage-deflate.")
        out.single(
            "skein_compression_bytes", .gauge, total(\.compressionBytes),
            "Memory that connections keep between compressed messages.")
    }

    static func writeHistory(_ snapshot: ServerSnapshot, into out: inout Exposition) {
        func total(_ path: KeyPath<ShardSnapshot, UInt64>) -> UInt64 {
            snapshot.shards.reduce(0) { $0 + $1[keyPath: path] }
        }
        out.single(
            "skein_history_events_total", .counter,
            total(\.historyEvents) + snapshot.backplane.historyEvents,
            "Events that were appended to a user's history.")
        out.single(
            "skein_history_bytes", .gauge, total(\.historyBytes),
            "What kept events take in this node's memory.")
        out.single(
            "skein_history_users", .gauge, snapshot.shards.reduce(0) { $0 + $1.historyUsers },
            "Users whose history is in this node's memory.")
        labelled(
            "skein_history_dropped_total", "reason", [], merge(snapshot, \.historyLosses),
            "Events that this node keeps no more, by which bound they had to go for.", into: &out)
        labelled(
            "skein_resumes_total", "result", ["recovered", "lost", "malformed"],
            merge(snapshot, \.resumes), "Clients that came back with ?resume=, by what came of it.",
            into: &out)
        out.single(
            "skein_history_catch_ups_total", .counter, snapshot.backplane.catchUps,
            "Users whose devices were brought up to date from Redis after something was missed.")
        out.single(
            "skein_history_gaps_total", .counter, snapshot.backplane.gaps,
            "Users whose devices were closed with 1012 because Redis had not all that they missed.")
        out.single(
            "skein_replayed_total", .counter, total(\.replayed), "Events given to those who came back.")
    }

    static func writeLoops(_ snapshot: ServerSnapshot, into out: inout Exposition) {
        out.family("skein_inbox_depth", .gauge, "Messages that wait for a loop.")
        for shard in snapshot.shards {
            out.sample("skein_inbox_depth", [("shard", "\(shard.index)")], shard.inboxDepth)
        }
        out.sample("skein_inbox_depth", [("shard", "router")], snapshot.backplane.inboxDepth)
        out.histogram(
            "skein_loop_turn_seconds", merged(snapshot.shards.map(\.loopTurn)), exponents: 8...33,
            scale: 1e-9, "Work in one turn of a shard's loop.")
        out.histogram(
            "skein_send_batch_size", merged(snapshot.shards.map(\.sendBatch)), exponents: 0...16,
            scale: 1, "Sends that one turn gave to the kernel at once.")
    }

    static func writeBackplane(
        _ backplane: BackplaneSnapshot, hearsRedis: Bool, into out: inout Exposition
    ) {
        out.single(
            "skein_redis_up", .gauge, hearsRedis ? 1 : 0,
            "1 while Redis is heard; 0 while it is not, and where none is configured.")
        out.single(
            "skein_redis_configured", .gauge, backplane.state == .memory ? 0 : 1,
            "1 where the backplane is Redis.")
        out.single(
            "skein_redis_canary_age_seconds", .gauge,
            backplane.canaryAgeSeconds.map { "\($0)" } ?? "NaN",
            "Since the canary was last heard; NaN where there is none.")
        out.histogram(
            "skein_publish_latency_seconds", backplane.publishLatency, exponents: 12...34,
            scale: 1e-9, "From a command's acceptance to its coming back.")
        out.single(
            "skein_backplane_queued_commands", .gauge, backplane.queuedCommands,
            "Commands that wait for Redis.")
        out.single(
            "skein_backplane_queued_bytes", .gauge, backplane.queuedBytes,
            "Bytes of the commands that wait for Redis.")
        out.single(
            "skein_backplane_subscriptions", .gauge, backplane.subscriptions,
            "Channels that this node hears.")
        out.single(
            "skein_backplane_reconnects_total", .counter, backplane.reconnects,
            "How often a link to Redis was lost.")
        let causes = backplane.linkFailures.keys.sorted()
        labelled(
            "skein_backplane_link_failures_total", "cause", causes, backplane.linkFailures,
            "Links to Redis that were lost, or refused what they were for, by cause.", into: &out)
        out.single(
            "skein_backplane_published_total", .counter, backplane.published,
            "Events given to the backplane.")
        writeNodes(backplane, into: &out)
    }

    static func writeNodes(_ backplane: BackplaneSnapshot, into out: inout Exposition) {
        out.single("skein_nodes", .gauge, backplane.nodes, "Nodes that live, this one among them.")
        out.single(
            "skein_node_lease_age_seconds", .gauge,
            backplane.leaseAgeSeconds.map { "\($0)" } ?? "NaN",
            "Since Redis last took this node's lease; NaN where there are none.")
        out.single(
            "skein_node_leases_lost_total", .counter, backplane.leasesLost,
            "How often this node's lease had ended while it was there.")
        out.single(
            "skein_nodes_cleared_total", .counter, backplane.clearedNodes,
            "Dead nodes that this one cleared up after.")
        out.single(
            "skein_nodes_cleared_devices_total", .counter, backplane.clearedDevices,
            "Devices of dead nodes that this one took back.")
        out.single(
            "skein_nodes_cleared_users_total", .counter, backplane.clearedUsers,
            "Users of dead nodes who had no device left.")
    }

    static func writeKeys(_ keys: KeyStatus, into out: inout Exposition) {
        out.family("skein_jwt_keys", .gauge, "Keys that verify tokens.")
        for algorithm in TokenAlgorithm.allCases {
            out.sample(
                "skein_jwt_keys", [("alg", algorithm.rawValue)], keys.keys[algorithm.rawValue] ?? 0)
        }
        guard let jwks = keys.jwks else { return }
        out.single(
            "skein_jwks_up", .gauge, jwks.state == .ok ? 1 : 0,
            "1 while JWT_JWKS_URL answered when it was last asked.")
        out.single(
            "skein_jwks_age_seconds", .gauge, jwks.ageSeconds.map { "\($0)" } ?? "NaN",
            "Since JWT_JWKS_URL last answered; NaN before it ever did.")
        out.family("skein_jwks_fetches_total", .counter, "Fetches of JWT_JWKS_URL.")
        out.sample("skein_jwks_fetches_total", [("result", "ok")], jwks.fetched)
        out.sample("skein_jwks_fetches_total", [("result", "failed")], jwks.failed)
    }

    /// Each bound beside the numbers that it bounds: `skein_limit_send_queue_bytes` and so on.
    static func writeLimits(_ limits: Limits, into out: inout Exposition) {
        for key in ConfigurationTable.keys {
            let name = "skein_limit_" + key.name.dropFirst("WS_".count).lowercased()
            switch key.limit {
            case .number(let path):
                out.single(name, .gauge, limits[keyPath: path], "\(key.name): \(key.help)")
            case .duration(let path):
                out.single(
                    name + "_seconds", .gauge, limits[keyPath: path].inSeconds,
                    "\(key.name): \(key.help)")
            case nil: continue
            }
        }
    }

    static func writeProcess(_ process: ProcessStatistics, into out: inout Exposition) {
        out.single(
            "process_cpu_seconds_total", .counter, process.cpuSeconds, "User and system time.")
        out.single(
            "process_resident_memory_bytes", .gauge, process.residentBytes, "Resident memory.")
        out.single("process_virtual_memory_bytes", .gauge, process.virtualBytes, "Address space.")
        out.single("process_open_fds", .gauge, process.openFiles, "Open file descriptors.")
        out.single("process_max_fds", .gauge, process.openFilesMax, "Most that may be open.")
        out.single("process_threads", .gauge, process.threads, "Threads.")
        out.single(
            "process_start_time_seconds", .gauge, process.startSecondsSince1970,
            "When the process started, since 1970.")
    }
}

private extension NodeMetrics {
    static func merge(
        _ snapshot: ServerSnapshot, _ path: KeyPath<ShardSnapshot, [String: UInt64]>
    ) -> [String: UInt64] {
        snapshot.shards.reduce(into: [:]) { $0.merge($1[keyPath: path], uniquingKeysWith: +) }
    }

    static func merged(_ histograms: [HistogramSnapshot]) -> HistogramSnapshot {
        var all = HistogramSnapshot()
        for histogram in histograms {
            all.count += histogram.count
            all.sum += histogram.sum
            for (index, count) in histogram.buckets.enumerated() {
                if index == all.buckets.count { all.buckets.append(0) }
                all.buckets[index] += count
            }
        }
        return all
    }

    static func labelled(
        _ name: String, _ label: String, _ known: [String], _ counts: [String: UInt64],
        _ help: String, into out: inout Exposition
    ) {
        out.family(name, .counter, help)
        let all = known.reduce(into: counts) { $0[$1, default: 0] += 0 }
        for (key, count) in all.sorted(by: { $0.key < $1.key }) {
            out.sample(name, [(label, key)], count)
        }
    }
}
