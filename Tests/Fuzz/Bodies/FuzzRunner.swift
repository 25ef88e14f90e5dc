// Between libFuzzer and a body: an input comes as a pointer, and a body that does not hold ends the
// process, which libFuzzer takes for the crash it is looking for.

import Dispatch

package struct FuzzRunner: Sendable {
    private let check: FuzzTarget.Check

    package init(_ target: FuzzTarget) {
        check = Self.prepare(target)
    }

    package func run(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
        // A copy of exactly its size: AddressSanitizer then sees a read past its end.
        let input = Array(UnsafeBufferPointer(start: start, count: count))
        do throws(Contradiction) {
            try check(input)
        } catch {
            fatalError(error.description)
        }
        return 0
    }

    /// libFuzzer calls from the main thread, which is none of Swift's pool and may wait.
    private static func prepare(_ target: FuzzTarget) -> FuzzTarget.Check {
        final class Box: @unchecked Sendable {
            var check: FuzzTarget.Check?
        }
        let box = Box()
        let done = DispatchSemaphore(value: 0)
        Task.detached {
            box.check = try? await target.prepare()
            done.signal()
        }
        done.wait()
        guard let check = box.check else { fatalError("\(target.name) cannot be prepared") }
        return check
    }
}
