// What one configuration key is: its name, how it is written, what it may be and what it is for.
// The table of all keys drives parsing, `skein config check`, `/config`, the help and the README.

package import Skein

package struct ConfigurationKey: Sendable {
    package enum Kind: Sendable, Equatable {
        case text, integer, boolean, duration, bytes, list
        /// Never shown, at least 32 bytes.
        case secret
        /// Several secrets, comma-separated.
        case secrets
        /// Never shown; another system made it, so its length is not ours to judge.
        case password
        /// Shown without its password.
        case url
        /// `host:port`
        case address
        case choice([String])
    }

    /// Which field of `Limits` the key sets. Its default is the one written there.
    package enum Limit: Sendable {
        case number(any WritableKeyPath<Limits, Int> & Sendable)
        case duration(any WritableKeyPath<Limits, Duration> & Sendable)
    }

    package let name: String
    package let kind: Kind
    package let defaultText: String?
    /// In the key's unit; durations in milliseconds.
    package let range: ClosedRange<Int>?
    package let unit: String
    /// The flag of `skein serve` that sets it, without dashes.
    package let flag: String?
    package let help: String
    /// Set where the key is accepted and checked but does nothing yet: what that means.
    package let idle: String?
    package let limit: Limit?

    package init(
        _ name: String, _ kind: Kind, default defaultText: String? = nil,
        range: ClosedRange<Int>? = nil, unit: String = "", flag: String? = nil,
        idle: String? = nil, limit: Limit? = nil, _ help: String
    ) {
        self.name = name
        self.kind = kind
        self.defaultText = defaultText
        self.range = range
        self.unit = unit
        self.flag = flag
        self.help = help
        self.idle = idle
        self.limit = limit
    }

    /// A key that sets a count of `Limits`.
    package static func limit(
        _ name: String, _ path: any WritableKeyPath<Limits, Int> & Sendable,
        _ range: ClosedRange<Int>, unit: String, _ help: String
    ) -> ConfigurationKey {
        limit(name, path, .integer, range, unit: unit, help)
    }

    /// A key that sets a whole-numbered field of `Limits`.
    package static func limit(
        _ name: String, _ path: any WritableKeyPath<Limits, Int> & Sendable, _ kind: Kind,
        _ range: ClosedRange<Int>, unit: String, _ help: String
    ) -> ConfigurationKey {
        ConfigurationKey(
            name, kind, default: String(Limits()[keyPath: path]), range: range, unit: unit,
            limit: .number(path), help)
    }

    /// A key that sets a time of `Limits`.
    package static func limit(
        _ name: String, _ path: any WritableKeyPath<Limits, Duration> & Sendable,
        _ range: ClosedRange<Int>, _ help: String
    ) -> ConfigurationKey {
        ConfigurationKey(
            name, .duration, default: DurationText.write(Limits()[keyPath: path]), range: range,
            limit: .duration(path), help)
    }
}

/// A value as the node uses it.
package enum ConfigurationValue: Sendable, Equatable {
    case absent
    case text(String)
    case integer(Int)
    case boolean(Bool)
    case duration(Duration)
    case list([String])
}

/// Where a value came from.
package enum ConfigurationOrigin: Sendable, Equatable, CustomStringConvertible {
    case flag(String)
    case environment
    case file(String)
    /// `--dev` made it.
    case development
    case `default`

    package var description: String {
        switch self {
        case .flag(let name): "flag --\(name)"
        case .environment: "environment"
        case .file(let path): "file \(path)"
        case .development: "--dev"
        case .default: "default"
        }
    }
}

/// Something to put right, or to know of, before a node starts.
package struct ConfigurationProblem: Error, Sendable, Equatable {
    package enum Severity: String, Sendable, Codable { case error, warning }

    package let severity: Severity
    package let key: String?
    /// What is wrong, why, and what to do. Never holds a secret.
    package let message: String
    /// A variable whose name begins like one of ours: a node starts with it, a check fails.
    package var isUnknownVariable = false

    package static func error(_ key: String?, _ message: String) -> ConfigurationProblem {
        ConfigurationProblem(severity: .error, key: key, message: message)
    }
    package static func warning(_ key: String?, _ message: String) -> ConfigurationProblem {
        ConfigurationProblem(severity: .warning, key: key, message: message)
    }
}
