import Foundation
import Testing

/// Reads the repository and holds its habits: who imports whom, what loops may not do, what is long.
@Suite("Tidy")
struct TidyTests {
    static let root = URL(filePath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

    static func files(in folder: String) -> [(path: String, text: String)] {
        let base = root.appending(path: folder)
        let paths = FileManager.default.enumerator(atPath: base.path)?.compactMap { $0 as? String } ?? []
        return paths.filter { $0.hasSuffix(".swift") }.compactMap { path in
            guard let text = try? String(contentsOf: base.appending(path: path), encoding: .utf8) else {
                return nil
            }
            return ("\(folder)/\(path)", text)
        }
    }

    @Test("each target imports what its place allows", arguments: [
        ("SkeinWire", ["CHiredis", "COpenSSL", "CZlib", "Glibc", "Synchronization"]),
        ("SkeinIO", ["CSkein", "Glibc", "Synchronization"]),
        ("Skein", ["SkeinWire", "SkeinIO", "Glibc", "Synchronization", "Dispatch"]),
        ("SkeinServices", ["Skein"]),
        ("SkeinClient", []),
        ("SkeinBench", [
            "SkeinClient", "SkeinIO", "SkeinWire", "COpenSSL", "Glibc", "Synchronization", "Histogram",
        ]),
    ])
    func arrows(target: String, allowed: [String]) {
        let files = Self.files(in: "Sources/\(target)")
        #expect(!files.isEmpty)
        for (path, text) in files {
            for line in text.split(separator: "\n") {
                let words = line.split(separator: " ")
                guard let place = words.firstIndex(of: "import"), place <= 2, place + 1 < words.count,
                    !line.hasPrefix("//"), !line.hasPrefix("///")
                else { continue }
                let module = String(words[place + 1])
                #expect(allowed.contains(module), "\(path) imports \(module)")
            }
        }
    }

    @Test("loop code neither prints, nor starts tasks, nor locks")
    func bannedWords() {
        let loops = ["Sources/SkeinIO", "Sources/SkeinWire", "Sources/Skein/Shard", "Sources/Skein/Memory",
            "Sources/Skein/Event", "Sources/SkeinClient", "Sources/SkeinBench/Worker"]
        for folder in loops {
            for (path, text) in Self.files(in: folder) {
                for word in ["print(", "try!", "Task {", "Task.detached", "Mutex(", "NSLock", "DispatchQueue"] {
                    #expect(!text.contains(word), "\(path) says \(word)")
                }
            }
        }
    }

    @Test("files stay one noun long")
    func length() {
        for (path, text) in Self.files(in: "Sources") {
            let lines = text.split(separator: "\n", omittingEmptySubsequences: false).count
            #expect(lines <= 520, "\(path) has \(lines) lines")
        }
    }

    @Test("nothing is left open")
    func marks() {
        for (path, text) in Self.files(in: "Sources") {
            for word in ["FIXME", "TODO:", "TODO("] { #expect(!text.contains(word), "\(path) says \(word)") }
        }
    }

    @Test("no two flags share a bit")
    func flags() throws {
        let constant = #/static let \w+(?:: \w+)? = (\w+)\(rawValue: ([0-9_]+|1 << [0-9]+)\)/#
        var seen = 0
        for (path, text) in Self.files(in: "Sources") {
            var values: Set<String> = []
            for match in text.matches(of: constant) {
                let value = match.2.split(separator: "<< ")
                let bits = value.count == 2 ? 1 << (Int(value[1]) ?? 0) : Int(match.2.filter { $0 != "_" }) ?? 0
                #expect(values.insert("\(match.1) \(bits)").inserted, "\(path): \(match.0) is taken")
                seen += 1
            }
        }
        #expect(seen > 20)
    }
}
