// From counters to the report: the figures of each scenario, in the order in which they are asked for.

internal import SkeinIO

struct ReportBuilder {
    let plan: BenchPlan
    let io: RingKind
    let connecting: BenchRun.Connecting
    let measurement: BenchRun.Measurement
    let result: WorkerResult
    let rounds: [Double]

    private var perSecond: Double {
        measurement.seconds > 0 ? Double(measurement.delivered) / measurement.seconds : 0
    }

    /// What the measured things are called.
    private var unit: String {
        switch plan.scenario {
        case .connect: "connects"
        case .fanout: "deliveries"
        case .storm: "returns"
        case .echo, .pair, .hold, .chat, .drain: "messages"
        }
    }

    private var latencies: Latencies { plan.scenario == .storm ? result.absence : result.latency }

    func report() -> BenchReport {
        var report = BenchReport()
        report.latencies = latencies
        report.headline = headline
        head(&report)
        report.add("\(unit)PerSecond", number: perSecond)
        usage(&report)
        latency(&report, latencies, "latency")
        memory(&report)
        switch plan.scenario {
        case .connect: connects(&report)
        case .fanout: fanout(&report)
        case .storm:
            report.add("roundMillis", value: .counts(rounds.map { Int($0 * 1_000) }))
            // Not everyone was back within --seconds.
            report.add("roundsOverdue", zero: rounds.count { $0 >= plan.seconds })
            returns(&report)
            traffic(&report)
        case .drain:
            closes(&report)
            if plan.targets.count > 1 || plan.comesBack { returns(&report) }
            drained(&report)
        case .chat:
            returns(&report)
            chat(&report)
            traffic(&report)
        case .echo:
            traffic(&report)
            report.add("damaged", zero: result.damaged)
        case .pair, .hold: traffic(&report)
        }
        common(&report)
        advise(&report)
        return report
    }

    private var headline: String {
        let p99 = Self.duration(latencies.microseconds(at: 99))
        var text = "\(Self.grouped(perSecond)) \(unit)/s, p99 \(p99)"
        if plan.scenario == .storm { text = "everyone back after \(roundsText), p99 \(p99)" }
        if plan.scenario == .drain {
            text = "\(result.closes.count) of \(connectionsToTell.values.reduce(0, +)) told, "
                + "\(result.acceptedLost) accepted messages lost"
        }
        let rate = plan.scenario == .connect ? plan.connectRate : plan.rate
        return text + (rate > 0 ? " at \(Self.grouped(rate))/s" : "")
    }

    /// By address, how many were to be told: those of the nodes that told any; where none did, all.
    private var connectionsToTell: [Int: Int] {
        let told = result.closes.targets
        var counts: [Int: Int] = [:]
        for number in 0..<plan.connections {
            let target = number % max(1, plan.targets.count)
            if told.isEmpty || told[target] != nil { counts[target, default: 0] += 1 }
        }
        return counts
    }

    private var roundsText: String {
        rounds.map { Self.duration($0 * 1e6) }.joined(separator: ", ")
    }

    private func head(_ report: inout BenchReport) {
        report.add("mode", text: plan.scenario.rawValue)
        report.add("label", text: plan.label)
        report.add("version", text: plan.version)
        report.add("kernel", text: MachineFacts.kernel)
        report.add("processor", text: "\(MachineFacts.processor), \(MachineFacts.cores) cores")
        report.add("loop", text: io == .uring ? "io_uring" : "epoll")
        report.add("threads", count: plan.threads)
        if plan.scenario == .connect {
            if plan.connectRate > 0 { report.add("connectRatePerSecond", number: plan.connectRate) }
            return
        }
        report.add("connections", count: plan.connections)
        report.add("connectSeconds", number: connecting.seconds)
        if plan.rate > 0 {
            report.add("ratePerSecond", number: plan.rate)
        } else if plan.scenario != .storm {
            report.add("depth", count: plan.depth)
        }
        report.add("payloadBytes", count: plan.payloadBytes)
    }

    private func usage(_ report: inout BenchReport) {
        let usage = measurement.usage
        let seconds = measurement.seconds
        guard seconds > 0 else { return }
        report.add("measuredSeconds", number: seconds)
        report.add("clientCPUShare", number: usage.clientSeconds / seconds)
        report.add("clientThreadShareMax", number: measurement.threadShareMax)
        // A client that spins always uses its core.
        if !plan.spins { report.add("clientSaturated", count: isSaturated ? 1 : 0) }
        guard !plan.processes.isEmpty else { return }
        let server = usage.serverSeconds + usage.softirqSeconds
        report.add("serverCPUShare", number: server / seconds)
        report.add("serverUserSeconds", number: usage.serverUserSeconds)
        report.add("serverSystemSeconds", number: usage.serverSystemSeconds)
        if !plan.softirqCores.isEmpty { report.add("ksoftirqdSeconds", number: usage.softirqSeconds) }
        if measurement.delivered > 0 {
            report.add("serverCPUMicrosPerDelivery", number: server / Double(measurement.delivered) * 1e6)
        }
        // What neither we nor the server used: when it is not near zero, the run says little.
        let others = max(0, usage.busySeconds - usage.clientSeconds - server)
        report.add("otherCPUShare", number: others / seconds)
        report.add("stolenCPUShare", number: usage.stolenSeconds / seconds)
    }

    private func latency(_ report: inout BenchReport, _ latencies: Latencies, _ name: String) {
        guard latencies.count > 0 else { return }
        report.add("\(name)Samples", count: latencies.count)
        report.add("\(name)MeanMicros", number: latencies.meanMicroseconds)
        for (label, percentile) in [("P50", 50.0), ("P90", 90), ("P99", 99), ("P999", 99.9), ("P9999", 99.99)] {
            report.add("\(name)\(label)Micros", number: latencies.microseconds(at: percentile))
        }
        report.add("\(name)MaxMicros", number: latencies.maxMicroseconds)
    }

    private func memory(_ report: inout BenchReport) {
        guard !plan.processes.isEmpty, plan.scenario != .connect else { return }
        report.add("serverRSSBytes", count: connecting.idle.residentBytes)
        report.add("serverPSSBytes", count: connecting.idle.proportionalBytes)
        // Without a first part to compare with, it would say more about the server than about connections.
        guard BenchRun.baselineConnections(plan) > 0 else { return }
        let count = Double(connecting.difference)
        func slope(_ path: KeyPath<MemoryUsage, Int>) -> Double {
            Double(connecting.idle[keyPath: path] - connecting.baseline[keyPath: path]) / count
        }
        report.add("bytesPerIdleConnectionPSS", number: slope(\.proportionalBytes))
        report.add("bytesPerIdleConnectionAnonymous", number: slope(\.anonymousBytes))
        report.add("bytesPerIdleConnectionRSS", number: slope(\.residentBytes))
    }

    private func connects(_ report: inout BenchReport) {
        report.add("opened", count: result.opened)
        report.add("unanswered", zero: result.unanswered)
        report.add("refused", zero: result.refused)
        if result.refused > 0 { report.add("firstRefusal", text: Refusal.sentence(result.firstRefusal)) }
    }

    private func fanout(_ report: inout BenchReport) {
        let expected = result.sent * UInt64(plan.connections)
        report.add("published", count: result.sent)
        report.add("delivered", count: result.deliveries.delivered)
        report.add("lost", zero: expected - min(expected, result.deliveries.delivered))
        verdicts(&report)
        report.add("notSentInTime", zero: result.notSentInTime)
        if case .redis = plan.publisher {
            report.add("redisErrors", zero: result.redisErrors)
            if result.sent > 0, result.deliveries.delivered == 0 {
                report.add("why", text: "nothing came back at all: is the node on this Redis (REDIS_URL)?")
            }
        }
        report.add("closedEarly", zero: result.closedEarly)
    }

    private func traffic(_ report: inout BenchReport) {
        report.add("sent", count: result.sent)
        report.add("delivered", count: result.deliveries.delivered)
        report.add("confirmed", count: result.confirmations.delivered)
        report.add("lost", zero: result.lost)
        // Where one message was confirmed, all must be.
        let confirmed = result.confirmations.delivered
        if plan.scenario != .echo {
            let expected = confirmed == 0 ? 0 : result.sentConfirmable
            report.add("unconfirmed", zero: expected - min(confirmed, expected))
        }
        verdicts(&report)
        report.add("notSentInTime", zero: result.notSentInTime)
        report.add("closedEarly", zero: result.closedEarly)
        if result.closes.count > 0 { closes(&report) }
    }

    private func verdicts(_ report: inout BenchReport) {
        report.add("duplicated", zero: result.deliveries.duplicated + result.confirmations.duplicated)
        report.add("outOfOrder", zero: result.deliveries.outOfOrder + result.confirmations.outOfOrder)
        report.add("misrouted", zero: result.deliveries.misrouted + result.confirmations.misrouted)
    }

    private func chat(_ report: inout BenchReport) {
        report.add("notSentForAbsent", count: result.notSentForAbsent)
        report.add("typingSent", count: result.typingSent)
        report.add("typingLost", zero: result.typingSent - min(result.typingSent, result.typingReceived))
        if plan.hasPresence {
            report.add("presenceSent", count: result.presenceSent)
            report.add(
                "presenceLost", zero: result.presenceSent - min(result.presenceSent, result.presenceReceived))
            report.add("redisErrors", zero: result.redisErrors)
        }
        report.add("pings", count: result.pingsSent)
        report.add("pongsLost", zero: result.pingsSent - min(result.pingsSent, result.pongsReceived))
    }

    private func returns(_ report: inout BenchReport) {
        report.add("returned", count: result.returned)
        if plan.scenario == .storm {
            report.add("refusedThenReturned", count: result.refused)
        } else {
            report.add("refusedOnReturn", count: result.refused)
            if result.absence.count > 0 {
                report.add("absenceP50Millis", number: result.absence.microseconds(at: 50) / 1e3)
                report.add("absenceMaxMillis", number: result.absence.maxMicroseconds / 1e3)
            }
        }
        if result.refused > 0 { report.add("firstRefusal", text: Refusal.sentence(result.firstRefusal)) }
        report.add("stillAway", zero: result.stillAway)
        report.add("gaveUp", zero: result.gaveUp)
        report.add("resumed", count: result.recovered)
        report.add("notRecovered", count: result.notRecovered)
        report.add("replayed", count: result.replayed)
    }

    private func closes(_ report: inout BenchReport) {
        let closes = result.closes
        report.add("closes", count: closes.count)
        guard closes.count > 0 else { return }
        let codes = closes.codes.map { ("\($0.key)", $0.value) }
        report.add("closeCodes", value: .table(Dictionary(uniqueKeysWithValues: codes)))
        report.add("firstCloseReason", text: closes.firstReason)
        report.add("closesWithHint", count: closes.hints)
        if closes.hints > 0 {
            report.add("hintMinMs", count: closes.hintMin)
            report.add("hintMaxMs", count: closes.hintMax)
        }
        report.add("closesSpreadSeconds", number: closes.spreadSeconds)
        report.add("closesPer250Ms", value: .counts(closes.per250Milliseconds))
    }

    private func drained(_ report: inout BenchReport) {
        let missing = connectionsToTell.map { max(0, $0.value - (result.closes.targets[$0.key] ?? 0)) }
        report.add("notTold", zero: missing.reduce(0, +))
        report.add("withoutWord", zero: result.closes.codes[1006] ?? 0)
        report.add("sent", count: result.sent)
        report.add("accepted", count: result.confirmations.delivered)
        report.add("delivered", count: result.deliveries.delivered)
        report.add("acceptedLost", zero: result.acceptedLost)
        report.add("acceptedForAbsent", count: result.acceptedForAbsent)
        report.add("notAccepted", count: result.notAccepted)
        report.add("notSentForAbsent", count: result.notSentForAbsent)
        verdicts(&report)
    }

    private func common(_ report: inout BenchReport) {
        report.add("errorFrames", zero: result.errorFrames)
        report.add("firstError", text: result.firstError)
        report.add("otherFrames", count: result.otherFrames)
        report.add("protocolErrors", zero: result.protocolErrors)
        report.add("firstProtocolError", text: result.firstProtocolError)
        report.add("receivedBytes", count: result.receivedBytes)
        report.add("sentBytes", count: result.sentBytes)
    }

    private var isSaturated: Bool { measurement.threadShareMax > 0.9 && !plan.spins }

    private func advise(_ report: inout BenchReport) {
        if isSaturated {
            report.advice.append(
                "This client was saturated (\(Int(measurement.threadShareMax * 100)) % of a core in one thread): it "
                    + "measured itself. More --threads, or fewer messages.")
        }
        if result.firstError?.contains("RATE_LIMITED") == true {
            report.advice.append(
                "The node limits messages of a connection; start it with WS_MESSAGE_RATE=0, or lower --rate.")
        }
    }

    static func duration(_ microseconds: Double) -> String {
        if microseconds >= 1e6 { return "\(BenchReport.digits(microseconds / 1e6)) s" }
        if microseconds >= 1e3 { return "\(BenchReport.digits(microseconds / 1e3)) ms" }
        return "\(Int(microseconds.rounded())) µs"
    }

    static func grouped(_ number: Double) -> String {
        let digits = "\(Int(number.rounded()))"
        var grouped = ""
        for (index, digit) in digits.enumerated() {
            if index > 0, (digits.count - index) % 3 == 0 { grouped.append(",") }
            grouped.append(digit)
        }
        return grouped
    }
}
