// What all wire tests share: a generator that repeats itself, and bytes in and out of a ByteWriter.

import SkeinWire

/// SplitMix64: the same seed gives the same run everywhere.
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) {
        state = seed
    }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }

    mutating func bytes(_ count: Int) -> [UInt8] {
        (0..<count).map { _ in UInt8.random(in: 0...255, using: &self) }
    }
}

func written(capacity: Int = 4_096, _ body: (inout ByteWriter) -> Void) -> [UInt8] {
    ByteWriter.withTemporary(capacity: capacity) { writer in
        body(&writer)
        return writer.withWritten { copy($0) }
    }
}

func copy(_ span: Span<UInt8>) -> [UInt8] {
    (0..<span.count).map { span[$0] }
}

func string(_ bytes: [UInt8]) -> String {
    String(decoding: bytes, as: UTF8.self)
}

extension String {
    var bytes: [UInt8] { Array(utf8) }

    func text(_ range: ByteRange) -> String {
        string(Array(bytes[range.range]))
    }
}

extension Array where Element == UInt8 {
    func slice(_ range: ByteRange) -> [UInt8] { Array(self[range.range]) }
    func text(_ range: ByteRange) -> String { string(slice(range)) }

    /// These bytes cut at random places, in order.
    func chopped(using generator: inout SeededGenerator, longest: Int = 16) -> [[UInt8]] {
        var pieces: [[UInt8]] = []
        var start = 0
        while start < count {
            let end = Swift.min(count, start + Int.random(in: 1...longest, using: &generator))
            pieces.append(Array(self[start..<end]))
            start = end
        }
        return pieces
    }
}

// Spans cannot pass through `#expect`: these take arrays in their place.

func matches(_ bytes: [UInt8], _ literal: StaticString) -> Bool { bytes.span.equals(literal) }

func matchesIgnoringCase(_ bytes: [UInt8], _ literal: StaticString) -> Bool {
    bytes.span.equalsIgnoringCase(literal)
}

extension UTF8Validator {
    mutating func takes(_ bytes: some Collection<UInt8>) -> Bool {
        validate(Array(bytes).span)
    }
}
