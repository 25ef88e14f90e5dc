// Every key that a node understands, in the order in which people look for them. Limits take their
// defaults from `Limits`; all other defaults are written here and nowhere else.

internal import Skein

package enum ConfigurationTable {
    package static let keys: [ConfigurationKey] =
        listeners + browsers + proxies + limits + history + timers + tls + compression + redis
        + authentication + nodes + drain + machinery + logs
        + later

    package static let names: [String] = keys.map(\.name)

    private static let byName = Dictionary(uniqueKeysWithValues: keys.map { ($0.name, $0) })

    package static func key(_ name: String) -> ConfigurationKey? { byName[name] }

    /// Environment variables that begin so are ours: one that is not in the table is a slip. So is any that is a
    /// letter away from one in it; other names belong to others, as the `REDIS_` ones that Kubernetes sets.
    package static let ownPrefixes = ["WS_", "SKEIN_", "DRAIN_", "JWT_", "CONTROL_TLS_"]

    private static let second = 1_000
    private static let hour = 3_600_000
    private static let many = 1_000_000_000

    private static let listeners: [ConfigurationKey] = [
        ConfigurationKey(
            "WS_LISTEN", .address, default: "0.0.0.0:8080", flag: "listen",
            "Where clients connect; port 0 takes a free one."),
        ConfigurationKey(
            "CONTROL_LISTEN", .address, default: "127.0.0.1:9090", flag: "control-listen",
            "Health, metrics and administration. Callers from other machines need API_KEY or a JWT "
                + "with the role service or admin for all but /health, /ready and /metrics."),
        ConfigurationKey(
            "CONTROL_TLS_CERTIFICATE", .text, default: nil,
            "A PEM file with the control listener's certificate and its chain; read again on SIGHUP."),
        ConfigurationKey(
            "CONTROL_TLS_KEY", .text, default: nil, "A PEM file with the private key of it."),
        ConfigurationKey(
            "CONTROL_TLS_CLIENT_CA", .text, default: nil,
            "A PEM file of authorities. Callers of the control listener need a certificate by one of "
                + "them, and with it they may do everything there."),
        ConfigurationKey(
            "API_LISTEN", .address, default: nil, flag: "api-listen",
            idle: "the REST listener is not in this release, and nothing listens there",
            "The REST listener."),
        ConfigurationKey(
            "WS_ECHO_PATH", .text, default: nil,
            "Where every message is answered with itself; /echo with --dev, else nowhere."),
    ]

    private static let browsers: [ConfigurationKey] = [
        ConfigurationKey(
            "WS_ALLOWED_ORIGINS", .list, default: nil,
            "Origins that browsers may come from besides the server's own host; `*` for all."),
        ConfigurationKey(
            "CORS_ALLOWED_ORIGINS", .list, default: nil, "Added to WS_ALLOWED_ORIGINS."),
        ConfigurationKey(
            "WEBSOCKET_CORS_ORIGINS", .list, default: nil, "Added to WS_ALLOWED_ORIGINS."),
    ]

    private static let proxies: [ConfigurationKey] = [
        ConfigurationKey(
            "WS_PROXY_PROTOCOL", .list, default: nil,
            "CIDRs of load balancers that begin each connection with a PROXY header (version 1 or "
                + "2): required from them, refused from all others."),
        ConfigurationKey(
            "WS_TRUSTED_PROXIES", .list, default: nil,
            "CIDRs of proxies whose WS_FORWARDED_HEADER is believed; the limits of an address are "
                + "then the client's."),
        ConfigurationKey("TRUSTED_PROXIES", .list, default: nil, "Added to WS_TRUSTED_PROXIES."),
        ConfigurationKey(
            "WS_FORWARDED_HEADER", .choice(["x-forwarded-for", "forwarded"]),
            default: "x-forwarded-for",
            "Which header trusted proxies write; the other one is never believed."),
    ]

    private static let limits: [ConfigurationKey] = [
        .limit(
            "WS_MAX_MESSAGE_SIZE", \.messageBytesMax, .bytes, 1...268_435_456, unit: "bytes",
            "One message, fragments together. Past it: close 1009."),
        .limit(
            "WS_MAX_HEADER_SIZE", \.headBytesMax, .bytes, 1_024...65_536, unit: "bytes",
            "The head of a handshake. Past it: 431."),
        .limit(
            "WS_SEND_QUEUE_MESSAGES", \.sendQueueMessagesMax, 0...1_048_576, unit: "messages",
            "What may wait for one connection; 0: no limit. Past it: close 4008."),
        .limit(
            "WS_SEND_QUEUE_BYTES", \.sendQueueBytesMax, .bytes, 0...1_073_741_824,
            unit: "bytes",
            "What may wait for one connection; 0: no limit but WS_MEMORY_LIMIT. Past it: close 4008."),
        .limit(
            "WS_MESSAGE_RATE", \.messageRate, 0...many, unit: "messages a second",
            "What one connection may send; 0: no limit. Past it: RATE_LIMITED."),
        .limit(
            "WS_MESSAGE_BURST", \.messageBurst, 0...many, unit: "messages",
            "How many may come at once before the rate holds."),
        .limit(
            "WS_MESSAGE_REFUSALS", \.messageRefusalsMax, 1...many, unit: "messages",
            "Refused messages in one stretch that close a connection with 4429."),
        .limit(
            "WS_MESSAGE_ABUSE_PERIOD", \.messageAbusePeriod, second...hour,
            "How long a connection may stay over its rate before it is closed with 4429."),
        .limit(
            "WS_MAX_CONNECTIONS_PER_USER", \.connectionsPerUserMax, 0...many, unit: "connections",
            "0: no limit. Past it: 429."),
        .limit(
            "WS_MAX_CONNECTIONS_PER_IP", \.connectionsPerAddressMax, 0...many, unit: "connections",
            "0: no limit. Past it: 429."),
        .limit(
            "WS_MAX_CONNECTIONS", \.connectionsMax, 0...many, unit: "connections",
            "Of this node; 0: as memory and file descriptors allow. Past it: 503."),
        .limit(
            "WS_MEMORY_LIMIT", \.memoryBytesMax, .bytes, 0...1_099_511_627_776, unit: "bytes",
            "What all connections may hold: records, send queues, partial messages. At 80 % "
                + "newcomers get 503, at all of it those that hold the most are reset. 0: half of "
                + "what the process may use."),
        .limit(
            "WS_MAX_REVOCATIONS", \.revocationsMax, 1...10_000_000, unit: "users and tokens",
            "What may be revoked at once. Past it POST /revoke is refused."),
        .limit(
            "WS_HANDSHAKE_RATE", \.handshakeRate, 0...many, unit: "handshakes a second",
            "From one address; 0: no limit. Past it: 429."),
        .limit(
            "WS_HANDSHAKE_BURST", \.handshakeBurst, 0...many, unit: "handshakes",
            "How many may come at once from one address before the rate holds."),
    ]

    private static let history: [ConfigurationKey] = [
        .limit(
            "WS_HISTORY_SIZE", \.historyEventsMax, 0...100_000, unit: "events",
            "Kept of each user for clients that come back; 0: no history, no offsets, no resume."),
        .limit(
            "WS_HISTORY_TTL", \.historyAge, second...24 * hour,
            "How long events are kept for clients that come back."),
        .limit(
            "WS_HISTORY_USER_BYTES", \.historyUserBytesMax, .bytes, 1_024...1_073_741_824,
            unit: "bytes",
            "What one user's events may take in a node's memory, and what one resume may bring from "
                + "Redis."),
        .limit(
            "WS_HISTORY_BYTES", \.historyBytesMax, .bytes, 0...1_099_511_627_776, unit: "bytes",
            "What all users' events may take in the memory of a node without Redis; past it those go "
                + "whose users were sent nothing for the longest time. 0: an eighth of what the "
                + "process may use."),
        .limit(
            "WS_HISTORY_USERS", \.historyUsersMax, 128...100_000_000, unit: "users",
            "Whose history a node without Redis knows, present or not; some 150 bytes each."),
        .limit(
            "WS_HISTORY_POSITION_TTL", \.historyPositionAge, hour...24 * hour * 90,
            "How long Redis remembers where a user stands who is sent nothing."),
        .limit(
            "WS_HISTORY_READS", \.historyReadsMax, 1...4_096, unit: "reads",
            "Histories that a node asks of Redis at once; the rest wait."),
    ]

    private static let timers: [ConfigurationKey] = [
        .limit(
            "WS_HANDSHAKE_TIMEOUT", \.handshakeTimeout, 100...hour,
            "From accept to the end of authentication."),
        .limit(
            "WS_PING_INTERVAL", \.pingInterval, 100...24 * hour, "How often a client is pinged."),
        .limit(
            "WS_PONG_TIMEOUT", \.pongTimeout, 200...24 * hour,
            "From the last byte heard; past it the client is gone."),
        .limit(
            "WS_WRITE_TIMEOUT", \.writeTimeout, 100...hour,
            "How long a send may make no progress before the connection is reset."),
    ]

    private static let redis: [ConfigurationKey] = [
        ConfigurationKey(
            "WS_ADAPTER", .choice(["memory", "redis"]), default: nil,
            "How nodes reach each other; unset: redis where any Redis address is given."),
        ConfigurationKey(
            "WS_REDIS_URL", .url, default: nil, flag: "redis-url",
            "redis://, rediss:// (TLS) or unix://; goes before REDIS_URL."),
        ConfigurationKey(
            "REDIS_URL", .url, default: nil,
            "redis://, rediss:// (TLS) or unix://; goes before REDIS_HOST."),
        ConfigurationKey("REDIS_HOST", .text, default: nil, "Redis, where no URL is given."),
        ConfigurationKey(
            "REDIS_PORT", .integer, default: "6379", range: 1...65_535, "Goes with REDIS_HOST."),
        ConfigurationKey(
            "REDIS_USERNAME", .text, default: nil,
            "The ACL's user; goes with REDIS_HOST and REDIS_SENTINELS."),
        ConfigurationKey(
            "REDIS_PASSWORD", .password, default: nil, "Goes with REDIS_HOST and REDIS_SENTINELS."),
        ConfigurationKey(
            "REDIS_SENTINELS", .list, default: nil,
            "host:port of each Sentinel, in the order in which they are asked where the primary is; "
                + "instead of a URL or host."),
        ConfigurationKey(
            "REDIS_SENTINEL_MASTER", .text, default: "mymaster",
            "The name under which the Sentinels watch the primary."),
        ConfigurationKey(
            "REDIS_SENTINEL_USERNAME", .text, default: nil, "Of the Sentinels' own ACL."),
        ConfigurationKey(
            "REDIS_SENTINEL_PASSWORD", .password, default: nil, "Of the Sentinels themselves."),
        ConfigurationKey(
            "REDIS_TLS", .boolean, default: "false",
            "TLS, as rediss:// does; for REDIS_HOST and REDIS_SENTINELS."),
        ConfigurationKey(
            "REDIS_TLS_CA", .text, default: nil,
            "A PEM file with the authorities that Redis's certificate may come from; unset: the "
                + "system's."),
        ConfigurationKey(
            "REDIS_TLS_CERTIFICATE", .text, default: nil,
            "A PEM file with this node's certificate, where Redis asks for one."),
        ConfigurationKey(
            "REDIS_TLS_KEY", .text, default: nil, "A PEM file with the key of that certificate."),
        ConfigurationKey(
            "REDIS_TLS_SERVER_NAME", .text, default: nil,
            "The name that Redis's certificate has to hold; unset: the host connected to."),
        ConfigurationKey(
            "WS_REDIS_PREFIX", .text, default: "ws:",
            "Skein's own keys and channels in Redis start with it: 64 bytes at most."),
        ConfigurationKey(
            "READY_WHEN_DEGRADED", .boolean, default: "false",
            "Whether /ready stays 200 while Redis is gone."),
        .limit(
            "WS_BACKPLANE_QUEUE_COMMANDS", \.backplaneQueueCommandsMax, 1...16_777_216,
            unit: "commands", "What may wait for Redis. Past it: INTERNAL_ERROR."),
        .limit(
            "WS_BACKPLANE_QUEUE_BYTES", \.backplaneQueueBytesMax, .bytes,
            1_048_576...17_179_869_184, unit: "bytes",
            "What may wait for Redis. Past it: INTERNAL_ERROR."),
        .limit(
            "WS_BACKPLANE_STALL", \.backplaneStall, 10...60 * second,
            "How long an event may take through Redis and back before this node's own devices are "
                + "served without it."),
        .limit(
            "WS_CANARY_TIMEOUT", \.canaryTimeout, 2 * second...60 * second,
            "How long the canary may be silent before Redis counts as gone and is reconnected."),
        ConfigurationKey(
            "REDIS_POOL_SIZE", .integer, default: nil, range: 0...10_000, unit: "connections",
            idle: "a node needs no pool: it pipelines over one connection for each use",
            "Accepted for older deployments."),
        ConfigurationKey(
            "WS_REDIS_POOL_SIZE", .integer, default: nil, range: 0...10_000, unit: "connections",
            idle: "a node needs no pool: it pipelines over one connection for each use",
            "Accepted for older deployments."),
    ]

    private static let authentication: [ConfigurationKey] = [
        ConfigurationKey(
            "JWT_SECRET", .secret, default: nil,
            "Verifies clients' HS256 tokens; at least 32 bytes."),
        ConfigurationKey(
            "JWT_PUBLIC_KEY_FILE", .text, default: nil,
            "A PEM file with one or more public keys or certificates that verify RS256, ES256 or EdDSA "
                + "tokens; read again on SIGHUP."),
        ConfigurationKey(
            "JWT_JWKS_FILE", .text, default: nil,
            "A JWKS file with the public keys of tokens; read again on SIGHUP."),
        ConfigurationKey(
            "JWT_JWKS_URL", .url, default: nil,
            "An https URL of a JWKS, or http on this machine; fetched again every JWT_JWKS_REFRESH and, "
                + "at most every 30 s, for a token that names a key that is not in it."),
        ConfigurationKey(
            "JWT_JWKS_REFRESH", .duration, default: "5m", range: second...24 * hour,
            "How often JWT_JWKS_URL is fetched."),
        ConfigurationKey(
            "JWT_JWKS_CA", .text, default: nil,
            "A PEM file of the authorities that JWT_JWKS_URL's certificate is checked with; unset: those "
                + "of the system."),
        ConfigurationKey(
            "JWT_ISSUER", .list, default: nil, "The `iss` that tokens need to have, one of several."),
        ConfigurationKey(
            "JWT_AUDIENCE", .list, default: nil, "The `aud` that tokens need to have, one of several."),
        ConfigurationKey(
            "JWT_LEEWAY", .duration, default: "30s", range: 0...10 * 60 * second,
            "How far the clocks of issuer and node may differ for `exp` and `nbf`."),
        ConfigurationKey(
            "JWT_CACHE_SIZE", .integer, default: "65536", range: 0...16_777_216, unit: "tokens",
            "Verified tokens that are remembered until they expire."),
        ConfigurationKey(
            "API_KEY", .secrets, default: nil,
            "X-API-Key of service calls; several are comma-separated, each at least 32 bytes."),
        ConfigurationKey(
            "AUTH_SESSION", .choice(["off", "required"]), default: "off",
            "Whether a handshake also needs the key session:{userID} in Redis."),
    ]

    private static let nodes: [ConfigurationKey] = [
        ConfigurationKey(
            "WS_ADVERTISE_HOST", .text, default: nil,
            "The host by which others reach this node, for /nodes; unset: the one that it listens on, "
                + "and where that is every address, the machine's name."),
        .limit(
            "WS_NODE_LEASE", \.nodeLease, second / 2...10 * 60 * second,
            "How long a node that says nothing counts as alive; it says so three times meanwhile."),
        .limit(
            "WS_NODE_GRACE", \.nodeGrace, 0...hour,
            "How much longer until another node takes back what a dead one wrote of its devices."),
        .limit(
            "WS_MAX_NODES", \.nodesMax, 1...65_536, unit: "nodes", "Other nodes that a node knows."),
        .limit(
            "WS_ACCEPT_RATE", \.acceptPerSecond, 0...many, unit: "connections a second",
            "What this node says it can take, by which others pace their drains; 0: 2,000 a shard."),
    ]

    private static let drain: [ConfigurationKey] = [
        ConfigurationKey(
            "DRAIN_DEADLINE", .duration, default: "30s", range: 0...24 * hour,
            "What is still connected then is closed with 1001."),
        ConfigurationKey(
            "DRAIN_PRE_STOP", .duration, default: "0s", range: 0...hour,
            "Between failing readiness and closing the listeners."),
        ConfigurationKey(
            "DRAIN_WAVE", .duration, default: "250ms", range: 1...hour,
            "One slice of the connections is told every so often."),
        .limit(
            "WS_DRAIN_FENCE", \.drainFence, 10...60 * second,
            "How long a wave waits to be sure that all accepted before it has arrived."),
    ]

    private static let machinery: [ConfigurationKey] = [
        ConfigurationKey(
            "WS_SHARDS", .integer, default: "0", range: 0...128, unit: "shards", flag: "shards",
            "Event loops; 0: one for each core that this process may use."),
        ConfigurationKey(
            "WS_PIN", .text, default: "auto", flag: "pin",
            "Which cores shards are pinned to: auto, none, or a list such as 0,1."),
        ConfigurationKey(
            "WS_IO", .choice(["auto", "uring", "epoll"]), default: "auto", flag: "io",
            "The door to the kernel."),
        .limit(
            "WS_READ_BUFFER_SIZE", \.receiveBufferBytes, .bytes, 1_024...1_048_576, unit: "bytes",
            "Each receive buffer of a shard; not one per connection."),
        .limit(
            "WS_READ_TURN_SIZE", \.receiveTurnBytesMax, .bytes, 1_024...1_073_741_824, unit: "bytes",
            "What one turn of a loop reads of one connection; the rest waits for the next turn."),
        .limit(
            "WS_FAN_OUT_TURN_SIZE", \.fanOutTurnBytesMax, .bytes, 1_024...1_073_741_824, unit: "bytes",
            "What one turn makes of an event for everyone where nobody can share it, as under TLS."),
        .limit(
            "WS_RECEIVE_BUFFERS", \.receiveBuffersCount, 16...32_768, unit: "buffers",
            "Receive buffers of one shard, a power of two."),
        .limit(
            "WS_PARCELS", \.parcelsMax, 4...65_536, unit: "parcels of 64 KiB",
            "What one thread may have under way to all others; half of it to any one of several."),
        .limit(
            "WS_POSTS", \.postsMax, 16...16_777_216, unit: "requests",
            "What may wait for one loop from outside the loops."),
    ]

    private static let tls: [ConfigurationKey] = [
        ConfigurationKey(
            "WS_TLS_CERTIFICATE", .list, default: nil,
            "PEM files with the server's certificate and those that issued it; then the sockets "
                + "listener speaks TLS and nothing else. Several are chosen by the name that clients "
                + "ask for, the first for all others. Read again on SIGHUP."),
        ConfigurationKey(
            "WS_TLS_KEY", .list, default: nil,
            "PEM files with the keys, one for each certificate, in the same order."),
        ConfigurationKey(
            "WS_TLS_KEY_PASSWORD", .password, default: nil, "Where the keys are encrypted."),
        ConfigurationKey(
            "WS_TLS_MIN_VERSION", .choice(TLSConfiguration.Version.allCases.map(\.rawValue)),
            default: TLSConfiguration.Version.tls12.rawValue, "The oldest TLS that is spoken."),
        ConfigurationKey(
            "WS_TLS_TICKET_LIFE", .duration, default: "12h", range: 60 * second...7 * 24 * hour,
            "How long a key seals session tickets before the next one does; a ticket is good for "
                + "twice that."),
        .limit(
            "WS_TLS_HANDSHAKES_PER_TURN", \.tlsHandshakesPerTurn, 1...1_024, unit: "handshakes",
            "TLS handshakes that one shard does before it sees to those who are in."),
    ]

    private static let compression: [ConfigurationKey] = [
        ConfigurationKey(
            "WS_ENABLE_COMPRESSION", .boolean, default: "true",
            "Whether permessage-deflate is negotiated with clients that offer it."),
        ConfigurationKey(
            "WS_COMPRESSION_MIN_SIZE", .bytes, default: String(CompressionConfiguration().bytesMin),
            range: 0...1_073_741_824, unit: "bytes", "Messages below it go uncompressed."),
        ConfigurationKey(
            "WS_COMPRESSION_LEVEL", .integer, default: String(CompressionConfiguration().level),
            range: 1...9, "1, the quickest, to 9, the shortest."),
        ConfigurationKey(
            "WS_COMPRESSION_WINDOW_BITS", .integer,
            default: String(CompressionConfiguration().windowBits), range: 9...15,
            "The server's window: 9 is 512 bytes, 15 is 32 KiB."),
        ConfigurationKey(
            "WS_COMPRESSION_SERVER_TAKEOVER", .boolean, default: "false",
            "Whether the server keeps its context from message to message: shorter frames for some "
                + "170 KB a connection, and no frame shared."),
        ConfigurationKey(
            "WS_COMPRESSION_CLIENT_TAKEOVER", .boolean, default: "false",
            "Whether clients may keep theirs, for some 40 KiB a connection."),
        ConfigurationKey(
            "WS_COMPRESSION_CONTEXT_BYTES", .bytes,
            default: String(CompressionConfiguration().contextBytesMax),
            range: 0...1_099_511_627_776, unit: "bytes",
            "What all kept contexts of the node may hold. Past it new connections get none."),
    ]

    private static let logs: [ConfigurationKey] = [
        ConfigurationKey(
            "LOG_LEVEL",
            .choice(["trace", "debug", "info", "notice", "warning", "error", "critical"]),
            default: "info", "The least that is logged, to stderr."),
        ConfigurationKey(
            "LOG_FORMAT", .choice(["text", "json"]), default: "text", "How a log line is written."),
        ConfigurationKey(
            "LOG_QUEUE_LINES", .integer, default: "8192", range: 64...1_048_576, unit: "lines",
            "Lines that may wait to be written. Past it they are dropped and counted."),
    ]

    /// Accepted and checked, so that a deployment's settings need no editing between releases.
    private static let later: [ConfigurationKey] = [
        ConfigurationKey(
            "WS_WRITE_BUFFER_SIZE", .bytes, default: nil, range: 0...1_073_741_824, unit: "bytes",
            idle: "frames are encoded once and shared, so no connection has a write buffer",
            "Accepted for older deployments."),
        ConfigurationKey(
            "DATABASE_URL", .url, default: nil, flag: "database-url",
            idle: "the stores are not in this release: nothing is read or written there",
            "sqlite:///abs/path or postgres://…"),
        ConfigurationKey(
            "PUSH_WEBHOOK_URL", .url, default: nil,
            idle: "the push hook is not in this release: nothing is posted there",
            "Where messages to offline users go."),
    ]
}
