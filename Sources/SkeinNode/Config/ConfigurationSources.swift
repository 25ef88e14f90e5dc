// Where values come from, in order: flags, environment, file. An empty value counts as none, so
// that `REDIS_URL=` in a compose file means what it looks like.

internal import Configuration
internal import FoundationEssentials
internal import Synchronization

package struct ConfigurationSources: Sendable {
    /// By the names of their keys.
    package var flags: [String: String]
    package var environment: [String: String]
    package var filePath: String?

    package init(
        flags: [String: String] = [:], environment: [String: String] = [:], filePath: String? = nil
    ) {
        self.flags = flags
        self.environment = environment
        self.filePath = filePath
    }

    /// Of this process.
    package static func environmentOfProcess() -> [String: String] {
        ProcessInfo.processInfo.environment
    }
}

/// The sources, opened: asks each in turn.
struct ConfigurationLookup {
    private let flags: InMemoryProvider
    private let environment: EnvironmentVariablesProvider
    private let file: ConfigurationFile?
    /// Keys of the file, sorted, also those that no one knows.
    var fileKeys: [String] { file?.keys ?? [] }

    init(_ sources: ConfigurationSources) throws(ConfigurationProblem) {
        var values: [AbsoluteConfigKey: ConfigValue] = [:]
        for (name, text) in sources.flags {
            values[AbsoluteConfigKey([name])] = ConfigValue(.string(text), isSecret: false)
        }
        flags = InMemoryProvider(name: "flags", values: values)
        environment = EnvironmentVariablesProvider(environmentVariables: sources.environment)
        if let path = sources.filePath {
            file = try ConfigurationFile(path: path)
        } else {
            file = nil
        }
    }

    func text(
        of key: ConfigurationKey
    ) throws(ConfigurationProblem) -> (text: String, origin: ConfigurationOrigin)? {
        if let flag = key.flag, let text = flagText(key.name), !text.isEmpty {
            return (text, .flag(flag))
        }
        if let text = try? environment.environmentValue(forName: key.name)?.trimmed, !text.isEmpty {
            return (text, .environment)
        }
        if let file, let text = try file.text(of: key)?.trimmed, !text.isEmpty {
            return (text, .file(file.path))
        }
        return nil
    }

    private func flagText(_ name: String) -> String? {
        let found = try? flags.value(forKey: AbsoluteConfigKey([name]), type: .string)
        guard case .string(let text) = found?.value?.content else { return nil }
        return text
    }
}

/// One YAML or JSON file whose keys are the environment names.
private struct ConfigurationFile {
    private static let bytesMax = 1_048_576

    let path: String
    let keys: [String]
    private let snapshot: any ConfigSnapshot

    init(path: String) throws(ConfigurationProblem) {
        self.path = path
        // Half a YAML file is a YAML file, too.
        let settled = try Settling.readAtStart { () throws(ConfigurationProblem) in
            do { return try Data(contentsOf: URL(filePath: path)) } catch {
                throw .error(nil, "The configuration file \(path) cannot be read; check --config.")
            }
        }
        guard let data = settled else {
            throw .error(nil, "The configuration file \(path) is written without end; check --config.")
        }
        guard data.count <= Self.bytesMax else {
            throw .error(
                nil, "The configuration file \(path) has more than 1 MiB; check --config.")
        }
        // A snapshot cannot list its keys, but asks about each of them whether it is secret: we
        // say yes to all, so that none can be printed by accident, and remember the names.
        let seen = KeyCollector()
        do {
            if path.lowercased().hasSuffix(".json") {
                snapshot = try JSONSnapshot(
                    data: data.bytes, providerName: path,
                    parsingOptions: .init(
                        secretsSpecifier: .dynamic { key, _ in seen.add(key) }))
            } else if data.isEmpty {
                snapshot = InMemoryProvider(values: [:]).snapshot()
            } else {
                snapshot = try YAMLSnapshot(
                    data: data.bytes, providerName: path,
                    parsingOptions: .init(
                        secretsSpecifier: .dynamic { key, _ in seen.add(key) }))
            }
        } catch {
            // The parser's own words may quote the line they stumbled over, and a secret in it.
            throw .error(
                nil,
                "The configuration file \(path) is not a YAML or JSON object of keys and values; "
                    + "write one `KEY: value` a line.")
        }
        keys = seen.sorted()
    }

    /// Numbers and flags may stand with or without quotes, lists as lists or comma-separated.
    func text(of key: ConfigurationKey) throws(ConfigurationProblem) -> String? {
        guard keys.contains(key.name) else { return nil }
        var types: [ConfigType] = [.string, .stringArray]
        switch key.kind {
        case .boolean: types.append(.bool)
        default: types.append(.int)
        }
        for type in types {
            let name = AbsoluteConfigKey([key.name])
            guard let found = try? snapshot.value(forKey: name, type: type) else { continue }
            switch found.value?.content {
            case .string(let text): return text
            case .stringArray(let items): return items.joined(separator: ",")
            case .int(let number): return String(number)
            case .bool(let flag): return String(flag)
            default: continue
            }
        }
        throw .error(
            key.name,
            "\(key.name) in \(path) is neither text nor a number nor a list; write one value.")
    }
}

private final class KeyCollector: Sendable {
    private let keys = Mutex<Set<String>>([])

    func add(_ key: String) -> Bool {
        keys.withLock { _ = $0.insert(key) }
        return true
    }

    func sorted() -> [String] { keys.withLock { $0.sorted() } }
}
