// What came of one worker's part, to be added up over all of them when their threads have ended.

internal import SkeinIO

struct WorkerResult: Sendable {
    var opened: UInt64 = 0
    /// connect: those that were begun within the measurement.
    var countedOpens: UInt64 = 0
    var refused: UInt64 = 0
    var firstRefusal = 0
    var returned: UInt64 = 0
    var gaveUp: UInt64 = 0
    var stillAway: UInt64 = 0
    var publisherOpened = false

    var sent: UInt64 = 0
    var sentConfirmable: UInt64 = 0
    /// Was due and could not be sent: the connection was full, or had too much under way.
    var notSentInTime: UInt64 = 0
    /// Was due for a user who is away.
    var notSentForAbsent: UInt64 = 0
    var deliveries = Verdicts()
    var confirmations = Verdicts()
    var damaged: UInt64 = 0
    var lost: UInt64 = 0
    var acceptedLost: UInt64 = 0
    var acceptedForAbsent: UInt64 = 0
    var notAccepted: UInt64 = 0
    var typingSent: UInt64 = 0
    var typingReceived: UInt64 = 0
    var pingsSent: UInt64 = 0
    var pongsReceived: UInt64 = 0
    var errorFrames: UInt64 = 0
    var firstError: String?
    var otherFrames: UInt64 = 0
    var fragmentedMessages: UInt64 = 0
    var protocolErrors: UInt64 = 0
    var firstProtocolError: String?
    var redisErrors: UInt64 = 0

    var closes = Closes()
    var closedEarly: UInt64 = 0
    var recovered: UInt64 = 0
    var notRecovered: UInt64 = 0
    var replayed: UInt64 = 0

    var receivedBytes: UInt64 = 0
    var sentBytes: UInt64 = 0
    var latency = Latencies()
    var absence = Latencies()

    mutating func add(_ other: WorkerResult) {
        let sums: [WritableKeyPath<WorkerResult, UInt64>] = [
            \.opened, \.countedOpens, \.refused, \.returned, \.gaveUp, \.stillAway, \.sent, \.sentConfirmable,
            \.notSentInTime, \.notSentForAbsent, \.damaged, \.lost, \.acceptedLost, \.acceptedForAbsent,
            \.notAccepted, \.typingSent, \.typingReceived, \.pingsSent, \.pongsReceived, \.errorFrames,
            \.otherFrames, \.fragmentedMessages, \.protocolErrors, \.redisErrors, \.closedEarly, \.recovered,
            \.notRecovered, \.replayed, \.receivedBytes, \.sentBytes,
        ]
        for sum in sums { self[keyPath: sum] += other[keyPath: sum] }
        if firstRefusal == 0 { firstRefusal = other.firstRefusal }
        firstError = firstError ?? other.firstError
        firstProtocolError = firstProtocolError ?? other.firstProtocolError
        publisherOpened = publisherOpened || other.publisherOpened
        deliveries += other.deliveries
        confirmations += other.confirmations
        closes.add(other.closes)
        latency.add(other.latency)
        absence.add(other.absence)
    }
}

/// How a server let go: with which codes, which hints, and how spread out.
struct Closes: Sendable {
    static let bucketNanoseconds: Int64 = 250_000_000
    private static let bucketsMax = 480
    private static let codesMax = 64

    private(set) var count = 0
    private(set) var codes: [Int: Int] = [:]
    private(set) var firstReason: String?
    private(set) var hints = 0
    private(set) var hintMin = Int.max
    private(set) var hintMax = 0
    private(set) var firstAt = Int64.max
    private(set) var lastAt = Int64.min
    /// By the clock's quarters of a second.
    private var buckets: [Int64: Int] = [:]

    mutating func add(code: Int, reason: String, at now: Int64) {
        count += 1
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

    mutating func add(_ other: Closes) {
        count += other.count
        codes.merge(other.codes, uniquingKeysWith: +)
        buckets.merge(other.buckets, uniquingKeysWith: +)
        firstReason = firstReason ?? other.firstReason
        hints += other.hints
        hintMin = min(hintMin, other.hintMin)
        hintMax = max(hintMax, other.hintMax)
        firstAt = min(firstAt, other.firstAt)
        lastAt = max(lastAt, other.lastAt)
    }

    var spreadSeconds: Double { count > 1 ? Double(lastAt - firstAt) / 1e9 : 0 }

    /// From the first on.
    var per250Milliseconds: [Int] {
        guard let first = buckets.keys.min(), let last = buckets.keys.max() else { return [] }
        return (first...min(last, first + Int64(Self.bucketsMax))).map { buckets[$0] ?? 0 }
    }

    private static func hint(in reason: String) -> Int? {
        guard let mark = reason.firstRange(of: "\"reconnectAfterMs\":") else { return nil }
        return Int(reason[mark.upperBound...].prefix { $0.isNumber }.prefix(9))
    }
}
