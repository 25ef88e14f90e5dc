// Whether a JSON object names one of its own members twice. Readers differ in which of the two they
// take, so a token that does is refused: issuer and node must not read two different tokens.

internal import FoundationEssentials

enum JSONMembers {
    /// - Parameter bytes: a valid JSON object, as a decoder has found.
    /// - Returns: false also where the scan does not end with the object.
    static func areUnique(in bytes: [UInt8]) -> Bool {
        var names: Set<[UInt8]> = []
        var depth = 0
        var index = 0
        var expectsName = false
        while index < bytes.count {
            let byte = bytes[index]
            switch byte {
            case UInt8(ascii: "\""):
                guard let end = closingQuote(in: bytes, after: index) else { return false }
                if depth == 1, expectsName {
                    guard let name = name(bytes[index...end]), names.insert(name).inserted else {
                        return false
                    }
                    expectsName = false
                }
                index = end
            case UInt8(ascii: "{"), UInt8(ascii: "["):
                depth += 1
                expectsName = depth == 1 && byte == UInt8(ascii: "{")
            case UInt8(ascii: "}"), UInt8(ascii: "]"):
                depth -= 1
            case UInt8(ascii: ","):
                if depth == 1 { expectsName = true }
            default: break
            }
            index += 1
        }
        return depth == 0
    }

    private static func closingQuote(in bytes: [UInt8], after start: Int) -> Int? {
        var index = start + 1
        while index < bytes.count {
            switch bytes[index] {
            case UInt8(ascii: "\\"): index += 2
            case UInt8(ascii: "\""): return index
            default: index += 1
            }
        }
        return nil
    }

    /// The name as it is meant: `"\u0073ub"` is `sub`.
    private static func name(_ quoted: ArraySlice<UInt8>) -> [UInt8]? {
        guard quoted.contains(UInt8(ascii: "\\")) else { return Array(quoted.dropFirst().dropLast()) }
        let decoder = JSONDecoder()
        return (try? decoder.decode(String.self, from: Data(quoted))).map { Array($0.utf8) }
    }
}
