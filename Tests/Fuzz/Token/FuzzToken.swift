import FuzzBodies
import FuzzNodeBodies

private let runner = FuzzRunner(.token)

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt { runner.run(start, count) }
