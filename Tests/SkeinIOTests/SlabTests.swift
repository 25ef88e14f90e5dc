// The slab beside a dictionary that does the same by the simplest means.

import SkeinIO
import Testing

struct SlabTests {
    struct Record: BitwiseCopyable, Equatable {
        var number: UInt64
        var flag: UInt8
    }

    @Test(arguments: [1, 2, 3, 4, 5] as [UInt64])
    func agreesWithADictionary(_ seed: UInt64) {
        var random = Random(seed: seed)
        let capacity = 200
        var slab = Slab<Record>(maxSlots: capacity)
        var model: [UInt32: Record] = [:]
        var generations: [UInt32: UInt32] = [:]
        var stale: [(slot: UInt32, generation: UInt32)] = []
        for step in 0..<20_000 {
            // In phases, so that it is full for a while and empty for a while.
            let wantsMore = step / 1000 % 2 == 0 ? 70 : 35
            if Int.random(in: 0..<100, using: &random) < wantsMore {
                let record = Record(number: random.next(), flag: UInt8(step & 255))
                let slot = slab.insert(record)
                #expect((slot == nil) == (model.count == capacity))
                guard let slot else { continue }
                #expect(model[slot] == nil)
                model[slot] = record
                let generation = slab.generation(of: slot)
                #expect(generation == generations[slot, default: 0])
            } else if let slot = model.keys.randomElement(using: &random) {
                stale.append((slot, slab.generation(of: slot)))
                slab.remove(slot)
                model[slot] = nil
                generations[slot, default: 0] += 1
            }
            if let slot = model.keys.randomElement(using: &random) {
                slab[slot].number &+= 1
                model[slot]?.number &+= 1
            }
            let count = slab.count
            #expect(count == model.count)
        }
        for (slot, record) in model {
            let found = slab[slot]
            let isLive = slab.isLive(slot, generation: slab.generation(of: slot))
            #expect(found == record && isLive)
        }
        for (slot, generation) in stale {
            let isLive = slab.isLive(slot, generation: generation)
            #expect(!isLive)
        }
        let unknown = slab.isLive(100_000, generation: 0)
        #expect(!unknown)
    }

    @Test func addressesStay() throws {
        var slab = Slab<Record>(maxSlots: 100_000)
        let inserted = slab.insert(Record(number: 1, flag: 0))
        let first = try #require(inserted)
        let address = slab.pointer(to: first)
        for number in 2...UInt64(100_000) { _ = slab.insert(Record(number: number, flag: 0)) }
        let full = slab.insert(Record(number: 0, flag: 0))
        #expect(full == nil)
        #expect(address == slab.pointer(to: first))
        #expect(address.pointee.number == 1)
    }

    @Test func generationsFitATokenAndWrap() throws {
        var slab = Slab<Record>(maxSlots: 1)
        for _ in 0..<3 {
            let inserted = slab.insert(Record(number: 0, flag: 0))
            let slot = try #require(inserted)
            let token = Token(slot: slot, generation: slab.generation(of: slot), operation: 9)
            #expect(token.slot == slot && token.operation == 9)
            let isLive = slab.isLive(token.slot, generation: token.generation)
            #expect(isLive)
            slab.remove(slot)
            let isStillLive = slab.isLive(token.slot, generation: token.generation)
            #expect(!isStillLive)
        }
        let high = Token(slot: .max - 1, generation: 0x12FF_FFFF, operation: 255)
        #expect(high.slot == .max - 1 && high.generation == 0xFF_FFFF && high.operation == 255)
    }
}
