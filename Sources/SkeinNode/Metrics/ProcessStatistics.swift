// What the kernel says of this process, from /proc. Read at each scrape; `nil` where /proc is not
// mounted.

internal import FoundationEssentials
internal import Glibc

package struct ProcessStatistics: Sendable {
    package var cpuSeconds = 0.0
    package var residentBytes = 0
    package var virtualBytes = 0
    package var threads = 0
    package var openFiles = 0
    package var openFilesMax = 0
    package var startSecondsSince1970 = 0.0

    package init() {}

    package static func read() -> ProcessStatistics? {
        // The name in parentheses may hold blanks; what follows the last one does not.
        guard let stat = text("/proc/self/stat"), let end = stat.lastIndex(of: ")") else {
            return nil
        }
        let fields = stat[stat.index(after: end)...].split(separator: " ")
        guard fields.count > 21 else { return nil }
        // Numbered from 3 in proc(5): state is fields[0].
        func number(_ field: Int) -> Double { Double(fields[field - 3]) ?? 0 }
        let ticks = Double(sysconf(Int32(_SC_CLK_TCK)))
        var process = ProcessStatistics()
        process.cpuSeconds = (number(14) + number(15)) / ticks
        process.threads = Int(number(20))
        process.virtualBytes = Int(number(23))
        process.residentBytes = Int(number(24)) * sysconf(Int32(_SC_PAGESIZE))
        process.startSecondsSince1970 = bootSecondsSince1970 + number(22) / ticks
        process.openFiles = openFileCount()
        process.openFilesMax = openFileLimit()
        return process
    }
}

private extension ProcessStatistics {
    static let bootSecondsSince1970: Double = {
        for line in (text("/proc/stat") ?? "").split(separator: "\n") where line.hasPrefix("btime ")
        {
            return Double(line.dropFirst(6).trimmed) ?? 0
        }
        return 0
    }()

    /// The kernel gives the count as the directory's size since 6.2; before, the entries have to be
    /// counted, which takes a while with very many.
    static func openFileCount() -> Int {
        let attributes = try? FileManager.default.attributesOfItem(atPath: "/proc/self/fd")
        if let size = attributes?[.size] as? Int, size > 0 { return size }
        return (try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd").count) ?? 0
    }

    static func openFileLimit() -> Int {
        var limit = rlimit()
        // The struct lives on this stack frame and is written within the call.
        guard unsafe getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else {
            return 0
        }
        return Int(clamping: limit.rlim_cur)
    }

    static func text(_ path: String) -> String? {
        guard let data = try? Data(contentsOf: URL(filePath: path)) else { return nil }
        return String(decoding: data, as: UTF8.self)
    }
}
