// What processes and the machine have used, from the kernel's own accounts.

internal import Glibc
internal import SkeinIO

struct CPUUsage: Sendable {
    var instant = Instant.now()
    var clientSeconds = 0.0
    var serverSeconds = 0.0
    var serverUserSeconds = 0.0
    var serverSystemSeconds = 0.0
    var softirqSeconds = 0.0
    /// Of the whole machine.
    var busySeconds = 0.0
    var stolenSeconds = 0.0

    static func read(processes: [Int32], softirqThreads: [Int32]) -> CPUUsage {
        var usage = CPUUsage()
        usage.clientSeconds = seconds(of: getpid())
        for process in processes {
            usage.serverSeconds += seconds(of: process)
            let (user, system) = userAndSystem(of: process)
            usage.serverUserSeconds += user
            usage.serverSystemSeconds += system
        }
        for thread in softirqThreads { usage.softirqSeconds += seconds(of: thread) }
        usage.readMachine()
        return usage
    }

    static func - (after: CPUUsage, before: CPUUsage) -> CPUUsage {
        var difference = after
        difference.clientSeconds -= before.clientSeconds
        difference.serverSeconds -= before.serverSeconds
        difference.serverUserSeconds -= before.serverUserSeconds
        difference.serverSystemSeconds -= before.serverSystemSeconds
        difference.softirqSeconds -= before.softirqSeconds
        difference.busySeconds -= before.busySeconds
        difference.stolenSeconds -= before.stolenSeconds
        return difference
    }

    /// In nanoseconds, by the scheduler; `/proc/P/stat` has ticks of 10 ms.
    private static func seconds(of process: Int32) -> Double {
        var clock = clockid_t()
        var time = timespec()
        guard unsafe clock_getcpuclockid(process, &clock) == 0, unsafe clock_gettime(clock, &time) == 0 else {
            return 0
        }
        return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
    }

    private static var ticksPerSecond: Double { Double(sysconf(Int32(_SC_CLK_TCK))) }

    private static func userAndSystem(of process: Int32) -> (Double, Double) {
        // The name in parentheses may hold blanks; the fields start after the last one, numbered from 3.
        guard let stat = ProcFile.text("/proc/\(process)/stat"), let end = stat.lastIndex(of: ")") else {
            return (0, 0)
        }
        let fields = stat[stat.index(after: end)...].split(separator: " ")
        guard fields.count > 12 else { return (0, 0) }
        return ((Double(fields[11]) ?? 0) / ticksPerSecond, (Double(fields[12]) ?? 0) / ticksPerSecond)
    }

    private mutating func readMachine() {
        let line = (ProcFile.text("/proc/stat") ?? "").prefix { $0 != "\n" }
        let fields = line.split(separator: " ").dropFirst().map { Double($0) ?? 0 }
        guard fields.count >= 8 else { return }
        busySeconds = (fields[0] + fields[1] + fields[2] + fields[5] + fields[6]) / Self.ticksPerSecond
        stolenSeconds = fields[7] / Self.ticksPerSecond
    }
}

struct MemoryUsage: Sendable {
    var residentBytes = 0
    var anonymousBytes = 0
    var proportionalBytes = 0

    static func read(processes: [Int32]) -> MemoryUsage {
        var usage = MemoryUsage()
        for process in processes {
            usage.residentBytes += ProcFile.kilobytes("/proc/\(process)/status", "VmRSS:")
            usage.anonymousBytes += ProcFile.kilobytes("/proc/\(process)/status", "RssAnon:")
            usage.proportionalBytes += ProcFile.kilobytes("/proc/\(process)/smaps_rollup", "Pss:")
        }
        return usage
    }
}

/// Where a number is behind a name.
enum ProcFile {
    private static let bytesMax = 4 << 20

    static func text(_ path: String) -> String? {
        let fd = unsafe open(path, O_RDONLY | O_CLOEXEC)
        guard fd >= 0 else { return nil }
        defer { Sockets.close(fd) }
        var bytes: [UInt8] = []
        var piece = [UInt8](repeating: 0, count: 16_384)
        while bytes.count < bytesMax {
            // Safe: as many bytes as the array has.
            let count = unsafe piece.withUnsafeMutableBytes { unsafe Glibc.read(fd, $0.baseAddress, $0.count) }
            guard count > 0 else { break }
            bytes += piece[..<count]
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    static func kilobytes(_ path: String, _ name: String) -> Int {
        for line in (text(path) ?? "").split(separator: "\n") where line.hasPrefix(name) {
            let words = line.dropFirst(name.count).split(whereSeparator: \.isWhitespace)
            return (Int(words.first ?? "") ?? 0) * 1024
        }
        return 0
    }

    static func names(in folder: String) -> [String] {
        guard let directory = unsafe opendir(folder) else { return [] }
        defer { unsafe closedir(directory) }
        var names: [String] = []
        while let entry = unsafe readdir(directory) {
            // Safe: the kernel ends each name with a zero within the entry.
            names.append(
                unsafe withUnsafePointer(to: &entry.pointee.d_name) {
                    unsafe $0.withMemoryRebound(to: CChar.self, capacity: 256) { unsafe String(cString: $0) }
                })
        }
        return names
    }

    static func link(_ path: String) -> String? {
        var target = [UInt8](repeating: 0, count: 256)
        // Safe: as many bytes as the array has.
        let count = unsafe target.withUnsafeMutableBytes { room in
            guard let base = unsafe room.bindMemory(to: CChar.self).baseAddress else { return 0 }
            return unsafe readlink(path, base, room.count)
        }
        return count > 0 ? String(decoding: target[..<count], as: UTF8.self) : nil
    }
}

/// Finding processes: the server behind a port of this machine, and the kernel's helpers.
package enum ProcessFinder {
    /// Who listens on a TCP port here, as far as this user may see it.
    package static func listeners(port: UInt16) -> [Int32] {
        var sockets: Set<String> = []
        let hex = String(port, radix: 16, uppercase: true)
        let wanted = ":" + String(repeating: "0", count: 4 - hex.count) + hex
        for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
            for line in (ProcFile.text(table) ?? "").split(separator: "\n").dropFirst() {
                let fields = line.split(separator: " ")
                // 0A: listening.
                if fields.count > 9, fields[3] == "0A", fields[1].hasSuffix(wanted) {
                    sockets.insert("socket:[\(fields[9])]")
                }
            }
        }
        guard !sockets.isEmpty else { return [] }
        return ProcFile.names(in: "/proc").compactMap { Int32($0) }.filter { process in
            ProcFile.names(in: "/proc/\(process)/fd").contains { name in
                ProcFile.link("/proc/\(process)/fd/\(name)").map(sockets.contains) ?? false
            }
        }
    }

    package static func exists(_ process: Int32) -> Bool { ProcFile.text("/proc/\(process)/stat") != nil }

    /// The cores that processes are pinned to; none where one may run anywhere.
    package static func pinnedCores(of processes: [Int32]) -> [Int] {
        var cores: Set<Int> = []
        for process in processes {
            let status = (ProcFile.text("/proc/\(process)/status") ?? "").split(separator: "\n")
            guard let line = status.first(where: { $0.hasPrefix("Cpus_allowed_list:") }) else { continue }
            for part in line.drop(while: { $0 != ":" }).dropFirst().split(separator: ",") {
                let ends = part.split(separator: "-").map { Int($0.filter(\.isNumber)) ?? 0 }
                if let first = ends.first, let last = ends.last, first <= last { cores.formUnion(first...last) }
            }
        }
        return cores.count < sysconf(Int32(_SC_NPROCESSORS_ONLN)) ? cores.sorted() : []
    }

    static func softirqThreads(cores: [Int]) -> [Int32] {
        let wanted = Set(cores.map { "ksoftirqd/\($0)" })
        guard !wanted.isEmpty else { return [] }
        return ProcFile.names(in: "/proc").compactMap { Int32($0) }.filter { process in
            let name = ProcFile.text("/proc/\(process)/comm")?.prefix { $0 != "\n" } ?? ""
            return wanted.contains(String(name))
        }
    }
}

/// What the figures were measured on.
enum MachineFacts {
    static var kernel: String {
        (ProcFile.text("/proc/sys/kernel/osrelease") ?? "unknown").filter { $0 != "\n" }
    }

    static var processor: String {
        let lines = (ProcFile.text("/proc/cpuinfo") ?? "").split(separator: "\n")
        for line in lines where line.hasPrefix("model name") {
            return String(line.drop { $0 != ":" }.dropFirst(2))
        }
        return "unknown"
    }

    static var cores: Int { CPUSet.allowed().count }
}
