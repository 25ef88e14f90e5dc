// The wheel beside a dictionary of due times: never early, late by less than a granule, nothing
// lost, nothing twice, whatever is scheduled, moved and cancelled in between.

import SkeinIO
import Testing

struct TimerWheelTests {
    @Test(arguments: [1, 2, 3, 4, 5, 6] as [UInt64])
    func agreesWithADictionary(_ seed: UInt64) {
        var random = Random(seed: seed)
        let shift = 10
        let granule: Int64 = 1 << 10
        let slots = [64, 128, 4096][Int(seed % 3)]
        var now = Instant(nanoseconds: 1_000_000_000 + Int64(seed))
        var wheel = TimerWheel(start: now, granularityShift: shift, slots: slots)
        var model: [UInt32: Instant] = [:]
        for _ in 0..<20_000 {
            let timer = UInt32.random(in: 0..<500, using: &random)
            switch Int.random(in: 0..<10, using: &random) {
            case 0..<5:
                // Mostly within a turn of the wheel, sometimes far beyond, sometimes overdue.
                let far: Int64 = Bool.random(using: &random) ? 64 : 20_000
                let at = now.advanced(
                    byNanoseconds: Int64.random(in: -2 * granule..<far * granule, using: &random))
                wheel.schedule(timer, at: at)
                model[timer] = at
            case 5:
                wheel.cancel(timer)
                model[timer] = nil
            default:
                let step: Int64 = Int.random(in: 0..<50, using: &random) == 0 ? 9000 : 8
                now = now.advanced(
                    byNanoseconds: Int64.random(in: 0..<step * granule, using: &random))
                while let timer = wheel.popDue(at: now) {
                    #expect(model[timer].map { $0 <= now } == true, "early or unknown")
                    model[timer] = nil
                    // What fires may schedule again, also itself and for now.
                    if Int.random(in: 0..<4, using: &random) == 0 {
                        let at = now.advanced(
                            byNanoseconds: .random(in: -granule..<70 * granule, using: &random))
                        wheel.schedule(timer, at: at)
                        model[timer] = at
                    }
                    if Int.random(in: 0..<4, using: &random) == 0 {
                        let other = UInt32.random(in: 0..<500, using: &random)
                        wheel.cancel(other)
                        model[other] = nil
                    }
                }
                // A timer set for the past is due in the next granule.
                let late = model.values.filter {
                    $0 <= now.advanced(byNanoseconds: -3 * granule)
                }
                #expect(late.allSatisfy { $0 > now.advanced(byNanoseconds: -5 * granule) })
            }
            let count = wheel.count
            #expect(count == model.count)
            let next = wheel.next
            if let first = model.values.min() {
                let latest = max(first, now).advanced(byNanoseconds: 2 * granule)
                #expect(next.map { $0 <= latest } == true)
            } else {
                #expect(next == nil)
            }
        }
        for (timer, at) in model {
            let isScheduled = wheel.isScheduled(timer)
            #expect(isScheduled)
            now = max(now, at)
        }
        var left = 0
        wheel.advance(to: now.advanced(byNanoseconds: 2 * granule)) { _ in left += 1 }
        #expect(left == model.count)
        let next = wheel.next
        #expect(next == nil)
    }

    /// What a loop does: sleep until `next`, pop. Each timer within a granule of its time.
    @Test func sleepingUntilNextIsEnough() {
        var random = Random(seed: 9)
        let granule: Int64 = 1 << 23
        var now = Instant(nanoseconds: 5_000_000_000)
        var wheel = TimerWheel(start: now)
        var due: [UInt32: Instant] = [:]
        for timer in 0..<UInt32(2000) {
            let at = now.advanced(byMilliseconds: Int.random(in: 1...120_000, using: &random))
            wheel.schedule(timer, at: at)
            due[timer] = at
        }
        var turns = 0
        while let next = wheel.next {
            now = max(now, next)
            turns += 1
            while let timer = wheel.popDue(at: now) {
                guard let at = due.removeValue(forKey: timer) else {
                    Issue.record("fired twice")
                    continue
                }
                #expect(at <= now)
                #expect(now.nanoseconds(since: at) < granule)
            }
            guard turns < 100_000 else { break }
        }
        #expect(due.isEmpty)
        #expect(turns < 16_000)
    }

    @Test func rescheduleMovesInBothDirections() {
        let start = Instant(nanoseconds: 0)
        var wheel = TimerWheel(start: start, granularityShift: 20)
        wheel.schedule(7, at: start.advanced(byMilliseconds: 500))
        wheel.schedule(7, at: start.advanced(byMilliseconds: 100))
        wheel.schedule(1_000_000, at: start.advanced(byMilliseconds: 50))
        let early = wheel.popDue(at: start.advanced(byMilliseconds: 40))
        #expect(early == nil)
        let far = wheel.popDue(at: start.advanced(byMilliseconds: 60))
        #expect(far == 1_000_000)
        let moved = wheel.popDue(at: start.advanced(byMilliseconds: 110))
        #expect(moved == 7)
        let none = wheel.popDue(at: start.advanced(byMilliseconds: 1000))
        #expect(none == nil)
        let count = wheel.count
        #expect(count == 0)
    }
}
