// How a command fails: one sentence on stderr that says what to do, and a status other than 0.

struct CommandFailure: Error {
    let message: String
    let status: Int32
    /// Nothing answered: for `drain --follow`, the node is gone.
    let isUnreachable: Bool

    init(_ message: String, status: Int32 = 1, isUnreachable: Bool = false) {
        self.message = message
        self.status = status
        self.isUnreachable = isUnreachable
    }
}
