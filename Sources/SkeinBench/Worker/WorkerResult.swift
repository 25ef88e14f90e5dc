// What came of one worker's part, to be added up over all of them when their threads have ended.

struct WorkerResult: Sendable {
    var opened: UInt64 = 0
    /// connect: those that were begun within the measurement.
    var countedOpens: UInt64 = 0
    /// connect: handshakes that were still under way when nobody waited any longer.
    var unanswered: UInt64 = 0
    var refused: UInt64 = 0
    var firstRefusal = 0
    var returned: UInt64 = 0
    var gaveUp: UInt64 = 0
    var stillAway: UInt64 = 0

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
    var presenceSent: UInt64 = 0
    var presenceReceived: UInt64 = 0
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
            \.opened, \.countedOpens, \.unanswered, \.refused, \.returned, \.gaveUp, \.stillAway, \.sent,
            \.sentConfirmable,
            \.notSentInTime, \.notSentForAbsent, \.damaged, \.lost, \.acceptedLost, \.acceptedForAbsent,
            \.notAccepted, \.typingSent, \.typingReceived, \.presenceSent, \.presenceReceived,
            \.pingsSent, \.pongsReceived, \.errorFrames,
            \.otherFrames, \.fragmentedMessages, \.protocolErrors, \.redisErrors, \.closedEarly, \.recovered,
            \.notRecovered, \.replayed, \.receivedBytes, \.sentBytes,
        ]
        for sum in sums { self[keyPath: sum] += other[keyPath: sum] }
        firstRefusal = Refusal.first(firstRefusal, other.firstRefusal)
        firstError = firstError ?? other.firstError
        firstProtocolError = firstProtocolError ?? other.firstProtocolError
        deliveries += other.deliveries
        confirmations += other.confirmations
        closes.add(other.closes)
        latency.add(other.latency)
        absence.add(other.absence)
    }
}
