// Parcels, the pools they come from and the outboxes they are filled in, on one thread.

import SkeinIO
import Testing

extension ParcelPool {
    struct Exhausted: Error {}

    /// `#require` knows no values that cannot be copied.
    mutating func taken(payloadBytes: Int, large: Bool = false) throws -> Parcel {
        guard let parcel = take(payloadBytes: payloadBytes, large: large) else { throw Exhausted() }
        return parcel
    }
}

struct ParcelTests {
    @Test func recordsComeOutAsTheyWentIn() throws {
        var pool = ParcelPool()
        var parcel = try pool.taken(payloadBytes: 0)
        var written = 0
        for size in 0..<200 {
            guard
                let bytes = parcel.append(
                    kind: UInt16(size), flags: 3, argument: UInt64(size) << 40, payloadBytes: size)
            else { break }
            #expect(UInt(bitPattern: bytes) % 16 == 0)
            for index in 0..<size { bytes[index] = UInt8(truncatingIfNeeded: size + index) }
            written += 1
        }
        // Until 4 KiB are full.
        #expect(written > 50 && written < 100)
        let count = parcel.recordCount
        #expect(count == written)
        var read = 0
        for record in parcel.records {
            #expect(record.kind == UInt16(read) && record.flags == 3)
            #expect(record.argument == UInt64(read) << 40 && record.count == read)
            let isWhole = record.buffer.enumerated().allSatisfy {
                $0.element == UInt8(truncatingIfNeeded: read + $0.offset)
            }
            #expect(isWhole)
            read += 1
        }
        #expect(read == written)
        var again = 0
        parcel.forEachRecord { _ in again += 1 }
        #expect(again == written)
    }

    @Test func aPoolRunsOutAndRecovers() throws {
        let inbox = Inbox()
        var pool = ParcelPool(parcelsMax: 3, parcelBytes: 8192, smallParcelsMax: 2)
        for _ in 0..<5 {
            var parcel = try pool.taken(payloadBytes: 10)
            _ = parcel.append(kind: 1, payloadBytes: 10)
            inbox.push(parcel)
        }
        #expect(inbox.depth == Inbox.Depth(parcels: 5, records: 5))
        let isOut = pool.take(payloadBytes: 10) == nil
        #expect(isOut)
        var parcels = inbox.take()
        var count = 0
        while parcels.popFirst() != nil { count += 1 }
        #expect(count == 5)
        #expect(inbox.depth == Inbox.Depth(parcels: 0, records: 0))
        // All came home, the large as well as the small.
        var taken = 0
        for _ in 0..<5 {
            guard let parcel = pool.take(payloadBytes: 10) else { break }
            inbox.push(parcel)
            taken += 1
        }
        // Empty parcels do not travel: they went home at once.
        #expect(taken == 5)
        #expect(inbox.depth.parcels == 0)
    }

    @Test func oversizedRecordsAreBoundedByTheirBytes() throws {
        let inbox = Inbox()
        var pool = ParcelPool(parcelsMax: 1, oversizedBytesMax: 3_000_000)
        for _ in 0..<2 {
            var parcel = try pool.taken(payloadBytes: 1_000_000)
            let bytes = parcel.append(kind: 1, payloadBytes: 1_000_000)
            bytes?[999_999] = 1
            inbox.push(parcel)
        }
        let isOut = pool.take(payloadBytes: 1_000_000) == nil
        #expect(isOut)
        _ = inbox.take()
        let isBack = pool.take(payloadBytes: 1_000_000) != nil
        #expect(isBack)
    }

    /// A loop may end while its parcels are still under way.
    @Test func parcelsOutliveTheirPool() throws {
        let inbox = Inbox()
        do {
            var pool = ParcelPool()
            for number in 0..<10 {
                var parcel = try pool.taken(payloadBytes: 0, large: number % 2 == 0)
                _ = parcel.append(kind: UInt16(number))
                inbox.push(parcel)
            }
        }
        var parcels = inbox.take()
        var kinds: [UInt16] = []
        while let parcel = parcels.popFirst() { kinds += parcel.records.map(\.kind) }
        #expect(kinds == Array(0..<10))
    }

    @Test func anOutboxKeepsOrderAcrossParcels() {
        let inboxes = [Inbox(), Inbox()]
        var outbox = Outbox(targets: inboxes, pool: ParcelPool())
        var accepted = 0
        for number in 0..<3000 {
            let payload = [UInt8](repeating: UInt8(truncatingIfNeeded: number), count: number % 500)
            let isAccepted = payload.withUnsafeBytes {
                outbox.append(to: number % 2, kind: 4, argument: UInt64(number), payload: $0)
            }
            if isAccepted { accepted += 1 }
        }
        #expect(accepted == 3000)
        outbox.flush()
        let isEmpty = outbox.isEmpty
        #expect(isEmpty)
        for target in 0..<2 {
            var parcels = inboxes[target].take()
            var next = target
            while let parcel = parcels.popFirst() {
                for record in parcel.records {
                    #expect(record.argument == UInt64(next))
                    #expect(record.count == next % 500)
                    #expect(record.buffer.allSatisfy { $0 == UInt8(truncatingIfNeeded: next) })
                    next += 2
                }
            }
            #expect(next == 3000 + target)
        }
    }

    @Test func anOutboxSaysWhenTooMuchIsUnderWay() {
        let inbox = Inbox()
        var outbox = Outbox(
            targets: [inbox],
            pool: ParcelPool(parcelsMax: 1, parcelBytes: 4096 * 2, smallParcelsMax: 1))
        var accepted = 0
        while outbox.append(to: 0, kind: 1, payloadBytes: 1000) != nil { accepted += 1 }
        #expect(accepted > 5 && accepted < 15)
        outbox.flush()
        #expect(inbox.depth.records == accepted)
        _ = inbox.take()
        let isAccepted = outbox.append(to: 0, kind: 1, payloadBytes: 1000) != nil
        #expect(isAccepted)
    }

    @Test func whoTakesNothingLeavesTheOthersTheirShare() {
        let inboxes = [Inbox(), Inbox(), Inbox()]
        var outbox = Outbox(
            targets: inboxes, pool: ParcelPool(parcelsMax: 4, parcelBytes: 8192, oversizedBytesMax: 1_000_000))
        for payloadBytes in [1_000, 100_000] {
            var accepted = [0, 0, 0]
            for target in 0..<3 {
                while outbox.append(to: target, kind: 1, payloadBytes: payloadBytes) != nil { accepted[target] += 1 }
            }
            // The first stands still, and has half; the others have what is left.
            #expect(accepted[0] > 0 && accepted[1] > 0)
            #expect(abs(accepted[0] - accepted[1] - accepted[2]) <= accepted[0] / 4)
            outbox.flush()
            for inbox in inboxes { _ = inbox.take() }
            outbox.flush()
            // Who is spared has all.
            var spared = Outbox(
                targets: inboxes, pool: ParcelPool(parcelsMax: 4, parcelBytes: 8192, oversizedBytesMax: 1_000_000),
                sparing: 2)
            var whole = 0
            while spared.append(to: 2, kind: 1, payloadBytes: payloadBytes) != nil { whole += 1 }
            #expect(whole > accepted[0] + accepted[0] / 2)
            let isAccepted = outbox.append(to: 0, kind: 1, payloadBytes: payloadBytes) != nil
            #expect(isAccepted)
        }
    }

    @Test func postsAreBounded() {
        let inbox = Inbox(postsMax: 3)
        for number in 0..<3 {
            let isAccepted = inbox.post(kind: UInt16(number), argument: 5, payload: [1, 2, 3])
            #expect(isAccepted)
        }
        let isRefused = !inbox.post(kind: 9)
        #expect(isRefused)
        var parcels = inbox.take()
        var kinds: [UInt16] = []
        while let parcel = parcels.popFirst() {
            for record in parcel.records {
                kinds.append(record.kind)
                #expect(Array(record.buffer) == [1, 2, 3] && record.argument == 5)
            }
        }
        #expect(kinds == [0, 1, 2])
        let isAccepted = inbox.post(kind: 9)
        #expect(isAccepted)
    }
}
