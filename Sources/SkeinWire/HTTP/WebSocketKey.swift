// Sec-WebSocket-Key and its answer (RFC 6455 §4.2.2), with the SHA-1 that it needs, from
// OpenSSL. Once per connection, so plain code will do.

import COpenSSL

package enum WebSocketKey {
    /// Of a key, and of the answer to one.
    package static let keyBytes = 24
    package static let acceptBytes = 28

    /// Whether `key` is 16 bytes in base64.
    package static func isValid(_ key: Span<UInt8>) -> Bool {
        guard key.count == keyBytes else { return false }
        for i in 0..<22 where !Base64.isDigit(key[i]) { return false }
        return key[22] == 0x3D && key[23] == 0x3D
    }

    /// Appends the Sec-WebSocket-Accept value for `key`, 28 bytes.
    package static func writeAccept(for key: Span<UInt8>, into writer: inout ByteWriter) {
        precondition(key.count == keyBytes, "key was not validated")
        ByteWriter.withTemporary(capacity: keyBytes + 36) { text in
            text.append(key)
            text.append("258EAFA5-E914-47DA-95CA-C5AB0DC85B11")
            text.withWritten { SHA1.writeDigest(of: $0, base64Into: &writer) }
        }
    }

    /// Appends a key for a request of ours, made of two random words.
    package static func writeKey(
        random: (UInt64, UInt64), into writer: inout ByteWriter
    ) {
        ByteWriter.withTemporary(capacity: 16) { bytes in
            bytes.append(bigEndian: random.0)
            bytes.append(bigEndian: random.1)
            bytes.withWritten { Base64.encode($0, into: &writer) }
        }
    }
}

enum SHA1 {
    static let digestBytes = 20

    // Safe: EVP_Digest reads `count` bytes and writes 20, and both buffers have as many.
    static func writeDigest(of message: Span<UInt8>, base64Into writer: inout ByteWriter) {
        unsafe withUnsafeTemporaryAllocation(of: UInt8.self, capacity: digestBytes) { digest in
            unsafe digest.initialize(repeating: 0)
            let done = unsafe message.withUnsafeBytes { source in
                unsafe EVP_Digest(
                    source.baseAddress, source.count, digest.baseAddress, nil, EVP_sha1(), nil)
            }
            // It fails only when memory is out or the provider is missing: no handshake can work.
            precondition(done == 1, "SHA-1 is not available from OpenSSL")
            unsafe Base64.encode(Span(_unsafeElements: UnsafeBufferPointer(digest)), into: &writer)
        }
    }
}
