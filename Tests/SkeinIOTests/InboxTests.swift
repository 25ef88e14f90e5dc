// The inbox under threads, without a loop: the part that ThreadSanitizer is pointed at.

import CSkein
import Glibc
import SkeinIO
import Synchronization
import Testing

@Suite(.timeLimit(.minutes(2)))
struct InboxTests {
    /// Several producers with pools of their own, one consumer that parks whenever it can: every
    /// record once, in the order of its sender, with the bytes that were put in.
    @Test func keepsEverySendersOrder() throws {
        let inbox = Inbox()
        let perSender: UInt64 = 40_000
        let producers = 3
        var threads: [PinnedThread] = []
        for producer in 0..<producers {
            threads.append(
                try PinnedThread.start(name: "producer") {
                    var outbox = Outbox(
                        targets: [inbox], pool: ParcelPool(parcelsMax: 4, smallParcelsMax: 4))
                    var random = Random(seed: UInt64(producer))
                    var number: UInt64 = 0
                    while number < perSender {
                        let burst = UInt64.random(in: 1...60, using: &random)
                        for _ in 0..<min(burst, perSender - number) {
                            let bytes = outbox.append(
                                to: 0, kind: UInt16(producer), argument: number, payloadBytes: 8)
                            guard let bytes else { break }
                            UnsafeMutableRawPointer(bytes).storeBytes(of: ~number, as: UInt64.self)
                            number += 1
                        }
                        outbox.flush()
                        if Int.random(in: 0..<8, using: &random) == 0 { sched_yield() }
                    }
                })
        }
        var next = [UInt64](repeating: 0, count: producers)
        var disorders = 0
        var parks = 0
        let end = Instant.now().advanced(bySeconds: 60)
        while next.reduce(0, +) < perSender * UInt64(producers), Instant.now() < end {
            if inbox.park() {
                parks += 1
                sched_yield()
            }
            var parcels = inbox.take()
            while let parcel = parcels.popFirst() {
                for record in parcel.records {
                    let producer = Int(record.kind)
                    let value = UnsafeRawPointer(record.bytes).load(as: UInt64.self)
                    let isNext = record.argument == next[producer]
                    if !isNext || value != ~record.argument { disorders += 1 }
                    next[producer] += 1
                }
            }
        }
        threads.forEach { $0.join() }
        #expect(next == [UInt64](repeating: perSender, count: producers))
        #expect(disorders == 0)
        #expect(parks > 0)
        #expect(inbox.depth == Inbox.Depth(parcels: 0, records: 0))
    }

    /// One wake-up for each park that a push ended, however many pushed.
    @Test func wakesOnlyTheParked() throws {
        let event = eventfd(0, skein_eventfd_flags())
        defer { Sockets.close(event) }
        func wakeUps() -> UInt64 {
            var count: UInt64 = 0
            return eventfd_read(event, &count) == 0 ? count : 0
        }
        let inbox = Inbox()
        inbox.attach(Waker(way: .eventDescriptor, fd: event))
        _ = inbox.post(kind: 1)
        #expect(wakeUps() == 0)
        let isParked = inbox.park()
        #expect(!isParked)
        _ = inbox.take()
        let isParkedNow = inbox.park()
        #expect(isParkedNow)
        for _ in 0..<10 { _ = inbox.post(kind: 1) }
        #expect(wakeUps() == 1)
        var parcels = inbox.take()
        var count = 0
        while parcels.popFirst() != nil { count += 1 }
        #expect(count == 10)
        // Parked, and nobody came: taking ends it.
        _ = inbox.park()
        let isNothing = inbox.take().isEmpty
        #expect(isNothing)
        _ = inbox.post(kind: 1)
        #expect(wakeUps() == 0)
        inbox.detach()
    }

    /// Pools that end while their parcels are at another thread.
    @Test func poolsEndInTheMiddleOfIt() throws {
        let inbox = Inbox()
        let done = Flag()
        let sender = try PinnedThread.start(name: "sender") {
            for _ in 0..<300 {
                var outbox = Outbox(targets: [inbox], pool: ParcelPool(parcelsMax: 2))
                for _ in 0..<20 {
                    for _ in 0..<3 { _ = outbox.append(to: 0, kind: 1, payloadBytes: 3000) }
                    outbox.flush()
                }
            }
            done.set()
        }
        var records = 0
        while !done.isSet || inbox.depth.parcels > 0 {
            var parcels = inbox.take()
            while let parcel = parcels.popFirst() { records += parcel.recordCount }
            sched_yield()
        }
        sender.join()
        #expect(records > 300)
    }
}

final class Flag: Sendable {
    private let value = Atomic<Bool>(false)
    var isSet: Bool { value.load(ordering: .acquiring) }
    func set() { value.store(true, ordering: .releasing) }
}
