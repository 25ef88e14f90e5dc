// The fuzzers' bodies in `swift test`: every input that was ever kept, and seeded damage to them. A crash
// that a fuzzer found stays found.

import Foundation
import Testing

@Suite("Corpus")
struct CorpusTests {
    static let mutationCount = 2_000

    // What this build has: see Package.swift.
    #if SKEIN_NODE && SKEIN_BROKER
    static let targets = FuzzTarget.core + FuzzTarget.node
    #elseif SKEIN_NODE
    static let targets = FuzzTarget.node
    #else
    static let targets = FuzzTarget.core
    #endif

    static func corpus(of target: FuzzTarget) throws -> [(name: String, bytes: [UInt8])] {
        let folder = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .appending(path: "\(target.name)/Corpus")
        return try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted().map {
            ($0, Array(try Data(contentsOf: folder.appending(path: $0))))
        }
    }

    /// The check, and what it says about one input: nil when it holds.
    static func contradiction(_ check: FuzzTarget.Check, _ input: [UInt8]) -> String? {
        do throws(Contradiction) {
            try check(input)
            return nil
        } catch {
            return error.description
        }
    }

    @Test(arguments: targets) func everyInputHolds(target: FuzzTarget) async throws {
        let check = try await target.prepare()
        let corpus = try Self.corpus(of: target)
        #expect(!corpus.isEmpty)
        for (name, bytes) in corpus {
            #expect(Self.contradiction(check, bytes) == nil, "\(target.name)/Corpus/\(name)")
        }
    }

    @Test(arguments: targets) func damagedInputsHold(target: FuzzTarget) async throws {
        let check = try await target.prepare()
        let corpus = try Self.corpus(of: target).map(\.bytes)
        var mutator = Mutator(seed: 0x5EED)
        for round in 0..<Self.mutationCount {
            let input = mutator.mutate(corpus)
            guard let found = Self.contradiction(check, input) else { continue }
            let text = Data(input).base64EncodedString()
            Issue.record("mutation \(round) of \(target.name): \(found)\n\(text)")
        }
    }
}
