// The addresses of proxies as they are written in flags, variables and files: whether each is a range, and
// whether it is one that somebody can mean.

internal import SkeinIO

enum ProxyRanges {
    static func problems(
        in texts: [String], of key: String, _ origin: ConfigurationOrigin
    ) -> [ConfigurationProblem] {
        texts.compactMap { text in
            guard let range = AddressRange(parsing: text) else {
                return .error(
                    key,
                    "\(key) holds `\(text)` (\(origin)), which is no range of addresses; write "
                        + "10.0.0.0/8, fd00::/8 or one address.")
            }
            guard range.isEverything else { return nil }
            return .warning(
                key,
                "\(key) holds \(range) (\(origin)), which is everybody: any client could choose "
                    + "its own address; name your proxies only.")
        }
    }
}
