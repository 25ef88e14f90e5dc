import SkeinWire
import Testing

@Suite struct UTF8ValidatorTests {
    static func isValid(_ bytes: [UInt8]) -> Bool { UTF8Validator.isValid(bytes.span) }

    /// Where validation byte by byte fails; nil when it does not.
    static func failure(in bytes: [UInt8]) -> Int? {
        var validator = UTF8Validator()
        for (i, byte) in bytes.enumerated() where !validator.validate([byte].span) { return i }
        return nil
    }

    @Test func agreesWithTheStandardLibraryOnAllOfOneToThreeBytes() {
        var disagreements = 0
        for a in 0...255 as ClosedRange<UInt8> {
            for b in 0...255 as ClosedRange<UInt8> {
                if Self.isValid([a, b]) != (String(validating: [a, b], as: UTF8.self) != nil) {
                    disagreements += 1
                }
                // The third byte matters after these, and what is true of one of a range is of all.
                guard [0xE0, 0xE1, 0xEC, 0xED, 0xEE, 0xEF, 0xF0, 0xF1, 0xF4, 0xF5].contains(a)
                else {
                    continue
                }
                for c in 0...255 as ClosedRange<UInt8> {
                    let oracle = String(validating: [a, b, c], as: UTF8.self) != nil
                    if Self.isValid([a, b, c]) != oracle { disagreements += 1 }
                }
            }
        }
        #expect(disagreements == 0)
    }

    @Test func agreesWithTheStandardLibraryOnFourBytes() {
        let edges: [UInt8] = [
            0x00, 0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC1, 0xC2, 0xDF, 0xE0,
            0xED,
            0xEF, 0xF0, 0xF3, 0xF4, 0xF5, 0xFF,
        ]
        var disagreements = 0
        for a in edges {
            for b in edges {
                for c in edges {
                    for d in edges {
                        let oracle = String(validating: [a, b, c, d], as: UTF8.self) != nil
                        if Self.isValid([a, b, c, d]) != oracle { disagreements += 1 }
                    }
                }
            }
        }
        #expect(disagreements == 0)
    }

    @Test func takesEveryScalar() {
        var missed = 0
        for value in UInt32(0)...0x10FFFF {
            guard let scalar = Unicode.Scalar(value) else { continue }
            if !Self.isValid(Array(UTF8.encode(scalar)!)) { missed += 1 }
        }
        #expect(missed == 0)
    }

    @Test(
        arguments: [
            ([0x80], 0), ([0xC0, 0x80], 0), ([0xC1], 0), ([0xE0, 0x9F], 1), ([0xED, 0xA0], 1),
            ([0xF0, 0x8F], 1), ([0xF4, 0x90], 1), ([0xF5], 0), ([0xFF], 0),
            ([0xE2, 0x82, 0x41], 2),
            ([0xF0, 0x9F, 0x98, 0xC0], 3), ([0x41, 0xC3, 0x28], 2),
        ] as [([UInt8], Int)])
    func failsAtTheFirstImpossibleByte(bytes: [UInt8], position: Int) {
        #expect(Self.failure(in: bytes) == position)
        #expect(!Self.isValid(bytes))
        var validator = UTF8Validator()
        var answers = [validator.takes(bytes)]
        // For good.
        answers.append(validator.takes("a".bytes))
        #expect(answers == [false, false])
        #expect(!validator.isComplete)
    }

    @Test func everyCutGivesTheSameAnswer() {
        let text = String(
            repeating: "plain ascii for the fast path, then: žluťoučký 日本語 😀 ", count: 4)
        let bytes = text.bytes
        for cut in 0...bytes.count {
            var validator = UTF8Validator()
            var answers = [validator.takes(bytes[0..<cut])]
            #expect(
                validator.isComplete
                    == (String(validating: bytes[0..<cut], as: UTF8.self) != nil))
            answers.append(validator.takes(bytes[cut...]))
            #expect(answers == [true, true])
            #expect(validator.isComplete)
        }
    }

    @Test func randomMutationsAgreeHoweverCut() {
        var generator = SeededGenerator(seed: 4)
        let base = String(repeating: "0123456789abcdef žš 日本 😀 0123456789", count: 3).bytes
        var invalid = 0
        for _ in 0..<5_000 {
            var bytes = base
            for _ in 0..<Int.random(in: 0...2, using: &generator) {
                let position = Int.random(in: 0..<bytes.count, using: &generator)
                bytes[position] = UInt8.random(in: 0...255, using: &generator)
            }
            bytes.removeLast(Int.random(in: 0..<40, using: &generator))
            let oracle = String(validating: bytes, as: UTF8.self) != nil
            if !oracle { invalid += 1 }
            #expect(Self.isValid(bytes) == oracle)
            var validator = UTF8Validator()
            var stillValid = true
            for piece in bytes.chopped(using: &generator, longest: 50) where stillValid {
                stillValid = validator.validate(piece.span)
            }
            #expect((stillValid && validator.isComplete) == oracle)
        }
        #expect(invalid > 500)
    }
}
