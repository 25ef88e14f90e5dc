import SkeinBench
import Testing

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
