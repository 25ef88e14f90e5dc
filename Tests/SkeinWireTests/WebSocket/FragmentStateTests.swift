import SkeinWire
import Testing

@Suite struct FragmentStateTests {
    static func frame(
        _ opcode: Opcode, _ payloadBytes: Int = 10, fin: Bool = true, rsv1: Bool = false
    ) -> FrameHeader {
        FrameHeader(
            payloadBytes: payloadBytes, maskKey: 1, headerBytes: 6, opcode: opcode, fin: fin,
            rsv1: rsv1)
    }

    /// The steps of a run, ended by its error if there is one.
    static func run(
        _ frames: [FrameHeader], messageBytesMax: Int = 100
    ) -> ([FragmentState.Step], WebSocketError?) {
        var state = FragmentState()
        var steps: [FragmentState.Step] = []
        for frame in frames {
            do throws(WebSocketError) {
                steps.append(try state.accept(frame, messageBytesMax: messageBytesMax))
            } catch {
                return (steps, error)
            }
        }
        return (steps, nil)
    }

    @Test func takesMessagesInOneFrame() {
        let (steps, error) = Self.run([Self.frame(.text), Self.frame(.ping), Self.frame(.binary)])
        #expect(steps == [.whole, .control, .whole])
        #expect(error == nil)
    }

    @Test func takesFragmentsWithControlFramesBetween() {
        let (steps, error) = Self.run([
            Self.frame(.text, fin: false), Self.frame(.ping), Self.frame(.continuation, fin: false),
            Self.frame(.pong), Self.frame(.continuation), Self.frame(.text),
        ])
        #expect(steps == [.begin, .control, .middle, .control, .end, .whole])
        #expect(error == nil)
    }

    @Test func refusesWhatHasNoPlace() {
        #expect(Self.run([Self.frame(.continuation)]).1 == .continuationWithoutStart)
        #expect(
            Self.run([Self.frame(.text), Self.frame(.continuation, fin: false)]).1
                == .continuationWithoutStart)
        #expect(
            Self.run([Self.frame(.text, fin: false), Self.frame(.text)]).1 == .messageInsideMessage)
        #expect(
            Self.run([
                Self.frame(.binary, fin: false), Self.frame(.continuation),
                Self.frame(.continuation),
            ]).1 == .continuationWithoutStart)
    }

    @Test func boundsTheWholeMessage() {
        let half = Self.frame(.text, 60, fin: false)
        #expect(Self.run([half, Self.frame(.continuation, 40)]).1 == nil)
        #expect(Self.run([half, Self.frame(.continuation, 41)]).1 == .messageTooBig)
        #expect(Self.run([Self.frame(.text, 101)]).1 == .messageTooBig)
        #expect(Self.run([half, Self.frame(.continuation, .max)]).1 == .messageTooBig)
        // A control frame between does not count.
        #expect(
            Self.run([half, Self.frame(.ping, 125), Self.frame(.continuation, 40)]).1 == nil)
    }

    @Test func remembersTheFirstFrame() throws {
        var state = FragmentState()
        _ = try state.accept(Self.frame(.binary, 5, fin: false, rsv1: true), messageBytesMax: 100)
        #expect(state.isActive)
        #expect(state.isCompressed)
        _ = try state.accept(Self.frame(.continuation, 7), messageBytesMax: 100)
        #expect(!state.isActive)
        #expect(state.opcode == .binary)
        #expect(state.messageBytes == 12)
        _ = try state.accept(Self.frame(.text, 3), messageBytesMax: 100)
        #expect(state.opcode == .text)
        #expect(!state.isCompressed)
        #expect(state.messageBytes == 3)
    }
}
