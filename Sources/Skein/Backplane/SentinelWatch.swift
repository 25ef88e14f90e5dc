// Asks the Sentinels where the primary is: at the start, after each failure of a link, and every ten
// seconds in case the failover was seen by them only. On a thread of its own, because asking waits.

internal import Dispatch
internal import Glibc
internal import SkeinIO
internal import Synchronization

final class SentinelWatch: Sendable {
    static var pollSeconds: Int { 10 }
    /// Between two rounds of questions, however many ask for one.
    static var pauseMilliseconds: UInt32 { 100 }

    private struct State {
        var found: AddressResolver.Place?
        var trouble: String?
        /// Where the next round begins.
        var first = 0
        var isStopped = false
    }

    private let sentinels: RedisSentinels
    private let tls: RedisTLS?
    private let state = Mutex(State())
    private let wanted = DispatchSemaphore(value: 0)
    private let isWanted = Atomic<Bool>(false)
    private let moved: @Sendable () -> Void

    init(_ sentinels: RedisSentinels, tls: RedisTLS?, moved: @escaping @Sendable () -> Void) {
        self.sentinels = sentinels
        self.tls = tls
        self.moved = moved
    }

    var found: AddressResolver.Place? { state.withLock { $0.found } }

    /// Why the last round brought no answer.
    var trouble: String? { state.withLock { $0.trouble } }

    func start() {
        do throws(SystemError) {
            _ = try PinnedThread.start(name: "skein-sentinel") { self.run() }
        } catch {
            state.withLock { $0.trouble = "the thread that asks Sentinels cannot be started: \(error)" }
        }
    }

    func ask(another: Bool) {
        if another { state.withLock { $0.first += 1 } }
        guard !isWanted.exchange(true, ordering: .acquiringAndReleasing) else { return }
        wanted.signal()
    }

    func stop() {
        state.withLock { $0.isStopped = true }
        wanted.signal()
    }

    private var isStopped: Bool { state.withLock { $0.isStopped } }

    private func run() {
        while !isStopped {
            isWanted.store(false, ordering: .releasing)
            askInOrder()
            usleep(Self.pauseMilliseconds * 1_000)
            _ = wanted.wait(timeout: .now() + .seconds(Self.pollSeconds))
        }
    }

    private func askInOrder() {
        let first = state.withLock { $0.first }
        var refusals: [String] = []
        for step in sentinels.addresses.indices {
            guard !isStopped else { return }
            let place = (first + step) % sentinels.addresses.count
            let sentinel = sentinels.addresses[place]
            do throws(SentinelError) {
                let primary = try SentinelConversation.ask(sentinel, sentinels, tls)
                found(primary, by: place)
                return
            } catch {
                refusals.append("\(sentinel): \(error.text)")
            }
        }
        let why = "no Sentinel says where \(sentinels.primary) is (\(refusals.joined(separator: "; ")))"
        let isFirst = state.withLock { state in
            defer { state.trouble = why }
            return state.found == nil && state.trouble == nil
        }
        // Whoever waits for the first answer has it: there is none.
        if isFirst { moved() }
    }

    private func found(_ place: AddressResolver.Place, by index: Int) {
        let isNew = state.withLock { state in
            let isNew = state.found?.text != place.text
            state.found = place
            state.trouble = nil
            state.first = index
            return isNew
        }
        if isNew { moved() }
    }
}
