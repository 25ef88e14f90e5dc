// What the operating system refused, as a value: which call, and why.

private import Glibc

@usableFromInline
package struct SystemError: Error, Equatable, CustomStringConvertible {
    package let call: String
    package let errno: Int32

    package init(call: String, errno: Int32) {
        self.call = call
        self.errno = errno
    }

    @usableFromInline package var description: String { "\(call): \(Self.text(errno))" }

    /// For people.
    package static func text(_ errno: Int32) -> String {
        guard let text = unsafe strerror(errno) else { return "error \(errno)" }
        return unsafe String(cString: text)
    }
}
