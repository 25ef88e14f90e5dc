// Reads a token's head and claims, each in one pass over its JSON. Every member has to be named once:
// readers differ in which of two they take, and issuer and node must not read two different tokens.

internal import FoundationEssentials
internal import SkeinWire

/// The members of one JSON object.
struct TokenJSON: ~Copyable {
    /// Members that a token's claims may have, and its head, which is read before anyone vouches for it.
    static let claimsMax = 256
    static let headMax = 32

    private let json: [UInt8]
    private let index: ObjectIndex

    /// - Returns: `nil` also where `json` is no object, names a member twice or has too many.
    static func read<R>(
        _ json: [UInt8], membersMax: Int, _ body: (borrowing TokenJSON) -> R?
    ) -> R? {
        guard UTF8Validator.isValid(json.span) else { return nil }
        let slots = UnsafeMutablePointer<ObjectIndex.Member>.allocate(capacity: membersMax)
        defer { unsafe slots.deallocate() }
        var index = unsafe ObjectIndex(unsafe: slots, capacity: membersMax)
        guard index.index(json.span), !index.overflowed, !index.hasDuplicates(in: json.span) else { return nil }
        return body(TokenJSON(json: json, index: index))
    }

    private init(json: [UInt8], index: consuming ObjectIndex) {
        self.json = json
        self.index = index
    }

    func has(_ name: StaticString) -> Bool { index.find(name, in: json.span) != nil }

    /// A member that is a text; `nil` where it is none, or not there.
    func text(_ name: StaticString) -> String? {
        guard let member = index.find(name, in: json.span), member.kind == .string else { return nil }
        let content = member.string.range
        guard member.hasEscapes else { return String(decoding: json[content], as: UTF8.self) }
        return ByteWriter.withTemporary(capacity: content.count) { plain in
            JSONString.unescape(json.span.extracting(content), into: &plain)
            return plain.withWritten { span in
                unsafe String(unsafeUninitializedCapacity: span.count) { target in
                    for place in span.indices { unsafe target[place] = span[place] }
                    return span.count
                }
            }
        }
    }

    /// Whether a member is a text, `null` or not there.
    func mayBeText(_ name: StaticString) -> Bool {
        index.find(name, in: json.span).map { $0.kind == .string || $0.kind == .null } ?? true
    }

    /// A member that is a number; the inner `nil` where it is something else.
    func number(_ name: StaticString) -> Double?? {
        guard let member = index.find(name, in: json.span), member.kind != .null else { return nil }
        guard member.kind == .number else { return .some(nil) }
        if let whole = JSONNumber.integer(json.span.extracting(member.value.range)) { return Double(whole) }
        guard let number = Double(String(decoding: json[member.value.range], as: UTF8.self)),
            number.isFinite
        else { return .some(nil) }
        return number
    }

    /// A member that is a text or a list of such; `nil` where it is neither.
    func texts(_ name: StaticString) -> [String]? {
        guard let member = index.find(name, in: json.span), member.kind == .array else {
            return text(name).map { [$0] }
        }
        return try? JSONDecoder().decode([String].self, from: Data(json[member.value.range]))
    }
}

extension TokenHeader {
    init?(json: [UInt8]) {
        let header = TokenJSON.read(json, membersMax: TokenJSON.headMax) { members -> TokenHeader? in
            guard members.mayBeText("alg"), members.mayBeText("kid") else { return nil }
            return TokenHeader(
                alg: members.text("alg"), kid: members.text("kid"), hasCritical: members.has("crit"))
        }
        guard let header else { return nil }
        self = header
    }
}

extension TokenClaims {
    /// - Returns: `nil` also where a time is there and no number: to take it for absent would let the
    ///   token live for ever.
    init?(json: [UInt8]) {
        let claims = TokenJSON.read(json, membersMax: TokenJSON.claimsMax) { members -> TokenClaims? in
            var claims = TokenClaims()
            // A user ID that is no string stands for none: `{"sub": 7}` is not user "7".
            claims.subject = members.text("sub")
            claims.userID = members.text("user_id")
            claims.userIDCamel = members.text("userId")
            claims.username = members.text("username")
            claims.preferredUsername = members.text("preferred_username")
            claims.role = members.text("role")
            claims.issuer = members.text("iss")
            claims.tokenID = members.text("jti")
            if let audiences = members.texts("aud") { claims.audience = .several(audiences) }
            // What does not say when it was issued counts as old, so this errs to the safe side.
            claims.issuedAt = members.number("iat") ?? nil
            if let seconds = members.number("exp") {
                guard let seconds else { return nil }
                claims.expiresAt = seconds
            }
            if let seconds = members.number("nbf") {
                guard let seconds else { return nil }
                claims.notBefore = seconds
            }
            return claims
        }
        guard let claims else { return nil }
        self = claims
    }
}
