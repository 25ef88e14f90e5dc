// Whole turns of a shard, from a received buffer to the send that is submitted: what a frame costs with
// everything on (limits, users, timers, metrics), and that a warm one neither allocates nor retains.

import SkeinIO

private func typing(to user: String) -> Block {
    Block(maskedFrame(Array(#"{"type":"typing","data":{"receiverId":"\#(user)","isTyping":true}}"#.utf8)))
}

private func chat(to user: String) -> Block {
    let data = #"{"receiverId":"\#(user)","message":"\#(text)"}"#
    return Block(maskedFrame(Array(#"{"type":"chat_message","data":\#(data),"requestId":"r1"}"#.utf8)))
}

private let text = String(repeating: "some words, ", count: 8)

let shardBenchmarks = [
    Benchmark("shard: echo 128 B") {
        let stage = Stage(echo: true)
        let client = stage.connect("alice", path: "/echo")
        let frame = Block(maskedFrame([UInt8](repeating: 97, count: 128)))
        return { count in
            let before = stage.kernel.pointee.sends
            for _ in 0..<count {
                stage.receive(frame, on: client)
                stage.turn()
            }
            precondition(stage.kernel.pointee.sends == before + count)
        }
    },
    Benchmark("shard: echo 128 B, 16 in a turn", operations: 100) {
        let stage = Stage(echo: true)
        let clients = (0..<16).map { stage.connect("user\($0)", path: "/echo") }
        let frame = Block(maskedFrame([UInt8](repeating: 97, count: 128)))
        return { count in
            let before = stage.kernel.pointee.sends
            for _ in 0..<count {
                for client in clients { stage.receive(frame, on: client) }
                stage.turn()
            }
            precondition(stage.kernel.pointee.sends == before + count * 16)
        }
    },
    Benchmark("shard: typing to another user") {
        let stage = Stage()
        let alice = stage.connect("alice")
        _ = stage.connect("bob")
        let frame = typing(to: "bob")
        return { count in
            let before = stage.kernel.pointee.sends
            for _ in 0..<count {
                stage.receive(frame, on: alice)
                stage.turn()
            }
            precondition(stage.kernel.pointee.sends == before + count)
        }
    },
    Benchmark("shard: typing to a user of a shard that sleeps") {
        let stage = Stage(shardCount: 2)
        let (here, there) = (stage.user(onShard: 0), stage.user(onShard: 1))
        let sender = stage.connect(here)
        _ = stage.connect(there)
        let frame = typing(to: there)
        return { count in
            let before = stage.kernels[1].pointee.sends
            for _ in 0..<count {
                stage.receive(frame, on: sender)
                stage.turn()
            }
            // Its own thread would have had to turn.
            precondition(stage.kernels[1].pointee.sends == before + count)
        }
    },
    Benchmark("shard: chat message and its confirmation") {
        let stage = Stage()
        let alice = stage.connect("alice")
        _ = stage.connect("bob")
        let frame = chat(to: "bob")
        return { count in
            let before = stage.kernel.pointee.sends
            for _ in 0..<count {
                stage.receive(frame, on: alice)
                stage.turn()
            }
            precondition(stage.kernel.pointee.sends == before + count * 2)
        }
    },
    Benchmark("shard: typing to 100 devices", operations: 50) {
        let stage = Stage()
        let alice = stage.connect("alice")
        for _ in 0..<100 { _ = stage.connect("bob") }
        let frame = typing(to: "bob")
        return { count in
            let before = stage.kernel.pointee.sends
            for _ in 0..<count {
                stage.receive(frame, on: alice)
                stage.turn()
            }
            precondition(stage.kernel.pointee.sends == before + count * 100)
        }
    },
    Benchmark("shard: send queue, 16 to a peer that stalls and resumes", operations: 100) {
        let stage = Stage()
        let alice = stage.connect("alice")
        let bob = stage.connect("bob")
        let frame = typing(to: "bob")
        return { count in
            for _ in 0..<count {
                stage.kernel.pointee.isStalled[Int(bob)] = true
                for _ in 0..<16 {
                    stage.receive(frame, on: alice)
                    stage.turn()
                }
                // Once for what flies, once for what has gathered behind it.
                for _ in 0..<2 {
                    stage.resume(bob)
                    stage.turn()
                }
            }
            precondition(stage.kernel.pointee.completionCount == 0)
        }
    },
]
