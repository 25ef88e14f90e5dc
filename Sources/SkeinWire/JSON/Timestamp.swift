// RFC 3339 times: the one form that Skein writes, UTC with milliseconds, and the check of those that
// publishers send, which are passed on as they came.

package enum RFC3339 {
    /// What ``ByteWriter/appendTimestamp(millisecondsSince1970:)`` writes.
    package static let timestampBytes = 24

    /// Whether `text` is a date-time of RFC 3339, with a fraction of at most nine digits.
    package static func isValid(_ text: Span<UInt8>) -> Bool {
        guard text.count >= 20,
            let year = number(text, 0, 4), text[4] == 0x2D,
            let month = number(text, 5, 7), text[7] == 0x2D,
            let day = number(text, 8, 10), text[10] | 0x20 == 0x74,
            let hour = number(text, 11, 13), text[13] == 0x3A,
            let minute = number(text, 14, 16), text[16] == 0x3A,
            // 60: a leap second.
            let second = number(text, 17, 19), hour <= 23, minute <= 59, second <= 60
        else { return false }
        guard month >= 1 && month <= 12 && day >= 1 && day <= days(in: month, of: year) else {
            return false
        }
        var i = 19
        if text[i] == 0x2E {
            let fraction = i + 1
            i = fraction
            while i < text.count && text[i].isASCIIDigit { i += 1 }
            guard i > fraction && i - fraction <= 9 && i < text.count else { return false }
        }
        if text[i] | 0x20 == 0x7A { return i + 1 == text.count }
        guard text[i] == 0x2B || text[i] == 0x2D, i + 6 == text.count, text[i + 3] == 0x3A,
            let offsetHour = number(text, i + 1, i + 3), offsetHour <= 23,
            let offsetMinute = number(text, i + 4, i + 6), offsetMinute <= 59
        else { return false }
        return true
    }

    private static func number(_ text: Span<UInt8>, _ start: Int, _ end: Int) -> Int? {
        var value = 0
        for i in start..<end {
            guard text[i].isASCIIDigit else { return nil }
            value = value * 10 + Int(text[i] - 0x30)
        }
        return value
    }

    private static func days(in month: Int, of year: Int) -> Int {
        switch month {
        case 2: year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) ? 29 : 28
        case 4, 6, 9, 11: 30
        default: 31
        }
    }
}

extension ByteWriter {
    /// Appends `2026-11-21T11:16:00.123Z`, without quotes. Times outside the years 0 to 9999, which the
    /// form cannot say, become the nearest it can.
    package mutating func appendTimestamp(millisecondsSince1970: Int64) {
        let bounded = min(max(millisecondsSince1970, -62_167_219_200_000), 253_402_300_799_999)
        let day = Int(bounded >= 0 ? bounded / 86_400_000 : (bounded - 86_399_999) / 86_400_000)
        let inDay = Int(bounded) - day * 86_400_000

        // Civil from days: years begin in March, so that the leap day comes last, and 400 of them
        // (146,097 days) make an era that repeats. Day 0 of era 0 is 0000-03-01.
        let shifted = day + 719_468
        let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
        let dayOfEra = shifted - era * 146_097
        let yearOfEra =
            (dayOfEra - dayOfEra / 1_460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let monthFromMarch = (5 * dayOfYear + 2) / 153
        let month = monthFromMarch < 10 ? monthFromMarch + 3 : monthFromMarch - 9

        appendDecimal(era * 400 + yearOfEra + (month <= 2 ? 1 : 0), digits: 4)
        append(0x2D)
        appendDecimal(month, digits: 2)
        append(0x2D)
        appendDecimal(dayOfYear - (153 * monthFromMarch + 2) / 5 + 1, digits: 2)
        append(0x54)
        appendDecimal(inDay / 3_600_000, digits: 2)
        append(0x3A)
        appendDecimal(inDay / 60_000 % 60, digits: 2)
        append(0x3A)
        appendDecimal(inDay / 1_000 % 60, digits: 2)
        append(0x2E)
        appendDecimal(inDay % 1_000, digits: 3)
        append(0x5A)
    }
}
