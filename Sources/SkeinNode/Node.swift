// One running node: the broker, the control plane beside it, the log, and the signals that end it.
// Listener lines and the drain report go to stdout, everything else to stderr.

internal import Dispatch
internal import Glibc
internal import Logging
package import Skein
internal import SkeinServices
internal import Synchronization

package enum Node {
    /// Exit status where SIGTERM came twice: 128 and the signal's number.
    private static let interruptedStatus: Int32 = 143
    /// How long a follower of the drain may take to fetch the report.
    private static let followerPatience: Duration = .milliseconds(1_500)

    /// Runs until the node has drained or was ended.
    /// - Parameter announce: is given the real addresses of the listeners when both accept, after
    ///   their lines are printed.
    /// - Returns: the process' exit status.
    package static func run(
        _ configuration: NodeConfiguration, warnings: [ConfigurationProblem],
        announce: @Sendable (_ sockets: String, _ control: String) async -> Void = { _, _ in }
    ) async throws(ServerError) -> Int32 {
        let logs = LogQueue(configuration.logs)
        defer { logs.flush() }
        for warning in warnings { logs.push(.warning, warning.message) }
        let keys: KeyRing
        let tls: ControlTLS?
        do throws(ConfigurationProblem) {
            keys = try KeyRing(configuration.jwt, log: { logs.push($0, $1) })
            tls = try configuration.control.tls.map { (settings) throws(ConfigurationProblem) in
                try ControlTLS(settings)
            }
        } catch {
            throw ServerError(error.message)
        }
        let authenticator = JWTAuthenticator(configuration.jwt, keys: keys)
        let fetching = Task { await keys.run() }
        defer { fetching.cancel() }
        let server = try Server(
            configuration.server, authenticator: authenticator, dialects: [relayDialect()],
            log: { logs.push($0) })
        let plane = ControlPlane(
            node: server, settings: configuration.control, authenticator: authenticator, logs: logs)
        // The control listener first: /ready says `starting` until the sockets listener accepts,
        // and a port that is taken is found before any client is let in.
        let control = try await ControlListener.start(
            plane, on: configuration.control.listen, tls: tls, logs: logs)
        server.setControlAddress(control.address)
        do throws(ServerError) {
            try server.start()
        } catch {
            await control.stop()
            throw error
        }
        let leaving = Leaving()
        let parts = parts(configuration.certificates, server, keys, tls, logs)
        let reloading = Reloading(parts, logs: logs)
        defer { reloading.stop() }
        let signals = NodeSignals(
            onDrain: { name in
                logs.push(.info, "told to leave: the node drains", [(key: "signal", value: name)])
                server.drain(configuration.control.drain)
            },
            onLeave: { name in
                logs.push(.warning, "leaving at once", [(key: "signal", value: name)])
                leaving.begin()
                leave(server, logs)
            },
            onHangUp: { reloading.request() })
        let sockets = configuration.certificates == nil ? "ws" : "wss"
        let scheme = tls == nil ? "http" : "https"
        StandardStream.output.write(line: "sockets  \(sockets)://\(server.listenAddress)")
        StandardStream.output.write(line: "control  \(scheme)://\(control.address)")
        await announce(server.listenAddress, control.address)
        let report = await server.drained()
        // Closing ends the drain too: then the queue of the signals ends the process, not we.
        if leaving.hasBegun { try? await Task.sleep(for: .seconds(2)) }
        plane.finish(report)
        StandardStream.output.write(line: ControlJSON.encode(report))
        await waitForFollower(of: plane)
        await control.stop()
        withExtendedLifetime(signals) {}
        return 0
    }

    /// SIGHUP: certificates are read again. What is wrong with the new ones is told, and the old ones
    /// stay in use.
    private static func reload(
        _ certificates: CertificateFiles, _ server: Server, _ logs: LogQueue
    ) async {
        do throws(ServerError) {
            for warning in try server.replaceCertificates(try await certificates.readSettled()) {
                logs.push(.warning, warning)
            }
            logs.push(.info, "SIGHUP: new handshakes get the certificates as they are on disk now")
        } catch {
            logs.push(.error, "SIGHUP: the certificates in use stay, because of the new ones: \(error)")
        }
    }

    /// What SIGHUP reads again.
    private static func parts(
        _ certificates: CertificateFiles?, _ server: Server, _ keys: KeyRing, _ tls: ControlTLS?,
        _ logs: LogQueue
    ) -> [Reloading.Part] {
        // The ring tells of each of its sources itself.
        var parts = [Reloading.Part(name: "Keys", reload: { await keys.reload() })]
        if let certificates {
            parts.append(
                Reloading.Part(name: "Certificates", reload: { await reload(certificates, server, logs) }))
        }
        if let tls {
            parts.append(
                Reloading.Part(
                    name: "The control listener's certificate",
                    reload: { () async throws(ConfigurationProblem) in try await tls.reload() }))
        }
        return parts
    }

    /// Ends within a second, also where the loops are stuck.
    private static func leave(_ server: Server, _ logs: LogQueue) -> Never {
        let closed = DispatchSemaphore(value: 0)
        DispatchQueue.global().async {
            server.close()
            closed.signal()
        }
        // Closing posts to the loops; a moment more and their close frames are out.
        if closed.wait(timeout: .now() + .milliseconds(500)) == .success { usleep(250_000) }
        logs.flush(timeout: 200)
        _exit(interruptedStatus)
    }

    private static func waitForFollower(of plane: ControlPlane) async {
        let clock = ContinuousClock()
        let end = clock.now + followerPatience
        while plane.hasFollower, clock.now < end {
            try? await clock.sleep(for: .milliseconds(20))
        }
        // So that the answer is on its way before its connection is closed.
        try? await clock.sleep(for: .milliseconds(50))
    }
}

/// Set by the second signal, before it closes the server.
private final class Leaving: Sendable {
    private let flag = Atomic<Bool>(false)

    // Sequentially consistent on both sides: rare, and then no order needs proving.
    func begin() { flag.store(true, ordering: .sequentiallyConsistent) }
    var hasBegun: Bool { flag.load(ordering: .sequentiallyConsistent) }
}

/// SIGTERM and SIGINT: drain, and leave at once the second time. They are taken by a queue of their
/// own, so that a node whose other threads are stuck can still be ended.
private final class NodeSignals {
    private final class Count: Sendable {
        let value = Atomic<Int>(0)
    }

    private let sources: [any DispatchSourceSignal]

    init(
        onDrain: @escaping @Sendable (String) -> Void,
        onLeave: @escaping @Sendable (String) -> Void, onHangUp: @escaping @Sendable () -> Void
    ) {
        // A peer or a pipe that is gone is an error of a write, not the end of the process.
        _ = signal(SIGPIPE, SIG_IGN)
        let queue = DispatchQueue(label: "skein-signals")
        sources = [SIGTERM, SIGINT, SIGHUP].map { number in
            _ = signal(number, SIG_IGN)
            return DispatchSource.makeSignalSource(signal: number, queue: queue)
        }
        let count = Count()
        for (source, name) in zip(sources, ["SIGTERM", "SIGINT"]) {
            source.setEventHandler {
                let before = count.value.wrappingAdd(1, ordering: .relaxed).oldValue
                before == 0 ? onDrain(name) : onLeave(name)
            }
        }
        sources[2].setEventHandler(handler: onHangUp)
        for source in sources { source.activate() }
    }
}
