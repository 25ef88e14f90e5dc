// Why a connection did not open, in words that say what to do.

internal import SkeinIO

/// What a server, or this machine, said instead of 101.
enum Refusal {
    private static let redis = -100_000

    /// Of the connection that publishes through Redis. - Parameter status: minus an errno.
    static func ofRedis(_ status: Int) -> Int { redis - abs(status) }

    /// Of two the one to be told of, where 0 is none: a server's limit hides what is wrong behind it.
    static func first(_ first: Int, _ next: Int) -> Int {
        first == 0 || isLimit(first) && next != 0 ? next : first
    }

    static func isLimit(_ status: Int) -> Bool { status == 429 || status == 503 }

    static func sentence(_ status: Int) -> String {
        switch status {
        case redis - 111: "nothing listens at --redis (connection refused); start Redis, or check --redis."
        case ...redis: "Redis at --redis: \(SystemError.text(Int32(clamping: redis - status))); check --redis."
        case -99: "no local port is left; spread over source addresses with --sources or --source-address."
        case -111: "nothing listens there (connection refused); start the server, or check --url."
        case -110: "no answer in time."
        case -104: "the server reset the connection."
        case -24, -23: "no file descriptor is left; raise ulimit -n."
        case -71: "the server broke the protocol, or TLS failed; check --url and --ca."
        case ..<0: "\(SystemError.text(Int32(clamping: -status)))."
        case 1: "the answer is no WebSocket handshake; check --url."
        case 401, 403: "HTTP \(status); check JWT_SECRET, --token or --header."
        case 404: "HTTP 404; check the path in --url."
        case 429:
            "HTTP 429, the server's limit. On a Skein node: WS_HANDSHAKE_RATE=0 WS_MAX_CONNECTIONS_PER_IP=0, "
                + "WS_MAX_CONNECTIONS_PER_USER for fanout; or --connect-rate, --sources."
        case 503: "HTTP 503: the server is full, or leaving."
        case 1_000...4_999: "closed with \(status)."
        default: "HTTP \(status)."
        }
    }
}
