// The one kind of number that Skein itself reads out of JSON; all others are passed on as text.

package enum JSONNumber {
    /// A validated number as an Int; nil when it has a fraction or an exponent, or does not fit.
    package static func integer(_ text: Span<UInt8>) -> Int? {
        let isNegative = text.count > 0 && text[0] == 0x2D
        let start = isNegative ? 1 : 0
        guard text.count > start else { return nil }
        var value = 0
        for i in start..<text.count {
            guard text[i].isASCIIDigit else { return nil }
            let digit = Int(text[i] - 0x30)
            let (shifted, overflow) = value.multipliedReportingOverflow(by: 10)
            // Down from zero for negative ones: that side reaches one further.
            let (next, carry) =
                isNegative
                ? shifted.subtractingReportingOverflow(digit)
                : shifted.addingReportingOverflow(digit)
            guard !overflow && !carry else { return nil }
            value = next
        }
        return value
    }
}
