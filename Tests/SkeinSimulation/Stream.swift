// A byte stream between a node and whom it talks to: two pipes, in each of which bytes are first under
// way and then there. The network is what moves them, as the scheduler picks.

import SkeinIO

struct Pipe {
    private(set) var bytes: [UInt8] = []
    /// What was read, and what has arrived, as places in `bytes`.
    private(set) var head = 0
    private(set) var arrived = 0
    var capacity: Int
    /// The writer has ended the stream, and the reader can know.
    var isEnded = false
    var hasEnded = false

    init(capacity: Int) { self.capacity = capacity }

    var room: Int { max(0, capacity - (bytes.count - head)) }
    var readable: Int { arrived - head }
    var underWay: Int { bytes.count - arrived }
    var isUnderWay: Bool { underWay > 0 || (isEnded && !hasEnded) }

    mutating func write(_ source: UnsafeRawBufferPointer) { bytes.append(contentsOf: source) }
    mutating func write(_ source: [UInt8]) { bytes.append(contentsOf: source) }

    mutating func arrive(_ count: Int) {
        arrived += count
        if isEnded && underWay == 0 { hasEnded = true }
    }

    mutating func read(_ count: Int, into target: UnsafeMutableRawPointer) {
        bytes.withUnsafeBytes {
            target.copyMemory(from: $0.baseAddress! + head, byteCount: count)
        }
        skip(count)
    }

    mutating func read(_ count: Int, onto target: inout [UInt8]) {
        target.append(contentsOf: bytes[head..<head + count])
        skip(count)
    }

    private mutating func skip(_ count: Int) {
        head += count
        guard head == bytes.count else { return }
        bytes.removeAll(keepingCapacity: true)
        head = 0
        arrived = 0
    }

    /// What is under way never comes.
    mutating func lose() { bytes.removeLast(underWay) }

    /// Part of what is under way never comes.
    mutating func lose(_ count: Int) { bytes.removeLast(min(count, underWay)) }
}

final class Stream {
    unowned(unsafe) let world: World
    let number: Int
    /// To the node; to its peer.
    var inbound = Pipe(capacity: .max)
    var outbound: Pipe
    let address: PeerAddress
    /// The node's end.
    unowned(unsafe) var descriptor: Descriptor?
    var nodeIsGone = false
    var peerIsGone = false
    // A reset under way, and one that has arrived.
    private var resetsNode = false
    private var resetsPeer = false
    private(set) var nodeWasReset = false
    private(set) var peerWasReset = false
    private(set) var heldUntil: Int64 = 0
    private var isListed = false

    init(_ world: World, capacity: Int, address: PeerAddress = PeerAddress(high: 0, low: 0, port: 0)) {
        self.world = world
        self.address = address
        outbound = Pipe(capacity: capacity)
        world.streamCount += 1
        number = world.streamCount
    }

    var isUnderWay: Bool { inbound.isUnderWay || outbound.isUnderWay || resetsNode || resetsPeer }

    /// Something was put on its way.
    func changed() {
        guard !isListed, isUnderWay else { return }
        isListed = true
        if world.strikes(world.faults.heldPacket, .reorderedCompletions) {
            heldUntil = world.now + Int64(world.chance.within(1...80)) * 1_000_000
        }
        world.streams.append(self)
    }

    /// The network's step. - Returns: false when nothing is under way any more.
    func move() -> Bool {
        if inbound.isUnderWay { inbound.arrive(amount(inbound.underWay)) }
        if outbound.isUnderWay { outbound.arrive(amount(outbound.underWay)) }
        if resetsNode && (!inbound.isUnderWay || world.chance.oneIn(2)) {
            inbound.lose()
            resetsNode = false
            nodeWasReset = true
        }
        if resetsPeer && (!outbound.isUnderWay || world.chance.oneIn(2)) {
            outbound.lose()
            resetsPeer = false
            peerWasReset = true
        }
        if let descriptor { descriptor.ring?.touch(descriptor) }
        if isUnderWay { return true }
        isListed = false
        return false
    }

    private func amount(_ count: Int) -> Int {
        count > 1 && world.chance.oneIn(4) ? world.chance.within(1...count) : count
    }

    // MARK: The peer's calls

    func peerWrites(_ bytes: [UInt8]) {
        guard !peerIsGone, !peerWasReset else { return }
        if nodeIsGone {
            resetsPeer = true
        } else {
            inbound.write(bytes)
        }
        changed()
    }

    func peerCloses() {
        guard !peerIsGone else { return }
        peerIsGone = true
        if outbound.readable > 0 { resetsNode = true } else { inbound.isEnded = true }
        changed()
    }

    func peerResets() {
        guard !peerIsGone else { return }
        peerIsGone = true
        resetsNode = true
        changed()
    }

    func peerReads(_ count: Int, onto target: inout [UInt8]) {
        outbound.read(count, onto: &target)
        if let descriptor { descriptor.ring?.touch(descriptor) }
    }

    // MARK: The node's calls

    /// - Returns: bytes taken, or `-errno`.
    func nodeWrites(_ bytes: UnsafeRawBufferPointer, most: Int) -> Int {
        let count = min(most, min(outbound.room, bytes.count))
        guard count > 0 else { return 0 }
        if peerIsGone {
            resetsNode = true
        } else {
            outbound.write(UnsafeRawBufferPointer(rebasing: bytes[..<count]))
        }
        changed()
        return count
    }

    func nodeEnds() {
        outbound.isEnded = true
        changed()
    }

    func nodeCloses(reset: Bool) {
        nodeIsGone = true
        descriptor = nil
        if reset || inbound.readable > 0 {
            outbound.lose(world.chance.below(outbound.underWay + 1))
            resetsPeer = true
        } else {
            outbound.isEnded = true
        }
        changed()
    }
}
