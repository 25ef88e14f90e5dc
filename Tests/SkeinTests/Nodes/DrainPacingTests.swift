import Testing

@testable import Skein

/// How fast a drain may go, by what the deadline needs and what the others say.
@Suite("Drain pacing")
struct DrainPacingTests {
    @Test("a wave is what the deadline needs, unless the others can take less", arguments: [
        // open, waves left, early, allowance → count, paced by
        (100, 9, true, nil, 10, DrainPacer.none),
        (100, 9, true, 50, 10, .none),
        (100, 9, true, 10, 10, .none),
        (100, 9, true, 4, 4, .peers),
        (100, 9, false, 4, 10, .deadline),
        (100, 9, false, 10, 10, .none),
        // At least one, whatever they say; and the last wave takes all.
        (100, 9, true, 0, 1, .peers),
        (3, 9, true, 0, 1, .none),
        (100, 0, false, 1, 100, .deadline),
        (100, 0, false, nil, 100, .none),
        (7, -1, false, nil, 7, .none),
        (0, 9, true, 0, 0, .none),
        (1, 1_000_000, true, nil, 1, .none),
    ] as [(Int, Int, Bool, Int?, Int, DrainPacer)])
    func wave(open: Int, left: Int, isEarly: Bool, allowance: Int?, count: Int, pacer: DrainPacer) {
        let wave = DrainPacing.wave(open: open, wavesLeft: left, isEarly: isEarly, allowance: allowance)
        #expect(wave == DrainPacing.Wave(count: count, pacedBy: pacer))
    }

    @Test("whatever the others say, all have been told by the last wave")
    func deadlineHolds() {
        for allowance in [nil, 0, 1, 3, 20, 1_000] as [Int?] {
            for clients in [1, 5, 40, 1_000, 12_345] {
                var open = clients
                let waves = 40
                var most = 0
                for left in stride(from: waves - 1, through: 0, by: -1) {
                    let wave = DrainPacing.wave(
                        open: open, wavesLeft: left, isEarly: left >= waves / 2, allowance: allowance)
                    open -= min(open, wave.count)
                    most = max(most, wave.count)
                }
                #expect(open == 0)
                // Twice the even slope is the steepest that holding back for half the time can cost.
                #expect(most <= 2 * ((clients + waves - 1) / waves) + 1)
            }
        }
    }

    private func node(
        accepts: Int = 0, arriving: Int = 0, leaving: Int = 0, connections: Int = 1, draining: Bool = false
    ) -> NodeInfo {
        var node = NodeInfo()
        node.acceptPerSecond = accepts
        node.arrivingPerSecond = arriving
        node.leavingPerSecond = leaving
        node.connections = connections
        node.draining = draining
        return node
    }

    @Test("what the others take is what they can, less what comes to them from elsewhere")
    func perSecond() {
        #expect(DrainPacing.perSecond([], leaving: 0) == nil)
        #expect(DrainPacing.perSecond([node(accepts: 0, draining: true)], leaving: 0) == nil)
        #expect(DrainPacing.perSecond([node(accepts: 100)], leaving: 0) == 100)
        #expect(DrainPacing.perSecond([node(accepts: 100), node(accepts: 50)], leaving: 0) == 150)
        #expect(DrainPacing.perSecond([node(accepts: 100, arriving: 30)], leaving: 0) == 70)
        // What this node sends there is not held against it.
        #expect(DrainPacing.perSecond([node(accepts: 100, arriving: 30)], leaving: 30) == 100)
        #expect(DrainPacing.perSecond([node(accepts: 100, arriving: 30)], leaving: 80) == 100)
        #expect(DrainPacing.perSecond([node(accepts: 100, arriving: 900)], leaving: 0) == 0)
        // Two that leave at once share.
        let other = node(leaving: 20, draining: true)
        #expect(DrainPacing.perSecond([node(accepts: 100, arriving: 50), other], leaving: 30) == 50)
        // One that is empty already asks for nothing.
        let empty = node(connections: 0, draining: true)
        #expect(DrainPacing.perSecond([node(accepts: 100), empty], leaving: 0) == 100)
    }

    @Test("the pace remembers the strongest that set it, until a drain is taken back")
    func pacer() {
        let pace = DrainPace()
        #expect(pace.perSecond == nil && pace.pacedBy == .none)
        pace.set(0, peers: 2)
        #expect(pace.perSecond == 0 && pace.peers == 2)
        pace.note(.peers)
        pace.note(.none)
        #expect(pace.pacedBy == .peers)
        pace.note(.deadline)
        pace.note(.peers)
        #expect(pace.pacedBy == .deadline)
        pace.reset()
        #expect(pace.perSecond == nil && pace.peers == 0 && pace.pacedBy == .none)
    }
}
