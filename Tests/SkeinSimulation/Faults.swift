// What a seed has in store: the shape of its nodes, and which faults exist and how likely they are.
// Most seeds have few of them, so that rare combinations are not drowned by the common ones.

import Skein

/// Mistakes that a broker, or the machine under it, could make: made on purpose by the simulator at
/// the broker's borders, to see that its checks would tell.
package enum Plant: String, CaseIterable, Sendable {
    /// One wake-up of a parked loop is lost.
    case skippedWake
    /// A descriptor is closed with its cancellation and not with its last completion.
    case earlyClose
    /// A receive that ran out of buffers is not armed again.
    case forgottenRearm
    /// Redis confirms a subscription before it hears the channel.
    case earlySubscribe
    /// An event is published before it can be found in its user's history.
    case publishedFirst
    /// A history is read as it was one event ago.
    case staleHistory
    /// What was appended before its link broke is appended again.
    case repeatedAppend
    /// What is published again after a reconnect is not recognised.
    case ignoredWatermark
    /// A turn is lent although the outcome of the last one's sends is still to come.
    case earlyLoan
    /// What a short send left over is lost.
    case lostTail
    /// A connection is shut down before what is queued for it has gone out.
    case forgottenFlush
    /// The mark of a fence overtakes what was published before it.
    case forgottenFence
    /// A slot is given to the next connection while the last one's receive is in flight, and what that
    /// ends with is taken for the next one's.
    case earlyReuse
    /// What a node has in Redis of devices that went while it was away stays there.
    case forgottenSweep
    /// A buffer is written to while its send is in flight.
    case overwrittenSend
}

/// Once in so many times; 0: not in this seed.
struct Faults {
    // Kernel
    var shortReceive = 0
    var shortSend = 0
    var wouldBlock = 0
    var lateCompletion = 0
    var reorder = false
    var spuriousNoBuffers = 0
    var multishotEnd = 0
    var acceptAbort = 0
    var heldPacket = 0
    /// Bytes that a socket holds for a peer that does not read.
    var socketBytes = 65_536
    var descriptorsMax = 10_000
    // Clients
    var badFrame = 0
    var badHandshake = 0
    var slowHandshake = 0
    var clientClose = 0
    var clientReset = 0
    var stopReading = 0
    var badToken = 0
    // Counts over the safety phase
    var loopStalls = 0
    var clockJumps = 0
    var linkCuts = 0
    var cutsAfterPublish = 0
    var redisStalls = 0
    var redisRestarts = 0
    var sessionDeletions = 0
    var forgottenScripts = 0
    var nodeKills = 0
    var nodeRestarts = 0
    var nodeFreezes = 0
    /// Redis gives way to a replica that lacks the newest writes.
    var failovers = 0
    /// A Redis that starts again has what it had.
    var redisKeeps = false
    /// Bounds so low that events may be refused or dropped, and told so.
    var isLossy = false

    /// Redis always there, and nobody kept from hearing it, or not there yet.
    var redisIsSteady: Bool {
        linkCuts + cutsAfterPublish + redisStalls + redisRestarts + loopStalls == 0 && heldPacket == 0
            && nodeKills + nodeRestarts + nodeFreezes + failovers == 0
    }
}

struct Scenario {
    var nodeCount = 1
    var shardCounts = [1]
    var usesRedis = false
    var userCount = 2
    var deviceCount = 4
    var echoCount = 0
    var messagesEach = 20
    var messageBytesMax = 200
    /// Nanoseconds that a client waits between two things it does.
    var pause = 20_000_000
    var safetySeconds = 2
    var configuration = ServerConfiguration()
    var drainsEarly = false
    var tokensExpire = false
    var faults = Faults()

    /// - Parameters:
    ///   - history: luck of its own, so that what is drawn here changes nothing else.
    ///   - nodes: so many, on Redis, where chance is not to choose.
    init(_ chance: inout Chance, history: inout Chance, nodes: Int?) {
        usesRedis = chance.below(10) < 6 || nodes != nil
        nodeCount = usesRedis && chance.oneIn(2) ? 2 : 1
        if let nodes { nodeCount = nodes }
        shardCounts = (0..<nodeCount).map { _ in chance.within(1...3) }
        userCount = chance.within(1...5)
        deviceCount = chance.within(2...8)
        echoCount = chance.oneIn(3) ? chance.within(1...2) : 0
        messagesEach = chance.within(4...24)
        messageBytesMax = chance.pick([40, 200, 1_000, 6_000])
        pause = chance.pick([200_000, 2_000_000, 20_000_000, 100_000_000])
        safetySeconds = chance.within(1...4)
        drainsEarly = chance.oneIn(4)
        tokensExpire = chance.oneIn(8)
        drawFaults(&chance)
        drawLimits(&chance)
        drawHistory(&history, nodes)
    }

    private mutating func drawHistory(_ chance: inout Chance, _ nodes: Int?) {
        let isOff = chance.oneIn(4)
        configuration.limits.historyEventsMax = isOff ? 0 : chance.pick([4, 32, 256, 256])
        configuration.limits.historyAge = .milliseconds(chance.pick([500, 3_000, 60_000, 60_000]))
        configuration.limits.historyUserBytesMax = chance.pick([4_096, 65_536, 1_048_576])
        configuration.limits.historyBytesMax = chance.oneIn(4) ? 16_384 : 1 << 24
        configuration.limits.historyUsersMax = chance.oneIn(6) ? 3 : 1_000
        configuration.limits.historyReadsMax = chance.pick([1, 16])
        if nodes == nil, nodeCount == 2, chance.oneIn(2) {
            nodeCount = 3
            shardCounts.append(chance.within(1...2))
            // It has to fit too.
            if faults.descriptorsMax < 10_000 { faults.descriptorsMax += 2 }
        }
        guard usesRedis, !isOff, chance.oneIn(2) else { return }
        faults.forgottenScripts = chance.pick([0, 1, 3])
        faults.redisKeeps = chance.oneIn(2)
        faults.nodeKills = chance.pick([0, 0, 1, 2])
        faults.nodeRestarts = chance.pick([0, 0, 1, 3])
        faults.nodeFreezes = chance.pick([0, 0, 0, 1])
        faults.failovers = chance.pick([0, 0, 0, 1])
    }

    private mutating func drawFaults(_ chance: inout Chance) {
        // Some seeds are calm: what goes wrong there is plainly our own.
        guard !chance.oneIn(12) else { return }
        func odds(_ chance: inout Chance, _ choices: [Int]) -> Int {
            chance.oneIn(2) ? chance.pick(choices) : 0
        }
        faults.shortReceive = odds(&chance, [2, 5, 20])
        faults.shortSend = odds(&chance, [3, 10, 40])
        faults.wouldBlock = odds(&chance, [5, 20, 60])
        faults.lateCompletion = odds(&chance, [2, 4, 10])
        faults.reorder = chance.oneIn(2)
        faults.spuriousNoBuffers = odds(&chance, [10, 40])
        faults.multishotEnd = odds(&chance, [5, 20])
        faults.acceptAbort = odds(&chance, [4, 10])
        faults.heldPacket = odds(&chance, [10, 50])
        if chance.oneIn(3) { faults.socketBytes = chance.pick([256, 1_024, 4_096, 16_384]) }
        if chance.oneIn(6) {
            // Standard streams, a listener and a reserve for each shard, and the links to Redis fit.
            let own = 3 + 2 * (shardCounts.max() ?? 1) + (usesRedis ? 4 : 0)
            faults.descriptorsMax = own + chance.within(1...max(1, deviceCount / nodeCount))
        }
        faults.badFrame = odds(&chance, [40, 150])
        faults.badHandshake = odds(&chance, [4, 12])
        faults.slowHandshake = odds(&chance, [3, 8])
        faults.clientClose = odds(&chance, [20, 80])
        faults.clientReset = odds(&chance, [20, 80])
        faults.stopReading = odds(&chance, [15, 60])
        faults.badToken = odds(&chance, [5, 15])
        faults.loopStalls = odds(&chance, [1, 2, 4])
        faults.clockJumps = odds(&chance, [1, 3])
        guard usesRedis else { return }
        faults.linkCuts = odds(&chance, [1, 3, 6])
        faults.cutsAfterPublish = odds(&chance, [1, 2, 4])
        faults.redisStalls = odds(&chance, [1, 2])
        faults.redisRestarts = odds(&chance, [1, 1, 2])
    }

    private mutating func drawLimits(_ chance: inout Chance) {
        configuration.pinning = .none
        configuration.echoPath = "/echo"
        configuration.echoIsOpen = true
        if usesRedis {
            configuration.backplane = .redis(RedisAddress(endpoint: .unix(path: "/simulated")))
            configuration.sessionRequired = chance.oneIn(5)
            if configuration.sessionRequired, faults.linkCuts > 0 { faults.sessionDeletions = 2 }
        }
        // Not drawn, so that older seeds stay what they were. The short one ends while Redis stands still.
        configuration.limits.nodeLease = .milliseconds(userCount % 2 == 0 ? 1_000 : 10_000)
        configuration.limits.nodeGrace = .milliseconds(userCount % 2 == 0 ? 100 : 2_000)
        configuration.limits.handshakeRate = chance.oneIn(8) ? 5 : 0
        configuration.limits.handshakeBurst = 10
        configuration.limits.messageRate = chance.oneIn(8) ? 20 : 0
        configuration.limits.messageBurst = 5
        configuration.limits.messageRefusalsMax = chance.pick([5, 1_000])
        configuration.limits.messageBytesMax = chance.oneIn(6) ? 4_096 : 65_536
        configuration.limits.connectionsPerUserMax = chance.oneIn(6) ? 2 : 20
        configuration.limits.connectionsMax = chance.oneIn(10) ? 4 : 0
        configuration.limits.writeTimeout = .milliseconds(chance.pick([500, 2_000, 10_000]))
        configuration.limits.handshakeTimeout = .milliseconds(chance.pick([500, 5_000]))
        configuration.limits.pingInterval = .milliseconds(chance.pick([300, 25_000]))
        configuration.limits.pongTimeout = .milliseconds(chance.pick([5_000, 60_000]))
        configuration.limits.receiveBuffersCount = chance.oneIn(4) ? chance.pick([1, 2, 4]) : 32
        configuration.limits.receiveBufferBytes = chance.pick([64, 512, 8_192])
        configuration.limits.receiveTurnBytesMax = 2 * configuration.limits.receiveBufferBytes
        if chance.oneIn(3) {
            configuration.limits.sendQueueMessagesMax = chance.pick([4, 16])
            configuration.limits.sendQueueBytesMax = chance.pick([1_024, 8_192])
        }
        // Not what this machine has: a run must not depend on it.
        let isTight = chance.oneIn(10)
        configuration.limits.memoryBytesMax = isTight ? chance.pick([3_000, 6_000, 16_000]) : 1 << 32
        guard chance.oneIn(6) else { return }
        faults.isLossy = true
        configuration.limits.parcelsMax = 1
        configuration.limits.postsMax = chance.pick([2, 8])
        configuration.limits.backplaneQueueCommandsMax = chance.pick([4, 40])
    }
}
