import Testing

@testable import Skein

@Suite("Journal")
struct JournalTests {
    /// Beside an array: what goes in comes out by its number, across wrap-around and growth.
    @Test(arguments: 0..<20)
    func matchesAModel(seed: Int) {
        var random = SeededGenerator(seed: UInt64(seed))
        var journal = Journal(countMax: 500, bytesMax: 400_000)
        var model: [(sequence: UInt64, record: [UInt8])] = []
        var next: UInt64 = 1
        for step in 0..<5_000 {
            if Int.random(in: 0..<5, using: &random) < 3 {
                let record = [UInt8](
                    repeating: UInt8.random(in: 0...255, using: &random),
                    count: Int.random(in: 1...3_000, using: &random))
                let sequence = withBytes(record) { journal.append($0, isLocal: step % 2 == 0, at: 7) }
                if let sequence {
                    #expect(sequence == next)
                    model.append((sequence, record))
                    next += 1
                } else {
                    let bytes = journal.bytes
                    #expect(model.count == 500 || bytes + record.count > 400_000)
                }
            } else if !model.isEmpty {
                journal.removeFirst()
                model.removeFirst()
            }
            let count = journal.count
            #expect(count == model.count)
            if let pick = model.randomElement(using: &random) {
                let seen = journal.record(pick.sequence).array
                #expect(seen == pick.record)
            }
        }
    }

    @Test func refusesPastItsBounds() {
        var journal = Journal(countMax: 3, bytesMax: 1 << 20)
        for _ in 0..<3 {
            let sequence = withBytes([1, 2, 3]) { journal.append($0, isLocal: true, at: 0) }
            #expect(sequence != nil)
        }
        let fourth = withBytes([1]) { journal.append($0, isLocal: true, at: 0) }
        #expect(fourth == nil)
        journal.removeFirst()
        let again = withBytes([1]) { journal.append($0, isLocal: true, at: 0) }
        #expect(again == 4)
    }
}
