// Agrees on permessage-deflate in the handshake (RFC 7692 §5 and §7.1). A server takes the first offer
// that it can keep, and passes over the others as if they had not been made; a client holds the answer
// against what it offered.

package enum DeflateAnswerError: Error, Equatable, Sendable {
    /// Another extension, an extension twice, or parameters that no answer may have.
    case malformed
    /// Well-formed, but not what was offered, or more than we can keep.
    case unacceptable
}

package enum DeflateNegotiation {
    /// An upper bound on what ``writeAnswer(_:into:)`` and ``writeOffer(_:into:)`` write.
    package static let headerBytesMax = 128

    /// What the server agrees to, or nil when the connection stays uncompressed.
    /// - Parameter offer: the value of `Sec-WebSocket-Extensions`; several lines joined by commas.
    package static func accept(
        offer: Span<UInt8>, settings: DeflateSettings
    ) -> DeflateParameters? {
        guard settings.isEnabled else { return nil }
        var position = 0
        while let element = DeflateExtension.nextElement(of: offer, at: &position) {
            if let wanted = DeflateExtension(offer.extracting(element)),
                let parameters = accept(wanted, settings)
            {
                return parameters
            }
        }
        return nil
    }

    private static func accept(
        _ wanted: DeflateExtension, _ settings: DeflateSettings
    ) -> DeflateParameters? {
        let serverWindowBits = min(settings.serverWindowBits, wanted.serverWindowBits ?? 15)
        guard DeflateSettings.compressingWindowBits.contains(serverWindowBits) else { return nil }
        let clientWindowBits: UInt8 =
            switch wanted.clientWindowBits {
            // It may not be told what it did not say it knows (§7.1.2.2).
            case .absent: 15
            case .open: settings.clientWindowBits
            case .value(let bits): min(settings.clientWindowBits, bits)
            }
        return DeflateParameters(
            serverNoContextTakeover: settings.serverNoContextTakeover || wanted.serverNoContextTakeover,
            clientNoContextTakeover: settings.clientNoContextTakeover || wanted.clientNoContextTakeover,
            serverWindowBits: serverWindowBits, clientWindowBits: clientWindowBits,
            namesServerWindowBits: wanted.serverWindowBits != nil)
    }

    /// The server's header value.
    package static func writeAnswer(
        _ parameters: DeflateParameters, into writer: inout ByteWriter
    ) {
        writer.append("permessage-deflate")
        if parameters.serverNoContextTakeover { writer.append("; server_no_context_takeover") }
        if parameters.clientNoContextTakeover { writer.append("; client_no_context_takeover") }
        if parameters.namesServerWindowBits {
            writer.append("; server_max_window_bits=")
            writer.appendDecimal(Int(parameters.serverWindowBits))
        }
        if parameters.clientWindowBits < 15 {
            writer.append("; client_max_window_bits=")
            writer.appendDecimal(Int(parameters.clientWindowBits))
        }
    }
}

extension DeflateNegotiation {
    /// The client's header value.
    package static func writeOffer(_ settings: DeflateSettings, into writer: inout ByteWriter) {
        writer.append("permessage-deflate")
        if settings.serverNoContextTakeover { writer.append("; server_no_context_takeover") }
        if settings.clientNoContextTakeover { writer.append("; client_no_context_takeover") }
        if settings.serverWindowBits < 15 {
            writer.append("; server_max_window_bits=")
            writer.appendDecimal(Int(settings.serverWindowBits))
        }
        // Without a value the server may name any.
        writer.append("; client_max_window_bits")
        let bits = compressingClientWindowBits(settings)
        if bits < 15 {
            writer.append(0x3D)
            writer.appendDecimal(Int(bits))
        }
    }

    /// What the server agreed to of the offer made with the same `settings`; nil when it agreed to no
    /// extension. After an error the connection must be failed (RFC 7692 §5.1).
    package static func check(
        answer: Span<UInt8>, settings: DeflateSettings
    ) throws(DeflateAnswerError) -> DeflateParameters? {
        var position = 0
        guard let element = DeflateExtension.nextElement(of: answer, at: &position) else { return nil }
        guard settings.isEnabled else { throw .unacceptable }
        guard let given = DeflateExtension(answer.extracting(element)),
            DeflateExtension.nextElement(of: answer, at: &position) == nil
        else { throw .malformed }

        guard given.serverNoContextTakeover || !settings.serverNoContextTakeover else {
            throw .unacceptable
        }
        guard (given.serverWindowBits ?? 15) <= settings.serverWindowBits else { throw .unacceptable }
        var clientWindowBits = compressingClientWindowBits(settings)
        switch given.clientWindowBits {
        case .absent: break
        case .open: throw .malformed
        case .value(let bits):
            guard bits <= clientWindowBits && DeflateSettings.compressingWindowBits.contains(bits)
            else { throw .unacceptable }
            clientWindowBits = bits
        }
        return DeflateParameters(
            serverNoContextTakeover: given.serverNoContextTakeover,
            clientNoContextTakeover: given.clientNoContextTakeover || settings.clientNoContextTakeover,
            serverWindowBits: given.serverWindowBits ?? 15, clientWindowBits: clientWindowBits,
            namesServerWindowBits: given.serverWindowBits != nil)
    }

    /// As a client it is we who compress with it.
    private static func compressingClientWindowBits(_ settings: DeflateSettings) -> UInt8 {
        max(settings.clientWindowBits, DeflateSettings.compressingWindowBits.lowerBound)
    }
}
