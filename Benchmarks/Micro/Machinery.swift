// What loops are made of: handing over between threads, and timers.

import SkeinIO

private final class HandOver {
    let inbox = Inbox()
    var outbox: Outbox
    let payload: [UInt8] = .init(repeating: 97, count: 128)

    init() { outbox = Outbox(targets: [inbox], pool: ParcelPool()) }

    /// One turn of a sender with `records` for the receiver, and the receiver's turn.
    @inline(__always)
    func turn(records: Int) {
        for _ in 0..<records {
            let isTaken = payload.withUnsafeBytes { outbox.append(to: 0, kind: 1, payload: $0) }
            precondition(isTaken)
        }
        outbox.flush()
        receive()
    }

    @inline(__always)
    func receive() {
        var parcels = inbox.take()
        while let parcel = parcels.popFirst() {
            parcel.forEachRecord { sink &+= $0.count }
        }
    }
}

private final class Wheel {
    var wheel = TimerWheel(start: Instant(nanoseconds: 0))
    var now: Int64 = 0
    var moves = 0
}

let machineryBenchmarks = [
    Benchmark("inbox: push and take one record") {
        let handOver = HandOver()
        return { count in for _ in 0..<count { handOver.turn(records: 1) } }
    },
    Benchmark("inbox: push and take 16 records", operations: 200) {
        let handOver = HandOver()
        return { count in for _ in 0..<count { handOver.turn(records: 16) } }
    },
    Benchmark("inbox: post from a thread without a loop") {
        let handOver = HandOver()
        return { count in
            for _ in 0..<count {
                let isTaken = handOver.inbox.post(kind: 1, payload: handOver.payload)
                precondition(isTaken)
                handOver.receive()
            }
        }
    },
    Benchmark("timer: arm and expire") {
        let box = Wheel()
        return { count in
            var fired = 0
            for index in 0..<count {
                box.now += 10_000_000
                // Due in 2 to 16 granules, as many as there are under way.
                box.wheel.schedule(
                    UInt32(index & 255),
                    at: Instant(nanoseconds: box.now + Int64(index & 15) * 10_000_000 + 20_000_000))
                while box.wheel.popDue(at: Instant(nanoseconds: box.now)) != nil { fired += 1 }
            }
            precondition(fired > count / 2)
        }
    },
    Benchmark("timer: move among 10,000") {
        let box = Wheel()
        for timer in 0..<UInt32(10_000) {
            box.wheel.schedule(timer, at: Instant(nanoseconds: 25_000_000_000 + Int64(timer) * 1_000_000))
        }
        return { count in
            for _ in 0..<count {
                box.moves += 1
                box.wheel.schedule(
                    UInt32(box.moves * 7 % 10_000),
                    at: Instant(nanoseconds: 20_000_000_000 + Int64(box.moves & 1_023) * 8_400_000))
            }
        }
    },
]
