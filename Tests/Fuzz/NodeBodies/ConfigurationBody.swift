// A node's configuration from whatever is in its environment, flags and file. It is the operator's, not a
// stranger's; but nothing in it may end the process before it has said what is wrong, nor be shown when it
// is a secret. The YAML and JSON parsers are packages; reading their values is Skein's own.

#if SKEIN_FUZZ
import FuzzBodies
#endif
import Foundation
import SkeinNode

/// Lines of `KEY=value`; with `--` in front a flag's. The first byte chooses a file, and then the bytes
/// are the file's.
@Sendable func checkConfiguration(_ input: [UInt8]) throws(Contradiction) {
    guard let choice = input.first else { return }
    let secret = "a-secret-that-no-one-may-see-0123456789"
    var sources = ConfigurationSources(environment: ["JWT_SECRET": secret, "REDIS_URL": ""])
    let text = String(decoding: input[1...], as: UTF8.self)
    var file: String?
    defer { if let file { try? FileManager.default.removeItem(atPath: file) } }
    if choice % 4 == 0 || choice % 4 == 1 {
        let path = FileManager.default.temporaryDirectory
            .appending(path: "\(UUID().uuidString).\(choice % 4 == 0 ? "yaml" : "json")").path
        guard (try? Data(input[1...]).write(to: URL(filePath: path))) != nil else { return }
        file = path
        sources.filePath = path
    } else {
        for line in text.split(separator: "\n") {
            let parts = line.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard parts.count == 2 else { continue }
            let name = String(parts[0])
            if name.hasPrefix("--") {
                sources.flags[String(name.dropFirst(2))] = String(parts[1])
            } else if name != "JWT_SECRET" {
                sources.environment[name] = String(parts[1])
            }
        }
    }
    let report = NodeConfiguration.load(sources, isDevelopment: choice & 4 != 0)
    let isWrong = !report.errors.isEmpty
    try expect(isWrong == (report.configuration == nil), "errors: \(isWrong), of \(input.shown)")
    for entry in report.entries {
        try expect(!"\(entry)".contains(secret), "\(entry.key) shows the secret")
    }
    for problem in report.problems {
        try expect(!"\(problem)".contains(secret), "a problem shows the secret: \(input.shown)")
    }
}
