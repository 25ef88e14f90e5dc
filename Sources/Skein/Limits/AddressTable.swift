// How many connections each address has, and how fast it asks for more, over all shards: a fixed
// table of atomics, so that no shard waits for another. Who finds it full is not counted; that takes
// more different addresses at one moment than the table has room for.

internal import SkeinIO
internal import Synchronization

@safe
final class AddressTable: @unchecked Sendable {
    enum Admission { case admitted, tooMany, tooFast }

    private struct Entry: ~Copyable {
        /// A hash of the address; 0: never used.
        let tag = Atomic<UInt64>(0)
        /// Connections (high 24 bits), then when the next handshake is due in milliseconds since
        /// the table's start (low 40 bits).
        let state = Atomic<UInt64>(0)
    }

    private static let capacity = 1 << 16
    private static let window = 16
    private static let dueBits: UInt64 = 40
    private static let dueMask: UInt64 = (1 << 40) - 1
    private let entries: UnsafeMutablePointer<Entry>
    private let start: Instant

    init(start: Instant = .now()) {
        self.start = start
        unsafe entries = .allocate(capacity: Self.capacity)
        for index in 0..<Self.capacity { unsafe (entries + index).initialize(to: Entry()) }
    }

    deinit {
        unsafe entries.deinitialize(count: Self.capacity)
        unsafe entries.deallocate()
    }

    /// Counts a new connection unless the address has too many.
    ///
    /// - Parameters:
    ///   - max: connections; 0: no limit.
    ///   - rate: handshakes a second; 0: no limit. `.tooFast` counts the connection all the same.
    func came(_ address: PeerAddress, now: Instant, max: Int, rate: Int, burst: Int) -> Admission {
        guard max > 0 || rate > 0 else { return .admitted }
        let tag = Self.tag(of: address)
        // Starts at 1 s, so that an entry's 0 always lies in the past.
        let milliseconds = UInt64(clamping: now.milliseconds(since: start)) + 1_000
        let interval = rate > 0 ? UInt64(Swift.max(1, 1_000 / rate)) : 0
        let lead = interval * UInt64(Swift.max(1, burst))
        while let place = place(of: tag, at: milliseconds) {
            // Acquiring: pairs with the release that ends a take-over, so that the new tag is seen.
            let old = unsafe entries[place].state.load(ordering: .acquiring)
            guard old != Self.claimed else { continue }
            let count = old >> Self.dueBits
            let due = Swift.max(old & Self.dueMask, milliseconds)
            let isTooFast = interval > 0 && due - milliseconds + interval > lead
            let isTooMany = max > 0 && count >= UInt64(max)
            let next = isTooFast ? due : due + interval
            // Whose entry this is holds for as long as it counts somebody; so for a moment it counts one
            // more also where that is then refused, or turns out to be another's by now.
            let new = (count + 1) << Self.dueBits | (isTooMany ? old : next) & Self.dueMask
            guard unsafe entries[place].state.compareExchange(
                expected: old, desired: new, ordering: .acquiring
            ).exchanged else { continue }
            guard unsafe entries[place].tag.load(ordering: .relaxed) == tag else {
                unsafe entries[place].state.subtract(1 << Self.dueBits, ordering: .relaxed)
                continue
            }
            guard isTooMany else { return isTooFast ? .tooFast : .admitted }
            unsafe entries[place].state.subtract(1 << Self.dueBits, ordering: .relaxed)
            return .tooMany
        }
        return .admitted
    }

    /// One connection fewer. Only for what `came` counted.
    func left(_ address: PeerAddress) {
        let tag = Self.tag(of: address)
        for step in 0..<Self.window {
            let place = (Int(truncatingIfNeeded: tag) &+ step) & (Self.capacity - 1)
            guard unsafe entries[place].tag.load(ordering: .relaxed) == tag else { continue }
            while true {
                let old = unsafe entries[place].state.load(ordering: .relaxed)
                // An address that came on two shards at once may have two entries.
                guard old >> Self.dueBits > 0, old != Self.claimed else { break }
                if unsafe entries[place].state.compareExchange(
                    expected: old, desired: old - 1 << Self.dueBits, ordering: .relaxed
                ).exchanged { return }
            }
        }
    }

    /// All that are counted, for tests: right when nobody comes or goes.
    var connectionsCounted: Int {
        (0..<Self.capacity).reduce(0) { sum, place in
            sum + Int(unsafe entries[place].state.load(ordering: .relaxed) >> Self.dueBits)
        }
    }

    /// What an entry's state is while it is taken over: as if it counted more than there can be.
    private static let claimed = UInt64.max

    /// The entry of a tag, taken over from one that is idle where it has none yet.
    private func place(of tag: UInt64, at milliseconds: UInt64) -> Int? {
        for step in 0..<Self.window {
            let place = (Int(truncatingIfNeeded: tag) &+ step) & (Self.capacity - 1)
            if unsafe entries[place].tag.load(ordering: .relaxed) == tag { return place }
        }
        for step in 0..<Self.window {
            let place = (Int(truncatingIfNeeded: tag) &+ step) & (Self.capacity - 1)
            let state = unsafe entries[place].state.load(ordering: .relaxed)
            // No connection, and no handshake that would still count against the rate.
            guard state >> Self.dueBits == 0 && state & Self.dueMask < milliseconds else { continue }
            // By way of the state, which every count goes through: nobody can count one on an entry that
            // changes hands.
            guard unsafe entries[place].state.compareExchange(
                expected: state, desired: Self.claimed, ordering: .acquiring
            ).exchanged else { continue }
            unsafe entries[place].tag.store(tag, ordering: .relaxed)
            // Releasing: pairs with the acquiring loads and exchanges in `came`.
            unsafe entries[place].state.store(0, ordering: .releasing)
            return place
        }
        return nil
    }

    private static let seed = UInt64.random(in: .min ... .max)

    /// Of IPv6 the first 64 bits count: whoever has an address there has all of its network's.
    private static func tag(of address: PeerAddress) -> UInt64 {
        let isIPv4 = address.high == 0 && address.low >> 32 == 0xFFFF
        let low = isIPv4 ? address.low : 0
        var mixed = (address.high ^ seed).multipliedFullWidth(by: 0x9E37_79B9_7F4A_7C15)
        mixed = ((mixed.high ^ mixed.low) ^ low).multipliedFullWidth(by: 0xD6E8_FEB8_6659_FD93)
        return (mixed.high ^ mixed.low) | 1
    }
}
