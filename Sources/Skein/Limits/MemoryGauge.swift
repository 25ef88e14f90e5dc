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

    /// The machine's memory, or what this process's control groups leave of it.
    static var bytesUsable: Int {
        let pages = Int(sysconf(Int32(_SC_PHYS_PAGES)))
        let physical = pages > 0 ? pages * Int(sysconf(Int32(_SC_PAGESIZE))) : 1 << 32
        return min(physical, groupLimit() ?? physical)
    }

    /// The lowest limit of this process's control group and of all above it: a service manager sets one
    /// on the service, a container on a root of its own.
    ///
    /// - Parameter root: where the files of the kernel are; another for tests.
    static func groupLimit(root: String = "") -> Int? {
        let old = number(in: root + "/sys/fs/cgroup/memory/memory.limit_in_bytes")
        var lowest = old
        var path = groupPath(root: root)
        while true {
            for file in ["memory.max", "memory.high"] {
                guard let limit = number(in: root + "/sys/fs/cgroup" + path + "/" + file) else { continue }
                lowest = min(lowest ?? limit, limit)
            }
            guard let slash = path.lastIndex(of: "/") else { return lowest }
            path = String(path[..<slash])
        }
    }

    /// The line `0::/path` of `/proc/self/cgroup`, without a slash at its end; the root is empty.
    private static func groupPath(root: String) -> String {
        for line in text(of: root + "/proc/self/cgroup").split(separator: "\n") where line.hasPrefix("0::/") {
            let path = line.dropFirst("0::".count)
            // A group outside this process's namespace: what is seen from here is the root.
            guard !path.hasPrefix("/..") else { return "" }
            return path == "/" ? "" : String(path)
        }
        return ""
    }

    /// A limit above zero; `max`, and what is not there, is none.
    private static func number(in path: String) -> Int? {
        let word = text(of: path).split(separator: "\n").first
        guard let word, let limit = Int(word), limit > 0 else { return nil }
        return limit
    }

    /// The first 4 KiB, which all of these files stay below.
    private static func text(of path: String) -> String {
        let fd = unsafe open(path, O_RDONLY | O_CLOEXEC)
        guard fd >= 0 else { return "" }
        defer { close(fd) }
        var bytes = [UInt8](repeating: 0, count: 4_096)
        let count = unsafe read(fd, &bytes, bytes.count)
        return String(decoding: bytes.prefix(max(0, count)), as: UTF8.self)
    }
}
