// The third tenant of `Ring`: completions come when the scheduler lets them, late, in another order
// across sockets, cut short or failed, but never other than io_uring could give them. It knows what
// is in flight, and tells when a machine breaks the rules of submissions.

import CSkein
import Glibc
import SkeinIO

package struct SimulatedRing: Ring, ~Copyable {
    let state: RingState

    init(_ state: RingState) { self.state = state }

    deinit { state.destroy() }

    package static func make(_ options: RingOptions) throws(RingError) -> SimulatedRing {
        preconditionFailure("a simulated ring is made by its simulation")
    }

    package var buffers: BufferPool { state.buffers }
    package var waker: Waker { state.waker }
    package var counters: RingCounters { state.counters }

    package mutating func give(_ queue: inout SubmissionQueue) {
        if !state.kernel.isDead { for index in 0..<queue.count { state.perform(queue[index]) } }
        queue.removeAll()
    }

    package mutating func wait(_ wait: Wait) { state.wait = wait }

    package var rest: SimulatedRingAtRest? { SimulatedRingAtRest(ring: state) }

    @discardableResult
    package mutating func reap(into completions: inout CompletionQueue) -> Int {
        state.reap(into: &completions)
    }
}

/// Unchecked `Sendable`: everything runs on one thread.
package struct SimulatedRingAtRest: RingAtRest, @unchecked Sendable {
    let ring: RingState

    package var state: RestState {
        ring.sendOutcomes.isEmpty || ring.world.plant == .earlyLoan ? .settled : .over
    }

    package func send(_ submission: Submission) -> Int32? { ring.performForAnother(submission) }
}

final class RingState {
    struct Produced {
        var descriptor: Descriptor
        var completion: Completion
    }

    unowned(unsafe) let world: World
    let kernel: Kernel
    let name: String
    let buffers: BufferPool
    let counters = RingCounters.make()
    let waker: Waker
    private let wakeDescriptor: Int32
    var wait = Wait.none
    var isWoken = false
    private(set) var sendOutcomes: [Completion] = []
    private(set) var produced: [Produced] = []
    private var candidates: [Descriptor] = []
    /// By slot, which of its lives last asked for a receive.
    private var generations: [UInt32: UInt32] = [:]

    init(_ world: World, _ kernel: Kernel, name: String, limits: (count: Int, bytes: Int)) {
        self.world = world
        self.kernel = kernel
        self.name = name
        buffers = BufferPool.make(count: limits.count, bufferBytes: limits.bytes)
        wakeDescriptor = eventfd(0, skein_eventfd_flags())
        waker = Waker(way: .eventDescriptor, fd: wakeDescriptor)
    }

    func destroy() {
        Sockets.close(wakeDescriptor)
        buffers.destroy()
        counters.destroy()
    }

    /// Looks whether another loop has woken this one.
    func lookForWake() {
        var value: UInt64 = 0
        guard !isWoken, read(wakeDescriptor, &value, 8) == 8 else { return }
        if world.plant == .skippedWake, world.plantsLeft > 0, world.chance.oneIn(40) {
            world.plantsLeft = 0
            return
        }
        world.reach(.woken)
        isWoken = true
    }

    /// A completion is to be had.
    var hasCompletions: Bool { !sendOutcomes.isEmpty || !produced.isEmpty || !candidates.isEmpty }

    /// Completions with a buffer that the machine has not been given yet.
    var heldBuffers: Int { produced.reduce(0) { $0 + ($1.completion.hasBuffer ? 1 : 0) } }

    /// Something about a descriptor has changed.
    func touch(_ descriptor: Descriptor) {
        guard !descriptor.isQueued, descriptor.isReady else { return }
        descriptor.isQueued = true
        candidates.append(descriptor)
    }

    // MARK: Submitting

    func perform(_ submission: Submission) {
        let fd = submission.fd
        guard let descriptor = kernel[fd] else {
            world.fail("\(name) submitted \(submission.kind) on descriptor \(fd), which is not open")
            return
        }
        let isIdle = !descriptor.readIsInFlight && !descriptor.writeIsInFlight
        if let other = descriptor.ring, other !== self, !isIdle {
            world.fail("\(name) submitted \(submission.kind) on a descriptor in flight at \(other.name)")
        }
        if submission.kind != .release && submission.kind != .close { descriptor.ring = self }
        switch submission.kind {
        case .sendNow, .sendVectorNow:
            guard let result = sendNow(descriptor, submission) else { break }
            sendOutcomes.append(Completion(token: submission.token, result: result))
        case .sendWhenPossible:
            startWriting(descriptor, .send, submission)
            descriptor.address = submission.address
            descriptor.count = Int(submission.count)
            descriptor.checksum = Self.checksum(submission.address, Int(submission.count))
            touch(descriptor)
        case .connect:
            startWriting(descriptor, .connect, submission)
            let wait = world.chance.oneIn(8) ? world.chance.within(1...300) : 0
            kernel.connecting.append((descriptor, world.now + Int64(wait) * 1_000_000 + 50_000))
        case .receive: arm(descriptor, .receive, submission)
        case .receiveMany: arm(descriptor, .receiveMany, submission)
        case .accept: arm(descriptor, .accept, submission)
        case .pollReadable: world.fail("\(name) polls, which nothing does yet")
        case .cancel: cancel(descriptor, submission.token)
        case .release:
            if !isIdle { world.fail("\(name) released descriptor \(fd) with something in flight") }
            descriptor.ring = nil
            world.reach(.movedHome)
        case .close: kernel.close(fd, by: name)
        }
    }

    /// A send of a turn that another loop has run.
    func performForAnother(_ submission: Submission) -> Int32? {
        guard !kernel.isDead else { return nil }
        world.reach(.lentTurn)
        guard let descriptor = kernel[submission.fd] else {
            world.fail("\(name) submitted \(submission.kind) on descriptor \(submission.fd), which is not open")
            return nil
        }
        return sendNow(descriptor, submission)
    }

    private func startWriting(
        _ descriptor: Descriptor, _ writing: Descriptor.Writing, _ submission: Submission
    ) {
        if descriptor.writeIsInFlight { world.fail("\(name) has two sends in flight on one descriptor") }
        descriptor.writing = writing
        descriptor.writeToken = submission.token
        descriptor.writeIsInFlight = true
    }

    private func arm(_ descriptor: Descriptor, _ reading: Descriptor.Reading, _ submission: Submission) {
        if descriptor.readIsInFlight { world.fail("\(name) has two receives in flight on one descriptor") }
        descriptor.readIsInFlight = true
        descriptor.wasRead = true
        descriptor.readToken = submission.token
        if world.plant == .forgottenRearm, descriptor.forgetsRearm, descriptor.stream != nil {
            descriptor.forgetsRearm = false
            return
        }
        descriptor.reading = reading
        if world.plant == .earlyReuse, descriptor.stream != nil, !descriptor.isLink, isOfAnotherLife(submission.token) {
            endReading(descriptor, 0)
        }
        touch(descriptor)
    }

    /// A planted mistake: the slot had another connection before.
    private func isOfAnotherLife(_ token: Token) -> Bool {
        let last = generations.updateValue(token.generation, forKey: token.slot)
        guard world.plantsLeft > 0, let last, last != token.generation else { return false }
        world.plantsLeft = 0
        return true
    }

    private func sendNow(_ descriptor: Descriptor, _ submission: Submission) -> Int32? {
        guard let stream = descriptor.stream else {
            world.fail("\(name) sends on a descriptor that is no stream")
            return nil
        }
        if descriptor.writeIsInFlight {
            world.fail("\(name) sends beside a send in flight: the bytes may be reordered")
        }
        var total = 0
        forEachPart(submission) { total += $0.count }
        guard !stream.nodeWasReset, !stream.outbound.isEnded else {
            world.reach(.connectionReset)
            return stream.nodeWasReset ? -ECONNRESET : -EPIPE
        }
        var most = total
        if world.strikes(world.faults.wouldBlock, .wouldBlock) {
            most = 0
        } else if total > 1, world.strikes(world.faults.shortSend, .shortSend) {
            most = world.chance.within(0...total - 1)
        }
        var sent = 0
        forEachPart(submission) { part in
            guard sent < most else { return }
            let count = stream.nodeWrites(part, most: most - sent)
            sent += count
            if count < part.count { most = sent }
        }
        guard sent < total else { return nil }
        if world.plant == .lostTail, sent > 0 { return nil }
        world.reach(.becameBacklog)
        return sent > 0 ? Int32(sent) : -EAGAIN
    }

    private func forEachPart(_ submission: Submission, _ body: (UnsafeRawBufferPointer) -> Void) {
        if submission.kind == .sendNow {
            body(UnsafeRawBufferPointer(
                start: UnsafeRawPointer(bitPattern: submission.address), count: Int(submission.count)))
            return
        }
        guard let vectors = UnsafePointer<iovec>(bitPattern: submission.address) else { return }
        for index in 0..<Int(submission.count) {
            body(UnsafeRawBufferPointer(start: vectors[index].iov_base, count: vectors[index].iov_len))
        }
    }

    static func checksum(_ address: UInt, _ count: Int) -> UInt64 {
        let bytes = UnsafeRawBufferPointer(start: UnsafeRawPointer(bitPattern: address), count: count)
        var sum = UInt64(count)
        var index = 0
        while index + 8 <= count {
            sum = (sum ^ bytes.loadUnaligned(fromByteOffset: index, as: UInt64.self)) &* 0x9E37_79B9_7F4A_7C15
            sum ^= sum >> 29
            index += 8
        }
        while index < count {
            sum = (sum ^ UInt64(bytes[index])) &* 0x0000_0100_0000_01B3
            index += 1
        }
        return sum
    }

    private func cancel(_ descriptor: Descriptor, _ token: Token) {
        let isAny = token == .ignored
        if world.plant == .earlyClose, !isAny, world.plantsLeft > 0 {
            world.plantsLeft = 0
            kernel.close(descriptor.fd, by: name)
            return
        }
        if descriptor.reading != .nothing, isAny || descriptor.readToken == token {
            // What was there may still win the race against its cancellation.
            if let stream = descriptor.stream, stream.inbound.readable > 0, descriptor.heldBack == 0,
                world.chance.oneIn(2)
            {
                world.reach(.dataAfterCancel)
                receive(descriptor, stream, isLast: descriptor.reading == .receive || world.chance.oneIn(2))
            }
            if descriptor.reading != .nothing { endReading(descriptor, -ECANCELED) }
        }
        if descriptor.writing != .nothing, isAny || descriptor.writeToken == token {
            if descriptor.writing == .connect { kernel.connecting.removeAll { $0.descriptor === descriptor } }
            if descriptor.writing == .send { checkBytes(descriptor) }
            endWriting(descriptor, -ECANCELED)
        }
    }

    // MARK: Completing

    private func produce(_ descriptor: Descriptor, _ completion: Completion) {
        produced.append(Produced(descriptor: descriptor, completion: completion))
    }

    private func endReading(_ descriptor: Descriptor, _ result: Int32) {
        descriptor.reading = .nothing
        if result == -ENOBUFS { descriptor.forgetsRearm = true }
        produce(descriptor, Completion(token: descriptor.readToken, result: result))
    }

    private func endWriting(_ descriptor: Descriptor, _ result: Int32) {
        descriptor.writing = .nothing
        produce(descriptor, Completion(token: descriptor.writeToken, result: result))
    }

    /// Redis has accepted a connection, or it is not there.
    func connected(_ descriptor: Descriptor, _ stream: Stream?) {
        if let stream {
            descriptor.kind = .stream(stream)
            stream.descriptor = descriptor
        }
        endWriting(descriptor, stream == nil ? -ECONNREFUSED : 0)
    }

    private func complete(_ descriptor: Descriptor) {
        guard descriptor.heldBack == 0 else { return }
        switch descriptor.kind {
        case .listener(let listener): accept(descriptor, listener)
        case .stream(let stream):
            if descriptor.reading != .nothing { receive(descriptor, stream, isLast: false) }
            if descriptor.writing == .send { send(descriptor, stream) }
        case .reserve, .unconnected: break
        }
    }

    private func receive(_ descriptor: Descriptor, _ stream: Stream, isLast: Bool) {
        let available = stream.inbound.readable
        guard available > 0 else {
            if stream.nodeWasReset {
                world.reach(.connectionReset)
                endReading(descriptor, -ECONNRESET)
            } else if stream.inbound.hasEnded {
                endReading(descriptor, 0)
            }
            return
        }
        if world.strikes(world.faults.spuriousNoBuffers, .buffersShortForNothing) {
            endReading(descriptor, -ENOBUFS)
            return
        }
        guard let buffer = buffers.takeRecycled() else {
            world.reach(.buffersUsedUp)
            endReading(descriptor, -ENOBUFS)
            return
        }
        var count = min(available, buffers.bufferBytes)
        if count > 1, world.strikes(world.faults.shortReceive, .shortReceive) {
            count = world.chance.within(1...count - 1)
        }
        stream.inbound.read(count, into: buffers.bytes(of: buffer))
        buffers.lend(buffer)
        var flags = Completion.Flags.hasBuffer
        if descriptor.reading == .receiveMany, !isLast,
            !world.strikes(world.faults.multishotEnd, .multishotEnded)
        {
            flags.insert(.hasMore)
        } else {
            descriptor.reading = .nothing
        }
        produce(
            descriptor,
            Completion(token: descriptor.readToken, result: Int32(count), buffer: buffer, flags: flags))
        if world.bursts, flags.contains(.hasMore), stream.inbound.readable > 0, !world.burstChance.oneIn(4) {
            receive(descriptor, stream, isLast: false)
        }
    }

    private func accept(_ descriptor: Descriptor, _ listener: Listener) {
        guard descriptor.reading == .accept, !listener.waiting.isEmpty else { return }
        if world.strikes(world.faults.acceptAbort, .acceptAborted) {
            endReading(descriptor, -ECONNABORTED)
            return
        }
        guard let accepted = kernel.open(.reserve) else {
            noDescriptor()
            endReading(descriptor, -EMFILE)
            return
        }
        let stream = listener.waiting.removeFirst()
        accepted.kind = .stream(stream)
        stream.descriptor = accepted
        produce(
            descriptor,
            Completion(token: descriptor.readToken, result: accepted.fd, flags: .hasMore))
    }

    /// An accept that fails again and again would be a loop that spins.
    private func noDescriptor() {
        world.reach(.descriptorsUsedUp)
        let second = world.now / 1_000_000_000
        if second != kernel.shortageSecond { kernel.shortages = 0 }
        kernel.shortageSecond = second
        kernel.shortages += 1
        if kernel.shortages > 100 { world.fail("\(name) spins on accepting without descriptors") }
    }

    private func send(_ descriptor: Descriptor, _ stream: Stream) {
        if stream.nodeWasReset {
            world.reach(.connectionReset)
            checkBytes(descriptor)
            endWriting(descriptor, -ECONNRESET)
            return
        }
        guard stream.outbound.room > 0 || stream.peerIsGone else { return }
        checkBytes(descriptor)
        var most = descriptor.count
        if most > 1, world.strikes(world.faults.shortSend, .backlogSentInParts) {
            most = world.chance.within(1...most - 1)
        }
        let bytes = UnsafeRawBufferPointer(
            start: UnsafeRawPointer(bitPattern: descriptor.address), count: descriptor.count)
        let sent = stream.nodeWrites(bytes, most: most)
        if sent > 0 {
            endWriting(descriptor, Int32(sent))
        } else if stream.peerIsGone {
            endWriting(descriptor, -EPIPE)
        }
    }

    /// The bytes of a send stay as they are for as long as it is in flight.
    private func checkBytes(_ descriptor: Descriptor) {
        if world.plant == .overwrittenSend, world.plantsLeft > 0, world.chance.oneIn(20) {
            world.plantsLeft = 0
            UnsafeMutablePointer<UInt8>(bitPattern: descriptor.address)?.pointee ^= 1
        }
        guard Self.checksum(descriptor.address, descriptor.count) != descriptor.checksum else { return }
        world.fail("\(name) changed the bytes of a send that was in flight")
    }

    // MARK: Reaping

    func reap(into completions: inout CompletionQueue) -> Int {
        let before = completions.count
        isWoken = false
        var ready = candidates
        candidates.removeAll(keepingCapacity: true)
        if world.faults.reorder, ready.count > 1 {
            ready.swapAt(0, world.chance.within(1...ready.count - 1))
            world.reach(.reorderedCompletions)
        }
        for descriptor in ready {
            descriptor.isQueued = false
            complete(descriptor)
            // What still could complete does so in a later turn.
            touch(descriptor)
        }
        for outcome in sendOutcomes { completions.append(outcome) }
        sendOutcomes.removeAll(keepingCapacity: true)
        guard !produced.isEmpty else { return completions.count - before }
        var kept: [Produced] = []
        for entry in produced { entry.descriptor.heldBack = 0 }
        for entry in produced {
            let descriptor = entry.descriptor
            let isBehind = kept.contains { $0.descriptor === descriptor }
            if isBehind || world.strikes(world.faults.lateCompletion, .lateCompletion) {
                kept.append(entry)
                continue
            }
            if !entry.completion.hasMore {
                if entry.completion.token == descriptor.writeToken, descriptor.writeIsInFlight {
                    descriptor.writeIsInFlight = false
                } else {
                    descriptor.readIsInFlight = false
                }
            }
            completions.append(entry.completion)
        }
        for entry in kept { entry.descriptor.heldBack += 1 }
        produced = kept
        return completions.count - before
    }
}
