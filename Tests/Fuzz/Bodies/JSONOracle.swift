// RFC 8259 as its grammar stands, by recursive descent: slow, and easy to hold beside the text.

struct JSONOracle {
    private let text: [UInt8]
    private let depthMax: Int
    private var place = 0

    /// Whether `text`, which is UTF-8, is one value of at most `depthMax` levels and blanks around it.
    static func isValid(_ text: [UInt8], depthMax: Int) -> Bool {
        var oracle = JSONOracle(text: text, depthMax: depthMax)
        return oracle.element(depth: 0) && oracle.place == text.count
    }

    private init(text: [UInt8], depthMax: Int) {
        self.text = text
        self.depthMax = depthMax
    }

    private var next: Character? {
        place < text.count ? Character(UnicodeScalar(text[place])) : nil
    }

    private mutating func skip(_ allowed: (Character) -> Bool) -> Int {
        let start = place
        while let character = next, allowed(character) { place += 1 }
        return place - start
    }

    private mutating func accept(_ literal: String) -> Bool {
        guard text[place...].starts(with: literal.utf8) else { return false }
        place += literal.utf8.count
        return true
    }

    private mutating func blanks() {
        // CR and LF one by one: each byte is looked at as a character of its own.
        _ = skip { $0 == " " || $0 == "\t" || $0 == "\n" || $0 == "\r" }
    }

    private mutating func element(depth: Int) -> Bool {
        blanks()
        guard value(depth: depth) else { return false }
        blanks()
        return true
    }

    private mutating func value(depth: Int) -> Bool {
        switch next {
        case "{": depth < depthMax && list("{", "}") { $0.blanks(); return $0.string() && $0.colon(depth) }
        case "[": depth < depthMax && list("[", "]") { $0.element(depth: depth + 1) }
        case "\"": string()
        case "t": accept("true")
        case "f": accept("false")
        case "n": accept("null")
        default: number()
        }
    }

    private mutating func colon(_ depth: Int) -> Bool {
        blanks()
        return accept(":") && element(depth: depth + 1)
    }

    private mutating func list(
        _ open: String, _ close: String, _ item: (inout JSONOracle) -> Bool
    ) -> Bool {
        guard accept(open) else { return false }
        blanks()
        if accept(close) { return true }
        repeat {
            guard item(&self) else { return false }
        } while accept(",")
        return accept(close)
    }

    private mutating func number() -> Bool {
        _ = accept("-")
        if !accept("0") {
            guard let first = next, "123456789".contains(first) else { return false }
            _ = digits()
        }
        if accept(".") { guard digits() > 0 else { return false } }
        if accept("e") || accept("E") {
            if !accept("+") { _ = accept("-") }
            guard digits() > 0 else { return false }
        }
        return true
    }

    private mutating func digits() -> Int { skip { "0123456789".contains($0) } }

    private mutating func string() -> Bool {
        guard accept("\"") else { return false }
        while let character = next {
            place += 1
            if character == "\"" { return true }
            if text[place - 1] < 0x20 { return false }
            guard character == "\\" else { continue }
            guard let escape = next else { return false }
            place += 1
            if escape == "u" {
                guard let unit = hex() else { return false }
                if (0xDC00..<0xE000).contains(unit) { return false }
                if (0xD800..<0xDC00).contains(unit) {
                    guard accept("\\u"), let low = hex() else { return false }
                    if !(0xDC00..<0xE000).contains(low) { return false }
                }
            } else if !"\"\\/bfnrt".contains(escape) {
                return false
            }
        }
        return false
    }

    private mutating func hex() -> Int? {
        guard place + 4 <= text.count else { return nil }
        var unit = 0
        for _ in 0..<4 {
            guard let digit = next.flatMap({ $0.isASCII ? $0.hexDigitValue : nil }) else { return nil }
            unit = unit * 16 + digit
            place += 1
        }
        return unit
    }
}
