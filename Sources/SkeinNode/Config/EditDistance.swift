// Which name someone may have meant.

package enum NearestName {
    /// The known name that takes the fewest single-letter edits, if few enough to be a slip.
    package static func of(_ name: String, among known: [String]) -> String? {
        let wanted = Array(name.uppercased().utf8.prefix(64))
        let ranked = known.map { ($0, distance(wanted, Array($0.utf8))) }
        guard let best = ranked.min(by: { $0.1 < $1.1 }) else { return nil }
        return best.1 <= max(2, wanted.count / 3) ? best.0 : nil
    }

    /// Whether a name is one letter too many, too few or other than a known one.
    package static func isSlip(_ name: String, of known: [String]) -> Bool {
        let bytes = Array(name.utf8)
        return known.contains { known in
            abs(known.utf8.count - bytes.count) <= 1 && distance(bytes, Array(known.utf8)) == 1
        }
    }

    /// Levenshtein's, in one row.
    static func distance(_ left: [UInt8], _ right: [UInt8]) -> Int {
        var row = Array(0...right.count)
        for (i, byte) in left.enumerated() {
            var diagonal = row[0]
            row[0] = i + 1
            for (j, other) in right.enumerated() {
                let substituted = diagonal + (byte == other ? 0 : 1)
                diagonal = row[j + 1]
                row[j + 1] = min(substituted, row[j] + 1, row[j + 1] + 1)
            }
        }
        return row[right.count]
    }
}
