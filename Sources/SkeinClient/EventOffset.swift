// Where an event stands in its user's history: two numbers, `milliseconds-sequence`, in order within one
// epoch.

public struct EventOffset: Comparable, Sendable, CustomStringConvertible {
    public let first: UInt64
    public let second: UInt64

    public init(_ first: UInt64, _ second: UInt64) {
        self.first = first
        self.second = second
    }

    /// `nil` for anything but two decimal numbers and a dash: then there is no offset.
    public init?(_ bytes: Span<UInt8>, _ range: Range<Int>) {
        var numbers: (UInt64, UInt64) = (0, 0)
        var dash: Int?
        for index in range {
            let byte = bytes[index]
            if byte == 0x2D, dash == nil, index > range.lowerBound {
                dash = index
                numbers = (numbers.1, 0)
                continue
            }
            let digit = byte &- 0x30
            guard digit < 10 else { return nil }
            let (tens, overflow) = numbers.1.multipliedReportingOverflow(by: 10)
            let (sum, carry) = tens.addingReportingOverflow(UInt64(digit))
            guard !overflow, !carry else { return nil }
            numbers.1 = sum
        }
        guard let dash, dash + 1 < range.upperBound else { return nil }
        self.init(numbers.0, numbers.1)
    }

    public var description: String { "\(first)-\(second)" }

    public static func < (left: EventOffset, right: EventOffset) -> Bool {
        (left.first, left.second) < (right.first, right.second)
    }
}
