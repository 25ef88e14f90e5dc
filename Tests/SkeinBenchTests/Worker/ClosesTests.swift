import SkeinBench
import Testing

@Suite("Closes")
struct ClosesTests {
    @Test("codes, hints and waves")
    func waves() {
        var one = Closes(), two = Closes()
        one.add(code: 1012, reason: #"{"reconnectAfterMs":120}"#, at: 1_000_000_000)
        one.add(code: 1012, reason: #"{"reconnectAfterMs":40}"#, at: 1_300_000_000)
        two.add(code: 1001, reason: "", target: 1, at: 1_900_000_000)
        one.add(two)
        #expect(one.targets == [0: 2, 1: 1])
        #expect(one.count == 3 && one.codes == [1012: 2, 1001: 1])
        #expect(one.hints == 2 && one.hintMin == 40 && one.hintMax == 120)
        #expect(one.per250Milliseconds == [1, 1, 0, 1])
        #expect(abs(one.spreadSeconds - 0.9) < 1e-9)
    }
}
