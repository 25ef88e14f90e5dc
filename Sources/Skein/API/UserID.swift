// A user's name as a plain value: 1 to 128 visible ASCII characters, checked once when it is made.
// It holds its bytes inline, so that routing by user allocates and retains nothing.

public struct UserID: Sendable {
    @usableFromInline var storage: InlineArray<128, UInt8>
    @usableFromInline var length: UInt8

    public static let lengthMax = 128

    /// - Returns: `nil` unless `text` is 1 to 128 visible ASCII characters.
    public init?(_ text: some StringProtocol) {
        var text = String(text)
        let made = text.withUTF8 { unsafe UserID(bytes: $0.span) }
        guard let made else { return nil }
        self = made
    }

    /// - Returns: `nil` unless `bytes` are 1 to 128 visible ASCII characters.
    public init?(bytes: Span<UInt8>) {
        guard !bytes.isEmpty, bytes.count <= Self.lengthMax else { return nil }
        storage = InlineArray(repeating: 0)
        length = UInt8(bytes.count)
        for index in bytes.indices {
            let byte = bytes[index]
            guard byte > 0x20, byte < 0x7F else { return nil }
            storage[index] = byte
        }
    }

    public var count: Int { Int(length) }

    /// Gives `body` the bytes, without a copy.
    @inlinable
    public func withBytes<R: ~Copyable>(_ body: (Span<UInt8>) -> R) -> R {
        let span = storage.span.extracting(first: Int(length))
        return body(span)
    }
}

extension UserID: Hashable, CustomStringConvertible {
    public static func == (left: UserID, right: UserID) -> Bool {
        guard left.length == right.length else { return false }
        for index in 0..<left.count where left.storage[index] != right.storage[index] {
            return false
        }
        return true
    }

    public func hash(into hasher: inout Hasher) {
        for index in 0..<count { hasher.combine(storage[index]) }
    }

    public var description: String {
        withBytes { String(copying: unsafe UTF8Span(unchecked: $0)) }
    }
}
