// Every payload carries a marker, `@@`, eight hexadecimal digits of the stream (who sent it) and eight of
// its number. It survives any envelope that a server puts around it, and is found without parsing one: first
// where it was in the frame before.

internal import SkeinWire

package struct Marker: Equatable, Sendable {
    package static var bytes: Int { 18 }

    package var stream: UInt32
    package var number: UInt32

    package init(stream: UInt32, number: UInt32) {
        self.stream = stream
        self.number = number
    }

    /// - Parameter target: room for ``bytes``.
    @unsafe
    package func write(to target: UnsafeMutablePointer<UInt8>) {
        unsafe target[0] = 0x40
        unsafe target[1] = 0x40
        unsafe Self.writeHex(stream, to: target + 2)
        unsafe Self.writeHex(number, to: target + 10)
    }

    /// - Parameter hint: where the last one was found; moved when this one is elsewhere.
    @inline(__always)
    package static func find(in bytes: Span<UInt8>, hint: inout UInt32) -> Marker? {
        let place = Int(hint)
        if place &+ Self.bytes <= bytes.count, bytes[place] == 0x40, bytes[place &+ 1] == 0x40 {
            return read(bytes, at: place)
        }
        return search(bytes, &hint)
    }

    @inline(never)
    private static func search(_ bytes: Span<UInt8>, _ hint: inout UInt32) -> Marker? {
        var place = 0
        while place + Self.bytes <= bytes.count {
            if bytes[place] == 0x40, bytes[place + 1] == 0x40, let marker = read(bytes, at: place) {
                hint = UInt32(place)
                return marker
            }
            place += 1
        }
        return nil
    }

    @inline(__always)
    private static func read(_ bytes: Span<UInt8>, at place: Int) -> Marker? {
        guard let stream = readHex(bytes.word(at: place &+ 2)),
            let number = readHex(bytes.word(at: place &+ 10))
        else { return nil }
        return Marker(stream: stream, number: number)
    }

    /// Eight digits at once: letters have bit 6 set, and a low nibble that is 9 short of their value. What is
    /// no digit is found by writing the value again.
    @inline(__always)
    private static func readHex(_ text: UInt64) -> UInt32? {
        let nibbles = (text & 0x0F0F_0F0F_0F0F_0F0F) &+ 9 &* (text >> 6 & 0x0101_0101_0101_0101)
        var value = nibbles.byteSwapped
        value = (value | value >> 4) & 0x00FF_00FF_00FF_00FF
        value = (value | value >> 8) & 0x0000_FFFF_0000_FFFF
        let number = UInt32(truncatingIfNeeded: value | value >> 16)
        return hexText(number) == text ? number : nil
    }

    /// The digits as they lie in memory.
    @inline(__always)
    private static func hexText(_ value: UInt32) -> UInt64 {
        var nibbles = UInt64(value)
        nibbles = (nibbles | nibbles << 16) & 0x0000_FFFF_0000_FFFF
        nibbles = (nibbles | nibbles << 8) & 0x00FF_00FF_00FF_00FF
        nibbles = (nibbles | nibbles << 4) & 0x0F0F_0F0F_0F0F_0F0F
        let isLetter = (nibbles &+ 0x0606_0606_0606_0606) >> 4 & 0x0101_0101_0101_0101
        return (nibbles &+ 0x3030_3030_3030_3030 &+ isLetter &* 0x27).byteSwapped
    }

    @inline(__always)
    @unsafe
    private static func writeHex(_ value: UInt32, to target: UnsafeMutablePointer<UInt8>) {
        let text = hexText(value).littleEndian
        unsafe UnsafeMutableRawPointer(target).storeBytes(of: text, as: UInt64.self)
    }
}
