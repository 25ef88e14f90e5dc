// A ring without a kernel: what has come is what a benchmark says has come, and what is sent is counted.
// It does as little as it can, for its instructions are counted with those of the shard above it.

import Glibc
import SkeinIO

/// Shared by a ring and its stage, on one thread.
struct StubKernel {
    static let descriptorsMax = 4_096

    var completions: UnsafeMutablePointer<Completion>
    var completionCount = 0
    /// By descriptor.
    var receiveTokens: UnsafeMutablePointer<Token>
    var sendTokens: UnsafeMutablePointer<Token>
    var sendBytes: UnsafeMutablePointer<Int32>
    /// These peers do not read: nothing sent to them fits.
    var isStalled: UnsafeMutablePointer<Bool>
    var acceptToken = Token.ignored
    var sends = 0
    var sentBytes = 0

    static func make() -> UnsafeMutablePointer<StubKernel> {
        func table<Element>(_ element: Element) -> UnsafeMutablePointer<Element> {
            let table = UnsafeMutablePointer<Element>.allocate(capacity: descriptorsMax)
            table.initialize(repeating: element, count: descriptorsMax)
            return table
        }
        let kernel = UnsafeMutablePointer<StubKernel>.allocate(capacity: 1)
        kernel.initialize(
            to: StubKernel(
                completions: table(Completion(token: .ignored, result: 0)),
                receiveTokens: table(.ignored), sendTokens: table(.ignored), sendBytes: table(0),
                isStalled: table(false)))
        return kernel
    }

    mutating func complete(_ completion: Completion) {
        completions[completionCount] = completion
        completionCount += 1
    }

    mutating func perform(_ submission: Submission) {
        let fd = Int(submission.fd)
        switch submission.kind {
        case .accept: acceptToken = submission.token
        case .receive, .receiveMany: receiveTokens[fd] = submission.token
        case .sendNow, .sendVectorNow:
            if isStalled[fd] {
                complete(Completion(token: submission.token, result: -EAGAIN))
            } else {
                sends += 1
                sentBytes += Int(submission.count)
            }
        case .sendWhenPossible:
            sendTokens[fd] = submission.token
            sendBytes[fd] = Int32(submission.count)
        case .connect, .pollReadable, .cancel, .release, .close: break
        }
    }
}

/// Unchecked `Sendable`: everything runs on one thread.
struct StubRest: RingAtRest, @unchecked Sendable {
    let kernel: UnsafeMutablePointer<StubKernel>

    var state: RestState { kernel.pointee.completionCount == 0 ? .settled : .over }

    func send(_ submission: Submission) -> Int32? {
        kernel.pointee.perform(submission)
        return nil
    }
}

struct StubRing: Ring, ~Copyable {
    let kernel: UnsafeMutablePointer<StubKernel>
    let buffers = BufferPool.make()
    let counters = RingCounters.make()
    var waker: Waker { .none }

    init(_ kernel: UnsafeMutablePointer<StubKernel>) { self.kernel = kernel }

    static func make(_ options: RingOptions) throws(RingError) -> StubRing { StubRing(StubKernel.make()) }

    mutating func give(_ queue: inout SubmissionQueue) {
        for index in 0..<queue.count { kernel.pointee.perform(queue[index]) }
        queue.removeAll()
    }

    mutating func wait(_ wait: Wait) {}
    var rest: StubRest? { StubRest(kernel: kernel) }

    @discardableResult
    mutating func reap(into completions: inout CompletionQueue) -> Int {
        let count = kernel.pointee.completionCount
        for index in 0..<count {
            let completion = kernel.pointee.completions[index]
            if completion.hasBuffer { buffers.lend(completion.buffer) }
            completions.append(completion)
        }
        kernel.pointee.completionCount = 0
        return count
    }
}
