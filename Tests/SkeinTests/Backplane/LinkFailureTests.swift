import Glibc
import SkeinIO
import Testing

@testable import Skein

@Suite("Why Redis is not there")
struct LinkFailureTests {
    static let replies: [(String, Refusal)] = [
        ("WRONGPASS invalid username-password pair or user is disabled.", .passwordWrong),
        ("NOAUTH Authentication required.", .passwordNeeded),
        ("ERR AUTH <password> called without any password configured for the default user.", .passwordUnknown),
        ("NOPERM this user has no permissions to run the 'hset' command", .forbidden),
        ("NOPERM this user has no permissions to access one of the channels used as arguments", .forbidden),
        ("ERR The user executing the script can't run this command or subcommand script: 3d", .forbidden),
        ("ERR ACL failure in script: User skein has no permissions to run the 'hset' command", .forbidden),
        ("The user executing the script can't run this command or subcommand", .forbidden),
        ("@user_script: 1: -READONLY You can't write against a read only replica.", .replica),
        ("ERR Error running script (call to f_3d): @user_script:1: @user_script: 1: -OOM command", .outOfMemory),
        ("ERR Error running script (call to f_3d): @user_script:1: attempt to index", .other),
        ("LOADING Redis is loading the dataset in memory", .loading),
        ("READONLY You can't write against a read only replica.", .replica),
        ("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.", .primaryDown),
        ("OOM command not allowed when used memory > 'maxmemory'.", .outOfMemory),
        ("MISCONF Redis is configured to save RDB snapshots, but", .notPersisting),
        ("NOREPLICAS Not enough good replicas to write.", .replicasMissing),
        ("BUSY Redis is busy running a script.", .busy),
        ("ERR max number of clients reached", .clientsFull),
        ("DENIED Redis is running in protected mode", .protectedMode),
        ("CLUSTERDOWN Hash slot not served", .clusterDown),
        ("MOVED 3999 127.0.0.1:6381", .clusterMoved),
        ("CROSSSLOT Keys in request don't hash to the same slot", .clusterMoved),
        ("ERR DB index is out of range", .databaseMissing),
        ("ERR unknown command 'ROLE', with args beginning with: ", .commandUnknown),
        ("WRONGTYPE Operation against a key holding the wrong kind of value", .other), ("", .other),
    ]

    @Test("each error of Redis is known by its beginning", arguments: replies)
    func refusals(reply: String, refusal: Refusal) {
        withBytes(reply) { #expect(Refusal($0) == refusal) }
    }

    @Test("a refusal says what to do, and where", arguments: Refusal.allCases)
    func advice(refusal: Refusal) {
        let text = LinkFailure.refused(refusal, .presence(prefix: "ws:"), reply: "WORD and more").text("h:1")
        #expect(text.contains("h:1"))
        #expect(text.contains("WORD and more"))
        #expect(refusal.advice(.presence(prefix: "ws:")).count > 10)
    }

    static let needed: [(RedisNeed, String)] = [
        (.publish(prefix: "x:"), "+publish &user:* &x:*"),
        (.subscribe(prefix: "x:"), "&chat:user:*"), (.subscribe(prefix: "x:"), "&x:*"),
        (.presence(prefix: "x:"), "~presence:*"), (.presence(prefix: "x:"), "~x:node:*"),
        (.registry(prefix: "x:"), "~x:nodes"), (.session, "~session:*"), (.greeting, "+role"),
    ]

    @Test("what an ACL has to allow is named", arguments: needed)
    func rules(need: RedisNeed, part: String) {
        #expect(LinkFailure.refused(.forbidden, need, reply: "NOPERM").text("h:1").contains(part))
    }

    static let told: [(LinkFailure, String, String)] = [
        (.unreachable(errno: ENOENT), "/run/r.sock", "unixsocket"),
        (.unreachable(errno: EACCES), "/run/r.sock", "unixsocketperm"),
        (.unreachable(errno: ECONNREFUSED), "h:1", "Connection refused"),
        (.unresolved, "h:1", "DNS"), (.slow(milliseconds: 2_000), "h:1", "2 s"),
        (.silent(seconds: 3), "h:1", "3 s"), (.tlsNeeded, "h:1", "rediss://"),
        (.closedEarly, "h:1", "rediss://"),
        (.subscriberClosed, "h:1", "client-output-buffer-limit pubsub"),
        (.noSocket(SystemError(call: "socket", errno: EMFILE)), "h:1", "socket"),
    ]

    @Test(arguments: told)
    func sentences(failure: LinkFailure, address: String, part: String) {
        #expect(failure.text(address).contains(part))
    }

    @Test func whatSomebodyHasToMendIsToldFirst() {
        let refused = LinkFailure.refused(.passwordWrong, .greeting, reply: "WRONGPASS")
        #expect(refused.weight > LinkFailure.unreachable(errno: ECONNREFUSED).weight)
        #expect(LinkFailure.unreachable(errno: ECONNREFUSED).weight > LinkFailure.closed.weight)
    }

    @Test func aFailureIsNewsOnceUntilItChanges() {
        var news = FailureNews()
        // What is said when, in milliseconds, and whether it is logged.
        let story: [(String, Int, Bool)] = [
            ("a", 0, true), ("a", 3_600, false), ("b", 3_610, true), ("a", 3_620, false),
            ("b", 3_630, false), ("a", 61_000, true),
        ]
        for (text, milliseconds, expected) in story {
            let isNews = news.isNews(text, at: Instant(nanoseconds: 1).advanced(byMilliseconds: milliseconds))
            #expect(isNews == expected, "\(text) at \(milliseconds) ms")
        }
        news.forget()
        let isNews = news.isNews("a", at: Instant(nanoseconds: 1).advanced(byMilliseconds: 61_001))
        #expect(isNews)
    }

    @Test func nullIsALine() {
        withBytes("$-1\r\n+OK") { bytes in
            guard case (.null, 5)? = RedisLink.line(bytes) else {
                Issue.record("not a null")
                return
            }
        }
    }
}
