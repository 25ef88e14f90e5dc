// Where Redis is. A name is looked up before the loop starts, and again on the side after a failure,
// because a look-up can block for seconds and a loop may not; Sentinels are asked by a thread.

internal import SkeinIO
internal import SkeinWire
internal import Synchronization

final class AddressResolver: Sendable {
    /// Where to connect, and what a certificate has to be made out to.
    struct Place: Sendable {
        var address: SocketAddress
        var host: String
        var text: String
    }

    private let endpoint: RedisAddress.Endpoint
    private let place = Mutex<Place?>(nil)
    private let isLookingUp = Atomic<Bool>(false)
    private let watch: SentinelWatch?
    private let tls: RedisTLS?
    private let context = Mutex<Result<TLSContext, TLSFilesError>?>(nil)
    /// The address can change: it was given as a name, or Sentinels say it.
    private let isFixed: Bool
    /// For messages, until there is an address.
    private let configured: String

    /// - Parameter moved: called on another thread when Sentinels name a primary, and another one.
    init(_ address: RedisAddress, moved: @escaping @Sendable () -> Void) {
        endpoint = address.endpoint
        tls = address.tls
        switch endpoint {
        case .tcp(let host, let port):
            configured = host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
            isFixed = SocketAddress(host: host, port: port) != nil
            watch = nil
        case .unix(let path):
            configured = path
            isFixed = true
            watch = nil
        case .sentinels(let sentinels):
            configured = "primary \(sentinels.primary)"
            isFixed = false
            watch = SentinelWatch(sentinels, tls: address.tls, moved: moved)
        }
        loadFiles()
        if let watch { watch.start() } else { lookUp() }
    }

    var current: Place? { watch?.found ?? place.withLock { $0 } }

    var text: String { current?.text ?? configured }

    var asksSentinels: Bool { watch != nil }

    /// Why there is no address; `nil` while the first Sentinel is still being asked.
    var failure: LinkFailure? {
        guard let watch else { return .unresolved }
        return watch.trouble.map { .sentinel($0) }
    }

    /// Asks again where Redis is, without waiting for it.
    /// - Parameter isWrong: what is there is no primary, so whoever said so is asked last.
    func refresh(isWrong: Bool = false) {
        watch?.ask(another: isWrong)
        guard tls != nil || !(isFixed || asksSentinels),
            !isLookingUp.exchange(true, ordering: .acquiring)
        else { return }
        Task.detached {
            self.loadFiles()
            self.lookUp()
            self.isLookingUp.store(false, ordering: .releasing)
        }
    }

    func stop() { watch?.stop() }

    /// What TLS begins with; `nil` without TLS.
    var security: Result<TLSContext, TLSFilesError>? { context.withLock { $0 } }

    private func loadFiles() {
        guard let tls else { return }
        let loaded = TLSFiles.load(tls)
        context.withLock { $0 = loaded }
    }

    private func lookUp() {
        let found: SocketAddress?
        var name = ""
        switch endpoint {
        case .unix(let path):
            found = SocketAddress(path: path)
        case .tcp(let host, let port):
            name = host
            found = SocketAddress(host: host, port: port)
                ?? ((try? SocketAddress.resolve(host: host, port: port))?.first)
        case .sentinels: found = nil
        }
        guard let found else { return }
        place.withLock { $0 = Place(address: found, host: name, text: configured) }
    }
}
