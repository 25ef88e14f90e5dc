import SkeinBench
import Testing

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
