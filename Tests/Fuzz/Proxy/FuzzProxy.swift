import FuzzBodies

private let runner = FuzzRunner(.proxy)

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt { runner.run(start, count) }
