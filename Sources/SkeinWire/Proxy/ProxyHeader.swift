// The PROXY protocol (haproxy.org, proxy-protocol.txt), versions 1 and 2: what a proxy puts before a
// connection's first byte to say who is behind it. It is believed, so it is read to the letter and
// nothing is guessed; it is bounded, so an announced length cannot make us wait or allocate.

/// What is wrong with a PROXY header. The connection cannot go on: nobody knows whose it is.
package enum ProxyError: Error, Equatable, Sendable, CaseIterable {
    /// The bytes begin with neither version's signature.
    case missing
    case lineMalformed
    case lineTooLong
    case addressMalformed
    case versionNotSupported
    case commandNotSupported
    /// A family or transport that the protocol does not know, or a datagram's: this is a stream.
    case familyNotSupported
    case tooLong
    case tooShort
    case extensionMalformed
    case checksumWrong
}

package struct ProxyHeader: Equatable, Sendable {
    /// What comes behind it belongs to the client.
    package var headerBytes = 0
    /// Who is behind the proxy. Nil where it speaks for itself (LOCAL, as its health checks do) or
    /// says no internet address (UNKNOWN, UNSPEC, UNIX): the peer's own address stands then.
    package var source: EndpointAddress?
    package var destination: EndpointAddress?

    /// Of version 1's line, with its end.
    package static let lineBytesMax = 107
    /// Of a version 2 header. Proxies send some hundred bytes; the field could announce 64 KiB.
    package static let headerBytesMax = 4_096

    private static let fixedBytes = 16

    /// Reads the header at the front of `bytes`, or nil when it has not all come.
    package static func decode(_ bytes: Span<UInt8>) throws(ProxyError) -> ProxyHeader? {
        guard bytes.count > 0 else { return nil }
        switch bytes[0] {
        case 0x0D:
            guard let isSignature = isBinarySignature(bytes) else { return nil }
            guard isSignature else { throw .missing }
            return try decodeBinary(bytes)
        case 0x50:
            return try decodeLine(bytes)
        default:
            throw .missing
        }
    }

    /// Whether `bytes` begin with version 2's signature; nil as long as they are too few to tell.
    static func isBinarySignature(_ bytes: Span<UInt8>) -> Bool? {
        isPrefix("\r\n\r\n\0\r\nQUIT\n", of: bytes)
    }

    private static func isPrefix(_ prefix: StaticString, of bytes: Span<UInt8>) -> Bool? {
        let length = prefix.utf8CodeUnitCount
        for i in 0..<min(length, bytes.count) {
            // Safe: StaticString vouches for that many bytes.
            guard bytes[i] == (unsafe prefix.utf8Start[i]) else { return false }
        }
        return bytes.count >= length ? true : nil
    }
}

// MARK: Version 1

extension ProxyHeader {
    private static func decodeLine(_ bytes: Span<UInt8>) throws(ProxyError) -> ProxyHeader? {
        guard let isSignature = isPrefix("PROXY ", of: bytes) else { return nil }
        guard isSignature else { throw .missing }
        var end = 6
        let last = min(bytes.count, lineBytesMax)
        while end < last && bytes[end] != 0x0D {
            guard bytes[end] >= 0x20 && bytes[end] < 0x7F else { throw .lineMalformed }
            end += 1
        }
        guard end + 1 < last else {
            if last == lineBytesMax { throw .lineTooLong }
            return nil
        }
        guard bytes[end + 1] == 0x0A else { throw .lineMalformed }
        var header = ProxyHeader()
        header.headerBytes = end + 2
        try header.readLine(bytes.extracting(6..<end))
        return header
    }

    /// What stands between `PROXY ` and the line's end.
    private mutating func readLine(_ line: Span<UInt8>) throws(ProxyError) {
        var position = 0
        let family = line.extracting(Self.nextWord(of: line, at: &position))
        // Whatever follows it is to be passed over.
        if family.equals("UNKNOWN") { return }
        let isV4 = family.equals("TCP4")
        guard isV4 || family.equals("TCP6") else { throw .familyNotSupported }
        let from = Self.nextWord(of: line, at: &position)
        let to = Self.nextWord(of: line, at: &position)
        let fromPort = Self.nextWord(of: line, at: &position)
        let toPort = Self.nextWord(of: line, at: &position)
        guard position == line.count + 1 else { throw .lineMalformed }
        source = try Self.address(line.extracting(from), line.extracting(fromPort), isV4: isV4)
        destination = try Self.address(line.extracting(to), line.extracting(toPort), isV4: isV4)
    }

    /// Up to the next blank; empty at the line's end, which `position` is one past after the last.
    private static func nextWord(of line: Span<UInt8>, at position: inout Int) -> Range<Int> {
        let start = min(position, line.count)
        var end = start
        while end < line.count && line[end] != 0x20 { end += 1 }
        position = end + 1
        return start..<end
    }

    private static func address(
        _ host: Span<UInt8>, _ port: Span<UInt8>, isV4: Bool
    ) throws(ProxyError) -> EndpointAddress {
        guard let port = EndpointAddress.readPort(port) else { throw .addressMalformed }
        if isV4 {
            guard let v4 = EndpointAddress.readV4(host) else { throw .addressMalformed }
            return EndpointAddress(v4: v4, port: port)
        }
        guard let v6 = EndpointAddress.readV6(host) else { throw .addressMalformed }
        return EndpointAddress(high: v6.high, low: v6.low, port: port)
    }
}

// MARK: Version 2

extension ProxyHeader {
    private static func decodeBinary(_ bytes: Span<UInt8>) throws(ProxyError) -> ProxyHeader? {
        guard bytes.count > 12 else { return nil }
        guard bytes[12] >> 4 == 2 else { throw .versionNotSupported }
        let isLocal = bytes[12] & 15 == 0
        guard isLocal || bytes[12] & 15 == 1 else { throw .commandNotSupported }
        guard bytes.count >= fixedBytes else { return nil }
        let length = Int(bytes[14]) << 8 | Int(bytes[15])
        let total = fixedBytes + length
        guard total <= headerBytesMax else { throw .tooLong }
        var header = ProxyHeader()
        header.headerBytes = total
        // A LOCAL header's block says nothing, its family included.
        let block = isLocal ? 0 : try addressBytes(bytes[13])
        guard block <= length else { throw .tooShort }
        guard bytes.count >= total else { return nil }
        guard !isLocal else { return header }
        header.readAddresses(bytes.extracting(fixedBytes..<(fixedBytes + block)))
        try readExtensions(of: bytes.extracting(0..<total), from: fixedBytes + block)
        return header
    }

    /// How long the two addresses are, by family and transport.
    private static func addressBytes(_ family: UInt8) throws(ProxyError) -> Int {
        switch family {
        case 0x00: 0
        case 0x11: 12
        case 0x21: 36
        case 0x31: 216
        default: throw .familyNotSupported
        }
    }

    private mutating func readAddresses(_ block: Span<UInt8>) {
        if block.count == 12 {
            source = EndpointAddress(
                v4: Self.bigEndian32(block, 0), port: Self.bigEndian16(block, 8))
            destination = EndpointAddress(
                v4: Self.bigEndian32(block, 4), port: Self.bigEndian16(block, 10))
        } else if block.count == 36 {
            source = EndpointAddress(
                high: block.word(at: 0).byteSwapped, low: block.word(at: 8).byteSwapped,
                port: Self.bigEndian16(block, 32))
            destination = EndpointAddress(
                high: block.word(at: 16).byteSwapped, low: block.word(at: 24).byteSwapped,
                port: Self.bigEndian16(block, 34))
        }
    }

    /// Walks what proxies add (type, length, value), to verify the checksum where there is one:
    /// who can, must. All else is passed over.
    private static func readExtensions(
        of header: Span<UInt8>, from start: Int
    ) throws(ProxyError) {
        var position = start
        var hasChecksum = false
        while position < header.count {
            guard header.count - position >= 3 else { throw .extensionMalformed }
            let value = position + 3
            let length = Int(bigEndian16(header, position + 1))
            guard header.count - value >= length else { throw .extensionMalformed }
            if header[position] == 0x03 {
                guard length == 4, !hasChecksum else { throw .extensionMalformed }
                hasChecksum = true
                guard CRC32C.of(header, zeroing: value..<(value + 4)) == bigEndian32(header, value)
                else { throw .checksumWrong }
            }
            position = value + length
        }
    }

    private static func bigEndian16(_ bytes: Span<UInt8>, _ offset: Int) -> UInt16 {
        UInt16(bytes[offset]) << 8 | UInt16(bytes[offset + 1])
    }

    private static func bigEndian32(_ bytes: Span<UInt8>, _ offset: Int) -> UInt32 {
        bytes.halfWord(at: offset).byteSwapped
    }
}

/// The checksum of PROXY headers (Castagnoli). At most 4 KiB once per connection: bit by bit will do.
enum CRC32C {
    /// Of `bytes`, with those of `zeroed` taken for zero.
    static func of(_ bytes: Span<UInt8>, zeroing zeroed: Range<Int>) -> UInt32 {
        var sum = UInt32.max
        for i in 0..<bytes.count {
            sum ^= zeroed.contains(i) ? 0 : UInt32(bytes[i])
            for _ in 0..<8 { sum = sum >> 1 ^ (sum & 1 == 1 ? 0x82F6_3B78 : 0) }
        }
        return ~sum
    }
}
