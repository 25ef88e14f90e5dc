// PROXY headers, whole and chopped and once more by their layout; and addresses in text, beside
// inet_pton. A proxy is believed, so whoever can reach us in its stead must not say what it likes.

import Glibc
import SkeinWire

@Sendable func checkProxy(_ input: [UInt8]) throws(Contradiction) {
    guard let choice = input.first else { return }
    let stream = Array(input[1...])
    let whole = decoded([stream])
    let chopped = decoded(stream.cut(by: choice))
    try expect(chopped == whole, "chopped \(chopped), whole \(whole)")
    if case .success(let header?) = whole {
        let bytes = Array(stream.prefix(header.headerBytes))
        try expect(bytes.count == header.headerBytes, "a header longer than its bytes: \(stream.shown)")
        if bytes.first == 0x50 { try checkLine(header, bytes) } else { try checkBinary(header, bytes) }
    }
    try checkAddress(stream)
    for kind in [ForwardedHeader.xForwardedFor, .forwarded] {
        let name = kind == .forwarded ? "Forwarded: " : "X-Forwarded-For: "
        let line = Array(name.utf8) + stream.filter { $0 >= 0x20 && $0 != 0x7F } + [0x0D, 0x0A]
        let all = ForwardedClient.find(kind, lines: ByteRange(0, line.count), in: line.span) { _ in true }
        let none = ForwardedClient.find(kind, lines: ByteRange(0, line.count), in: line.span) { _ in false }
        try expect((all == .none) == (none == .none), "\(all) and \(none): \(line.shown)")
        try expect((all == .malformed) == (none == .malformed) || all != .none, "\(all): \(line.shown)")
    }
}

private func decoded(_ pieces: [[UInt8]]) -> Result<ProxyHeader?, ProxyError> {
    var bytes: [UInt8] = []
    do throws(ProxyError) {
        for piece in pieces {
            bytes += piece
            if let header = try ProxyHeader.decode(bytes.span) { return .success(header) }
        }
        return .success(nil)
    } catch {
        return .failure(error)
    }
}

/// 16 bytes, IPv4 mapped into IPv6; nil where inet_pton knows no such address.
private func address(_ text: [UInt8]) -> [UInt8]? {
    guard !text.contains(0) else { return nil }
    let text = text.map { CChar(bitPattern: $0) } + [0]
    var v4 = [UInt8](repeating: 0, count: 4)
    if inet_pton(AF_INET, text, &v4) == 1 { return [UInt8](repeating: 0, count: 10) + [0xFF, 0xFF] + v4 }
    var v6 = [UInt8](repeating: 0, count: 16)
    return inet_pton(AF_INET6, text, &v6) == 1 ? v6 : nil
}

extension EndpointAddress {
    fileprivate var bytes: [UInt8] {
        [high, low].flatMap { word in (0..<8).map { UInt8(truncatingIfNeeded: word >> (56 - 8 * $0)) } }
    }
}

private func checkAddress(_ text: [UInt8]) throws(Contradiction) {
    let read = EndpointAddress(parsing: text.span)
    guard let known = address(text) else {
        // What is left that may be read has a port or brackets.
        try expect(read == nil || text.contains(0x3A), "no address: \(text.shown)")
        return
    }
    try expect(read?.bytes == known && read?.port == 0, "\(text.shown) is \(read?.bytes ?? []), not \(known)")
}

private func checkLine(_ header: ProxyHeader, _ bytes: [UInt8]) throws(Contradiction) {
    let isLine = bytes.count <= ProxyHeader.lineBytesMax && bytes.suffix(2) == [0x0D, 0x0A]
    try expect(isLine, "line \(bytes.shown)")
    let words = bytes.dropLast(2).split(separator: 0x20, omittingEmptySubsequences: false).map(Array.init)
    if words.count > 1, words[1] == Array("UNKNOWN".utf8) {
        try expect(header.source == nil, "an unknown source: \(bytes.shown)")
        return
    }
    try expect(words.count == 6, "words of \(bytes.shown)")
    let port = UInt16(String(decoding: words[4], as: UTF8.self))
    try expect(
        header.source?.bytes == address(words[2]) && header.source?.port == port, "source of \(bytes.shown)")
    try expect(header.destination?.bytes == address(words[3]), "destination of \(bytes.shown)")
}

private func checkBinary(_ header: ProxyHeader, _ bytes: [UInt8]) throws(Contradiction) {
    try expect(bytes.count == 16 + Int(bytes[14]) * 256 + Int(bytes[15]), "length of \(bytes.shown)")
    let isProxy = bytes[12] == 0x21
    let mapped = [UInt8](repeating: 0, count: 10) + [0xFF, 0xFF]
    var source: [UInt8]?
    if isProxy && bytes[13] == 0x11 { source = mapped + bytes[16..<20] }
    if isProxy && bytes[13] == 0x21 { source = Array(bytes[16..<32]) }
    try expect(header.source?.bytes == source, "source of \(bytes.shown)")
}
