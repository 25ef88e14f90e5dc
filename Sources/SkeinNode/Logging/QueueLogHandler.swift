// swift-log's door to the log queue, for the packages that log through it.

package import Logging

package struct QueueLogHandler: LogHandler {
    package var metadata: Logger.Metadata = [:]
    package var logLevel: Logger.Level
    private let label: String
    private let queue: LogQueue

    package init(label: String, queue: LogQueue) {
        self.label = label
        self.queue = queue
        logLevel = queue.level
    }

    package subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    package func log(event: Logging.LogEvent) {
        var fields: [(key: String, value: String)] = [(key: "from", value: label)]
        let merged = metadata.merging(event.metadata ?? [:]) { $1 }
        fields += merged.sorted { $0.key < $1.key }.map { (key: $0.key, value: "\($0.value)") }
        queue.push(event.level, "\(event.message)", fields)
    }
}
