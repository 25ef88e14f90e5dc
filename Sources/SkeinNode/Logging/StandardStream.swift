// Whole lines to stdout and stderr, without the C library's buffers: what is written is out.

internal import Glibc

package enum StandardStream: Int32, Sendable {
    case output = 1
    case error = 2

    package func write(line: String) { write(line + "\n") }

    /// Gives up where no one reads any more or nothing has room: there is no one left to tell.
    ///
    /// - Returns: whether all of it was written.
    @discardableResult
    package func write(_ text: String) -> Bool {
        let bytes = Array(text.utf8)
        var start = 0
        while start < bytes.count {
            // The buffer is only read, and only within the call.
            let written = unsafe bytes[start...].withUnsafeBytes { buffer in
                unsafe Glibc.write(rawValue, buffer.baseAddress, buffer.count)
            }
            if written > 0 {
                start += written
            } else if written < 0, errno == EINTR {
                continue
            } else if written < 0, errno == EAGAIN {
                // A terminal that another program made non-blocking. 10 ms, then once more.
                usleep(10_000)
            } else {
                return false
            }
        }
        return true
    }

    /// Whether a person is looking.
    package var isTerminal: Bool { isatty(rawValue) == 1 }
}
