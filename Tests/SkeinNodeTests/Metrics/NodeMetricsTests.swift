// That the metrics are what Prometheus reads, and all that the contract names are there.

import Skein
import SkeinNode
import Testing

@Suite struct NodeMetricsTests {
    private static let names = [
        "skein_connections", "skein_users", "skein_messages_received_total",
        "skein_messages_sent_total", "skein_bytes_received_total", "skein_bytes_sent_total",
        "skein_deliveries_total", "skein_dropped_total", "skein_closes_total",
        "skein_slow_consumers_total", "skein_handshakes_total", "skein_malformed_total",
        "skein_send_queue_high_water", "skein_inbox_depth", "skein_loop_turn_seconds",
        "skein_send_batch_size", "skein_redis_up", "skein_redis_canary_age_seconds",
        "skein_publish_latency_seconds", "skein_history_events_total", "skein_draining",
        "skein_nodes", "skein_node_lease_age_seconds", "skein_nodes_cleared_total",
        "process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds",
        "process_max_fds", "process_start_time_seconds",
    ]

    private func snapshot() -> ServerSnapshot {
        var shard = ShardSnapshot()
        shard.connections = ["relay": 3, "echo": 1]
        shard.closes = [1_000: 2, 4_008: 1]
        shard.dropped = ["slow_consumer": 4, "odd\"reason\\": 1]
        shard.loopTurn = HistogramSnapshot(
            buckets: [0, 1, 0, 2] + Array(repeating: 1, count: 40), count: 43, sum: 99)
        var other = ShardSnapshot()
        other.index = 1
        var snapshot = ServerSnapshot()
        snapshot.shards = [shard, other]
        return snapshot
    }

    /// Name of the family, without what histograms append.
    private func family(_ name: Substring) -> String {
        for suffix in ["_bucket", "_sum", "_count"] where name.hasSuffix(suffix) {
            return String(name.dropLast(suffix.count))
        }
        return String(name)
    }

    @Test func isWellFormedAndComplete() throws {
        let text = NodeMetrics.write(snapshot(), process: .read())
        var types: [String: Substring] = [:]
        var sampled: Set<String> = []
        var seen: Set<Substring> = []
        for line in text.split(separator: "\n") {
            let words = line.split(separator: " ", maxSplits: 3)
            if line.hasPrefix("# TYPE ") {
                #expect(types.updateValue(words[3], forKey: String(words[2])) == nil, "\(line)")
                continue
            }
            if line.hasPrefix("# HELP ") {
                #expect(words.count == 4, "\(line)")
                continue
            }
            let end = try #require(line.lastIndex(of: " "))
            let series = line[..<end]
            #expect(Double(line[line.index(after: end)...]) != nil, "\(line)")
            #expect(seen.insert(series).inserted, "\(line)")
            let name = series.prefix { $0 != "{" }
            let histogram = family(name)
            sampled.insert(types[String(name)] != nil ? String(name) : histogram)
            #expect(types[String(name)] != nil || types[histogram] == "histogram", "\(line)")
        }
        for name in Self.names { #expect(sampled.contains(name), "\(name)") }
        for key in ConfigurationTable.keys where key.limit != nil {
            let name = "skein_limit_" + key.name.dropFirst(3).lowercased()
            #expect(sampled.contains(name) || sampled.contains(name + "_seconds"), "\(name)")
        }
    }

    @Test func labelsAndNumbers() {
        let text = NodeMetrics.write(snapshot(), process: nil, logLinesDropped: 7)
        let lines = Set(text.split(separator: "\n"))
        #expect(lines.contains(#"skein_connections{shard="0",dialect="relay"} 3"#))
        #expect(lines.contains(#"skein_connections{shard="1",dialect="relay"} 0"#))
        #expect(lines.contains(#"skein_closes_total{code="4008"} 1"#))
        #expect(lines.contains(#"skein_dropped_total{reason="odd\"reason\\"} 1"#))
        #expect(lines.contains("skein_log_lines_dropped_total 7"))
        #expect(lines.contains("skein_redis_canary_age_seconds NaN"))
    }

    @Test func bucketsAreCumulative() throws {
        var exposition = Exposition()
        let buckets: [UInt64] = [1, 2, 0, 4, 8]
        exposition.histogram(
            "h", HistogramSnapshot(buckets: buckets, count: 15, sum: 100), exponents: 1...3,
            scale: 1, "help")
        #expect(
            exposition.text == """
                # HELP h help
                # TYPE h histogram
                h_bucket{le="2.0"} 3
                h_bucket{le="4.0"} 3
                h_bucket{le="8.0"} 7
                h_bucket{le="+Inf"} 15
                h_sum 100.0
                h_count 15

                """)
    }

    @Test func processStatisticsAreTrue() throws {
        let process = try #require(ProcessStatistics.read())
        #expect(process.residentBytes > 1_000_000)
        #expect(process.openFiles > 2)
        #expect(process.openFilesMax >= process.openFiles)
        #expect(process.startSecondsSince1970 > 1_600_000_000)
    }
}
