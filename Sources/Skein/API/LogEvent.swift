// What the broker has to say to its operator. It is handed over on a loop's thread, so whoever takes
// it must not block; a token or a password is never in it.

public struct LogEvent: Sendable {
    public enum Level: String, Sendable { case debug, info, warning, error }

    public var level: Level
    /// A sentence: what happened, and where it helps, what to do.
    public var message: String
    public var fields: [(String, String)]

    public init(level: Level, message: String, fields: [(String, String)] = []) {
        self.level = level
        self.message = message
        self.fields = fields
    }
}
