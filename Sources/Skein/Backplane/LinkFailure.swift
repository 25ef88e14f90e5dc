// Why a link to Redis is not there, as a value: what is logged, what readiness and health say, and
// what is counted all follow from it, so that an operator reads one sentence that says what to do.

internal import Glibc
internal import SkeinIO

enum LinkFailure: Equatable {
    /// The name cannot be looked up.
    case unresolved
    /// No Sentinel says where the primary is: why not.
    case sentinel(String)
    /// This process cannot make a socket.
    case noSocket(SystemError)
    case unreachable(errno: Int32)
    /// No answer to connecting and greeting.
    case slow(milliseconds: Int)
    case closed
    /// Before it answered the greeting.
    case closedEarly
    /// The connection that hears channels was closed: Redis does that to one that reads too slowly.
    case subscriberClosed
    case silent(seconds: Int)
    /// What came is not the protocol of Redis.
    case notRedis
    /// It answered in TLS to plain bytes.
    case tlsNeeded
    case tls(String)
    /// Sentinel names another primary by now.
    case moved
    case refused(Refusal, RedisNeed, reply: String)

    /// A label for metrics and logs.
    enum Cause: Int, CaseIterable {
        case address, connect, closed, subscriberClosed, silent, credentials, acl, server, role, tls, moved

        var name: String {
            switch self {
            case .address: "address"
            case .connect: "connect"
            case .closed: "closed"
            case .subscriberClosed: "subscriber_closed"
            case .silent: "silent"
            case .credentials: "credentials"
            case .acl: "acl"
            case .server: "server"
            case .role: "role"
            case .tls: "tls"
            case .moved: "moved"
            }
        }
    }

    var cause: Cause {
        switch self {
        case .unresolved, .sentinel: .address
        case .noSocket, .unreachable: .connect
        case .closed, .closedEarly: .closed
        case .subscriberClosed: .subscriberClosed
        case .slow, .silent: .silent
        case .tlsNeeded, .tls: .tls
        case .moved: .moved
        case .notRedis: .server
        case .refused(let refusal, _, _):
            switch refusal {
            case .passwordWrong, .passwordNeeded, .passwordUnknown: .credentials
            case .forbidden: .acl
            case .replica, .primaryDown: .role
            default: .server
            }
        }
    }

    /// Of several links' failures the one that says most is told: what someone has to put right
    /// goes before what may pass.
    var weight: Int {
        switch self {
        case .refused, .tls, .tlsNeeded, .sentinel, .unresolved, .noSocket, .notRedis: 3
        case .unreachable, .moved: 2
        case .slow, .silent: 1
        case .closed, .closedEarly, .subscriberClosed: 0
        }
    }

    /// Redis took the connection and said no to a command.
    var isRefusal: Bool {
        if case .refused = self { return true }
        return false
    }

    /// The sentence.
    /// - Parameter address: where Redis is, as configured or as Sentinel says.
    func text(_ address: String) -> String {
        switch self {
        case .unresolved: "the address of Redis, \(address), cannot be resolved; check the name and DNS"
        case .sentinel(let why): why
        case .noSocket(let error): "no socket for Redis: \(error)"
        case .unreachable(let errno):
            "Redis at \(address) does not answer: \(SystemError.text(errno))\(Self.hint(errno, address))"
        case .slow(let milliseconds):
            "Redis at \(address) did not answer within \(milliseconds / 1_000) s of connecting"
        case .closed: "Redis at \(address) closed the connection"
        case .closedEarly:
            "Redis at \(address) closed the connection before it answered; if its port wants TLS, write "
                + "rediss:// or set REDIS_TLS"
        case .subscriberClosed:
            "Redis at \(address) closed the connection that hears channels; if its log speaks of "
                + "output buffer limits, raise client-output-buffer-limit pubsub"
        case .silent(let seconds):
            "Redis at \(address) is silent: its canary was not heard for \(seconds) s"
        case .notRedis: "what \(address) sent is not the protocol of Redis; check host and port"
        case .tlsNeeded: "Redis at \(address) speaks TLS on this port; write rediss:// or set REDIS_TLS"
        case .tls(let why): "TLS with Redis at \(address) failed: \(why)"
        case .moved: "Sentinel names another primary: \(address)"
        case .refused(let refusal, let need, let reply):
            "Redis at \(address) refused (\(reply)): \(refusal.advice(need))"
        }
    }

    private static func hint(_ errno: Int32, _ address: String) -> String {
        guard address.hasPrefix("/") else { return "" }
        return switch errno {
        case ENOENT: "; is its unixsocket there, and the same in the URL?"
        case EACCES, EPERM: "; let this user write to the socket (unixsocketperm 770, and its group)"
        case ECONNREFUSED: "; the socket file is there, but nobody listens"
        default: ""
        }
    }
}

/// What was said of the links, so that each failure is logged once for each time that it sets in.
struct FailureNews {
    private var said: [(text: String, at: Instant)] = []
    private var last: String?

    /// Two failures that take turns are news once a minute at most.
    static var repeatSeconds: Int64 { 60 }

    mutating func isNews(_ text: String, at now: Instant) -> Bool {
        guard text != last else { return false }
        last = text
        if let index = said.firstIndex(where: { $0.text == text }) {
            guard now.nanoseconds(since: said[index].at) >= Self.repeatSeconds * 1_000_000_000 else {
                return false
            }
            said[index].at = now
            return true
        }
        if said.count == 32 { said.removeFirst() }
        said.append((text, now))
        return true
    }

    /// Redis is up: whatever comes next is news.
    mutating func forget() {
        said.removeAll()
        last = nil
    }
}
