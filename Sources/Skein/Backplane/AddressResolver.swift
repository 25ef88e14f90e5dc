// Where Redis is. A name is looked up before the loop starts, and again on the side after a failure,
// because a look-up can block for seconds and a loop may not.

internal import SkeinIO
internal import Synchronization

final class AddressResolver: Sendable {
    private let endpoint: RedisAddress.Endpoint
    private let address = Mutex<SocketAddress?>(nil)
    private let isLookingUp = Atomic<Bool>(false)
    /// For messages.
    let text: String
    /// The address can change: it was given as a name.
    let isNamed: Bool

    init(_ endpoint: RedisAddress.Endpoint) {
        self.endpoint = endpoint
        switch endpoint {
        case .tcp(let host, let port):
            text = "\(host):\(port)"
            isNamed = SocketAddress(host: host, port: port) == nil
        case .unix(let path):
            text = path
            isNamed = false
        }
        lookUp()
    }

    var current: SocketAddress? { address.withLock { $0 } }

    func refresh() {
        guard !isLookingUp.exchange(true, ordering: .acquiring) else { return }
        Task.detached {
            self.lookUp()
            self.isLookingUp.store(false, ordering: .releasing)
        }
    }

    private func lookUp() {
        let found: SocketAddress?
        switch endpoint {
        case .unix(let path):
            found = SocketAddress(path: path)
        case .tcp(let host, let port):
            found = SocketAddress(host: host, port: port)
                ?? ((try? SocketAddress.resolve(host: host, port: port))?.first)
        }
        if let found { address.withLock { $0 = found } }
    }
}
