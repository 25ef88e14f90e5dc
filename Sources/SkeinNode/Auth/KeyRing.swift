// The keys that verify tokens now, from all their sources. Each source has its own group, replaced
// as a whole by a reading that succeeded; a reading that fails changes nothing but what health says.

package import Logging
internal import Synchronization

/// What health and metrics say of the keys.
package struct KeyStatus: Sendable, Codable, Equatable {
    package enum State: String, Sendable, Codable { case ok, failing, unread }

    package struct Fetching: Sendable, Codable, Equatable {
        package internal(set) var state = State.unread
        /// Of the last failure, while it fails.
        package internal(set) var reason: String?
        /// Since the last fetch that succeeded.
        package internal(set) var ageSeconds: Double?
        package internal(set) var fetched: UInt64 = 0
        package internal(set) var failed: UInt64 = 0
    }

    /// Keys by algorithm.
    package internal(set) var keys: [String: Int] = [:]
    /// `nil` where no JWKS URL is configured.
    package internal(set) var jwks: Fetching?
}

/// One moment's keys: a value, so that a verification sees one set and no lock.
struct KeySnapshot: Sendable {
    let keys: [VerificationKey]
    /// Grows whenever the keys change.
    let generation: UInt64

    /// Those of its algorithm, and among them of its ID where the token names one. Keys without an ID
    /// are always among them: PEM files have none.
    func candidates(_ algorithm: TokenAlgorithm, keyID: String?) -> [VerificationKey] {
        keys.filter { key in
            key.algorithm == algorithm
                && (keyID == nil || key.keyID == nil || key.keyID == keyID)
        }
    }

    /// Whether a token that no candidate verified may be signed with a key that is not here: it names
    /// one that nobody has, or there is none of its algorithm at all. Secrets come from nowhere else.
    func mayLack(_ algorithm: TokenAlgorithm, keyID: String?) -> Bool {
        guard algorithm != .hs256 else { return false }
        guard let keyID else { return !keys.contains { $0.algorithm == algorithm } }
        return !keys.contains { $0.algorithm == algorithm && $0.keyID == keyID }
    }
}

package final class KeyRing: Sendable {
    /// Fetches for the sake of an unknown `kid` are at least so far apart.
    static let unknownKeyInterval = Duration.seconds(30)
    /// While there is no key at all from the URL, or it fails, it is asked this often at least.
    static let retryInterval = Duration.seconds(5)
    static let fetchTimeout = Duration.seconds(5)
    /// Handshakes that may wait for one fetch; more are told to come back.
    static let waitersMax = 256

    private enum Source: Int { case secret, pemFile, jwksFile, jwksURL }

    private struct State {
        var groups: [[VerificationKey]] = [[], [], [], []]
        var snapshot = KeySnapshot(keys: [], generation: 0)
        var fetching: KeyStatus.Fetching?
        var fetchedAt: ContinuousClock.Instant?
        var askedForUnknown: ContinuousClock.Instant?
        var current: Task<Bool, Never>?
        var waiterCount = 0
    }

    private let settings: JWTSettings
    private let fetcher: KeyFetcher?
    private let log: @Sendable (Logger.Level, String) -> Void
    private let state = Mutex(State())

    /// Reads the files. - Throws: where one cannot be used; says which and why.
    package init(
        _ settings: JWTSettings, log: @escaping @Sendable (Logger.Level, String) -> Void = { _, _ in }
    ) throws(ConfigurationProblem) {
        self.settings = settings
        self.log = log
        fetcher = settings.jwksURL.map {
            KeyFetcher(url: $0, authorities: settings.jwksAuthorities, timeout: settings.jwksTimeout)
        }
        let files = try Self.readFiles(settings)
        if let secret = settings.secret { replace(.secret, [VerificationKey(secret: secret)]) }
        replace(.pemFile, files.pem)
        replace(.jwksFile, files.jwks)
        if fetcher != nil { state.withLock { $0.fetching = KeyStatus.Fetching() } }
    }

    var snapshot: KeySnapshot { state.withLock { $0.snapshot } }

    package var status: KeyStatus {
        state.withLock { state in
            var status = KeyStatus()
            for key in state.snapshot.keys { status.keys[key.algorithm.rawValue, default: 0] += 1 }
            status.jwks = state.fetching
            status.jwks?.ageSeconds = state.fetchedAt.map { (ContinuousClock.now - $0).inSeconds }
            return status
        }
    }

    /// For `config check`: what is wrong with the files, if anything is.
    package static func check(_ settings: JWTSettings) throws(ConfigurationProblem) {
        _ = try readFiles(settings)
    }

    // MARK: Reading again

    /// Reads the files again and fetches the URL; a source that fails keeps the keys it had.
    package func reload() async {
        await reload(.pemFile, "JWT_PUBLIC_KEY_FILE", settings.publicKeyFile, .pem)
        await reload(.jwksFile, "JWT_JWKS_FILE", settings.jwksFile, .jwks)
        if fetcher != nil { _ = await fetch() }
    }

    /// Fetches the URL now and then again and again, until the task is cancelled.
    package func run() async {
        guard fetcher != nil else { return }
        while !Task.isCancelled {
            let isFetched = await fetch()
            let wait = isFetched ? settings.jwksRefresh : min(settings.jwksRefresh, Self.retryInterval)
            // Spread, so that the nodes of a cluster do not ask as one.
            try? await Task.sleep(for: wait * Double.random(in: 0.9...1.1))
        }
    }

    /// A token names a key that nobody here has: perhaps the issuer changed keys a moment ago.
    ///
    /// - Returns: whether to look again; throws where too many wait already.
    func fetchForUnknownKey() async throws(KeyRingIsBusy) -> Bool {
        guard fetcher != nil else { return false }
        let now = ContinuousClock.now
        let isAsked = try state.withLock { state throws(KeyRingIsBusy) in
            if state.current == nil {
                if let last = state.askedForUnknown, now - last < Self.unknownKeyInterval { return false }
                state.askedForUnknown = now
            }
            guard state.waiterCount < Self.waitersMax else { throw KeyRingIsBusy() }
            state.waiterCount += 1
            return true
        }
        guard isAsked else { return false }
        defer { state.withLock { $0.waiterCount -= 1 } }
        return await fetch()
    }

    /// One fetch at a time; who comes while one is under way waits for that one.
    private func fetch() async -> Bool {
        let task = state.withLock { state in
            if let current = state.current { return current }
            let task = Task { await self.fetchOnce() }
            state.current = task
            return task
        }
        return await task.value
    }

    private func fetchOnce() async -> Bool {
        guard let fetcher else { return false }
        let result: Result<[VerificationKey], KeyProblem>
        do throws(KeyProblem) {
            result = .success(try await fetcher.fetch())
        } catch {
            result = .failure(error)
        }
        let before = state.withLock { $0.fetching?.state ?? .unread }
        switch result {
        case .success(let keys):
            replace(.jwksURL, keys)
            if before != .ok { log(.notice, "JWT_JWKS_URL was fetched: \(keys.count) keys") }
        case .failure(let problem):
            if before != .failing {
                log(
                    .error,
                    "JWT_JWKS_URL \(problem.what); the keys of before stay. Check the URL and its server: "
                        + "tokens signed with newer keys are refused until it answers.")
            }
        }
        state.withLock { state in
            state.current = nil
            switch result {
            case .success:
                state.fetchedAt = .now
                state.fetching?.state = .ok
                state.fetching?.reason = nil
                state.fetching?.fetched += 1
            case .failure(let problem):
                state.fetching?.state = .failing
                state.fetching?.reason = "JWT_JWKS_URL " + problem.what
                state.fetching?.failed += 1
            }
        }
        if case .success = result { return true }
        return false
    }
}

/// Too many handshakes wait for the keys already.
struct KeyRingIsBusy: Error {}

private extension KeyRing {
    private func reload(_ source: Source, _ name: String, _ path: String?, _ kind: KeyFile.Kind) async {
        guard let path else { return }
        do throws(KeyProblem) {
            let keys = try await KeyFile.readSettled(path, kind)
            replace(source, keys)
            log(.notice, "\(name) was read again: \(keys.count) keys")
        } catch {
            log(
                .error,
                "\(name) (\(path)) \(error.what); the keys of before stay. Put the file right and send "
                    + "SIGHUP again.")
        }
    }

    private func replace(_ source: Source, _ keys: [VerificationKey]) {
        state.withLock { state in
            guard state.groups[source.rawValue] != keys else { return }
            state.groups[source.rawValue] = keys
            state.snapshot = KeySnapshot(
                keys: state.groups.flatMap { $0 }, generation: state.snapshot.generation + 1)
        }
    }

    static func readFiles(
        _ settings: JWTSettings
    ) throws(ConfigurationProblem) -> (pem: [VerificationKey], jwks: [VerificationKey]) {
        (
            try read("JWT_PUBLIC_KEY_FILE", settings.publicKeyFile, .pem),
            try read("JWT_JWKS_FILE", settings.jwksFile, .jwks)
        )
    }

    static func read(
        _ name: String, _ path: String?, _ kind: KeyFile.Kind
    ) throws(ConfigurationProblem) -> [VerificationKey] {
        guard let path else { return [] }
        do throws(KeyProblem) {
            return try KeyFile.read(path, kind)
        } catch {
            throw .error(name, "\(name) (\(path)) \(error.what).")
        }
    }
}
