import SkeinBench
import Testing

@Suite("SequenceCheck")
struct SequenceCheckTests {
    static func judge(_ numbers: [UInt32]) -> Verdicts {
        var check = SequenceCheck()
        var verdicts = Verdicts()
        for number in numbers { _ = check.accept(number, &verdicts) }
        return verdicts
    }

    @Test("in order")
    func inOrder() {
        #expect(Self.judge(Array(0..<1_000)) == Verdicts(delivered: 1_000))
    }

    @Test("a gap is neither late nor twice")
    func gap() {
        #expect(Self.judge([0, 1, 5, 6]) == Verdicts(delivered: 4))
    }

    @Test("late once, then twice")
    func late() {
        #expect(Self.judge([0, 2, 1]) == Verdicts(delivered: 3, outOfOrder: 1))
        #expect(Self.judge([0, 2, 1, 1]) == Verdicts(delivered: 3, duplicated: 1, outOfOrder: 1))
        #expect(Self.judge([0, 1, 1]) == Verdicts(delivered: 2, duplicated: 1))
    }

    @Test("against a model that remembers all", arguments: UInt64(1)...20)
    func model(seed: UInt64) {
        var state = seed
        func random(_ below: UInt64) -> UInt64 {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return (state >> 33) % below
        }
        var numbers = Array<UInt32>(0..<400)
        // Swaps within the 64 that are remembered, some left out, some twice.
        for index in stride(from: 0, to: 380, by: 1) where random(5) == 0 {
            numbers.swapAt(index, index + Int(random(6)))
        }
        numbers = numbers.flatMap { number in
            switch random(12) {
            case 0: [UInt32]()
            case 1: [number, number]
            default: [number]
            }
        }
        var seen: Set<UInt32> = []
        var highest: Int64 = -1
        var expected = Verdicts()
        for number in numbers {
            guard seen.insert(number).inserted else {
                expected.duplicated += 1
                continue
            }
            expected.delivered += 1
            if Int64(number) < highest { expected.outOfOrder += 1 }
            highest = max(highest, Int64(number))
        }
        #expect(Self.judge(numbers) == expected)
    }

    @Test("a set of numbers holds what was put in")
    func numbers() {
        var set = NumberSet()
        for number in [UInt32(0), 63, 64, 1_000] { set.insert(number) }
        let held = (0..<2_000).filter { set.contains(UInt32($0)) }
        #expect(held == [0, 63, 64, 1_000])
    }
}
