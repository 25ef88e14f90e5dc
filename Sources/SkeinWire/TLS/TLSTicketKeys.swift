// The keys that seal session tickets, shared by all contexts of a node, so that a client resumes on
// whichever shard it comes back to. New ones are made at random when the old ones have served their
// time; two generations back are still opened. Shards read without waiting while one of them rotates.

internal import COpenSSL
internal import Glibc
internal import Synchronization

// Safe: the slots are atomic words, freed with the last reference. A key lives in slot `epoch mod 4`
// and is overwritten only when the published epoch is three ahead, which a reader checks afterwards.
@safe
package final class TLSTicketKeys: Sendable {
    /// A name that tickets carry in the clear (2 words), an AES-256 key (4) and a MAC key (4).
    struct Key {
        var words: InlineArray<10, UInt64>

        var name: (UInt64, UInt64) { (words[0], words[1]) }
    }

    private static var wordCount: Int { 10 }
    private static var slotCount: Int { 4 }
    private static var generationsOpened: UInt64 { 3 }

    private nonisolated(unsafe) let slots: UnsafeMutablePointer<Atomic<UInt64>>
    /// The newest key's number. It starts where three generations fit below it.
    private let epoch = Atomic<UInt64>(generationsOpened)
    private let rotating = Atomic<Bool>(false)
    private let rotatedAtSeconds: Atomic<Int>
    /// How long a key seals new tickets. It opens them for twice as long after that.
    package let lifeSeconds: Int

    package init(lifeSeconds: Int = 43_200) {
        precondition(lifeSeconds > 0)
        self.lifeSeconds = lifeSeconds
        rotatedAtSeconds = Atomic(Self.monotonicSeconds())
        let count = Self.slotCount * Self.wordCount
        unsafe slots = .allocate(capacity: count)
        for index in 0..<count { unsafe (slots + index).initialize(to: Atomic(0)) }
        // The generations before the first are random too: nobody has their keys.
        for generation in 1...Self.generationsOpened { fill(generation) }
    }

    deinit {
        let count = Self.slotCount * Self.wordCount
        for index in 0..<count { unsafe slots[index].store(0, ordering: .relaxed) }
        unsafe slots.deinitialize(count: count)
        unsafe slots.deallocate()
    }

    /// Makes a new key for new tickets and forgets the third oldest. Does nothing while another
    /// thread does the same.
    package func rotate() {
        guard !rotating.exchange(true, ordering: .acquiring) else { return }
        let current = epoch.load(ordering: .relaxed)
        fill(current + 1)
        // Releasing: pairs with the acquiring load in `key`, so the words are seen with the number.
        epoch.store(current + 1, ordering: .releasing)
        rotatedAtSeconds.store(Self.monotonicSeconds(), ordering: .relaxed)
        // Pairs with the fence in `key`: who reads a word written after it sees the new epoch.
        atomicMemoryFence(ordering: .releasing)
        erase(current + 1 - Self.generationsOpened)
        rotating.store(false, ordering: .releasing)
    }

    /// The key for a new ticket; makes one first when it is time.
    func sealingKey() -> Key? {
        if Self.monotonicSeconds() - rotatedAtSeconds.load(ordering: .relaxed) >= lifeSeconds { rotate() }
        return key(epoch.load(ordering: .acquiring))
    }

    /// The key that a ticket names, and whether it is the newest.
    func openingKey(name: (UInt64, UInt64)) -> (key: Key, isCurrent: Bool)? {
        let current = epoch.load(ordering: .acquiring)
        for age in 0..<Self.generationsOpened {
            if let key = key(current - age), key.name == name { return (key, age == 0) }
        }
        return nil
    }

    /// Nil when it was rotated away meanwhile.
    private func key(_ generation: UInt64) -> Key? {
        let start = start(of: generation)
        var key = Key(words: InlineArray(repeating: 0))
        for index in 0..<Self.wordCount {
            key.words[index] = unsafe slots[start + index].load(ordering: .relaxed)
        }
        atomicMemoryFence(ordering: .acquiring)
        let current = epoch.load(ordering: .relaxed)
        return current < generation + Self.generationsOpened ? key : nil
    }

    private func fill(_ generation: UInt64) {
        let start = start(of: generation)
        for index in 0..<Self.wordCount {
            var word: UInt64 = 0
            let done = unsafe withUnsafeMutableBytes(of: &word) { bytes in
                unsafe RAND_bytes(bytes.baseAddress?.assumingMemoryBound(to: UInt8.self), 8)
            }
            precondition(done == 1, "OpenSSL has no randomness")
            unsafe slots[start + index].store(word, ordering: .relaxed)
        }
    }

    private func erase(_ generation: UInt64) {
        let start = start(of: generation)
        for index in 0..<Self.wordCount { unsafe slots[start + index].store(0, ordering: .relaxed) }
    }

    private func start(of generation: UInt64) -> Int {
        Int(generation % UInt64(Self.slotCount)) * Self.wordCount
    }

    private static func monotonicSeconds() -> Int {
        var time = timespec()
        unsafe clock_gettime(CLOCK_MONOTONIC, &time)
        return time.tv_sec
    }
}
