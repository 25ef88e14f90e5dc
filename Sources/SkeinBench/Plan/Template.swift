// Text with placeholders, for whatever a server wants to be told: paths, headers, first messages, messages.
// The words are those of `Benchmarks/Load`, so that one command line teaches the other.

package struct Template: Sendable, Equatable {
    enum Piece: Sendable, Equatable {
        case text([UInt8])
        case placeholder(Placeholder)
    }

    package enum Placeholder: String, Sendable, CaseIterable {
        /// The connection's user.
        case user
        /// Its partner: who gets what it sends.
        case to
        /// The user's token.
        case token
        /// The connection's number, from 0.
        case index
        /// The partner's number.
        case partner
        /// Stream and number of the message: what is checked on arrival. 18 bytes, no quotes.
        case marker
        /// The number of the message alone, ten digits.
        case seq
        /// What is left up to the payload's size.
        case pad
    }

    /// Whom it is filled in for.
    package struct Names: Sendable {
        package var user = ""
        package var to = ""
        package var token: [UInt8] = []
        package var index = 0
        package var partner = 0
        package var stream: UInt32 = 0

        package init() {}
    }

    package struct Rendered: Sendable, Equatable {
        package var bytes: [UInt8] = []
        package var markerPlace: Int?
        package var numberPlace: Int?
    }

    let pieces: [Piece]

    /// What is no placeholder stays as it is: a per cent sign is allowed in URLs and texts.
    package init(_ text: String) {
        var pieces: [Piece] = []
        var literal: [UInt8] = []
        var rest = text[...]
        while !rest.isEmpty {
            if let (placeholder, length) = Self.placeholder(at: rest) {
                if !literal.isEmpty { pieces.append(.text(literal)) }
                literal = []
                pieces.append(.placeholder(placeholder))
                rest = rest.dropFirst(length)
            } else {
                let character = rest.removeFirst()
                literal += Array(String(character).utf8)
            }
        }
        if !literal.isEmpty { pieces.append(.text(literal)) }
        self.pieces = pieces
    }

    /// `%user%`, and as in the paths of `Benchmarks/Load`, `{user}`.
    private static func placeholder(at text: Substring) -> (Placeholder, Int)? {
        guard let first = text.first, first == "%" || first == "{" else { return nil }
        let end: Character = first == "%" ? "%" : "}"
        let name = text.dropFirst().prefix { $0 != end }
        guard name.endIndex < text.endIndex, let found = Placeholder(rawValue: String(name)) else { return nil }
        return (found, name.count + 2)
    }

    package func has(_ placeholder: Placeholder) -> Bool { pieces.contains(.placeholder(placeholder)) }

    /// - Parameter bytes: `%pad%` fills up to as many, where it occurs; more is what it is.
    package func render(_ names: Names, paddedTo bytes: Int = 0) -> Rendered {
        let bare = render(names, padBytes: 0)
        guard has(.pad), bare.bytes.count < bytes else { return bare }
        return render(names, padBytes: bytes - bare.bytes.count)
    }

    private func render(_ names: Names, padBytes: Int) -> Rendered {
        var rendered = Rendered()
        for piece in pieces {
            switch piece {
            case .text(let text): rendered.bytes += text
            case .placeholder(.user): rendered.bytes += Array(names.user.utf8)
            case .placeholder(.to): rendered.bytes += Array(names.to.utf8)
            case .placeholder(.token): rendered.bytes += names.token
            case .placeholder(.index): rendered.bytes += Array("\(names.index)".utf8)
            case .placeholder(.partner): rendered.bytes += Array("\(names.partner)".utf8)
            case .placeholder(.marker):
                rendered.markerPlace = rendered.markerPlace ?? rendered.bytes.count
                let stream = String(names.stream, radix: 16)
                let digits = String(repeating: "0", count: 8 - stream.count) + stream
                rendered.bytes += Array("@@\(digits)00000000".utf8)
            case .placeholder(.seq):
                rendered.numberPlace = rendered.numberPlace ?? rendered.bytes.count
                rendered.bytes += Array("0000000000".utf8)
            case .placeholder(.pad): rendered.bytes += Array(repeating: 0x78, count: padBytes)
            }
        }
        return rendered
    }
}

/// Messages that have a name.
package enum MessagePreset: String, CaseIterable, Sendable {
    case plain
    case floor
    case chat
    case receipt
    case relay

    package var text: String {
        switch self {
        case .plain: "%marker%%pad%"
        case .floor: ">%partner% %marker%%pad%"
        case .chat: #"{"type":"chat_message","data":{"receiverId":"%to%","message":"%marker%%pad%"}}"#
        case .receipt:
            #"{"type":"read_receipt","data":{"senderId":"%to%","messageIds":["%marker%%pad%"]}}"#
        case .relay:
            #"{"type":"system","data":{"message":"%marker%%pad%"},"timestamp":"2026-01-01T00:00:00.000Z"}"#
        }
    }

    /// A preset's name, or a template.
    package static func template(_ text: String) -> Template {
        Template(MessagePreset(rawValue: text)?.text ?? text)
    }

    static let typing = Template(#"{"type":"typing","data":{"receiverId":"%to%","isTyping":true}}"#)
    static let online = Template(#"{"type":"user_online","data":{"userId":"%user%"}}"#)
    static let offline = Template(#"{"type":"user_offline","data":{"userId":"%user%"}}"#)
    static let ping = Template(#"{"type":"ping","data":{"timestamp":"%index%"}}"#)
}
