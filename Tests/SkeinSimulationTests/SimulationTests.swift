import SkeinSimulation
import Testing

@Suite("Simulation")
struct SimulationTests {
    @Test func sameSeedSameRun() {
        let first = Simulation(seed: 7).run()
        let second = Simulation(seed: 7).run()
        #expect(first.hash == second.hash)
        #expect(first.steps == second.steps)
    }
}
