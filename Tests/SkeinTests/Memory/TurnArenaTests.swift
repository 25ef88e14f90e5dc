import Testing

@testable import Skein

@Suite("Memory of a turn")
struct TurnArenaTests {
    @Test("a turn's bytes survive the next turn, whatever that writes")
    func twoTurns() {
        var random = SeededGenerator(seed: 5)
        var arena = TurnArena()
        var last: [(UnsafeMutablePointer<UInt8>, Int, UInt8)] = []
        for turn in 0..<50 {
            arena.flip()
            var now: [(UnsafeMutablePointer<UInt8>, Int, UInt8)] = []
            for _ in 0..<200 {
                let count = [1, 60, 4_000, 200_000, 2_000_000][Int.random(in: 0..<(turn % 10 == 0 ? 5 : 3), using: &random)]
                let mark = UInt8.random(in: 0...255, using: &random)
                let memory = arena.allocate(count)
                memory.update(repeating: mark, count: count)
                now.append((memory, count, mark))
            }
            for (memory, count, mark) in last {
                #expect(memory[0] == mark && memory[count - 1] == mark && memory[count / 2] == mark)
            }
            for (memory, count, mark) in now {
                #expect(memory[0] == mark && memory[count - 1] == mark && memory[count / 2] == mark)
            }
            last = now
        }
    }

    @Test("what is trimmed is where the next frame begins, so that neighbours are one segment")
    func neighbours() {
        var arena = TurnArena()
        let first = arena.allocate(100)
        arena.trim(60)
        let second = arena.allocate(10)
        #expect(second == first + 40)
    }

    @Test("a burst's memory goes back")
    func givesBack() {
        var arena = TurnArena()
        for _ in 0..<20 { _ = arena.allocate(1 << 20) }
        let most = arena.bytesHeld
        for _ in 0..<4 { arena.flip() }
        let least = arena.bytesHeld
        #expect(least < most)
    }

    @Test func queueIsFirstInFirstOut() {
        var queue = RawQueue<Int>(capacity: 2)
        var model: [Int] = []
        var random = SeededGenerator(seed: 9)
        for number in 0..<5_000 {
            if Bool.random(using: &random) || model.isEmpty {
                queue.append(number)
                model.append(number)
            } else {
                let popped = queue.popFirst()
                #expect(popped == model.removeFirst())
            }
            let count = queue.count
            #expect(count == model.count)
            if !model.isEmpty {
                let first = queue[0]
                #expect(first == model[0])
            }
        }
    }
}
