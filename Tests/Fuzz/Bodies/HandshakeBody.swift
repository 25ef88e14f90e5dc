// Heads of handshakes, whole and chopped, and once more line by line; then all that is read out of a
// good one. What a client of ours makes of a response is checked the same way.

import SkeinWire

@Sendable func checkHandshake(_ input: [UInt8]) throws(Contradiction) {
    guard let choice = input.first else { return }
    let stream = Array(input[1...])
    let pieces = stream.cut(by: choice)

    let request = Heads.request([stream])
    let choppedRequest = Heads.request(pieces)
    try expect(choppedRequest == request, "chopped \(choppedRequest), whole \(request)")
    if case .success(let request?) = request {
        try HeadLines(stream, headBytes: request.headBytes).check(request)
        try checkFields(of: request, in: stream)
    }

    let response = Heads.response([stream])
    let choppedResponse = Heads.response(pieces)
    try expect(choppedResponse == response, "chopped \(choppedResponse), whole \(response)")
    if case .success(let response?) = response {
        for place in [response.accept, response.protocol, response.extensions, response.retryAfter] {
            try expect((place?.end ?? 0) <= response.headBytes, "a place outside the head: \(response)")
        }
        try expect((0...999).contains(response.status), "status \(response.status)")
    }
}

private enum Heads {
    static let limits = HandshakeLimits(headBytesMax: 1_024, headersMax: 20)

    static func request(_ pieces: [[UInt8]]) -> Result<UpgradeRequest?, HandshakeError> {
        parse(pieces) { (bytes, scanned) throws(HandshakeError) in
            try UpgradeRequest.parse(bytes.span, scanned: &scanned, limits: limits)
        }
    }

    static func response(_ pieces: [[UInt8]]) -> Result<ResponseHead?, HandshakeError> {
        parse(pieces) { (bytes, scanned) throws(HandshakeError) in
            try ResponseHead.parse(bytes.span, scanned: &scanned, limits: limits)
        }
    }

    private static func parse<Head>(
        _ pieces: [[UInt8]], _ body: ([UInt8], inout Int) throws(HandshakeError) -> Head?
    ) -> Result<Head?, HandshakeError> {
        var bytes: [UInt8] = []
        var scanned = 0
        do throws(HandshakeError) {
            for piece in pieces {
                bytes += piece
                if let head = try body(bytes, &scanned) { return .success(head) }
            }
            return .success(nil)
        } catch {
            return .failure(error)
        }
    }
}

/// A head that was accepted, taken apart by its line ends.
private struct HeadLines {
    let bytes: [UInt8]
    let words: [String]
    let fields: [(name: String, value: String)]

    init(_ stream: [UInt8], headBytes: Int) throws(Contradiction) {
        bytes = Array(stream.prefix(headBytes))
        let text = String(decoding: bytes.map { $0 < 0x80 ? $0 : 0x3F }, as: UTF8.self)
        // A carriage return and a line feed are one Character.
        let lines = text.split(separator: "\r\n" as Character, omittingEmptySubsequences: false)
        try expect(
            lines.count >= 3 && lines.suffix(2).allSatisfy(\.isEmpty)
                && !lines.dropLast(2).contains { $0.isEmpty },
            "a head that does not end at its first empty line: \(bytes.shown)")
        words = lines[0].split(separator: " ", omittingEmptySubsequences: false).map(String.init)
        fields = lines.dropFirst().dropLast(2).map { line in
            let name = line.prefix { $0 != ":" }
            return (name.lowercased(), Self.trimmed(line.dropFirst(name.count + 1)))
        }
    }

    private static func trimmed(_ text: Substring) -> String {
        var text = text
        while let first = text.first, first == " " || first == "\t" { text.removeFirst() }
        while let last = text.last, last == " " || last == "\t" { text.removeLast() }
        return String(text)
    }

    private func values(_ name: String) -> [String] {
        fields.filter { $0.name == name }.map(\.value)
    }

    private func text(_ place: ByteRange?) -> String? {
        place.map { String(decoding: bytes[$0.range].map { $0 < 0x80 ? $0 : 0x3F }, as: UTF8.self) }
    }

    private func lists(_ name: String, _ token: String) -> Bool {
        values(name).contains { value in
            value.split(separator: ",").contains { Self.trimmed($0).lowercased() == token }
        }
    }

    func check(_ request: UpgradeRequest) throws(Contradiction) {
        func same(_ name: String, _ place: ByteRange?, _ value: String?) throws(Contradiction) {
            try expect(text(place) == value, "\(name): \(text(place) ?? "none"), by lines \(value ?? "none")")
        }
        try expect(words.count == 3 && words[2] == "HTTP/1.1", "request line \(words)")
        try same("method", request.method, words[0])
        let target = words[1].split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
        try same("query", request.query, target.count > 1 ? String(target[1]) : nil)
        var path = target[0]
        var host = values("host").first
        if !path.hasPrefix("/") {
            // `http://host/path`: the host is the target's, whatever the field says.
            let parts = path.split(separator: "/", maxSplits: 3, omittingEmptySubsequences: false)
            try expect(parts.count >= 3 && parts[1].isEmpty, "target \(words[1])")
            host = String(parts[2])
            path = parts.count > 3 ? "/" + parts[3] : ""
        }
        try same("path", request.path, String(path))
        try expect(values("host").count == 1, "host twice")
        try same("host", request.host, host)
        for (name, place) in [
            ("origin", request.origin),
            ("authorization", request.authorization), ("sec-websocket-key", request.key),
        ] {
            try expect(values(name).count <= 1, "\(name) twice")
            try same(name, place, values(name).first)
        }
        try same("protocols", request.protocols, values("sec-websocket-protocol").first)
        try same("more protocols", request.moreProtocols, values("sec-websocket-protocol").dropFirst().first)
        try same("extensions", request.extensions, values("sec-websocket-extensions").first)
        for (name, place) in [
            ("x-forwarded-for", request.forwardedForLines), ("forwarded", request.forwardedLines),
        ] {
            let lines = text(place)?.lowercased()
            try expect((lines == nil) == values(name).isEmpty, "\(name): \(lines ?? "none")")
            try expect(lines?.hasPrefix(name + ":") != false, "\(name): \(lines ?? "none")")
            let last = values(name).last?.lowercased() ?? ""
            try expect(lines?.hasSuffix(last) != false, "\(name): \(lines ?? "none")")
        }
        try same("agent", request.userAgent, values("user-agent").last)
        try expect(request.isGet == (words[0] == "GET"), "GET")
        let isUpgrade = lists("upgrade", "websocket") && lists("connection", "upgrade")
        try expect(request.isUpgrade == isUpgrade, "upgrade: \(request.isUpgrade), by lines \(isUpgrade)")
        let length = values("content-length").first.flatMap(Int.init) ?? 0
        let hasBody = length > 0 || !values("transfer-encoding").isEmpty
        try expect(request.hasBody == hasBody, "body: \(request.hasBody), by lines \(hasBody)")
    }
}

/// Reads the fields of a good head as the shard does, and answers it if it is a handshake.
private func checkFields(of request: UpgradeRequest, in stream: [UInt8]) throws(Contradiction) {
    let bytes = stream.span
    if let query = request.query {
        let text = bytes.extracting(query.range)
        for place in [QueryString.value(of: "token", in: text), QueryString.value(of: "", in: text)] {
            guard let place else { continue }
            try expect(place.end <= text.count, "a parameter outside its query")
            _ = ByteWriter.withTemporary(capacity: Int(place.count)) {
                QueryString.decode(text.extracting(place.range), into: &$0)
            }
        }
    }
    if let origin = request.origin {
        _ = Origin.isSameHost(
            origin: bytes.extracting(origin.range), host: bytes.extracting(request.host.range))
    }
    for place in [request.authorization, request.protocols, request.moreProtocols] {
        guard let place else { continue }
        let value = bytes.extracting(place.range)
        for token in [Bearer.token(inAuthorization: value), Bearer.token(inProtocols: value)] {
            guard let token else { continue }
            try expect(!token.isEmpty && token.end <= value.count, "a token outside its header")
        }
    }
    guard (try? request.requireWebSocket()) != nil, let key = request.key else { return }
    let protocols = request.protocols ?? .empty
    let answer = ByteWriter.withTemporary(
        capacity: HandshakeResponse.acceptBytes(protocolBytes: Int(protocols.count), extensionsBytes: 0)
    ) { writer in
        HandshakeResponse.writeAccept(
            key: bytes.extracting(key.range), protocol: bytes.extracting(protocols.range),
            extensions: bytes.extracting(0..<0), into: &writer)
        return writer.withWritten { copy($0) }
    }
    guard case .success(let head?) = Heads.response([answer]) else {
        // Beyond the small bound of this check, as a long list of protocols may be.
        try expect(answer.count > Heads.limits.headBytesMax, "our answer cannot be read: \(answer.shown)")
        return
    }
    try expect(
        head.headBytes == answer.count && head.isAccepted(key: bytes.extracting(key.range), in: answer.span),
        "our answer is not accepted: \(answer.shown)")
}
