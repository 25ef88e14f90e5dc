// All that a node is told at its start, checked as a whole: each value by its key, then the
// relations between them. `config check` shows the same report that `serve` starts from.

package import Skein

package struct JWTSettings: Sendable {
    /// Of HS256; `nil` where only public keys verify.
    package var secret: String?
    package var publicKeyFile: String?
    package var jwksFile: String?
    package var jwksURL: String?
    /// A PEM file of certificates that the URL's server is checked with, in place of the system's.
    package var jwksAuthorities: String?
    package var jwksRefresh: Duration = .seconds(300)
    package var jwksTimeout: Duration = .seconds(5)
    /// A token needs one of these; empty: any.
    package var issuers: [String] = []
    package var audiences: [String] = []
    /// How far the clocks of issuer and node may differ when a client connects.
    package var leeway: Duration = .seconds(30)
    package var cacheEntriesMax = 65_536

    package init(secret: String? = nil) { self.secret = secret }

    /// Whether any token could be verified.
    package var hasKeys: Bool {
        secret != nil || publicKeyFile != nil || jwksFile != nil || jwksURL != nil
    }
}

package enum LogFormat: String, Sendable { case text, json }

package struct LogSettings: Sendable {
    package var level = "info"
    package var format = LogFormat.text
    package var queueLinesMax = 8_192

    package init() {}
}

package struct ControlSettings: Sendable {
    package var listen: ListenAddress
    package var apiKeys: [String] = []
    package var readyWhenDegraded = false
    package var drain = DrainPlan()
    /// `nil`: plain HTTP.
    package var tls: ControlTLSSettings?
    /// What `/config` answers.
    package var entries: [ConfigurationEntry] = []

    package init(listen: ListenAddress) { self.listen = listen }
}

/// The control listener's certificate, as paths of PEM files.
package struct ControlTLSSettings: Sendable, Equatable {
    package var certificate: String
    package var key: String
    /// Callers need a certificate that these authorities signed, and with one they are operators.
    package var clientAuthorities: String?

    package init(certificate: String, key: String, clientAuthorities: String? = nil) {
        self.certificate = certificate
        self.key = key
        self.clientAuthorities = clientAuthorities
    }
}

package struct NodeConfiguration: Sendable {
    package var server: ServerConfiguration
    /// Where `server.tls` came from, to be read again.
    package var certificates: CertificateFiles?
    package var jwt: JWTSettings
    package var control: ControlSettings
    package var logs: LogSettings
    package var isDevelopment: Bool
}

/// One key as it is shown: with its value, masked, and where that came from.
package struct ConfigurationEntry: Sendable, Equatable, Codable {
    package let key: String
    package let value: String
    package let origin: String

    package init(key: String, value: String, origin: String) {
        self.key = key
        self.value = value
        self.origin = origin
    }
}

/// What came of reading the configuration.
package struct ConfigurationReport: Sendable {
    package var entries: [ConfigurationEntry] = []
    package var problems: [ConfigurationProblem] = []
    /// `nil` where anything is wrong that a node cannot start with.
    package var configuration: NodeConfiguration?
    /// For tools, which need no more than these; there also where other keys are wrong.
    package var jwt: JWTSettings?
    package var apiKeys: [String] = []

    /// Whether `--dev` made the secret, so that it has to be passed on by hand.
    package var isSecretMade = false

    package var errors: [ConfigurationProblem] { problems.filter { $0.severity == .error } }
    package var warnings: [ConfigurationProblem] { problems.filter { $0.severity == .warning } }
}

extension NodeConfiguration {
    /// - Parameter keysNeeded: whether to complain where tokens cannot be verified, and to read the
    ///   files of keys and certificates.
    package static func load(
        _ sources: ConfigurationSources, isDevelopment: Bool = false, keysNeeded: Bool = true
    ) -> ConfigurationReport {
        var report = ConfigurationReport()
        let lookup: ConfigurationLookup
        do throws(ConfigurationProblem) {
            lookup = try ConfigurationLookup(sources)
        } catch {
            report.problems.append(error)
            return report
        }
        report.problems += unknownKeys(in: sources, lookup)
        var values = ConfigurationValues()
        for key in ConfigurationTable.keys {
            do throws(ConfigurationProblem) {
                if let (text, origin) = try lookup.text(of: key) {
                    values.set(key.name, try key.parse(text, from: origin), origin)
                    if let idle = key.idle, text != key.defaultText, text.lowercased() != "false" {
                        report.problems.append(
                            .warning(key.name, "\(key.name) is set (\(origin)), but \(idle)."))
                    }
                } else if let text = key.defaultText {
                    values.set(key.name, try key.parse(text, from: .default), .default)
                }
            } catch {
                report.problems.append(error)
            }
        }
        var builder = ConfigurationBuilder(values: values, isDevelopment: isDevelopment)
        // One that was given and is bad has been told of already.
        let secretIsBad = report.errors.contains { $0.key == "JWT_SECRET" }
        let configuration = builder.build(keysNeeded: keysNeeded, secretIsBad: secretIsBad)
        report.problems += builder.problems
        report.entries = builder.values.entries()
        report.jwt = builder.jwt
        report.isSecretMade = builder.values.origin("JWT_SECRET") == .development
        report.apiKeys = builder.values.list("API_KEY")
        if report.errors.isEmpty, var configuration {
            configuration.control.entries = report.entries
            report.configuration = configuration
        }
        return report
    }

    private static func unknownKeys(
        in sources: ConfigurationSources, _ lookup: ConfigurationLookup
    ) -> [ConfigurationProblem] {
        func hint(_ name: String) -> String {
            guard let nearest = NearestName.of(name, among: ConfigurationTable.names) else {
                return "remove it, or see `skein config keys` for all that there are"
            }
            return "did you mean \(nearest)?"
        }
        var problems: [ConfigurationProblem] = []
        for name in lookup.fileKeys where ConfigurationTable.key(name) == nil {
            problems.append(
                .error(
                    name, "\(name) in \(sources.filePath ?? "the file") is unknown; \(hint(name))"))
        }
        for name in sources.environment.keys.sorted() where ConfigurationTable.key(name) == nil {
            guard ConfigurationTable.ownPrefixes.contains(where: name.hasPrefix)
                || NearestName.isSlip(name, of: ConfigurationTable.names)
            else { continue }
            problems.append(
                ConfigurationProblem(
                    severity: .warning, key: name,
                    message: "\(name) in the environment is unknown; \(hint(name))",
                    isUnknownVariable: true))
        }
        return problems
    }
}

/// Parsed values by key, each with its origin.
struct ConfigurationValues {
    private var values: [String: (value: ConfigurationValue, origin: ConfigurationOrigin)] = [:]

    mutating func set(
        _ name: String, _ value: ConfigurationValue, _ origin: ConfigurationOrigin
    ) {
        precondition(ConfigurationTable.key(name) != nil, "a key that is not in the table")
        values[name] = (value, origin)
    }

    /// Whether someone set it: not by default.
    func isSet(_ name: String) -> Bool {
        guard let origin = values[name]?.origin else { return false }
        return origin != .default
    }

    func origin(_ name: String) -> ConfigurationOrigin { values[name]?.origin ?? .default }

    func text(_ name: String) -> String? {
        guard case .text(let text) = values[name]?.value else { return nil }
        return text
    }
    func integer(_ name: String) -> Int? {
        guard case .integer(let number) = values[name]?.value else { return nil }
        return number
    }
    func boolean(_ name: String) -> Bool {
        guard case .boolean(let flag) = values[name]?.value else { return false }
        return flag
    }
    func duration(_ name: String) -> Duration? {
        guard case .duration(let duration) = values[name]?.value else { return nil }
        return duration
    }
    func list(_ name: String) -> [String] {
        guard case .list(let items) = values[name]?.value else { return [] }
        return items
    }

    func entries() -> [ConfigurationEntry] {
        ConfigurationTable.keys.map { key in
            let found = values[key.name]
            return ConfigurationEntry(
                key: key.name, value: key.show(found?.value ?? .absent),
                origin: (found?.origin ?? .default).description)
        }
    }
}
