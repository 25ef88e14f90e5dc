// Public keys as operators keep them: PEM with one or several keys or certificates. All of a file
// or nothing: a file that is cut short, or holds anything else, is refused as a whole, so that a
// file in the middle of being written takes no key away.

internal import FoundationEssentials
internal import SwiftASN1
internal import X509

enum PublicKeyFile {
    static let bytesMax = 1 << 20
    static let keysMax = 64

    private static let begin = "-----BEGIN "
    private static let end = "-----END "
    private static let dashes = "-----"

    static func parse(_ bytes: [UInt8]) throws(KeyProblem) -> [VerificationKey] {
        guard let text = String(validating: bytes, as: UTF8.self) else { throw KeyProblem("is no text") }
        var keys: [VerificationKey] = []
        for block in try blocks(of: text) {
            guard keys.count < keysMax else { throw KeyProblem("holds more than \(keysMax) keys") }
            let key = try key(block)
            if !keys.contains(key) { keys.append(key) }
        }
        guard !keys.isEmpty else {
            throw KeyProblem("holds no public key: it takes PEM, a line -----BEGIN PUBLIC KEY----- first")
        }
        return keys
    }

    private struct Block {
        let label: String
        let text: String
    }

    /// Text between blocks is ignored, as `openssl` writes some there.
    private static func blocks(of text: String) throws(KeyProblem) -> [Block] {
        var blocks: [Block] = []
        var current: (label: String, lines: [String])?
        for line in text.split(whereSeparator: \.isNewline).map({ $0.trimmed }) {
            if line.hasPrefix(begin), line.hasSuffix(dashes), line.count > begin.count + dashes.count {
                guard current == nil else { throw cutShort }
                current = (String(line.dropFirst(begin.count).dropLast(dashes.count)), [line])
            } else if var block = current {
                block.lines.append(line)
                current = block
                guard line.hasPrefix(end) else { continue }
                guard line == end + block.label + dashes else { throw cutShort }
                blocks.append(Block(label: block.label, text: block.lines.joined(separator: "\n") + "\n"))
                current = nil
            } else if line.hasPrefix(dashes) {
                throw cutShort
            }
        }
        guard current == nil else { throw cutShort }
        return blocks
    }

    private static var cutShort: KeyProblem {
        KeyProblem("is cut short: a -----BEGIN …----- without its -----END …-----, or the other way round")
    }

    private static func key(_ block: Block) throws(KeyProblem) -> VerificationKey {
        switch block.label {
        case "PUBLIC KEY", "RSA PUBLIC KEY":
            return try VerificationKey(pem: block.text)
        case "CERTIFICATE":
            // Only the key is taken from it; whether the certificate is still valid says nothing of
            // tokens.
            guard let certificate = try? Certificate(pemEncoded: block.text),
                let pem = try? certificate.publicKey.serializeAsPEM().pemString
            else { throw KeyProblem("holds a certificate that cannot be read") }
            return try VerificationKey(pem: pem)
        case let label where label.hasSuffix("PRIVATE KEY"):
            throw KeyProblem(
                "holds a private key, which has no place on a node that only verifies; write its public "
                    + "half with `openssl pkey -in key.pem -pubout`")
        case let label:
            throw KeyProblem("holds a block that is no public key: \(label.prefix(40))")
        }
    }
}
