// One end of a conversation in memory: a session, its pump, and what it has said and heard.

import COpenSSL
@testable import SkeinWire

final class TLSPeer {
    let pump: TLSPump
    private(set) var session: TLSSession
    private(set) var heard: [UInt8] = []
    private(set) var statuses: [TLSStatus] = []
    /// Ciphertext not yet carried to the other end.
    var outbox: [UInt8] = []
    private let scratch = UnsafeMutableBufferPointer<UInt8>.allocate(capacity: 4_096)

    init(server context: TLSContext) {
        pump = TLSPump()
        session = TLSSession.server(context, pump: pump)
    }

    init(client context: TLSContext, name: String = "localhost") {
        pump = TLSPump()
        session = TLSSession.client(context, pump: pump, serverName: name)
        collect()
    }

    init(session: TLSSession, pump: TLSPump) {
        self.session = session
        self.pump = pump
        collect()
    }

    deinit {
        if !session.isNone { session.free() }
        pump.free()
        scratch.deallocate()
    }

    var failure: TLSFailure? {
        for case .failed(let failure) in statuses { return failure }
        return nil
    }

    var isClosed: Bool { statuses.contains { if case .closed = $0 { true } else { false } } }

    @discardableResult
    func receive(_ cipher: [UInt8]) -> TLSStatus {
        let status = cipher.withUnsafeBufferPointer { bytes in
            session.receive(bytes.baseAddress, count: bytes.count, pump: pump, scratch: scratch) { piece in
                heard.append(contentsOf: piece)
                return true
            }
        }
        statuses.append(status)
        collect()
        return status
    }

    @discardableResult
    func send(_ plain: [UInt8]) -> TLSStatus {
        let status = plain.withUnsafeBufferPointer { bytes in
            session.send(bytes.baseAddress!, count: bytes.count, pump: pump)
        }
        collect()
        return status
    }

    func closeNotify() {
        session.closeNotify(pump: pump)
        collect()
    }

    func free() {
        session.free()
        session = .none
    }

    func forgetHeard() { heard.removeAll() }

    func takeOutbox() -> [UInt8] {
        defer { outbox.removeAll() }
        return outbox
    }

    private func collect() {
        outbox.append(contentsOf: pump.output)
        pump.clearOutput()
    }
}

/// How ciphertext is cut on its way.
enum Cuts: CaseIterable, Sendable {
    case whole, bytewise, random

    func pieces(_ bytes: [UInt8], _ random: inout some RandomNumberGenerator) -> [[UInt8]] {
        var pieces: [[UInt8]] = []
        var start = 0
        while start < bytes.count {
            let count =
                switch self {
                case .whole: bytes.count
                case .bytewise: 1
                case .random: Int.random(in: 1...2_000, using: &random)
                }
            let end = min(start + count, bytes.count)
            pieces.append(Array(bytes[start..<end]))
            start = end
        }
        return pieces
    }
}

/// Carries everything to and fro until neither end has anything to say.
func exchange(
    _ a: TLSPeer, _ b: TLSPeer, cuts: Cuts = .whole, _ random: inout some RandomNumberGenerator
) {
    while !a.outbox.isEmpty || !b.outbox.isEmpty {
        for piece in cuts.pieces(a.takeOutbox(), &random) { b.receive(piece) }
        for piece in cuts.pieces(b.takeOutbox(), &random) { a.receive(piece) }
    }
}

func exchange(_ a: TLSPeer, _ b: TLSPeer) {
    var random = SystemRandomNumberGenerator()
    exchange(a, b, &random)
}

/// What most tests begin with.
enum TLSFixture {
    static func settings(_ names: String..., versionMin: TLSVersion = .tls12) throws -> TLSSettings {
        TLSSettings(
            identities: try names.map { try Certificates.shared.identity($0) },
            ticketKeys: TLSTicketKeys(), versionMin: versionMin)
    }

    static func server(_ name: String = "ec") throws -> TLSContext { try TLSContext(settings(name)) }

    static func client(
        identity: String? = nil, version: TLSVersion = .tls13, applicationProtocol: String? = nil
    ) throws -> TLSContext {
        let context = try TLSContext(
            TLSClientSettings(
                authority: Certificates.shared.authority(),
                identity: identity.map { try Certificates.shared.identity($0) },
                applicationProtocol: applicationProtocol))
        if version == .tls12 {
            _ = skein_SSL_CTX_set_max_proto_version(context.context, TLS1_2_VERSION)
        }
        return context
    }
}
