import SkeinWire

@testable import Skein

/// Bytes of a text for the length of a call.
func withBytes<R>(_ text: String, _ body: (Bytes) throws -> R) rethrows -> R {
    var text = text
    return try text.withUTF8 { buffer in
        try body(buffer.isEmpty ? .empty : Bytes(buffer.baseAddress!, count: buffer.count))
    }
}

func withBytes<R>(_ array: [UInt8], _ body: (Bytes) throws -> R) rethrows -> R {
    try array.withUnsafeBufferPointer { buffer in
        try body(buffer.isEmpty ? .empty : Bytes(buffer.baseAddress!, count: buffer.count))
    }
}

/// The same numbers for the same seed, so that a failure can be run again.
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64
    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = (state ^ (state >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}

/// A server frame around `payload`.
func serverFrame(_ payload: [UInt8], opcode: UInt8 = 1) -> [UInt8] {
    var frame: [UInt8] = [0x80 | opcode]
    switch payload.count {
    case ..<126: frame.append(UInt8(payload.count))
    case ..<65_536: frame += [126, UInt8(payload.count >> 8), UInt8(payload.count & 0xFF)]
    default:
        frame.append(127)
        for shift in stride(from: 56, through: 0, by: -8) {
            frame.append(UInt8(truncatingIfNeeded: payload.count >> shift))
        }
    }
    return frame + payload
}
