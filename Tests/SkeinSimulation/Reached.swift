// What a run went through. A path that a thousand seeds never reach is one the simulator is blind to.

package enum Path: Int, CaseIterable, Sendable {
    // Connections
    case threeNodes, connected, movedHome, echoed, answeredPing, fragmented, crossedNodes, heardBackend
    case badFrame, badHandshake, slowHandshake, closedByClient, resetByClient, stoppedReading
    case resetByNode, endedUncleanly
    // The kernel
    case shortReceive, shortSend, wouldBlock, becameBacklog, backlogSentInParts, lateCompletion
    case reorderedCompletions, dataAfterCancel, connectionReset, buffersUsedUp, buffersShortForNothing
    case multishotEnded, descriptorsUsedUp, clientShed, acceptAborted, tokenRefused, loopStalled
    case clockSetForward, clockSetBack, woken
    case lentTurn
    // The backplane
    case linkCut, linkCutAfterPublish, redisStalled, redisRestarted, connectRefused, sessionDeleted
    case nodeHeardAgain, deliveredLocally, eventOverdue, canarySilent, presenceSilent, ownSilent
    case throughRedisAgain, queueFull, subscribedAgain, dueSinceSteady
    case refusedByAllNodes, namedBeforeLease, clearedNode, sweptDevice, lateRestatement, leaseLost
    case lookedAgain, foundAgain
    // History
    case recovered, replayed, notRecovered, historyBegunAnew, caughtUp, sentBack, scriptsForgotten
    case scriptMissing, appendRepeated, appendGap, appendedTogether, heardAgainAfterOutage, heardLateAfterLoss
    case heardAgainElsewhere
    // Leaving
    case nodeKilled, nodeStarted, nodeFrozen, failedOver, epochEnded
    case drained, drainedInTraffic, toldToLeave, movedInTime, closedAtDeadline, flushedInDrain
    case fenced, fencedRead
    // What a client was told
    case close1000, close1001, close1002, close1003, close1005, close1006, close1007, close1009, close1012
    case close4008, close4401, close4429
    case refused401, refused404, refused429, refused431, refused503, refusedOther
    case errorOverloaded, errorRateLimited, errorOther
    // What a node counted
    case staleCompletion, overload, handshakeTimeout, writeStalled, memoryShed, readDeferred
}

package struct Reached: Sendable {
    package private(set) var counts = [Int](repeating: 0, count: Path.allCases.count)

    package init() {}

    package subscript(path: Path) -> Int {
        get { counts[path.rawValue] }
        set { counts[path.rawValue] = newValue }
    }

    package mutating func add(_ other: Reached) {
        for index in counts.indices { counts[index] += other.counts[index] }
    }
}
