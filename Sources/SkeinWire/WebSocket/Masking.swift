// XOR masking (RFC 6455 §5.3): every byte a client sends passes here once, so it goes 64 at a time.

/// Unmasks (or masks) `payload` in place.
/// - Parameters:
///   - key: the mask in memory order, as ``FrameHeader/maskKey`` has it.
///   - phase: how many bytes of the same frame came before `payload`.
// Safe: loads and stores go through one bounds-checked span's memory, `i` never passes `count`, and the
// vector and word types are plain bits that may sit at any address.
@inlinable package func unmask(
    _ payload: inout MutableSpan<UInt8>, key: UInt32, phase: Int = 0
) {
    guard key != 0 else { return }
    // The key as it applies to the first byte here.
    let turn = UInt32(truncatingIfNeeded: phase & 3) &* 8
    let turned = turn == 0 ? key : key >> turn | key << (32 &- turn)
    let word = UInt64(turned) << 32 | UInt64(turned)
    unsafe payload.withUnsafeMutableBytes { bytes in
        guard let base = bytes.baseAddress else { return }
        let count = bytes.count
        let mask = SIMD8<UInt64>(repeating: word.littleEndian)
        var i = 0
        while i &+ 64 <= count {
            let block = unsafe base.loadUnaligned(fromByteOffset: i, as: SIMD8<UInt64>.self)
            unsafe base.storeBytes(of: block ^ mask, toByteOffset: i, as: SIMD8<UInt64>.self)
            i &+= 64
        }
        let quarter = SIMD2<UInt64>(repeating: word.littleEndian)
        while i &+ 16 <= count {
            let block = unsafe base.loadUnaligned(fromByteOffset: i, as: SIMD2<UInt64>.self)
            unsafe base.storeBytes(of: block ^ quarter, toByteOffset: i, as: SIMD2<UInt64>.self)
            i &+= 16
        }
        if i &+ 8 <= count {
            let block = unsafe base.loadUnaligned(fromByteOffset: i, as: UInt64.self)
            unsafe base.storeBytes(
                of: block ^ word.littleEndian, toByteOffset: i, as: UInt64.self)
            i &+= 8
        }
        var rest = word
        while i < count {
            let byte = unsafe base.load(fromByteOffset: i, as: UInt8.self)
            unsafe base.storeBytes(
                of: byte ^ UInt8(truncatingIfNeeded: rest), toByteOffset: i, as: UInt8.self)
            rest >>= 8
            i &+= 1
        }
    }
}
