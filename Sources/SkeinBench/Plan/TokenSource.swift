// A token for each user: given, read from a file, or made with the server's secret (HS256). Made where it is
// needed, because a test of handshakes needs another one for each: a signature costs about a microsecond.

internal import COpenSSL

package struct TokenSource: Sendable {
    package enum Kind: Sendable {
        case none
        /// One for everyone.
        case given([UInt8])
        /// `user token` lines; users in their order, again from the first when they run out.
        case listed(users: [String], tokens: [[UInt8]])
        case secret(String, issuer: String?, audience: String?, lifetimeSeconds: Int)
    }

    package let kind: Kind
    let userPrefix: String

    package init(_ kind: Kind, userPrefix: String) {
        self.kind = kind
        self.userPrefix = userPrefix
    }

    package var isNone: Bool { if case .none = kind { true } else { false } }

    package func user(_ index: Int) -> String {
        if case .listed(let users, _) = kind { return users[index % users.count] }
        return "\(userPrefix)\(index)"
    }

    /// - Parameter secondsSince1970: now.
    package func token(_ index: Int, secondsSince1970: Int64) -> [UInt8] {
        switch kind {
        case .none: return []
        case .given(let token): return token
        case .listed(_, let tokens): return tokens[index % tokens.count]
        case .secret(let secret, let issuer, let audience, let lifetime):
            var claims = #"{"sub":"\#(user(index))","iat":\#(secondsSince1970),"#
            if let issuer { claims += #""iss":"\#(issuer)","# }
            if let audience { claims += #""aud":"\#(audience)","# }
            claims += #""exp":\#(secondsSince1970 + Int64(lifetime))}"#
            var token = Self.header
            Self.encode(Array(claims.utf8), into: &token)
            let signature = Self.sign(token, secret)
            token.append(0x2E)
            Self.encode(signature, into: &token)
            return token
        }
    }

    /// `user token` per line.
    package static func parse(list: String) -> Kind? {
        var users: [String] = []
        var tokens: [[UInt8]] = []
        for line in list.split(whereSeparator: \.isNewline) {
            let words = line.split(separator: " ", omittingEmptySubsequences: true)
            guard words.count == 2 else { return nil }
            users.append(String(words[0]))
            tokens.append(Array(words[1].utf8))
        }
        return users.isEmpty ? nil : .listed(users: users, tokens: tokens)
    }

    private static let header: [UInt8] = {
        var header: [UInt8] = []
        encode(Array(#"{"alg":"HS256","typ":"JWT"}"#.utf8), into: &header)
        header.append(0x2E)
        return header
    }()

    private static func sign(_ text: [UInt8], _ secret: String) -> [UInt8] {
        var digest = [UInt8](repeating: 0, count: 32)
        var count = 0
        // Safe: each length is that of its array, and SHA-256 writes the 32 bytes that there is room for.
        let made = unsafe EVP_Q_mac(
            nil, "HMAC", nil, "SHA256", nil, secret, secret.utf8.count, text, text.count, &digest,
            digest.count, &count)
        precondition(unsafe made != nil && count == 32, "HMAC-SHA-256 is not available from OpenSSL")
        return digest
    }

    /// Base64 for URLs, without padding.
    private static func encode(_ bytes: [UInt8], into text: inout [UInt8]) {
        let alphabet = Self.alphabet
        var index = 0
        while index < bytes.count {
            let second = index + 1 < bytes.count ? bytes[index + 1] : 0
            let third = index + 2 < bytes.count ? bytes[index + 2] : 0
            let group = Int(bytes[index]) << 16 | Int(second) << 8 | Int(third)
            text.append(alphabet[group >> 18])
            text.append(alphabet[group >> 12 & 63])
            if index + 1 < bytes.count { text.append(alphabet[group >> 6 & 63]) }
            if index + 2 < bytes.count { text.append(alphabet[group & 63]) }
            index += 3
        }
    }

    private static let alphabet = Array(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".utf8)
}
