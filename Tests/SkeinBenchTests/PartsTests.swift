import SkeinBench
import SkeinIO
import Testing

@testable import SkeinBench

@Suite("Template")
struct TemplateTests {
    static var names: Template.Names {
        var names = Template.Names()
        names.user = "u6"
        names.to = "u7"
        names.token = Array("a.b.c".utf8)
        names.index = 6
        names.partner = 7
        names.stream = 0xABC
        return names
    }

    static func text(_ rendered: Template.Rendered) -> String { String(decoding: rendered.bytes, as: UTF8.self) }

    @Test("placeholders in both notations, and what is none", arguments: [
        ("/ws?id=%index%&to=%partner%", "/ws?id=6&to=7"), ("/pair?id={index}&p={partner}", "/pair?id=6&p=7"),
        ("Authorization: Bearer %token%", "Authorization: Bearer a.b.c"), ("%user%->%to%", "u6->u7"),
        ("100%25 %nothing% {\"a\":{}} %", "100%25 %nothing% {\"a\":{}} %"), ("", ""), ("%%user%%", "%u6%"),
        ("zoë %user% 🧶", "zoë u6 🧶"),
    ])
    func placeholders(template: String, expected: String) {
        #expect(Self.text(Template(template).render(Self.names)) == expected)
    }

    @Test("the marker has its place, and the padding fills up to the size")
    func padding() {
        let template = MessagePreset.template("chat")
        let bare = template.render(Self.names)
        let padded = template.render(Self.names, paddedTo: 128)
        #expect(bare.bytes.count < 128 && padded.bytes.count == 128)
        let place = padded.markerPlace ?? -1
        #expect(String(decoding: padded.bytes[place..<place + 18], as: UTF8.self) == "@@00000abc00000000")
        #expect(template.render(Self.names, paddedTo: 10) == bare)
        #expect(MessagePreset.template("%seq%:%marker%").render(Self.names).numberPlace == 0)
    }
}

@Suite("Marker")
struct MarkerTests {
    static func frame(_ marker: Marker, before: String = "{\"m\":\"", after: String = "\"}") -> [UInt8] {
        var bytes = Array(before.utf8) + [UInt8](repeating: 0, count: Marker.bytes) + Array(after.utf8)
        bytes.withUnsafeMutableBufferPointer { marker.write(to: $0.baseAddress! + before.utf8.count) }
        return bytes
    }

    @Test("comes back as it was written", arguments: [
        Marker(stream: 0, number: 0), Marker(stream: 1, number: 0xFFFF_FFFF), Marker(stream: 0xDEAD_BEEF, number: 10),
        Marker(stream: 0x0123_4567, number: 0x89AB_CDEF),
    ])
    func roundTrip(marker: Marker) {
        let bytes = Self.frame(marker)
        var hint: UInt32 = 0
        #expect(Marker.find(in: bytes.span, hint: &hint) == marker)
        #expect(hint == 6)
        #expect(Marker.find(in: bytes.span, hint: &hint) == marker)
        let text = String(decoding: bytes[6..<24], as: UTF8.self)
        let stream = String(marker.stream, radix: 16), number = String(marker.number, radix: 16)
        #expect(text.hasSuffix(number) && text.dropFirst(2).prefix(8).hasSuffix(stream))
    }

    @Test("moves with its envelope")
    func moves() {
        var hint: UInt32 = 0
        for before in ["", "a", "a much longer envelope @@ with a false start ", "@"] {
            let marker = Marker(stream: 3, number: UInt32(before.utf8.count))
            #expect(Marker.find(in: Self.frame(marker, before: before).span, hint: &hint) == marker)
        }
    }

    @Test("is not seen where it is cut or damaged", arguments: [
        "", "@@", "@@0000000000000", "@@000000000000000G", "@@0000000000000O00", "@ @0000000000000000",
        "@@ABCDEF0000000000",
    ])
    func damaged(text: String) {
        var hint: UInt32 = 0
        #expect(Marker.find(in: Array(text.utf8).span, hint: &hint) == nil)
    }
}

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

    @Test("against a model that remembers all", arguments: 1...20)
    func model(seed: UInt64) {
        var state = seed
        func random(_ below: UInt64) -> UInt64 {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return (state >> 33) % below
        }
        var numbers = Array<UInt32>(0..<400)
        // Swaps within the 64 that are remembered, some left out, some twice.
        for index in stride(from: 0, to: 380, by: 1) where random(5) == 0 {
            numbers.swapAt(index, index + Int(random(15)))
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

@Suite("Latencies")
struct LatenciesTests {
    @Test("percentiles to three digits, and merging")
    func percentiles() {
        var one = Latencies(), two = Latencies()
        for number in 1...1_000 { one.record(Int64(number) * 1_000) }
        for number in 1_001...2_000 { two.record(Int64(number) * 1_000) }
        one.add(two)
        #expect(one.count == 2_000)
        #expect(abs(one.microseconds(at: 50) - 1_000) < 2)
        #expect(abs(one.microseconds(at: 99) - 1_980) < 4)
        #expect(abs(one.maxMicroseconds - 2_000) < 4)
        #expect(abs(one.meanMicroseconds - 1_000.5) < 2)
    }

    @Test("no record, a record below 0 and one beyond the end")
    func edges() {
        var latencies = Latencies()
        #expect(latencies.microseconds(at: 99) == 0 && latencies.maxMicroseconds == 0)
        latencies.record(-5)
        latencies.record(.max)
        #expect(latencies.count == 2)
    }

    @Test("the distribution is what HdrHistogram's tools read")
    func distribution() {
        var latencies = Latencies()
        for number in 1...100 { latencies.record(Int64(number) * 1_000_000) }
        let lines = latencies.distribution.split(separator: "\n")
        #expect(lines[0].split(separator: " ") == ["Value", "Percentile", "TotalCount", "1/(1-Percentile)"])
        let values = lines.dropFirst().filter { !$0.hasPrefix("#") }.map { $0.split(separator: " ") }
        #expect(values.allSatisfy { Double($0[0]) != nil && (0...1).contains(Double($0[1]) ?? -1) })
        #expect(values.last?[1].hasPrefix("1.0") == true && values.last?[2] == "100")
        #expect(lines.contains { $0.hasPrefix("#[Mean") } && lines.contains { $0.hasPrefix("#[Max") })
    }
}

@Suite("BenchPlan")
struct BenchPlanTests {
    static func plan(_ scenario: Scenario = .pair) -> BenchPlan {
        let target = BenchTarget(
            address: SocketAddress(host: "127.0.0.1", port: 1)!, authority: "127.0.0.1:1", target: "/ws",
            isSecure: false, serverName: "127.0.0.1")
        var plan = BenchPlan(scenario: scenario, targets: [target])
        plan.rate = 100
        return plan
    }

    @Test("each problem is named", arguments: [
        (\BenchPlan.connections, 101, "even"), (\.connections, 0, "--connections"), (\.threads, 0, "--threads"),
        (\.threads, 60, "--threads"), (\.depth, 0, "--depth"), (\.payloadBytes, 1 << 21, "--payload"),
    ])
    func problems(path: WritableKeyPath<BenchPlan, Int> & Sendable, value: Int, word: String) {
        var plan = Self.plan()
        #expect(plan.problem == nil)
        plan[keyPath: path] = value
        #expect(plan.problem?.contains(word) == true)
    }

    @Test("a message has to be known again, and some scenarios need a rate")
    func needs() {
        var plan = Self.plan(.echo)
        plan.message = Template("hello")
        #expect(plan.problem?.contains("%marker%") == true)
        for scenario in [Scenario.hold, .chat, .drain] {
            var plan = Self.plan(scenario)
            plan.rate = 0
            #expect(plan.problem?.contains("--rate") == true)
        }
    }

    @Test("threads share connections by pairs, and lose none", arguments: [1, 2, 3, 4, 7])
    func shares(threads: Int) {
        for total in [14, 15, 16, 100, 101, 1_000] {
            let shares = (0..<threads).map { Worker.share(of: total, number: $0, threads: threads) }
            #expect(shares.reduce(0, +) == total)
            if total % 2 == 0 { #expect(shares.allSatisfy { $0 % 2 == 0 }) }
            #expect(shares.max()! - shares.min()! <= 2)
        }
    }
}

@Suite("BenchReport")
struct BenchReportTests {
    @Test("what has to be 0 decides")
    func verdict() {
        var report = BenchReport()
        report.add("lost", zero: 0)
        report.add("sent", count: 5)
        #expect(!report.hasFault && report.verdict == "ok")
        report.add("duplicated", zero: 1)
        #expect(report.hasFault && report.verdict == "FAILED")
        #expect(report.table.contains("duplicated  1   <- must be 0"))
    }

    @Test("JSON of each kind of value")
    func json() {
        var report = BenchReport()
        report.add("text", text: "a \"b\" \\ \n ü")
        report.add("none", text: nil)
        report.add("count", count: 3)
        report.add("small", number: 0.0625)
        report.add("large", number: 12_345.6)
        report.add("negative", number: -1.5)
        report.add("nothing", number: .nan)
        report.add("counts", value: .counts([1, 2]))
        report.add("table", value: .table(["b": 2, "a": 1]))
        #expect(report.json == """
            {"text":"a \\"b\\" \\\\ \\u000a ü","count":3,"small":0.063,"large":12346,"negative":-1.500,\
            "nothing":0.000,"counts":[1,2],"table":{"a":1,"b":2},"verdict":"ok"}
            """)
    }
}

@Suite("TokenSource")
struct TokenSourceTests {
    @Test("a token has three parts and the claims asked for")
    func made() {
        let kind = TokenSource.Kind.secret(
            "a-secret-of-more-than-thirty-two-bytes", issuer: "i", audience: "a", lifetimeSeconds: 60)
        let source = TokenSource(kind, userPrefix: "u")
        let token = String(decoding: source.token(7, secondsSince1970: 1_000), as: UTF8.self)
        // As Python's hmac and base64 make it of the same header and claims.
        #expect(token == Self.expected)
        #expect(source.user(7) == "u7")
    }

    static let expected = 
        "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJ1NyIsImlhdCI6MTAwMCwiaXNzIjo"
        + "iaSIsImF1ZCI6ImEiLCJleHAiOjEwNjB9.TOWNSXA5SbgAixQUJGjxQlVEUfsCS8xt8BgD2_hmrPw"

    @Test("lists go round")
    func listed() {
        guard let kind = TokenSource.parse(list: "a x\nb  y\n\n") else {
            Issue.record("not read")
            return
        }
        let source = TokenSource(kind, userPrefix: "u")
        #expect(source.user(0) == "a" && source.user(3) == "b")
        #expect(source.token(2, secondsSince1970: 0) == Array("x".utf8))
        #expect(TokenSource.parse(list: "a\n") == nil)
        #expect(TokenSource.parse(list: "") == nil)
    }
}

@Suite("Closes")
struct ClosesTests {
    @Test("codes, hints and waves")
    func waves() {
        var one = Closes(), two = Closes()
        one.add(code: 1012, reason: #"{"reconnectAfterMs":120}"#, at: 1_000_000_000)
        one.add(code: 1012, reason: #"{"reconnectAfterMs":40}"#, at: 1_300_000_000)
        two.add(code: 1001, reason: "", at: 1_900_000_000)
        one.add(two)
        #expect(one.count == 3 && one.codes == [1012: 2, 1001: 1])
        #expect(one.hints == 2 && one.hintMin == 40 && one.hintMax == 120)
        #expect(one.per250Milliseconds == [1, 1, 0, 1])
        #expect(abs(one.spreadSeconds - 0.9) < 1e-9)
    }
}
