// What can be asked of a server.

package enum Scenario: String, CaseIterable, Sendable {
    case connect
    case hold
    case echo
    case fanout
    case pair
    case chat
    case storm
    case drain

    /// One line for people.
    package var summary: String {
        switch self {
        case .connect: "a new user after the other: handshakes per second"
        case .hold: "many connections and little traffic: memory per connection"
        case .echo: "each message comes back to its sender: latency of one loop"
        case .fanout: "one message to many receivers: deliveries per second"
        case .pair: "users in pairs send to each other: messages per second"
        case .chat: "a day in small: talk, typing, receipts, pings, comings and goings"
        case .storm: "everyone loses the connection and comes back at once"
        case .drain: "a node leaves under traffic: who was told, who is back, losses"
        }
    }

    /// Connection i sends to connection i ^ 1.
    package var isPaired: Bool {
        switch self {
        case .hold, .pair, .chat, .storm, .drain: true
        case .connect, .echo, .fanout: false
        }
    }

    /// Connections end and come back while it runs, by the rules of `ReconnectingClient`.
    var comesBack: Bool { self == .chat || self == .storm || self == .drain }

    /// What was accepted is remembered message by message, because receivers may be away.
    var keepsNumbers: Bool { self == .drain }
}
