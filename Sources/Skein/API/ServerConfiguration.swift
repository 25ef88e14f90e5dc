// All that a server is told at its start.

/// Which door to the kernel the loops use.
public enum IOChoice: String, Sendable, CaseIterable {
    /// io_uring where the kernel lets us, else epoll, with one log line that says why.
    case auto, uring, epoll
}

public enum Pinning: Sendable, Equatable {
    /// A core for each shard when there are as many cores as shards.
    case auto
    case none
    case cores([Int])
}

public struct RedisAddress: Sendable, Equatable {
    public enum Endpoint: Sendable, Equatable {
        case tcp(host: String, port: UInt16)
        case unix(path: String)
        /// Wherever Sentinels say that the primary is.
        case sentinels(RedisSentinels)
    }
    public var endpoint: Endpoint
    /// Of the ACL; `nil` for the default user.
    public var username: String?
    public var password: String?
    /// `nil` for plain TCP.
    public var tls: RedisTLS?

    public init(endpoint: Endpoint) { self.endpoint = endpoint }
}

/// Who knows where the primary is.
public struct RedisSentinels: Sendable, Equatable {
    public struct Address: Sendable, Equatable, CustomStringConvertible {
        public var host: String
        public var port: UInt16

        public init(host: String, port: UInt16) {
            self.host = host
            self.port = port
        }

        public var description: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }
    }
    /// Asked in this order; not empty.
    public var addresses: [Address]
    /// The name under which they watch it.
    public var primary: String
    /// Of the Sentinels themselves; Redis has its own.
    public var username: String?
    public var password: String?

    public init(addresses: [Address], primary: String) {
        self.addresses = addresses
        self.primary = primary
    }
}

/// How Redis proves who it is, and this node to it. Files are PEM.
public struct RedisTLS: Sendable, Equatable {
    /// Whom to believe; `nil` for the system's authorities.
    public var authorityFile: String?
    public var certificateFile: String?
    public var keyFile: String?
    /// The name in the certificate; `nil` for the host that is connected to.
    public var serverName: String?

    public init() {}
}

public enum BackplaneChoice: Sendable, Equatable {
    case memory
    case redis(RedisAddress)
}

/// permessage-deflate (RFC 7692). Without takeover a message is compressed alone: then one frame
/// serves every receiver, and an idle connection holds no memory for it.
public struct CompressionConfiguration: Sendable, Equatable {
    public var isEnabled = false
    /// Whether the server keeps its context between messages: some 170 KB a connection.
    public var serverTakeover = false
    /// Whether clients may keep theirs: some 40 KiB a connection.
    public var clientTakeover = false
    /// 1, the quickest, to 9, the shortest.
    public var level = 1
    /// The server's window, 9 to 15: 512 bytes to 32 KiB.
    public var windowBits = 15
    /// Messages below it go uncompressed.
    public var bytesMin = 256
    /// What all kept contexts of the node may hold; past it new connections get none.
    public var contextBytesMax = 268_435_456

    public init() {}
}

/// The header in which trusted proxies say whom they speak for. The other one is never believed: a
/// proxy passes it on as the client wrote it.
public enum ForwardedHeaderChoice: String, Sendable, CaseIterable {
    case xForwardedFor = "x-forwarded-for"
    /// RFC 7239.
    case forwarded
}

public struct ServerConfiguration: Sendable {
    /// `host:port`; port 0 takes a free one.
    public var listen = "0.0.0.0:8080"
    public var shardCount = 0  // 0: one for each core this process may use
    public var pinning = Pinning.auto
    public var io = IOChoice.auto
    public var backplane = BackplaneChoice.memory
    public var limits = Limits()
    /// Speaks TLS on the sockets listener, and nothing else there; `nil`: plain.
    public var tls: TLSConfiguration?
    public var compression = CompressionConfiguration()
    /// Origins that browsers may come from besides the server's own host; `*` stands for all.
    public var allowedOrigins: [String] = []
    /// Addresses and CIDRs of load balancers that begin each connection with a PROXY header, version 1
    /// or 2. From them it is required, from anybody else refused.
    public var proxyProtocol: [String] = []
    /// Addresses and CIDRs of proxies whose ``forwardedHeader`` is believed. The client is the last
    /// address in it that is none of them.
    public var trustedProxies: [String] = []
    public var forwardedHeader = ForwardedHeaderChoice.xForwardedFor
    /// A handshake also needs `session:{userID}` in Redis.
    public var sessionRequired = false
    /// Where to answer every message with itself, for conformance suites; `nil`: nowhere.
    public var echoPath: String?
    /// The echo endpoint takes anyone. For development.
    public var echoIsOpen = false
    /// Skein's own keys and channels in Redis start with it; at most ``redisPrefixBytesMax`` bytes.
    public var redisPrefix = "ws:"
    public static let redisPrefixBytesMax = 64
    /// The host by which clients and other nodes' operators reach this node; `nil`: the one it listens
    /// on, and where that is every address, the machine's name.
    public var advertisedHost: String?
    /// Unique per start; made up when empty.
    public var nodeID = ""
    public var version = "0.1.0"

    public init() {}
}

public struct ServerError: Error, Sendable, CustomStringConvertible {
    /// What happened, why, and what to do, in a sentence or two.
    public let description: String
    public init(_ description: String) { self.description = description }
}
