// From flags to a plan: addresses are looked up, files read, and what was not said is filled in.

internal import FoundationEssentials
internal import Skein
internal import SkeinBench
internal import SkeinIO
internal import SkeinNode

struct BenchPlanMaker {
    let scenario: Scenario
    let connection: BenchConnectionOptions
    let user: BenchUserOptions
    let traffic: BenchTrafficOptions
    let output: BenchOutputOptions
    let configuration: ConfigurationOptions
    let authorities: String?

    private var isPlain: Bool { user.preset == "plain" }

    func plan() throws(CommandFailure) -> BenchPlan {
        guard user.preset == "plain" || user.preset == "skein" else {
            throw usage("--preset is `\(user.preset)`; write skein or plain.")
        }
        var plan = BenchPlan(scenario: scenario, targets: try targets())
        plan.connections = connection.connections ?? (scenario == .fanout && traffic.redis == nil ? 20 : 100)
        plan.connectRate = connection.connectRate
        plan.connectConcurrency = connection.connectConcurrency
        plan.sources = try sources()
        plan.threads = connection.threads
        plan.cores = try numbers(connection.pin, "--pin")
        guard let io = SkeinIO.IOChoice(rawValue: connection.io) else {
            throw usage("--io is `\(connection.io)`; write auto, uring or epoll.")
        }
        plan.io = io
        plan.spins = connection.spin
        try fillUsers(&plan)
        try fillTraffic(&plan)
        try fillOutput(&plan)
        if let problem = plan.problem { throw usage(problem) }
        return plan
    }

    private func usage(_ sentence: String) -> CommandFailure { CommandFailure(sentence, status: 64) }

    // Addresses.

    private func targets() throws(CommandFailure) -> [BenchTarget] {
        let given = connection.url.isEmpty
            ? ["ws://127.0.0.1:8080" + (scenario == .echo ? "/echo" : "/ws")] : connection.url
        var targets: [BenchTarget] = []
        for url in given { targets.append(try target(url, "--url")) }
        return targets
    }

    private func target(_ text: String, _ option: String) throws(CommandFailure) -> BenchTarget {
        let url = try ServerURL(text, scheme: "ws", option: option, takesTLS: true)
        var path = url.target
        if let given = connection.path, option == "--url" {
            guard given.hasPrefix("/") else { throw usage("--path begins with a slash.") }
            path = given
        }
        return BenchTarget(
            address: try resolve(url.host, url.port, option), authority: url.authority, target: path,
            isSecure: url.isSecure, serverName: url.host)
    }

    private func resolve(
        _ host: String, _ port: Int, _ option: String
    ) throws(CommandFailure) -> SocketAddress {
        do throws(SystemError) {
            let found = try SocketAddress.resolve(host: host, port: UInt16(clamping: port))
            let plain = found.first { PeerAddress($0)?.isV4 == true }
            if let address = plain ?? found.first { return address }
        } catch {
            throw CommandFailure("\(option) names \(host), which has no address (\(error)).", status: 3)
        }
        throw CommandFailure("\(option) names \(host), which has no address.", status: 3)
    }

    private func sources() throws(CommandFailure) -> [SocketAddress] {
        guard (1...254).contains(connection.sources) else { throw usage("--sources is 1 to 254.") }
        var texts = connection.sourceAddress
        if connection.sources > 1 { texts += (1...connection.sources).map { "127.0.0.\($0)" } }
        var sources: [SocketAddress] = []
        for text in texts {
            guard let address = SocketAddress(host: text, port: 0), !address.isLocal else {
                throw usage("--source-address is `\(text)`; write an IP address of this machine.")
            }
            sources.append(address)
        }
        return sources
    }

    private func numbers(_ text: String?, _ option: String) throws(CommandFailure) -> [Int] {
        guard let text else { return [] }
        let numbers = text.split(separator: ",").map { Int($0) }
        guard !numbers.isEmpty, numbers.allSatisfy({ $0 != nil && $0! >= 0 }) else {
            throw usage("\(option) is `\(text)`; write numbers with commas between them.")
        }
        return numbers.compactMap { $0 }
    }

    // Users.

    private func fillUsers(_ plan: inout BenchPlan) throws(CommandFailure) {
        guard let place = TokenPlace(rawValue: user.auth) else {
            throw usage("--auth is `\(user.auth)`; write header, query, subprotocol or template.")
        }
        plan.tokenPlace = place
        plan.tokens = TokenSource(try tokens(), userPrefix: user.userPrefix)
        for header in user.header {
            guard header.contains(":"), !header.contains(where: \.isNewline) else {
                throw usage("--header is `\(header)`; write 'Name: value'.")
            }
            plan.headers.append(Template(header))
        }
        plan.firstMessage = user.firstMessage.map { Template($0) }
        let greets = scenario == .echo || isPlain ? "none" : "connected"
        let word = user.await ?? greets
        plan.awaits = word == "none" || word.isEmpty ? nil : word
    }

    private func tokens() throws(CommandFailure) -> TokenSource.Kind {
        if let token = user.token { return .given(Array(token.utf8)) }
        if let path = user.tokens {
            guard let text = try? String(contentsOf: URL(filePath: path), encoding: .utf8),
                let kind = TokenSource.parse(list: text)
            else { throw usage("--tokens \(path) cannot be read; write `user token` on each line.") }
            return kind
        }
        guard let lifetime = DurationText.read(user.tokenTTL), lifetime >= .seconds(1) else {
            throw usage("--token-ttl is `\(user.tokenTTL)`; write a duration such as 1h.")
        }
        let isNeeded = !isPlain && scenario != .echo
        let report = NodeConfiguration.load(configuration.sources(), keysNeeded: false)
        guard let jwt = report.jwt, let secret = jwt.secret else {
            guard isNeeded else { return .none }
            throw usage(
                "A Skein node wants tokens: set JWT_SECRET as the node has it, or give --token or --tokens; "
                    + "other servers: --preset plain.")
        }
        return isPlain
            ? .none
            : .secret(
                secret, issuer: jwt.issuers.first, audience: jwt.audiences.first,
                lifetimeSeconds: Int(lifetime.inSeconds))
    }

    // Traffic.

    private func fillTraffic(_ plan: inout BenchPlan) throws(CommandFailure) {
        plan.message = MessagePreset.template(traffic.message ?? presetMessage)
        plan.payloadBytes = traffic.payload
        plan.depth = traffic.depth
        plan.rate = traffic.rate ?? defaultRate(plan)
        plan.seconds = traffic.seconds ?? (scenario == .storm || scenario == .drain ? 60 : 5)
        plan.warmupSeconds = traffic.warmup
        plan.restSeconds = traffic.rest
        plan.graceSeconds = traffic.grace
        plan.churn = traffic.churn
        plan.rounds = max(1, traffic.rounds)
        plan.comesBack = traffic.comeBack
        plan.closesByFrame = traffic.closeFrame
        if let address = traffic.redis {
            guard let parts = SocketAddress.split(address) else {
                throw usage("--redis is `\(address)`; write host:port.")
            }
            plan.publisher = .redis(
                try resolve(parts.host, Int(parts.port), "--redis"), channel: traffic.channel)
        } else if let url = traffic.publishUrl {
            plan.publisher = .url(try target(url, "--publish-url"))
        }
        if let path = authorities {
            guard let bytes = try? Data(contentsOf: URL(filePath: path)) else {
                throw usage("--ca \(path) cannot be read.")
            }
            plan.authorityPEM = Array(bytes)
        }
    }

    private var presetMessage: String {
        if isPlain || scenario == .echo { return "plain" }
        switch scenario {
        case .pair: return "receipt"
        case .fanout: return traffic.redis != nil ? "relay" : traffic.publishUrl != nil ? "plain" : "chat"
        case .connect, .hold, .echo, .chat, .storm, .drain: return "chat"
        }
    }

    /// What a node's own limit for a connection, 50 messages a second, lets through.
    private func defaultRate(_ plan: BenchPlan) -> Double {
        switch scenario {
        case .pair, .hold, .chat, .drain: Double(plan.connections) * (scenario == .hold ? 1 : 20)
        case .connect, .echo, .fanout, .storm: 0
        }
    }

    // The result.

    private func fillOutput(_ plan: inout BenchPlan) throws(CommandFailure) {
        plan.label = output.label
        plan.version = ServerConfiguration().version
        try fillProcesses(&plan)
        plan.softirqCores = output.ksoftirqd == nil
            ? ProcessFinder.pinnedCores(of: plan.processes) : try numbers(output.ksoftirqd, "--ksoftirqd")
    }

    private func fillProcesses(_ plan: inout BenchPlan) throws(CommandFailure) {
        if let pid = output.pid {
            plan.processes = try numbers(pid, "--pid").filter { $0 > 0 }.map { Int32(clamping: $0) }
            if let missing = plan.processes.first(where: { !ProcessFinder.exists($0) }) {
                throw usage("--pid names \(missing), and there is no such process on this machine.")
            }
            return
        }
        guard plan.targets.allSatisfy({ PeerAddress($0.address)?.isLoopback == true }) else { return }
        for port in Set(plan.targets.map(\.address.port)) {
            plan.processes += ProcessFinder.listeners(port: port).filter { !plan.processes.contains($0) }
        }
    }
}
