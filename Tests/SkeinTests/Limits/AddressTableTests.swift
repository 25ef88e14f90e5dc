import SkeinIO
import Testing

@testable import Skein

@Suite("Connections and handshakes by address")
struct AddressTableTests {
    private func address(_ number: UInt64) -> PeerAddress {
        PeerAddress(high: 0, low: 0xFFFF_0000_0000 | number, port: 1)
    }

    @Test func countsConnections() {
        let table = AddressTable()
        let now = Instant.now()
        for _ in 0..<3 {
            #expect(table.came(address(1), now: now, max: 3, rate: 0, burst: 0) == .admitted)
        }
        #expect(table.came(address(1), now: now, max: 3, rate: 0, burst: 0) == .tooMany)
        #expect(table.came(address(2), now: now, max: 3, rate: 0, burst: 0) == .admitted)
        table.left(address(1))
        #expect(table.came(address(1), now: now, max: 3, rate: 0, burst: 0) == .admitted)
    }

    @Test func limitsTheRateAfterABurst() {
        let table = AddressTable()
        let now = Instant.now()
        for _ in 0..<5 {
            #expect(table.came(address(1), now: now, max: 0, rate: 10, burst: 5) == .admitted)
        }
        #expect(table.came(address(1), now: now, max: 0, rate: 10, burst: 5) == .tooFast)
        // 100 ms later one more is due.
        let later = now.advanced(byMilliseconds: 101)
        #expect(table.came(address(1), now: later, max: 0, rate: 10, burst: 5) == .admitted)
        #expect(table.came(address(1), now: later, max: 0, rate: 10, burst: 5) == .tooFast)
    }

    @Test("an idle entry is taken over, one in use is not")
    func manyAddresses() {
        let table = AddressTable()
        let now = Instant.now()
        #expect(table.came(address(7), now: now, max: 1, rate: 0, burst: 0) == .admitted)
        for number in 1_000..<200_000 as Range<UInt64> {
            if table.came(address(number), now: now, max: 1, rate: 0, burst: 0) == .admitted {
                table.left(address(number))
            }
        }
        #expect(table.came(address(7), now: now, max: 1, rate: 0, burst: 0) == .tooMany)
    }
}
