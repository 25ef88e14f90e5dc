// The TLS settings that the shards of one server have in common, and their replacement while
// connections go on: those who are in keep what they began with, whoever comes gets the new ones.

internal import SkeinIO
internal import SkeinWire
internal import Synchronization

final class TLSService: Sendable {
    private let ticketKeys: TLSTicketKeys
    private let current: Mutex<TLSSettings>

    init(_ configuration: TLSConfiguration) throws(ServerError) {
        ticketKeys = TLSTicketKeys(lifeSeconds: max(60, Int(configuration.ticketLife.nanoseconds / 1_000_000_000)))
        current = Mutex(try configuration.settings(ticketKeys: ticketKeys))
        _ = try makeContext()
    }

    /// One for each shard: OpenSSL contends on shared ones.
    func makeContext() throws(ServerError) -> TLSContext {
        try Self.makeContext(current.withLock { $0 })
    }

    private static func makeContext(_ settings: TLSSettings) throws(ServerError) -> TLSContext {
        do throws(TLSSettingsError) { return try TLSContext(settings) } catch {
            throw ServerError("TLS cannot be set up: \(error).")
        }
    }

    /// What could be made when the server was can be made again.
    func contextAtStart() -> TLSContext {
        do throws(ServerError) { return try makeContext() } catch { preconditionFailure("\(error)") }
    }

    func replace(_ configuration: TLSConfiguration) throws(ServerError) {
        let settings = try configuration.settings(ticketKeys: ticketKeys)
        _ = try Self.makeContext(settings)
        current.withLock { $0 = settings }
    }
}

extension Server {
    /// Takes new certificates into use, for handshakes from now on. Open connections stay, and
    /// session tickets stay good.
    ///
    /// - Returns: what works but should be looked at.
    /// - Throws: what is wrong; then the old certificates stay in use.
    @discardableResult
    public func replaceCertificates(_ configuration: TLSConfiguration) throws(ServerError) -> [String] {
        guard let service = shared.tls else {
            throw ServerError("This server was started without TLS; start it anew with certificates.")
        }
        let warnings = try configuration.validate()
        try service.replace(configuration)
        for inbox in shared.shardInboxes {
            let isPosted = LoopTask<ShardCore>.post(to: inbox, kind: ShardRecord.task.rawValue) {
                $0.renewTLS()
            }
            guard isPosted else {
                throw ServerError("A shard has too much waiting and keeps the old certificates; try again.")
            }
        }
        return warnings
    }
}

extension ShardCore {
    func renewTLS() {
        guard speaksTLS, let service = state.shared.tls else { return }
        do throws(ServerError) { state.tls.value.renew(try service.makeContext()) } catch {
            log(.error, "the new certificates could not be taken into use: \(error)")
        }
    }
}
