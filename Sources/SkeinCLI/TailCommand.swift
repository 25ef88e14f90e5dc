// `skein tail`: a terminal as a client. Prints what arrives, a line each, and sends what is typed.

internal import ArgumentParser
internal import SkeinNode

struct TailCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "tail", abstract: "Shows what a user gets, and sends what is typed.",
        discussion: """
            A line that starts with { is sent as it is; `bob: hello` is sent to bob as a chat \
            message. Reconnects when the connection is lost, and when the node says so; a close \
            with 1000 or 4403 ends it.

            Examples:
              skein tail --user alice
              skein tail --user alice --url ws://10.0.0.7:8080/ws --token "$TOKEN"
            """)

    @OptionGroup var options: ConfigurationOptions
    @Option(help: ArgumentHelp("Who to be.", valueName: "id"))
    var user: String?
    @Option(help: ArgumentHelp("The node's endpoint.", valueName: "url"))
    var url = "ws://127.0.0.1:8080/ws"
    @Option(help: ArgumentHelp("A token; else one is made with JWT_SECRET.", valueName: "jwt"))
    var token: String?

    private static let tokenLifetime = Duration.seconds(3_600)

    func run() async throws {
        let server = try ServerURL(url, scheme: "ws", option: "--url")
        var session = TailSession(url: server)
        var typed = TypedLines()
        while true {
            let token = try await makeToken()
            let end = try session.run(token: token, typed: &typed)
            switch end {
            case .finished: return
            case .expired where self.token != nil:
                throw CommandFailure("The token has expired; get another, or set JWT_SECRET.")
            case .expired: continue
            case .retry(let milliseconds, let why):
                StandardStream.error.write(line: "skein: \(why); again in \(milliseconds) ms")
                try await Task.sleep(for: .milliseconds(milliseconds))
            }
        }
    }

    private func makeToken() async throws(CommandFailure) -> String {
        if let token { return token }
        guard let user else {
            throw CommandFailure("Say who to be: add --user, or --token.", status: 64)
        }
        let settings = try options.jwtSettings()
        do throws(ConfigurationProblem) {
            let minter = try await TokenMinter(settings)
            return try await minter.mint(user: user, lifetime: Self.tokenLifetime)
        } catch {
            throw CommandFailure(error.message)
        }
    }
}

/// What is typed, as lines; what it means is decided here.
struct TypedLines {
    private var rest: [UInt8] = []
    private(set) var isOpen = true

    /// Reads what is there.
    /// - Returns: what is to be sent.
    mutating func read() -> [String] {
        let bytes = StandardInput.read()
        if bytes.isEmpty { isOpen = false }
        rest += bytes
        var messages: [String] = []
        while let end = rest.firstIndex(of: UInt8(ascii: "\n")) {
            let line = String(decoding: rest[..<end], as: UTF8.self).trimmed
            rest.removeFirst(end + 1)
            guard !line.isEmpty else { continue }
            if let message = Self.message(line) {
                messages.append(message)
            } else {
                StandardStream.error.write(line: "skein: type `bob: hello`, or an envelope in JSON")
            }
        }
        return messages
    }

    /// - Returns: `nil` where the line is neither an envelope nor `name: text`.
    static func message(_ line: String) -> String? {
        if line.hasPrefix("{") { return line }
        // With a blank behind the colon, so that an address that is typed is no message to `http`.
        guard let colon = line.firstRange(of: ": ") else { return nil }
        let receiver = line[..<colon.lowerBound].trimmed
        let text = line[colon.upperBound...].trimmed
        guard !receiver.isEmpty, !receiver.contains(" "), !text.isEmpty else { return nil }
        return #"{"type":"chat_message","data":{"receiverId":"#
            + JSONText.quote(receiver) + #","message":"# + JSONText.quote(text) + "}}"
    }
}
