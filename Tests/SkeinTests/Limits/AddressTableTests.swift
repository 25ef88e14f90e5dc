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

    @Test("whoever has one IPv6 address has a whole network of them")
    func networksOfIPv6() {
        let table = AddressTable()
        let now = Instant.now()
        func came(_ high: UInt64, _ low: UInt64) -> AddressTable.Admission {
            let address = PeerAddress(high: high, low: low, port: 1)
            return table.came(address, now: now, max: 2, rate: 0, burst: 0)
        }
        #expect(came(0x2001_0DB8_0000_0001, 1) == .admitted)
        #expect(came(0x2001_0DB8_0000_0001, .max) == .admitted)
        #expect(came(0x2001_0DB8_0000_0001, 0x1234_5678_9ABC_DEF0) == .tooMany)
        #expect(came(0x2001_0DB8_0000_0002, 1) == .admitted)
        table.left(PeerAddress(high: 0x2001_0DB8_0000_0001, low: 7, port: 9))
        #expect(came(0x2001_0DB8_0000_0001, 3) == .admitted)
    }

    @Test("many threads, more addresses than entries: in the end nobody is counted")
    func takenOverByManyThreads() async {
        let table = AddressTable()
        let now = Instant.now()
        let held = 1_000_000 as UInt64
        #expect(table.came(address(held), now: now, max: 1, rate: 0, burst: 0) == .admitted)
        await withTaskGroup(of: Void.self) { group in
            for thread in 0..<4 as Range<UInt64> {
                group.addTask {
                    // All threads take over the same few entries, at the same time.
                    for number in 0..<100_000 as Range<UInt64> {
                        let own = address((number &* 7 &+ thread) % 90_000)
                        if table.came(own, now: now, max: 3, rate: 0, burst: 0) == .admitted {
                            table.left(own)
                        }
                    }
                }
            }
        }
        #expect(table.came(address(held), now: now, max: 1, rate: 0, burst: 0) == .tooMany)
        #expect(table.connectionsCounted == 1)
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
