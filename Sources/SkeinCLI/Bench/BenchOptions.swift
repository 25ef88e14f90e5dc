// The flags of `skein bench`, group by group. The names are those of `Benchmarks/Load` where both have one.

internal import ArgumentParser

struct BenchConnectionOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "A server; repeat it to spread connections over several. Paths take %index% and the like. "
                + "Default: ws://127.0.0.1:8080/ws, for echo /echo.", valueName: "url"))
    var url: [String] = []
    @Option(help: ArgumentHelp("This path in place of the URLs' own.", valueName: "template"))
    var path: String?
    @Option(
        name: [.customLong("connections"), .customLong("conns")],
        help: ArgumentHelp("Connections; in fanout, receivers. Default: 100, fanout 20.", valueName: "n"))
    var connections: Int?
    @Option(help: ArgumentHelp("Connects per second; 0: as fast as they complete.", valueName: "r"))
    var connectRate = 0.0
    @Option(help: ArgumentHelp("Handshakes under way at once.", valueName: "n"))
    var connectConcurrency = 128
    @Option(
        help: ArgumentHelp("Connect from 127.0.0.1 to 127.0.0.N: some 28,000 ports each.", valueName: "n"))
    var sources = 1
    @Option(help: ArgumentHelp("Connect from this address; repeat it for several.", valueName: "address"))
    var sourceAddress: [String] = []
    @Option(help: ArgumentHelp("Threads, each with a loop and its share.", valueName: "n"))
    var threads = 1
    @Option(help: ArgumentHelp("Cores for the threads.", valueName: "0,1"))
    var pin: String?
    @Option(help: ArgumentHelp("The door to the kernel.", valueName: "auto|uring|epoll"))
    var io = "auto"
    @Flag(help: "Polls without sleeping while it measures: its own wake-ups stay out of the latencies.")
    var spin = false
}

struct BenchUserOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "skein: the relay dialect, a token for each user. plain: any server, no token, no greeting.",
            valueName: "skein|plain"))
    var preset = "skein"
    @Option(
        help: ArgumentHelp("One token for everyone; else one each is made with JWT_SECRET.", valueName: "jwt"))
    var token: String?
    @Option(help: ArgumentHelp("`user token` lines, one for each connection in turn.", valueName: "file"))
    var tokens: String?
    @Option(help: ArgumentHelp("How long made tokens are good for.", valueName: "duration"))
    var tokenTTL = "1h"
    @Option(help: ArgumentHelp("Users are P0, P1 and so on.", valueName: "p"))
    var userPrefix = "u"
    @Option(
        help: ArgumentHelp(
            "Where the token goes; template: only where one says %token%.",
            valueName: "header|query|subprotocol|template"))
    var auth = "header"
    @Option(help: ArgumentHelp("A header line, as 'Name: value'; repeat it.", valueName: "template"))
    var header: [String] = []
    @Option(help: ArgumentHelp("Sent when a connection is upgraded.", valueName: "template"))
    var firstMessage: String?
    @Option(
        help: ArgumentHelp(
            "A connection is ready with the first text that has this word in quotes; none: with the 101.",
            valueName: "word"))
    var await: String?
}

struct BenchTrafficOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "receipt, chat, plain, floor, relay, or a template with %marker%.", valueName: "template"))
    var message: String?
    @Option(help: ArgumentHelp("Bytes of a message, filled up where it says %pad%.", valueName: "n"))
    var payload = 128
    @Option(help: ArgumentHelp("Closed loop: in flight per connection, in fanout in all.", valueName: "n"))
    var depth = 1
    @Option(
        help: ArgumentHelp(
            "Open loop: messages per second in all, each sent when it is due; 0: closed loop. Default: 20 for "
                + "each connection, 1 in hold, closed loop in echo, fanout, connect and storm.", valueName: "r"))
    var rate: Double?
    @Option(help: ArgumentHelp("Measure as long; storm: wait as long at most.", valueName: "s"))
    var seconds: Double?
    @Option(help: ArgumentHelp("And run as long before that.", valueName: "s"))
    var warmup = 0.5
    @Option(help: ArgumentHelp("Let connections rest before memory is read.", valueName: "s"))
    var rest = 0.3
    @Option(help: ArgumentHelp("Wait as long for what is missing.", valueName: "s"))
    var grace = 5.0
    @Option(
        help: ArgumentHelp(
            "fanout: publish to this Redis; chat: say there who left and who is back.", valueName: "host:port"))
    var redis: String?
    @Option(help: ArgumentHelp("fanout: on this channel.", valueName: "c"))
    var channel = "websocket:broadcast"
    @Option(help: ArgumentHelp("fanout: publish on a connection to this URL.", valueName: "url"))
    var publishUrl: String?
    @Option(
        help: ArgumentHelp("chat: this part of the users leaves and returns, per second.", valueName: "part"))
    var churn = 0.01
    @Option(help: ArgumentHelp("storm: how often.", valueName: "n"))
    var rounds = 1
    @Option(
        help: ArgumentHelp(
            "drain: begin it at this control listener when the measurement begins.", valueName: "url"))
    var control: String?
    @Flag(help: "drain: come back to the same address, where there is only one.")
    var comeBack = false
    @Flag(help: "connect: close with a close frame, not with a reset.")
    var closeFrame = false
}

struct BenchOutputOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "The server's processes; else whoever listens there, where that is this machine. 0: none.",
            valueName: "p,q"))
    var pid: String?
    @Option(
        help: ArgumentHelp(
            "Count ksoftirqd of these cores as the server's; else of those that it is pinned to.",
            valueName: "0,1"))
    var ksoftirqd: String?
    @Option(help: ArgumentHelp("Stands in the result.", valueName: "text"))
    var label: String?
    @Flag(help: "One JSON object on stdout.")
    var json = false
    @Option(
        help: ArgumentHelp(
            "Write the latencies' distribution there, for HdrHistogram's plotters.", valueName: "file"))
    var hgrm: String?
    @Flag(help: "No progress line.")
    var quiet = false
}
