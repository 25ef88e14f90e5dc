import FuzzBodies
import FuzzNodeBodies

private let runner = FuzzRunner(.configuration)

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt { runner.run(start, count) }
