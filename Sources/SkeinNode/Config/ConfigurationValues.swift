// From what was written to what it means, by the kind of the key, and back to how it is shown.
// A message names the key, what was read and what would do; a secret is never repeated.

/// Durations as Go services write them: `25s`, `250ms`, `1m30s`, `1.5h`; a bare number is seconds.
package enum DurationText {
    private static let nanosecondsPerUnit: [String: Double] = [
        "ns": 1, "us": 1e3, "µs": 1e3, "ms": 1e6, "s": 1e9, "m": 60e9, "h": 3_600e9,
    ]

    /// - Returns: `nil` where `text` is no duration, is negative or longer than ten years.
    package static func read(_ text: String) -> Duration? {
        if let seconds = Int(text) {
            return (0...315_360_000).contains(seconds) ? .seconds(seconds) : nil
        }
        var rest = text[...]
        var total = 0.0
        while !rest.isEmpty {
            let digits = rest.prefix { ("0"..."9").contains($0) || $0 == "." }
            rest = rest.dropFirst(digits.count)
            let unit = rest.prefix { !("0"..."9").contains($0) && $0 != "." }
            rest = rest.dropFirst(unit.count)
            guard let number = Double(digits), let scale = nanosecondsPerUnit[String(unit)] else {
                return nil
            }
            total += number * scale
        }
        guard !text.isEmpty, total <= 315_360_000e9 else { return nil }
        return .nanoseconds(Int64(total.rounded()))
    }

    /// The shortest exact way to write it, in one unit.
    package static func write(_ duration: Duration) -> String {
        let milliseconds = duration.milliseconds
        guard milliseconds.isMultiple(of: 1_000), milliseconds > 0 else {
            return milliseconds == 0 ? "0s" : "\(milliseconds)ms"
        }
        let seconds = milliseconds / 1_000
        if seconds.isMultiple(of: 3_600) { return "\(seconds / 3_600)h" }
        if seconds.isMultiple(of: 60), seconds > 60 { return "\(seconds / 60)m" }
        return "\(seconds)s"
    }
}

extension Duration {
    package var milliseconds: Int {
        Int(components.seconds) * 1_000 + Int(components.attoseconds / 1_000_000_000_000_000)
    }
    package var inSeconds: Double {
        Double(components.seconds) + Double(components.attoseconds) * 1e-18
    }
}

extension ConfigurationKey {
    package static let secretBytesMin = 32

    /// - Throws: what is wrong with `text`, in a sentence.
    package func parse(
        _ text: String, from origin: ConfigurationOrigin
    ) throws(ConfigurationProblem) -> ConfigurationValue {
        func wrong(_ what: String) -> ConfigurationProblem {
            .error(name, "\(name) is `\(text)` (\(origin)), \(what).")
        }
        switch kind {
        case .text, .password:
            return .text(text)
        case .url:
            guard text.contains(":") else {
                throw .error(name, "\(name) (\(origin)) is no URL; start it with its scheme.")
            }
            return .text(text)
        case .address:
            guard ListenAddress(text) != nil else {
                throw wrong(
                    "which is no address to listen on; write host:port, such as 0.0.0.0:8080")
            }
            return .text(text)
        case .integer:
            guard let number = Int(text) else { throw wrong("which is not a whole number") }
            return .integer(try within(number, wrong))
        case .bytes:
            guard let number = Self.bytes(text) else {
                throw wrong("which is no number of bytes; write 65536, 64KiB or 1MiB")
            }
            return .integer(try within(number, wrong))
        case .boolean:
            guard let flag = Self.boolean(text) else {
                throw wrong("which is neither true nor false")
            }
            return .boolean(flag)
        case .duration:
            guard let duration = DurationText.read(text) else {
                throw wrong("which is no duration; write it as 25s, 250ms, 10m or 1h")
            }
            _ = try within(duration.milliseconds, wrong)
            return .duration(duration)
        case .list:
            return .list(Self.list(text))
        case .choice(let choices):
            let chosen = text.lowercased() == "warn" ? "warning" : text.lowercased()
            guard choices.contains(chosen) else {
                throw wrong("which is none of \(choices.joined(separator: ", "))")
            }
            return .text(chosen)
        case .secret:
            return .text(try longEnough(text, from: origin))
        case .secrets:
            var secrets: [String] = []
            for secret in Self.list(text) { secrets.append(try longEnough(secret, from: origin)) }
            return .list(secrets)
        }
    }

    /// How a value is shown to people: secrets as `***`, URLs without their password.
    package func show(_ value: ConfigurationValue) -> String {
        switch value {
        case .absent: return ""
        case .integer(let number): return String(number)
        case .boolean(let flag): return String(flag)
        case .duration(let duration): return DurationText.write(duration)
        case .list(let items):
            return kind == .secrets
                ? items.map { _ in "***" }.joined(separator: ",") : items.joined(separator: ",")
        case .text(let text):
            switch kind {
            case .secret, .password, .secrets: return "***"
            case .url: return Self.maskPassword(text)
            default: return text
            }
        }
    }

    /// `redis://user:password@host` becomes `redis://user:***@host`. An address without a scheme
    /// but with an `@` is hidden whole: we cannot tell what is what in it.
    package static func maskPassword(_ url: String) -> String {
        guard let at = url.lastIndex(of: "@") else { return url }
        guard let scheme = url.firstRange(of: "://"), scheme.upperBound <= at else { return "***" }
        let credentials = url[scheme.upperBound..<at]
        let user = credentials.prefix { $0 != ":" }
        guard user.endIndex < credentials.endIndex else {
            return url[..<scheme.upperBound] + "***" + url[at...]
        }
        return url[..<user.endIndex] + ":***" + url[at...]
    }
}

private extension ConfigurationKey {
    func within(
        _ number: Int, _ wrong: (String) -> ConfigurationProblem
    ) throws(ConfigurationProblem) -> Int {
        guard let range, !range.contains(number) else { return number }
        throw wrong("which is not within \(rangeText ?? "its range")")
    }

    func longEnough(
        _ secret: String, from origin: ConfigurationOrigin
    ) throws(ConfigurationProblem) -> String {
        guard secret.utf8.count >= Self.secretBytesMin else {
            throw .error(
                name,
                "\(name) (\(origin)) has \(secret.utf8.count) bytes, and a secret shorter than "
                    + "\(Self.secretBytesMin) can be guessed; make one with `openssl rand -hex 32`."
            )
        }
        return secret
    }

    static func list(_ text: String) -> [String] {
        text.split(separator: ",").map { $0.trimmed }.filter { !$0.isEmpty }
    }

    static func boolean(_ text: String) -> Bool? {
        switch text.lowercased() {
        case "true", "1", "yes", "on": true
        case "false", "0", "no", "off": false
        default: nil
        }
    }

    static func bytes(_ text: String) -> Int? {
        let units = ["GiB": 1 << 30, "MiB": 1 << 20, "KiB": 1 << 10, "B": 1]
        for (unit, scale) in units where text.hasSuffix(unit) {
            guard let number = Int(text.dropLast(unit.count).trimmed) else { continue }
            let (product, overflow) = number.multipliedReportingOverflow(by: scale)
            return overflow ? nil : product
        }
        return Int(text)
    }
}

extension ConfigurationKey {
    /// The range as it is written, such as `1ms to 1h`; `nil` where there is none.
    package var rangeText: String? {
        guard let range else { return nil }
        func write(_ number: Int) -> String {
            kind == .duration ? DurationText.write(.milliseconds(number)) : String(number)
        }
        if range.upperBound == .max { return "\(write(range.lowerBound)) or more" }
        return "\(write(range.lowerBound)) to \(write(range.upperBound))"
    }
}

extension StringProtocol {
    /// Without blanks at either end.
    package var trimmed: String {
        var text = Substring(self)
        while let first = text.first, first.isWhitespace { text.removeFirst() }
        while let last = text.last, last.isWhitespace { text.removeLast() }
        return String(text)
    }
}
