// What is remembered of closes that the server began: for `drain`, most of the answer.

/// How a server let go: with which codes, which hints, and how spread out.
package struct Closes: Sendable {
    static let bucketNanoseconds: Int64 = 250_000_000
    private static let bucketsMax = 480
    private static let codesMax = 64

    package private(set) var count = 0
    package private(set) var codes: [Int: Int] = [:]
    /// By the number of the address that the connection was at.
    package private(set) var targets: [Int: Int] = [:]
    package private(set) var firstReason: String?
    package private(set) var hints = 0
    package private(set) var hintMin = Int.max
    package private(set) var hintMax = 0
    package private(set) var firstAt = Int64.max
    package private(set) var lastAt = Int64.min
    /// By the clock's quarters of a second.
    private var buckets: [Int64: Int] = [:]

    package init() {}

    package mutating func add(code: Int, reason: String, target: Int = 0, at now: Int64) {
        count += 1
        targets[target, default: 0] += 1
        if codes[code] != nil || codes.count < Self.codesMax { codes[code, default: 0] += 1 }
        if firstReason == nil, !reason.isEmpty { firstReason = reason }
        if let hint = Self.hint(in: reason) {
            hints += 1
            hintMin = min(hintMin, hint)
            hintMax = max(hintMax, hint)
        }
        firstAt = min(firstAt, now)
        lastAt = max(lastAt, now)
        let bucket = now / Self.bucketNanoseconds
        if buckets[bucket] != nil || buckets.count < Self.bucketsMax { buckets[bucket, default: 0] += 1 }
    }

    package mutating func add(_ other: Closes) {
        count += other.count
        codes.merge(other.codes, uniquingKeysWith: +)
        targets.merge(other.targets, uniquingKeysWith: +)
        buckets.merge(other.buckets, uniquingKeysWith: +)
        firstReason = firstReason ?? other.firstReason
        hints += other.hints
        hintMin = min(hintMin, other.hintMin)
        hintMax = max(hintMax, other.hintMax)
        firstAt = min(firstAt, other.firstAt)
        lastAt = max(lastAt, other.lastAt)
    }

    package var spreadSeconds: Double { count > 1 ? Double(lastAt - firstAt) / 1e9 : 0 }

    /// From the first on.
    package var per250Milliseconds: [Int] {
        guard let first = buckets.keys.min(), let last = buckets.keys.max() else { return [] }
        return (first...min(last, first + Int64(Self.bucketsMax))).map { buckets[$0] ?? 0 }
    }

    private static func hint(in reason: String) -> Int? {
        guard let mark = reason.firstRange(of: "\"reconnectAfterMs\":") else { return nil }
        return Int(reason[mark.upperBound...].prefix { $0.isNumber }.prefix(9))
    }
}
