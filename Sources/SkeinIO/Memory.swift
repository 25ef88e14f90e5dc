// Address space from the kernel: reserved at once, touched on use, zero until then.

import CSkein

/// `nil` when the process has no such room.
@usableFromInline
func reserveMemory(_ bytes: Int) -> UnsafeMutableRawPointer? { unsafe skein_reserve(bytes) }

@usableFromInline
func releaseMemory(_ memory: UnsafeMutableRawPointer, _ bytes: Int) {
    unsafe skein_release(memory, bytes)
}
