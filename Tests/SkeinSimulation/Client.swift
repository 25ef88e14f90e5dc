// A client and its whims: it talks, and in all its states may dawdle, fall silent, break the protocol,
// say goodbye or be torn away; then it comes again.

import Glibc
import Skein
import SkeinIO

final class Client {
    enum State { case away, handshaking, open, closing }

    unowned(unsafe) let world: World
    unowned(unsafe) let simulation: Simulation
    let number: Int
    /// -1: it talks to the echo.
    let user: Int
    var state = State.away
    var stream: Stream?
    var input: [UInt8] = []
    var head = 0
    var wakeAt: Int64 = 0
    var readsAgainAt: Int64 = 0
    var lastWrote: Int64 = 0
    var gaveUpAt: Int64 = .max
    var unsent: [UInt8] = []
    var device: Device?
    var sender: Sender?
    var messagesLeft: Int
    /// It broke the protocol, or left it in the middle: nothing sensible follows.
    var isSpoiled = false
    var wasRefused = false
    var expectedEchoes: [[UInt8]] = []
    var node = 0
    /// Where it would come back to.
    var place: (epoch: String, offset: String)?
    /// Who it was, until it is told that it is somebody else.
    var former: Device?
    var hasAsked = false
    /// What it was told when it was connected, while it waits to hear whether it is recovered.
    var told: (epoch: String, offset: String)?
    var replayed = 0

    init(_ world: World, _ simulation: Simulation, number: Int, user: Int) {
        self.world = world
        self.simulation = simulation
        self.number = number
        self.user = user
        messagesLeft = world.scenario.messagesEach
        wakeAt = world.now + Int64(world.chance.below(50)) * 1_000_000
    }

    var isSettled: Bool { state == .open && messagesLeft == 0 && !isSpoiled && expectedEchoes.isEmpty }
    var hasAnswers: Bool { sender.map { $0.sent.allSatisfy { $0.status != .open } } ?? true }

    /// It was refused, by a limit that this run has set low.
    var isContentToStayAway: Bool {
        let limits = world.scenario.configuration.limits
        return wasRefused && state == .away
            && (limits.connectionsPerUserMax == 2 || limits.connectionsMax > 0
                || limits.memoryBytesMax < 1 << 30 || limits.handshakeRate > 0
                || world.scenario.faults.isLossy)
    }

    /// For a complaint.
    var account: String {
        let open = sender?.sent.filter { $0.status == .open }.count ?? 0
        return """
            \(state), with \(messagesLeft) to say, \(open) unanswered, refused: \(wasRefused), \
            spoiled: \(isSpoiled)
            """
    }

    var isReadable: Bool {
        guard let stream else { return false }
        return stream.outbound.readable > 0 || stream.outbound.hasEnded || stream.peerWasReset
    }

    func isReady(at now: Int64) -> Bool {
        now >= wakeAt || now >= gaveUpAt || (now >= readsAgainAt && isReadable)
    }

    /// When something is due though nothing comes.
    var due: Int64 { min(wakeAt, min(gaveUpAt, isReadable ? readsAgainAt : .max)) }

    func step() {
        let now = world.now
        if now >= readsAgainAt, isReadable { read() }
        if now >= gaveUpAt { tear() }
        guard now >= wakeAt else { return }
        wakeAt = .max
        switch state {
        case .away: connect()
        case .handshaking: writeMore()
        case .open: act()
        case .closing: break
        }
    }

    /// From now on it behaves.
    func calmDown() {
        readsAgainAt = 0
        if state != .open || isSpoiled { tear() }
        if state == .open { wakeAt = world.now + 1_000_000 }
        messagesLeft = min(messagesLeft, 4)
    }

    /// It has said all that it will.
    func retire() {
        messagesLeft = 0
        if state == .away { wakeAt = .max }
    }

    // MARK: Coming and going

    private func connect() {
        guard let (stream, node) = simulation.connect() else {
            wakeAt = world.now + 200_000_000
            return
        }
        self.stream = stream
        self.node = node
        state = .handshaking
        isSpoiled = false
        wasRefused = false
        expectedEchoes = []
        lastWrote = world.now
        gaveUpAt = world.now + 15_000_000_000
        hasAsked = place != nil && former != nil && !world.historyChance.oneIn(5)
        var request = ClientWords.request(
            path: user < 0 ? "/echo" : "/ws", token: user < 0 ? nil : token(),
            resume: hasAsked ? place.map { "\($0.epoch):\($0.offset)" } : nil)
        if world.strikes(world.faults.badHandshake, .badHandshake) { spoil(&request) }
        if user >= 0 {
            sender = simulation.ledger.sender(user: user, node: node)
            // Some do not wait for the answer before they speak.
            if messagesLeft > 0, !isSpoiled, world.chance.oneIn(6) { request += nextMessage() }
        }
        if world.strikes(world.faults.slowHandshake, .slowHandshake) {
            unsent = request
            writeMore()
        } else {
            stream.peerWrites(request)
        }
    }

    private func token() -> String {
        if world.strikes(world.faults.badToken, .tokenRefused) { return "wrong" }
        return simulation.userNames[user]
    }

    private func spoil(_ request: inout [UInt8]) {
        isSpoiled = true
        switch world.chance.below(5) {
        case 0: request = Array("GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n".utf8)
        case 1: request = Array("POST /ws HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc".utf8)
        case 2: request = (0..<40).map { _ in UInt8(world.chance.below(256)) }
        case 3: request = Array("GET /ws HTTP/1.1\r\nX: ".utf8) + Array(repeating: 97, count: 17_000)
        default: request.removeLast(world.chance.within(1...request.count - 1))
        }
    }

    private func writeMore() {
        guard let stream, !unsent.isEmpty else { return }
        let count = world.chance.within(1...unsent.count)
        stream.peerWrites(Array(unsent[..<count]))
        lastWrote = world.now
        unsent.removeFirst(count)
        if !unsent.isEmpty { wakeAt = world.now + Int64(world.chance.within(1...300)) * 1_000_000 }
    }

    private func tear() {
        stream?.peerResets()
        left()
    }

    /// The connection is no more.
    func left() {
        stream = nil
        device?.isOpen = false
        if let device { former = device }
        device = nil
        told = nil
        sender = nil
        input = []
        head = 0
        unsent = []
        readsAgainAt = 0
        gaveUpAt = .max
        state = .away
        let pause = wasRefused ? world.chance.within(200...1_500) : world.chance.within(1...200)
        wakeAt = world.now + Int64(pause) * 1_000_000
    }

    // MARK: Talking

    private func act() {
        guard let stream, !isSpoiled else { return }
        if world.strikes(world.faults.stopReading, .stoppedReading) {
            readsAgainAt = world.now + Int64(world.chance.within(50...20_000)) * 1_000_000
        }
        if world.strikes(world.faults.clientReset, .resetByClient) {
            tear()
            return
        }
        if world.strikes(world.faults.clientClose, .closedByClient) {
            sayGoodbye()
            return
        }
        if world.strikes(world.faults.badFrame, .badFrame) {
            misbehave()
            return
        }
        guard messagesLeft > 0 else { return }
        if world.chance.oneIn(12) {
            stream.peerWrites(frame(9, [1, 2, 3]))
            lastWrote = world.now
        }
        if user >= 0, world.chance.oneIn(25) {
            stream.peerWrites(frame(1, Array(#"{"type":"nonsense","data":{}}"#.utf8)))
        }
        let count = world.chance.oneIn(6) ? min(messagesLeft, 8) : 1
        for _ in 0..<count { stream.peerWrites(nextMessage()) }
        lastWrote = world.now
        wakeAt = world.now + Int64(world.chance.within(1...world.scenario.pause))
    }

    func frame(_ opcode: UInt8, _ payload: [UInt8], isLast: Bool = true) -> [UInt8] {
        let mask = UInt32(truncatingIfNeeded: world.chance.next())
        return ClientWords.frame(opcode, payload, isLast: isLast, mask: mask)
    }

    private func nextMessage() -> [UInt8] {
        messagesLeft -= 1
        let bytes = world.chance.below(world.scenario.messageBytesMax)
        guard let sender else { return echoMessage(bytes) }
        let receiver = world.chance.below(world.scenario.userCount)
        let message = simulation.ledger.say(sender, to: receiver)
        let content = ClientWords.content(sender.number, message, bytes: bytes)
        let text = ClientWords.chatMessage(
            to: simulation.userNames[receiver], content, request: message)
        return cutUp(1, text)
    }

    private func echoMessage(_ bytes: Int) -> [UInt8] {
        let isText = world.chance.oneIn(2)
        let payload = (0..<bytes).map { UInt8(97 + ($0 &+ messagesLeft) % 26) }
        expectedEchoes.append(payload)
        return cutUp(isText ? 1 : 2, payload)
    }

    /// Whole, or in fragments with perhaps a ping between them.
    private func cutUp(_ opcode: UInt8, _ payload: [UInt8]) -> [UInt8] {
        guard payload.count > 2, world.chance.oneIn(8) else { return frame(opcode, payload) }
        world.reach(.fragmented)
        let cut = world.chance.within(1...payload.count - 1)
        var frames = frame(opcode, Array(payload[..<cut]), isLast: false)
        if world.chance.oneIn(3) { frames += frame(9, []) }
        return frames + frame(0, Array(payload[cut...]))
    }

    private func sayGoodbye() {
        let code = world.chance.pick([1_000, 1_001, 3_000])
        let isBare = code == 1_001 && world.chance.oneIn(2)
        stream?.peerWrites(frame(8, isBare ? [] : [UInt8(code >> 8), UInt8(code & 0xFF)]))
        state = .closing
        wakeAt = .max
        gaveUpAt = world.now + 15_000_000_000
        // Some do not wait for an answer.
        if world.chance.oneIn(3) {
            stream?.peerCloses()
            left()
        }
    }

    private func misbehave() {
        isSpoiled = true
        let bytes: [UInt8] =
            switch world.chance.below(8) {
            case 0: [0x81, 0x03, 97, 98, 99]
            case 1: frame(3, [1])
            case 2: frame(1, [0xFF, 0xFE, 0xFD])
            case 3: frame(2, [1, 2, 3])
            case 4: [0x81, 0xFF, 0, 0, 0, 0, 0x7F, 0, 0, 0, 1, 2, 3, 4]
            case 5: frame(8, [0x03, 0xED])
            case 6: frame(0, [1, 2])
            default: (0..<20).map { _ in UInt8(world.chance.below(256)) }
            }
        stream?.peerWrites(bytes)
        wakeAt = .max
        gaveUpAt = world.now + 3_000_000_000
    }
}
