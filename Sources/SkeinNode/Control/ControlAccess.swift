// Who may ask the control plane. Callers on this machine are trusted; others show an API key or a
// service token for all but the three readings that load balancers and Prometheus take. Web pages
// are never trusted, wherever their browser is.

internal import Skein

struct ControlAccess: Sendable {
    let node: any NodeControl
    let settings: ControlSettings
    let authenticator: JWTAuthenticator?

    /// - Returns: `nil` where the caller may go on.
    func refusal(of request: ControlRequest, isOpen: Bool) async -> ControlResponse? {
        // A page in the operator's browser can send requests here, and by rebinding its name to
        // 127.0.0.1 even read the answers. Tools send no Origin and name us by address.
        if request.origin != nil {
            return .error(403, "FORBIDDEN", "Web pages may not call the control listener.")
        }
        if settings.listen.isLoopback, let host = request.host, !Self.isLoopback(host: host) {
            return .error(
                403, "FORBIDDEN",
                "The control listener is on loopback only; call it as 127.0.0.1 or localhost.")
        }
        guard !isOpen, !request.isLocal, !request.hasCertificate else { return nil }
        if let key = request.apiKey {
            guard settings.apiKeys.contains(where: { Self.equal($0, key) }) else {
                return .error(401, "UNAUTHORIZED", "The X-API-Key is not one of API_KEY.")
            }
            return nil
        }
        guard let token = request.token, let authenticator else {
            return .error(
                401, "UNAUTHORIZED",
                "From another machine this needs X-API-Key, or a token with the role service or "
                    + "admin; set one of them.")
        }
        do throws(AuthenticationFailure) {
            let verified = try await authenticator.verify(token)
            guard !node.isRevoked(verified.identity) else { throw AuthenticationFailure.revoked }
            guard verified.isService else {
                return .error(
                    403, "FORBIDDEN", "The token has neither the role service nor admin.")
            }
            return nil
        } catch {
            return .error(401, "UNAUTHORIZED", "The token was refused: \(error.rawValue).")
        }
    }

    private static func isLoopback(host: String) -> Bool {
        ListenAddress.isLoopback(ListenAddress(host)?.host ?? host.trimmingBrackets)
    }

    /// Takes the same time wherever the first difference is.
    private static func equal(_ left: String, _ right: String) -> Bool {
        let left = Array(left.utf8)
        let right = Array(right.utf8)
        guard left.count == right.count else { return false }
        var difference: UInt8 = 0
        for index in left.indices { difference |= left[index] ^ right[index] }
        return difference == 0
    }
}

private extension String {
    var trimmingBrackets: String {
        hasPrefix("[") && hasSuffix("]") ? String(dropFirst().dropLast()) : self
    }
}
