// From single values to a node's configuration: what one value means for another. Every relation
// between limits is checked here, so that no loop has to wonder at run time.

internal import Skein

struct ConfigurationBuilder {
    var values: ConfigurationValues
    let isDevelopment: Bool
    var problems: [ConfigurationProblem] = []
    private(set) var jwt: JWTSettings?

    init(values: ConfigurationValues, isDevelopment: Bool) {
        self.values = values
        self.isDevelopment = isDevelopment
    }

    /// - Parameter keysNeeded: whether to complain where no token could be verified, and to read the
    ///   files of keys and certificates.
    mutating func build(keysNeeded: Bool, secretIsBad: Bool) -> NodeConfiguration? {
        if !secretIsBad { jwt = makeJWT(keysNeeded: keysNeeded) }
        var server = makeServer()
        let certificates = makeCertificates(of: &server)
        guard let control = makeControl(readsFiles: keysNeeded), let jwt else { return nil }
        return NodeConfiguration(
            server: server, certificates: certificates, jwt: jwt, control: control, logs: makeLogs(),
            isDevelopment: isDevelopment)
    }
}

extension ConfigurationBuilder {
    mutating func fail(_ key: String, _ message: String) {
        problems.append(.error(key, message))
    }

    mutating func warn(_ key: String, _ message: String) {
        problems.append(.warning(key, message))
    }

    mutating func add(_ problem: ConfigurationProblem) { problems.append(problem) }
}

private extension ConfigurationBuilder {
    mutating func makeControl(readsFiles: Bool) -> ControlSettings? {
        guard let text = values.text("CONTROL_LISTEN"), let listen = ListenAddress(text) else {
            return nil
        }
        var control = ControlSettings(listen: listen)
        control.apiKeys = values.list("API_KEY")
        control.tls = makeControlTLS(readsFiles: readsFiles)
        control.readyWhenDegraded = values.boolean("READY_WHEN_DEGRADED")
        control.drain.deadline = values.duration("DRAIN_DEADLINE") ?? control.drain.deadline
        control.drain.preStop = values.duration("DRAIN_PRE_STOP") ?? control.drain.preStop
        control.drain.wave = values.duration("DRAIN_WAVE") ?? control.drain.wave
        if control.drain.wave > control.drain.deadline, control.drain.deadline > .zero {
            fail(
                "DRAIN_WAVE",
                "DRAIN_WAVE (\(DurationText.write(control.drain.wave))) is longer than "
                    + "DRAIN_DEADLINE (\(DurationText.write(control.drain.deadline))), so no wave "
                    + "would fit; make it shorter.")
        }
        if !listen.isLoopback, control.tls?.clientAuthorities == nil {
            warn(
                "CONTROL_LISTEN",
                "CONTROL_LISTEN is \(listen.text), which other machines can reach: all but "
                    + "/health, /ready and /metrics needs X-API-Key or a service token from there; "
                    + "keep the port inside your network.")
        }
        return control
    }

    func makeLogs() -> LogSettings {
        var logs = LogSettings()
        logs.level = values.text("LOG_LEVEL") ?? logs.level
        logs.format = values.text("LOG_FORMAT").flatMap(LogFormat.init) ?? logs.format
        logs.queueLinesMax = values.integer("LOG_QUEUE_LINES") ?? logs.queueLinesMax
        return logs
    }

    mutating func makeServer() -> ServerConfiguration {
        var server = ServerConfiguration()
        // For trying things on, a node does not open itself to the network.
        if isDevelopment, !values.isSet("WS_LISTEN") {
            values.set("WS_LISTEN", .text("127.0.0.1:8080"), .development)
        }
        server.listen = values.text("WS_LISTEN") ?? server.listen
        server.shardCount = values.integer("WS_SHARDS") ?? server.shardCount
        server.io = values.text("WS_IO").flatMap(IOChoice.init) ?? server.io
        server.redisPrefix = values.text("WS_REDIS_PREFIX") ?? server.redisPrefix
        if server.redisPrefix.utf8.count > ServerConfiguration.redisPrefixBytesMax {
            fail(
                "WS_REDIS_PREFIX",
                "WS_REDIS_PREFIX has \(server.redisPrefix.utf8.count) bytes; each key carries it, so take "
                    + "\(ServerConfiguration.redisPrefixBytesMax) at most.")
        }
        server.advertisedHost = values.text("WS_ADVERTISE_HOST")
        server.pinning = makePinning(shards: server.shardCount)
        server.limits = makeLimits()
        server.compression = makeCompression()
        server.allowedOrigins = makeOrigins()
        setProxies(of: &server)
        server.backplane = makeBackplane()
        server.sessionRequired = values.text("AUTH_SESSION") == "required"
        if server.sessionRequired, server.backplane == .memory {
            fail(
                "AUTH_SESSION",
                "AUTH_SESSION is required, but sessions are kept in Redis and no Redis is "
                    + "configured; set REDIS_URL, or AUTH_SESSION=off.")
        }
        setEcho(of: &server)
        checkListeners(server)
        return server
    }

    mutating func makeCertificates(of server: inout ServerConfiguration) -> CertificateFiles? {
        var files = CertificateFiles(
            certificatePaths: values.list("WS_TLS_CERTIFICATE"), keyPaths: values.list("WS_TLS_KEY"))
        guard !files.certificatePaths.isEmpty || !files.keyPaths.isEmpty else { return nil }
        files.keyPassword = values.text("WS_TLS_KEY_PASSWORD")
        files.versionMin =
            values.text("WS_TLS_MIN_VERSION").flatMap(TLSConfiguration.Version.init) ?? files.versionMin
        files.ticketLife = values.duration("WS_TLS_TICKET_LIFE") ?? files.ticketLife
        do throws(ServerError) {
            let tls = try files.read()
            for warning in try tls.validate() { warn("WS_TLS_CERTIFICATE", warning) }
            server.tls = tls
        } catch {
            fail("WS_TLS_CERTIFICATE", error.description)
        }
        return files
    }

    func makeCompression() -> CompressionConfiguration {
        var compression = CompressionConfiguration()
        compression.isEnabled = values.boolean("WS_ENABLE_COMPRESSION")
        compression.serverTakeover = values.boolean("WS_COMPRESSION_SERVER_TAKEOVER")
        compression.clientTakeover = values.boolean("WS_COMPRESSION_CLIENT_TAKEOVER")
        compression.level = values.integer("WS_COMPRESSION_LEVEL") ?? compression.level
        compression.windowBits = values.integer("WS_COMPRESSION_WINDOW_BITS") ?? compression.windowBits
        compression.bytesMin = values.integer("WS_COMPRESSION_MIN_SIZE") ?? compression.bytesMin
        compression.contextBytesMax =
            values.integer("WS_COMPRESSION_CONTEXT_BYTES") ?? compression.contextBytesMax
        return compression
    }

    mutating func setEcho(of server: inout ServerConfiguration) {
        if isDevelopment, !values.isSet("WS_ECHO_PATH") {
            values.set("WS_ECHO_PATH", .text("/echo"), .development)
        }
        server.echoPath = values.text("WS_ECHO_PATH")
        server.echoIsOpen = isDevelopment
        guard let path = server.echoPath else { return }
        let taken = ["/ws", "/chat/ws", "/ws/connect", "/events", "/health", "/"]
        let isPlain = path.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F && $0 != UInt8(ascii: "?") }
        if !path.hasPrefix("/") || taken.contains(path) || !isPlain {
            fail(
                "WS_ECHO_PATH",
                "WS_ECHO_PATH is `\(path)`, which is no path of its own; write one such as /echo.")
        }
    }

    mutating func checkListeners(_ server: ServerConfiguration) {
        guard let sockets = ListenAddress(server.listen),
            let control = values.text("CONTROL_LISTEN").flatMap(ListenAddress.init)
        else { return }
        let overlap =
            sockets.host == control.host || sockets.host == "0.0.0.0" || control.host == "0.0.0.0"
        if sockets.port != 0, sockets.port == control.port, overlap {
            fail(
                "CONTROL_LISTEN",
                "CONTROL_LISTEN and WS_LISTEN both ask for port \(sockets.port); "
                    + "give one of them another.")
        }
    }

    mutating func makePinning(shards: Int) -> Pinning {
        switch values.text("WS_PIN")?.lowercased() {
        case nil, "auto": return .auto
        case "none": return .none
        case .some(let text):
            let parts = text.split(separator: ",", omittingEmptySubsequences: false)
            let cores = parts.compactMap { Int($0.trimmed) }
            let areCores =
                cores.count == parts.count && cores.allSatisfy { (0...4_095).contains($0) }
            guard areCores, Set(cores).count == cores.count else {
                fail(
                    "WS_PIN",
                    "WS_PIN is `\(text)` (\(values.origin("WS_PIN"))), which is neither auto, none "
                        + "nor a list of different cores; write one such as 0,1.")
                return .auto
            }
            if shards > 0, cores.count < shards {
                fail(
                    "WS_PIN",
                    "WS_PIN names \(cores.count) cores for \(shards) shards; name one for each, "
                        + "or lower WS_SHARDS.")
            }
            return .cores(cores)
        }
    }

    mutating func makeOrigins() -> [String] {
        var origins: [String] = []
        for key in ["WS_ALLOWED_ORIGINS", "CORS_ALLOWED_ORIGINS", "WEBSOCKET_CORS_ORIGINS"] {
            for origin in values.list(key) where !origins.contains(origin) {
                let rest = origin.firstRange(of: "://").map { origin[$0.upperBound...] }
                if origin != "*", origin != "null",
                    rest.map({ $0.isEmpty || $0.contains("/") }) ?? true
                {
                    fail(
                        key,
                        "\(key) holds `\(origin)`, which is no origin; write https://example.com, "
                            + "without a path, or * for all.")
                }
                origins.append(origin)
            }
        }
        return origins
    }

    mutating func setProxies(of server: inout ServerConfiguration) {
        server.proxyProtocol = makeRanges("WS_PROXY_PROTOCOL")
        server.trustedProxies =
            makeRanges("WS_TRUSTED_PROXIES") + makeRanges("TRUSTED_PROXIES")
        server.forwardedHeader =
            values.text("WS_FORWARDED_HEADER").flatMap(ForwardedHeaderChoice.init)
            ?? server.forwardedHeader
    }

    mutating func makeRanges(_ key: String) -> [String] {
        let texts = values.list(key)
        problems += ProxyRanges.problems(in: texts, of: key, values.origin(key))
        return texts
    }

    mutating func makeLimits() -> Limits {
        var limits = Limits()
        for key in ConfigurationTable.keys {
            switch key.limit {
            case .number(let path):
                limits[keyPath: path] = values.integer(key.name) ?? limits[keyPath: path]
            case .duration(let path):
                limits[keyPath: path] = values.duration(key.name) ?? limits[keyPath: path]
            case nil: continue
            }
        }
        check(limits)
        return limits
    }

    mutating func check(_ limits: Limits) {
        if limits.pingInterval >= limits.pongTimeout {
            fail(
                "WS_PONG_TIMEOUT",
                "WS_PONG_TIMEOUT (\(DurationText.write(limits.pongTimeout))) is not longer than "
                    + "WS_PING_INTERVAL (\(DurationText.write(limits.pingInterval))), so quiet "
                    + "clients would be closed before they are asked; make it at least twice that.")
        }
        if limits.sendQueueBytesMax > 0, limits.messageBytesMax > limits.sendQueueBytesMax {
            fail(
                "WS_SEND_QUEUE_BYTES",
                "WS_SEND_QUEUE_BYTES (\(limits.sendQueueBytesMax)) is less than "
                    + "WS_MAX_MESSAGE_SIZE (\(limits.messageBytesMax)), so one message could close its receiver; "
                    + "raise it to at least that.")
        }
        if limits.messageBytesMax > limits.backplaneQueueBytesMax {
            fail(
                "WS_BACKPLANE_QUEUE_BYTES",
                "WS_BACKPLANE_QUEUE_BYTES is less than WS_MAX_MESSAGE_SIZE; raise it.")
        }
        if limits.messageRate > 0, limits.messageBurst < 1 {
            fail(
                "WS_MESSAGE_BURST",
                "WS_MESSAGE_BURST is 0 beside a WS_MESSAGE_RATE, so no message would ever pass; "
                    + "set it to 1 or more, or the rate to 0 for no limit.")
        }
        if limits.handshakeRate > 0, limits.handshakeBurst < 1 {
            fail(
                "WS_HANDSHAKE_BURST",
                "WS_HANDSHAKE_BURST is 0 beside a WS_HANDSHAKE_RATE, so no client could connect; "
                    + "set it to 1 or more, or the rate to 0 for no limit.")
        }
        if limits.receiveBuffersCount.nonzeroBitCount != 1 {
            fail(
                "WS_RECEIVE_BUFFERS",
                "WS_RECEIVE_BUFFERS is \(limits.receiveBuffersCount), which is no power of two; "
                    + "write 512, 1024 or 2048.")
        }
    }
}
