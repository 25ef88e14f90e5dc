// Reads Redis replies (RESP2) with hiredis's reader: bytes go in as they come, whole replies come out.
// Only its parser is used; sockets and timing are ours. Its reply objects are built by hiredis's own
// functions behind ours, which count first, so that a reply that lies about its size is refused before
// memory is set aside for it.

import CHiredis

package enum RESPError: Error, Equatable, Sendable {
    /// Not RESP2, or nested deeper than hiredis goes (7). The connection is of no more use.
    case malformed
    case tooLarge
    case outOfMemory
}

package struct RESPLimits: Equatable, Sendable {
    /// Of all strings in one reply, and of what is buffered while it is incomplete.
    package var replyBytesMax: Int
    /// Values in one reply, at all levels.
    package var elementsMax: Int

    package init(replyBytesMax: Int = 64 << 20, elementsMax: Int = 1 << 20) {
        precondition(replyBytesMax > 0)
        precondition(elementsMax > 0)
        self.replyBytesMax = replyBytesMax
        self.elementsMax = elementsMax
    }
}

// Safe: the three pointers are made in init, freed in deinit, and a value that cannot be copied is their
// only owner in between. hiredis copies what it is fed.
@safe package struct RESPReader: ~Copyable {
    private let reader: UnsafeMutablePointer<redisReader>
    private let functions: UnsafeMutablePointer<redisReplyObjectFunctions>
    private let budget: UnsafeMutablePointer<Budget>
    private var failure: RESPError?

    package init(limits: RESPLimits = RESPLimits()) {
        guard let reader = unsafe redisReaderCreate(), let original = unsafe reader.pointee.fn
        else {
            preconditionFailure("out of memory")
        }
        unsafe budget = .allocate(capacity: 1)
        unsafe budget.initialize(to: Budget(limits: limits, original: original.pointee))
        unsafe functions = .allocate(capacity: 1)
        unsafe functions.initialize(to: Budget.functions(over: original.pointee))
        unsafe reader.pointee.fn = functions
        unsafe reader.pointee.privdata = UnsafeMutableRawPointer(budget)
        unsafe self.reader = reader
    }

    deinit {
        // The reader first: it frees a half-built reply through the functions.
        unsafe redisReaderFree(reader)
        unsafe functions.deallocate()
        unsafe budget.deallocate()
    }

    /// Takes the next bytes of the stream. Call ``next()`` until it answers nil before feeding more.
    package mutating func feed(_ bytes: Span<UInt8>) throws(RESPError) {
        if let failure { throw failure }
        let unread = unsafe Int(reader.pointee.len) - Int(reader.pointee.pos)
        let bytesMax = unsafe budget.pointee.limits.replyBytesMax
        guard bytes.count <= bytesMax - unread else { throw fail(.tooLarge) }
        let status = unsafe bytes.withUnsafeBytes { source in
            unsafe redisReaderFeed(
                reader, source.baseAddress?.assumingMemoryBound(to: CChar.self), source.count)
        }
        guard status == REDIS_OK else { throw fail(.outOfMemory) }
    }

    /// The next whole reply, or nil until more is fed. An error is final.
    package mutating func next() throws(RESPError) -> RESPReply? {
        if let failure { throw failure }
        var reply: UnsafeMutableRawPointer?
        let status = unsafe redisReaderGetReply(reader, &reply)
        guard status == REDIS_OK else {
            let isOverBudget = unsafe budget.pointee.isExceeded
            let isOutOfMemory = unsafe reader.pointee.err == REDIS_ERR_OOM
            throw fail(isOverBudget ? .tooLarge : isOutOfMemory ? .outOfMemory : .malformed)
        }
        guard let reply = unsafe reply else { return nil }
        unsafe budget.pointee.startReply()
        return unsafe RESPReply(unsafe: reply.assumingMemoryBound(to: redisReply.self))
    }

    private mutating func fail(_ error: RESPError) -> RESPError {
        failure = error
        return error
    }
}

/// What one reply may still take, and hiredis's own constructors. The C functions below find it through
/// the reader's private data.
// Safe: it holds C function pointers, which live as long as the library.
@safe private struct Budget {
    let limits: RESPLimits
    let original: redisReplyObjectFunctions
    var bytesLeft: Int
    var elementsLeft: Int
    var isExceeded = false

    init(limits: RESPLimits, original: redisReplyObjectFunctions) {
        self.limits = limits
        self.original = original
        bytesLeft = limits.replyBytesMax
        elementsLeft = limits.elementsMax
    }

    mutating func startReply() {
        bytesLeft = limits.replyBytesMax
        elementsLeft = limits.elementsMax
    }

    mutating func take(bytes: Int, elements: Int) -> Bool {
        bytesLeft -= min(bytes, limits.replyBytesMax + 1)
        elementsLeft -= min(elements, limits.elementsMax + 1)
        if bytesLeft < 0 || elementsLeft < 0 { isExceeded = true }
        return !isExceeded
    }

    // Answering NULL makes hiredis report that memory is out, and drop what it has built.
    static func functions(over original: redisReplyObjectFunctions) -> redisReplyObjectFunctions {
        var functions = original
        unsafe functions.createString = { task, text, length in
            guard let task = unsafe task, let budget = unsafe Budget.of(task),
                unsafe budget.pointee.take(bytes: Int(length), elements: 0)
            else { return nil }
            return unsafe budget.pointee.original.createString(task, text, length)
        }
        unsafe functions.createArray = { task, elements in
            guard let task = unsafe task, let budget = unsafe Budget.of(task),
                unsafe budget.pointee.take(bytes: 0, elements: Int(elements))
            else { return nil }
            return unsafe budget.pointee.original.createArray(task, elements)
        }
        return functions
    }

    private static func of(_ task: UnsafePointer<redisReadTask>) -> UnsafeMutablePointer<Budget>? {
        unsafe task.pointee.privdata?.assumingMemoryBound(to: Budget.self)
    }
}
