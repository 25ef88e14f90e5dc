// The messages of a worker's streams, rendered once: sending one is a copy and two numbers.

internal import SkeinWire

struct MessageStore: ~Copyable {
    struct Entry: BitwiseCopyable {
        var start = 0
        var count = 0
        /// -1: none.
        var markerPlace = -1
        var numberPlace = -1
    }

    /// Of each stream: what `BenchPlan.message` says, and the kinds of chat.
    enum Kind: Int, CaseIterable {
        case message
        case receipt
        case typing
        case ping
        case online
        case offline
    }

    private var bytes = RawBuffer()
    private var entries = RawArray<Entry>()
    private let kinds: Int

    init(kinds: Int) { self.kinds = kinds }

    deinit {
        var bytes = bytes
        bytes.free()
    }

    /// In the order of streams, and for each of its kinds.
    mutating func append(_ rendered: Template.Rendered) {
        entries.append(
            Entry(
                start: bytes.count, count: rendered.bytes.count, markerPlace: rendered.markerPlace ?? -1,
                numberPlace: rendered.numberPlace ?? -1))
        bytes.append(rendered.bytes.span)
    }

    @inline(__always)
    func entry(_ stream: Int, _ kind: Kind) -> Entry { entries[stream &* kinds &+ kind.rawValue] }

    /// Appends message `number` as a frame, masked with `key`.
    @inline(__always)
    func writeFrame(_ entry: Entry, number: UInt32, stream: UInt32, key: UInt32, to buffer: inout RawBuffer) {
        buffer.reserve(FrameEncoder.maxClientHeaderBytes + entry.count)
        buffer.write(room: FrameEncoder.maxClientHeaderBytes) {
            FrameEncoder.writeClientHeader(.text, payloadBytes: entry.count, key: key, into: &$0)
        }
        let start = buffer.count
        writePayload(entry, number: number, stream: stream, to: &buffer)
        unsafe buffer.withBytes(from: start) { payload, count in
            var span = unsafe MutableSpan(_unsafeStart: payload, count: count)
            unmask(&span, key: key)
        }
    }

    @inline(__always)
    func writePayload(_ entry: Entry, number: UInt32, stream: UInt32, to buffer: inout RawBuffer) {
        let start = buffer.count
        bytes.withSpan { all in
            buffer.append(all.extracting(entry.start..<entry.start + entry.count))
        }
        unsafe buffer.withBytes(from: start) { payload, _ in
            if entry.markerPlace >= 0 {
                unsafe Marker(stream: stream, number: number).write(to: payload + entry.markerPlace)
            }
            if entry.numberPlace >= 0 {
                var rest = number
                for place in stride(from: entry.numberPlace + 9, through: entry.numberPlace, by: -1) {
                    unsafe payload[place] = UInt8(0x30 + rest % 10)
                    rest /= 10
                }
            }
        }
    }

    /// Whether an echo is what was sent, whatever its number, which is judged by itself.
    func isIntact(_ entry: Entry, _ echo: Span<UInt8>) -> Bool {
        guard echo.count == entry.count else { return false }
        return bytes.withSpan { all in
            let sent = all.extracting(entry.start..<entry.start &+ entry.count)
            let digits = entry.markerPlace &+ Marker.bytes
            guard Self.areEqual(sent, echo, 0..<digits &- 8) else { return false }
            guard entry.numberPlace >= 0 else { return Self.areEqual(sent, echo, digits..<entry.count) }
            let first = min(max(entry.numberPlace, digits), entry.count)
            let rest = min(max(entry.numberPlace &+ 10, digits), entry.count)
            return Self.areEqual(sent, echo, digits..<first) && Self.areEqual(sent, echo, rest..<entry.count)
        }
    }

    /// Eight bytes at a step.
    private static func areEqual(_ left: Span<UInt8>, _ right: Span<UInt8>, _ range: Range<Int>) -> Bool {
        var place = range.lowerBound
        while place &+ 8 <= range.upperBound {
            guard left.word(at: place) == right.word(at: place) else { return false }
            place &+= 8
        }
        while place < range.upperBound {
            guard left[place] == right[place] else { return false }
            place &+= 1
        }
        return true
    }
}
