// What the settings of keys and certificates mean together. The files are read here once, so that a
// check says what a start would.

internal import FoundationEssentials

extension ConfigurationBuilder {
    mutating func makeJWT(keysNeeded: Bool) -> JWTSettings? {
        if values.text("JWT_SECRET") == nil, isDevelopment {
            values.set("JWT_SECRET", .text(Self.randomSecret()), .development)
        }
        var jwt = JWTSettings(secret: values.text("JWT_SECRET"))
        jwt.publicKeyFile = values.text("JWT_PUBLIC_KEY_FILE")
        jwt.jwksFile = values.text("JWT_JWKS_FILE")
        jwt.jwksURL = values.text("JWT_JWKS_URL")
        jwt.jwksAuthorities = values.text("JWT_JWKS_CA")
        jwt.jwksRefresh = values.duration("JWT_JWKS_REFRESH") ?? jwt.jwksRefresh
        jwt.issuers = values.list("JWT_ISSUER")
        jwt.audiences = values.list("JWT_AUDIENCE")
        jwt.leeway = values.duration("JWT_LEEWAY") ?? jwt.leeway
        jwt.cacheEntriesMax = values.integer("JWT_CACHE_SIZE") ?? jwt.cacheEntriesMax
        guard keysNeeded else { return jwt }
        guard jwt.hasKeys else {
            fail(
                "JWT_SECRET",
                "JWT_SECRET is not set, nor any public key, so no client could prove who it is; set it to "
                    + "the secret that your backend signs tokens with (32 bytes or more), or "
                    + "JWT_PUBLIC_KEY_FILE, JWT_JWKS_FILE or JWT_JWKS_URL, or start with --dev to get one "
                    + "made.")
            return nil
        }
        checkURL(jwt)
        do throws(ConfigurationProblem) {
            try KeyRing.check(jwt)
            if let path = jwt.jwksAuthorities {
                try Certificates.check("JWT_JWKS_CA", path)
                if jwt.jwksURL == nil { warn("JWT_JWKS_CA", "JWT_JWKS_CA is set without a JWT_JWKS_URL.") }
            }
        } catch {
            add(error)
        }
        return jwt
    }

    /// Keys that came over a network in the clear could be anybody's.
    private mutating func checkURL(_ jwt: JWTSettings) {
        guard let text = jwt.jwksURL else { return }
        let url = URL(string: text)
        let host = url?.host(percentEncoded: false) ?? ""
        let isSafe: Bool =
            switch url?.scheme?.lowercased() {
            case "https": true
            case "http": ListenAddress.isLoopback(host)
            default: false
            }
        guard isSafe, !host.isEmpty, url?.user == nil, url?.password == nil else {
            fail(
                "JWT_JWKS_URL",
                "JWT_JWKS_URL has to be an https URL without a password, or http to this machine: whoever "
                    + "can change what it answers can sign in as anyone.")
            return
        }
    }

    mutating func makeControlTLS(readsFiles: Bool) -> ControlTLSSettings? {
        let certificate = values.text("CONTROL_TLS_CERTIFICATE")
        let key = values.text("CONTROL_TLS_KEY")
        let authorities = values.text("CONTROL_TLS_CLIENT_CA")
        guard let certificate, let key else {
            let given = [
                ("CONTROL_TLS_CERTIFICATE", certificate), ("CONTROL_TLS_KEY", key),
                ("CONTROL_TLS_CLIENT_CA", authorities),
            ].first { $0.1 != nil }
            if let given {
                fail(
                    given.0,
                    "\(given.0) is set, but TLS on the control listener takes both CONTROL_TLS_CERTIFICATE "
                        + "and CONTROL_TLS_KEY; set both, or none.")
            }
            return nil
        }
        let settings = ControlTLSSettings(certificate: certificate, key: key, clientAuthorities: authorities)
        guard readsFiles else { return settings }
        do throws(ConfigurationProblem) {
            try ControlTLS.check(settings)
        } catch {
            add(error)
        }
        return settings
    }

    /// 256 random bits in hexadecimal.
    static func randomSecret() -> String {
        var generator = SystemRandomNumberGenerator()
        return (0..<4).map { _ in
            let digits = String(generator.next() as UInt64, radix: 16)
            return String(repeating: "0", count: 16 - digits.count) + digits
        }.joined()
    }
}
