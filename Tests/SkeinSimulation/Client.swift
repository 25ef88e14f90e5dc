// A client and its whims: it talks and listens, and in all its states may dawdle, fall silent, break
// the protocol, say goodbye or be torn away; then it comes again.

import Glibc
import Skein
import SkeinIO

final class Client {
    enum State { case away, handshaking, open, closing }

    private unowned(unsafe) let world: World
    private unowned(unsafe) let simulation: Simulation
    let number: Int
    /// -1: it talks to the echo.
    let user: Int
    private(set) var state = State.away
    private(set) var stream: Stream?
    private var input: [UInt8] = []
    private var head = 0
    private(set) var wakeAt: Int64 = 0
    private var readsAgainAt: Int64 = 0
    private var lastWrote: Int64 = 0
    private var gaveUpAt: Int64 = .max
    private var unsent: [UInt8] = []
    private(set) var device: Device?
    private(set) var sender: Sender?
    private var messagesLeft: Int
    /// It broke the protocol, or left it in the middle: nothing sensible follows.
    private var isSpoiled = false
    private var wasRefused = false
    private var expectedEchoes: [[UInt8]] = []
    private var node = 0
    /// Where it would come back to.
    private var place: (epoch: String, offset: String)?
    /// Who it was, until it is told that it is somebody else.
    private var former: Device?
    private var hasAsked = false
    /// What it was told when it was connected, while it waits to hear whether it is recovered.
    private var told: (epoch: String, offset: String)?
    private var replayed = 0

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

    private var isReadable: Bool {
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
    private func left() {
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

    private func frame(_ opcode: UInt8, _ payload: [UInt8], isLast: Bool = true) -> [UInt8] {
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

    // MARK: Listening

    private func read() {
        guard let stream else { return }
        let readable = stream.outbound.readable
        let count = readable > 1 && world.chance.oneIn(5) ? world.chance.within(1...readable) : readable
        if count > 0 { stream.peerReads(count, onto: &input) }
        if state == .handshaking { readAnswer() }
        while self.stream != nil, state == .open || state == .closing, readFrame() {}
        if head > 0, head == input.count {
            input.removeAll(keepingCapacity: true)
            head = 0
        }
        guard let stream = self.stream, stream.outbound.readable == 0 else { return }
        if stream.peerWasReset {
            left()
        } else if stream.outbound.hasEnded {
            ended()
        }
    }

    /// The node has ended the stream, in good order as it seems.
    private func ended() {
        if state == .open {
            world.reach(.endedUncleanly)
            let silence = world.now - lastWrote
            let patience = world.scenario.configuration.limits.pongTimeout
            if silence < patience.components.seconds * 500_000_000, !isSpoiled, !world.killed.contains(node) {
                world.fail("client \(number) saw the end of its stream without a close frame")
            }
        }
        stream?.peerCloses()
        left()
    }

    private func readAnswer() {
        guard let end = endOfHead() else { return }
        let status = input[head..<end].withUnsafeBufferPointer { ClientReader(bytes: $0) }
        guard status.starts(with: "HTTP/1.1 101") else {
            simulation.refused(status)
            wasRefused = true
            isSpoiled = true
            head = input.count
            return
        }
        head = end
        state = .open
        gaveUpAt = .max
        wakeAt = world.now + Int64(world.chance.within(1...world.scenario.pause))
        // What was to follow the request in slices follows now.
        stream?.peerWrites(unsent)
        unsent = []
    }

    private func endOfHead() -> Int? {
        guard input.count - head >= 4 else { return nil }
        for index in head...input.count - 4
        where input[index] == 13 && input[index + 1] == 10 && input[index + 2] == 13
            && input[index + 3] == 10
        {
            return index + 4
        }
        return nil
    }

    /// - Returns: false when no whole frame is there.
    private func readFrame() -> Bool {
        let available = input.count - head
        guard available >= 2 else { return false }
        let first = input[head]
        var count = Int(input[head + 1])
        var headBytes = 2
        if count == 126 {
            guard available >= 4 else { return false }
            count = Int(input[head + 2]) << 8 | Int(input[head + 3])
            headBytes = 4
        } else if count == 127 {
            guard available >= 10 else { return false }
            count = input[head + 2..<head + 10].reduce(0) { $0 << 8 | Int($1) }
            headBytes = 10
        }
        guard first & 0xF0 == 0x80, count < 1 << 24 else {
            world.fail("client \(number) was sent what is no frame of a server")
            return false
        }
        guard available >= headBytes + count else { return false }
        let start = head + headBytes
        head = start + count
        switch first & 0x0F {
        case 1, 2:
            if user < 0 {
                echoed(Array(input[start..<head]))
            } else {
                input.withUnsafeBufferPointer { input in
                    heard(ClientReader(bytes: UnsafeBufferPointer(rebasing: input[start..<start + count])))
                }
            }
        case 8: closed(Array(input[start..<head]))
        case 9:
            world.reach(.answeredPing)
            if !isSpoiled || state == .open { stream?.peerWrites(frame(10, Array(input[start..<head]))) }
            lastWrote = world.now
        case 10: break
        default: world.fail("client \(number) was sent a frame of unknown kind")
        }
        return stream != nil
    }

    private func closed(_ payload: [UInt8]) {
        let code = payload.count >= 2 ? Int(payload[0]) << 8 | Int(payload[1]) : 1_005
        simulation.closed(code)
        if code == 4_429 || code == 4_008 { wasRefused = true }
        device?.isOpen = false
        guard state == .open else {
            state = .closing
            return
        }
        state = .closing
        wakeAt = .max
        gaveUpAt = world.now + 15_000_000_000
        // A peer that does not answer costs the node its patience and nothing else.
        guard world.isCalm || !world.chance.oneIn(6) else { return }
        stream?.peerWrites(frame(8, payload.count >= 2 ? Array(payload[..<2]) : []))
    }

    private func echoed(_ payload: [UInt8]) {
        // What broke the rules elsewhere may be a message here.
        guard !isSpoiled else { return }
        guard let expected = expectedEchoes.first, expected == payload else {
            world.fail("client \(number) was echoed \(payload.count) bytes that it had not said next")
            return
        }
        expectedEchoes.removeFirst()
        world.reach(.echoed)
    }

    private func heard(_ event: ClientReader) {
        if event.starts(with: "{\"type\":\"connected\"") {
            if device != nil { world.fail("client \(number) was told twice that it is connected") }
            connected(event)
            return
        }
        if event.starts(with: "{\"type\":\"resumed\"") {
            resumed(event)
            return
        }
        guard let device else {
            world.fail("client \(number) heard something before it was told that it is connected")
            return
        }
        if event.starts(with: "{\"type\":\"error\"") {
            failed(event)
            return
        }
        let isConfirmation = event.starts(with: "{\"type\":\"chat_message_sent\"")
        guard isConfirmation || event.starts(with: "{\"type\":\"chat_message\"")
            || event.starts(with: "{\"type\":\"note\"")
        else {
            world.fail("client \(number) heard an event of unknown type")
            return
        }
        guard let content = event.content() else {
            world.fail("client \(number) heard an event whose content is not what was said")
            return
        }
        world.record(.client, number, content.number << 16 | content.message << 1 | (isConfirmation ? 1 : 0))
        let offset = event.text(after: "\"offset\":\"")
        world.note("client \(number) of user \(user) on node \(node) hears \(content.number):\(content.message) \(isConfirmation ? "confirmed" : "") at \(offset ?? "no offset")")
        if told != nil {
            replayed += 1
            if offset == nil { world.fail("client \(number) was given what it missed without an offset") }
        }
        if let offset, let place {
            if !ClientWords.isLater(offset, than: place.offset) {
                world.fail("client \(number) heard offset \(offset) after \(place.offset)")
            }
            self.place = (place.epoch, offset)
        }
        simulation.ledger.hear(
            device, content.number, content.message, isConfirmation ? .confirmation : .event,
            hasOffset: offset != nil)
    }

    private func connected(_ event: ClientReader) {
        if device != nil { world.fail("client \(number) was told twice that it is connected") }
        world.reach(.connected)
        replayed = 0
        var now: (epoch: String, offset: String)?
        if let epoch = event.text(after: "\"epoch\":\""), let offset = event.text(after: "\"offset\":\"") {
            now = (epoch, offset)
        }
        world.note(
            "client \(number) of user \(user) on node \(node) is connected at \(now?.offset ?? "no offset")"
                + (hasAsked ? ", back from \(place?.offset ?? "nowhere")" : ""))
        if hasAsked, let former {
            // Who it is, it hears after what it missed.
            told = now ?? ("", "")
            device = former
            simulation.ledger.returned(former, to: node)
        } else {
            begin(now)
        }
        if state != .open { device?.isOpen = false }
    }

    /// A new device, which has seen nothing before.
    private func begin(_ now: (epoch: String, offset: String)?) {
        device = simulation.ledger.device(user: user, node: node)
        device?.isKept = now != nil
        place = now
    }

    private func resumed(_ event: ClientReader) {
        guard hasAsked, let told else {
            world.fail("client \(number) was told of a return that it did not ask for")
            return
        }
        self.told = nil
        guard var place = event.place(after: "\"replayed\":"), let count = event.number(at: &place),
            count == replayed
        else {
            world.fail("client \(number) was given \(replayed) events, and told of another number")
            return
        }
        if event.place(after: "\"recovered\":true") != nil {
            world.reach(.recovered)
            if count > 0 { world.reach(.replayed) }
            if told.epoch != self.place?.epoch { world.fail("client \(number) was recovered over epochs") }
            return
        }
        world.reach(.notRecovered)
        if count > 0 { world.fail("client \(number) was given a part of what it missed") }
        let isOpen = device?.isOpen ?? false
        device?.isOpen = false
        begin(told.epoch.isEmpty ? nil : told)
        device?.isOpen = isOpen
    }

    private func failed(_ event: ClientReader) {
        if event.place(after: "\"INTERNAL_ERROR\"") != nil {
            world.reach(.errorOverloaded)
        } else if event.place(after: "\"RATE_LIMITED\"") != nil {
            world.reach(.errorRateLimited)
        } else {
            world.reach(.errorOther)
        }
        guard var place = event.place(after: "\"requestId\":"), let request = event.number(at: &place),
            let sender
        else { return }
        simulation.ledger.reject(sender, request)
    }
}
