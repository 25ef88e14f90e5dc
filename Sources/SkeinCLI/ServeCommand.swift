// `skein serve`: runs a node until it is drained.

internal import ArgumentParser
internal import Glibc
internal import Skein
internal import SkeinNode

struct ServeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "serve", abstract: "Runs a node.",
        discussion: """
            Flags go before environment variables, these before --config, these before the defaults.
            SIGTERM and SIGINT drain the node; the second one ends it at once. SIGHUP reads the files of
            keys and certificates again.

            Examples:
              skein serve --dev
              JWT_SECRET=$(openssl rand -hex 32) skein serve --listen 0.0.0.0:8080
              skein serve --config /etc/skein.yaml --redis-url redis://10.0.0.5:6379

            All settings, as environment variables or as keys of the file:

            \(ConfigurationHelp.text())
            """)

    @Flag(help: "For trying things: makes a secret if none is set, opens /echo, prints a token.")
    var dev = false
    @OptionGroup var options: ConfigurationOptions
    @Option(help: ArgumentHelp("Where clients connect (WS_LISTEN).", valueName: "host:port"))
    var listen: String?
    @Option(
        help: ArgumentHelp(
            "The REST listener (API_LISTEN); not in this release.", valueName: "host:port"))
    var apiListen: String?
    @Option(
        help: ArgumentHelp(
            "Health, metrics, administration (CONTROL_LISTEN).", valueName: "host:port"))
    var controlListen: String?
    @Option(help: ArgumentHelp("Event loops; 0: one for each core (WS_SHARDS).", valueName: "n"))
    var shards: String?
    @Option(help: ArgumentHelp("Cores for the shards (WS_PIN).", valueName: "auto|none|0,1"))
    var pin: String?
    @Option(help: ArgumentHelp("The door to the kernel (WS_IO).", valueName: "auto|uring|epoll"))
    var io: String?
    @Option(
        help: ArgumentHelp("Other nodes are reached through it (WS_REDIS_URL).", valueName: "url"))
    var redisUrl: String?
    @Option(
        help: ArgumentHelp("Accepted; not used by this release (DATABASE_URL).", valueName: "url"))
    var databaseUrl: String?

    private var flags: [String: String] {
        let given = [
            "WS_LISTEN": listen, "API_LISTEN": apiListen, "CONTROL_LISTEN": controlListen,
            "WS_SHARDS": shards, "WS_PIN": pin, "WS_IO": io, "WS_REDIS_URL": redisUrl,
            "DATABASE_URL": databaseUrl,
        ]
        return given.compactMapValues { $0 }
    }

    func run() async throws {
        let report = NodeConfiguration.load(options.sources(flags: flags), isDevelopment: dev)
        guard let configuration = report.configuration else {
            for problem in report.errors.dropLast() {
                StandardStream.error.write(line: "skein: \(problem.message)")
            }
            throw CommandFailure(
                report.errors.last?.message
                    ?? "The configuration is unusable; see `skein config check`.")
        }
        let status: Int32
        do throws(ServerError) {
            status = try await Node.run(configuration, warnings: report.warnings) {
                sockets, control in
                if configuration.isDevelopment {
                    await DevelopmentHints.show(
                        configuration, sockets: sockets, control: control)
                }
            }
        } catch {
            throw CommandFailure(error.description)
        }
        Glibc.exit(status)
    }
}

/// What `--dev` prints below the listeners, so that a second terminal works by copy and paste.
enum DevelopmentHints {
    private static let tokenLifetime = Duration.seconds(24 * 3_600)

    static func show(_ configuration: NodeConfiguration, sockets: String, control: String) async {
        let scheme = configuration.control.tls == nil ? "http" : "https"
        guard let minter = try? await TokenMinter(configuration.jwt) else { return }
        let url = "\(configuration.server.tls == nil ? "ws" : "wss")://\(reachable(sockets))/ws"
        // As this program was called, so that the lines work where it was.
        let skein = CommandLine.arguments.first ?? "skein"
        var text = "\nA conversation: one of these lines in a second terminal, the other in a third.\n"
        for user in ["alice", "bob"] {
            guard let token = try? await minter.mint(user: user, lifetime: tokenLifetime) else { return }
            text += "  \(skein) tail --url \(url) --token \(token)\n"
        }
        text += """
            The first is alice, the second bob; as alice type   bob: hello
            Tokens last 24 h; /echo needs none; no limit is changed. To look at the node:
              \(skein) status --control \(scheme)://\(reachable(control))

            """
        StandardStream.output.write(text)
    }

    /// To listen everywhere is no place to call; this machine is.
    private static func reachable(_ address: String) -> String {
        guard address.hasPrefix("0.0.0.0:") else { return address }
        return "127.0.0.1" + address.dropFirst("0.0.0.0".count)
    }
}
