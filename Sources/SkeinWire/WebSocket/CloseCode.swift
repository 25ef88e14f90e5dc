// Why a WebSocket closes, as it is said on the wire. The catalogue is the contract's: clients act on
// these numbers, so none is ever reused.

@frozen @usableFromInline package enum CloseCode: UInt16, Sendable, CaseIterable {
    case normal = 1000
    /// The node leaves.
    case goingAway = 1001
    case protocolError = 1002
    case unsupportedData = 1003
    case invalidPayload = 1007
    case messageTooBig = 1009
    case internalError = 1011
    /// Drain: come back, elsewhere. The reason holds a JSON hint.
    case serviceRestart = 1012
    case slowConsumer = 4008
    case unauthorized = 4401
    case forbidden = 4403
    case rateLimited = 4429

    /// Whether a peer may send `code`: those of RFC 6455 and the IANA registry that are meant for the
    /// wire, and the ranges left to libraries and applications.
    @inlinable package static func isReceivable(_ code: UInt16) -> Bool {
        switch code {
        case 1000...1003, 1007...1014, 3000...4999: true
        default: false
        }
    }
}
