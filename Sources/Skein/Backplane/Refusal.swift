// What Redis means by an error: the first word of its reply, and for a few errors without a word of
// their own the beginning of the sentence. Everything that is done about a refusal hangs on this.

enum Refusal: CaseIterable, Equatable {
    case passwordWrong, passwordNeeded, passwordUnknown, forbidden, loading, replica, primaryDown
    case outOfMemory, notPersisting, replicasMissing, busy, clientsFull, protectedMode
    case clusterDown, clusterMoved, databaseMissing, commandUnknown, scriptMissing, eventMissing, other

    init(_ reply: Bytes) {
        let words = Self.words(reply)
        self = Self.beginnings.first { words.begins($0.text) }?.refusal ?? .other
    }

    /// Where a script was refused something, Redis 6.2 says first where in the script that was.
    private static func words(_ reply: Bytes) -> Bytes {
        guard reply.begins("@user_script") || reply.begins("ERR Error running script") else { return reply }
        for index in 0..<reply.count {
            let rest = reply.slice(from: index, count: reply.count - index)
            if let words = rest.dropping(": -") { return words }
        }
        return reply
    }

    private static let beginnings: [(text: StaticString, refusal: Refusal)] = [
        ("WRONGPASS", .passwordWrong), ("ERR invalid password", .passwordWrong),
        ("NOAUTH", .passwordNeeded),
        ("ERR AUTH <password> called without any password", .passwordUnknown),
        ("ERR Client sent AUTH, but no password is set", .passwordUnknown),
        ("NOPERM", .forbidden), ("ERR The user executing the script", .forbidden),
        ("The user executing the script", .forbidden), ("ERR ACL failure in script", .forbidden),
        ("LOADING", .loading), ("READONLY", .replica), ("MASTERDOWN", .primaryDown),
        ("OOM", .outOfMemory), ("MISCONF", .notPersisting), ("NOREPLICAS", .replicasMissing),
        ("BUSY", .busy), ("UNKILLABLE", .busy), ("ERR max number of clients", .clientsFull),
        ("DENIED", .protectedMode), ("CLUSTERDOWN", .clusterDown), ("MOVED", .clusterMoved),
        ("ASK ", .clusterMoved), ("TRYAGAIN", .clusterMoved), ("CROSSSLOT", .clusterMoved),
        ("ERR DB index is out of range", .databaseMissing), ("ERR unknown command", .commandUnknown),
        ("NOSCRIPT", .scriptMissing), ("GAP", .eventMissing),
    ]

    /// It concerns what is written, and passes by itself or not: the link is good for all else, so
    /// it stays, and what was not written is written again later.
    var leavesLink: Bool {
        switch self {
        case .loading, .outOfMemory, .notPersisting, .replicasMissing, .busy, .primaryDown,
            .clusterDown, .clusterMoved:
            true
        case .passwordWrong, .passwordNeeded, .passwordUnknown, .forbidden, .replica, .clientsFull,
            .protectedMode, .databaseMissing, .commandUnknown, .scriptMissing, .eventMissing, .other:
            false
        }
    }

    /// How long none may have come before it counts as over. In a cluster each key has its own
    /// answer, and all users' keys are renewed within 20 s.
    var quietSeconds: Int { self == .clusterMoved || self == .clusterDown ? 25 : 2 }

    /// What it means, and what to do.
    func advice(_ need: RedisNeed) -> String {
        switch self {
        case .passwordWrong:
            "it does not know this user and password; check REDIS_USERNAME and REDIS_PASSWORD, or "
                + "the credentials in the URL, against ACL LIST"
        case .passwordNeeded:
            "it wants a password; set REDIS_PASSWORD, or write redis://:password@host"
        case .passwordUnknown:
            "it has no password, but one is configured here; set requirepass there, or take the "
                + "password out of REDIS_PASSWORD or the URL"
        case .forbidden: "its ACL forbids what this node needs; allow \(need.rule)"
        case .loading: "it is loading its data and will answer when that is done"
        case .replica:
            "it is a replica, which takes no writes and reaches only a part of the nodes; give the "
                + "primary's address, or REDIS_SENTINELS"
        case .primaryDown: "it is a replica that has lost its primary; give the primary's address"
        case .outOfMemory:
            "its maxmemory is used up, so presence cannot be written; raise maxmemory or free some"
        case .notPersisting:
            "it refuses writes because it cannot save to disk; see its log, and free space there"
        case .replicasMissing:
            "it refuses writes because too few replicas follow it (min-replicas-to-write)"
        case .busy: "it is busy with a script; SCRIPT KILL or FUNCTION KILL ends it"
        case .clientsFull:
            "it has no room for more clients; raise maxclients, or find who holds so many"
        case .protectedMode:
            "it is in protected mode, which admits loopback only; give it a password"
        case .clusterDown: "it is a cluster that is down; see CLUSTER INFO"
        case .clusterMoved:
            "it is a cluster of several nodes, over which presence and sessions cannot be spread; "
                + "use one primary, with replicas and Sentinel where it must not fail"
        case .databaseMissing:
            "this node needs the databases \(need.databases); set `databases 16` there"
        case .commandUnknown:
            "it lacks a command that this node needs; use Redis 6.2 or later, and its port, not a Sentinel's"
        case .scriptMissing: "it forgot a script of this node's, which is loaded again with the next link"
        case .eventMissing: "it lost events of this node's, which are sent again with the next link"
        case .other: "see its log"
        }
    }
}

/// What a command was for: what has to be allowed for it.
enum RedisNeed: Equatable {
    case greeting
    /// Users' channels, and Skein's own, which begin with the prefix.
    case publish(prefix: String)
    case subscribe(prefix: String)
    case presence(prefix: String)
    case session
    case revocations(prefix: String)
    /// Skein's own keys.
    case own
    case registry(prefix: String)
    /// Appending to users' histories.
    case append(prefix: String)
    /// Reading them.
    case history(prefix: String)

    /// The part of an ACL rule.
    var rule: String {
        switch self {
        case .greeting: "+select +role +client|setname"
        case .publish(let prefix): "+publish &user:* &\(prefix)*"
        case .subscribe(let prefix):
            "+subscribe +unsubscribe &user:* &chat:user:* &websocket:broadcast &chat:broadcast &\(prefix)*"
        case .presence(let prefix):
            "+hset +hdel +hlen +hkeys +exists +get +set +del +expire "
                + "+pexpire +sadd +srem +sismember +spop +sunionstore +zadd +time +select +eval +evalsha "
                + "+script|load ~presence:* ~online:* "
                + "~\(prefix)node:* ~\(prefix)nodes"
        case .session: "+exists %R~session:*"
        case .revocations(let prefix):
            "+eval +zadd +zrange +zrevrangebyscore +zremrangebyscore +pexpireat ~\(prefix)revocations"
        case .own: "+ping"
        case .registry(let prefix):
            "+eval +select +time +exists +get +set +del +pexpire +zadd +zrange +zrem +zscore +spop +sunionstore "
                + "+hkeys +hdel +hlen ~\(prefix)nodes ~\(prefix)node:* ~\(prefix)appended:* ~presence:* ~online:*"
        case .append(let prefix):
            "+evalsha +script|load +get +set +del +time +xadd +xtrim +pexpire +publish "
                + "~\(prefix)* &user:*"
        case .history(let prefix): "+eval +get +set +time +xrevrange ~\(prefix)*"
        }
    }

    var databases: String { "0 (Skein's own), 1 (pub/sub) and 4 (presence and sessions)" }
}

extension Bytes {
    func begins(_ text: StaticString) -> Bool {
        count >= text.utf8CodeUnitCount && slice(from: 0, count: text.utf8CodeUnitCount).equals(text)
    }
}
