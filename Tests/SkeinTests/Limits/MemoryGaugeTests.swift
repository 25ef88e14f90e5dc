import Foundation
import Testing

@testable import Skein

@Suite("The memory that a process may use")
struct MemoryGaugeTests {
    /// A folder that looks like the kernel's: what `/proc/self/cgroup` says, and limits by group.
    private func groupLimit(_ own: String, _ files: [String: String]) throws -> Int? {
        let root = FileManager.default.temporaryDirectory.appending(path: "skein-\(UUID().uuidString)")
        defer { try? FileManager.default.removeItem(at: root) }
        for (path, text) in files.merging(["proc/self/cgroup": own], uniquingKeysWith: { $1 }) {
            let file = root.appending(path: path)
            try FileManager.default.createDirectory(
                at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
            try text.write(to: file, atomically: true, encoding: .utf8)
        }
        return MemoryGauge.groupLimit(root: root.path)
    }

    @Test("a service's limit is at its own group, and the lowest on the way up holds")
    func serviceGroup() throws {
        let own = "0::/system.slice/skein.service\n"
        let slice = "sys/fs/cgroup/system.slice"
        #expect(try groupLimit(own, ["\(slice)/skein.service/memory.max": "1000000\n"]) == 1_000_000)
        #expect(
            try groupLimit(
                own,
                [
                    "\(slice)/skein.service/memory.max": "3000000\n",
                    "\(slice)/skein.service/memory.high": "2000000\n",
                    "\(slice)/memory.max": "max\n",
                ]) == 2_000_000)
        #expect(
            try groupLimit(
                own,
                [
                    "\(slice)/skein.service/memory.max": "3000000\n",
                    "\(slice)/memory.max": "2500000\n",
                ]) == 2_500_000)
    }

    @Test("a container sees its limit at the root")
    func container() throws {
        #expect(try groupLimit("0::/\n", ["sys/fs/cgroup/memory.max": "4096000\n"]) == 4_096_000)
        #expect(try groupLimit("0::/../other\n", ["sys/fs/cgroup/memory.max": "4096000\n"]) == 4_096_000)
    }

    @Test("no limit, no file, the old hierarchy")
    func none() throws {
        #expect(try groupLimit("0::/a/b\n", ["sys/fs/cgroup/a/b/memory.max": "max\n"]) == nil)
        #expect(try groupLimit("", [:]) == nil)
        let old = ["sys/fs/cgroup/memory/memory.limit_in_bytes": "5000000\n"]
        #expect(try groupLimit("4:memory:/\n0::/\n", old) == 5_000_000)
    }
}
