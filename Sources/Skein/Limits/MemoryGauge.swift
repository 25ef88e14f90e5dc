// What all shards hold for connections, and the two marks it is held against. Each shard adds its own
// changes once a turn; nobody waits for anybody.

internal import Glibc
internal import Synchronization

final class MemoryGauge: Sendable {
    /// At it the greatest holders are reset.
    let bytesMax: Int
    private let held = Atomic<Int>(0)

    /// - Parameter limit: 0 takes half of what this process may use.
    init(limit: Int) { bytesMax = limit > 0 ? limit : Self.bytesUsable / 2 }

    /// From here on newcomers are refused.
    var bytesHigh: Int { bytesMax / 100 * 80 }
    /// Shedding ends here.
    var bytesFine: Int { bytesMax / 100 * 70 }

    var bytesHeld: Int { held.load(ordering: .relaxed) }
    var isHigh: Bool { bytesHeld >= bytesHigh }

    /// - Returns: what all hold now. Relaxed: a figure says nothing about other memory.
    func change(by bytes: Int) -> Int {
        guard bytes != 0 else { return bytesHeld }
        return held.add(bytes, ordering: .relaxed).newValue
    }

    /// The machine's memory, or what this process's control group leaves of it.
    static var bytesUsable: Int {
        let pages = Int(sysconf(Int32(_SC_PHYS_PAGES)))
        let physical = pages > 0 ? pages * Int(sysconf(Int32(_SC_PAGESIZE))) : 1 << 32
        return min(physical, groupLimit ?? physical)
    }

    private static var groupLimit: Int? {
        for path in ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"] {
            guard let file = unsafe fopen(path, "r") else { continue }
            defer { unsafe fclose(file) }
            var limit = 0
            let isNumber = unsafe withUnsafeMutablePointer(to: &limit) { pointer in
                unsafe withVaList([pointer]) { unsafe vfscanf(file, "%ld", $0) } == 1
            }
            if isNumber, limit > 0 { return limit }
        }
        return nil
    }
}
