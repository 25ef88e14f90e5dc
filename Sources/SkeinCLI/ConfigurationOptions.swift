// How every command that needs the configuration gets it: flags, then environment, then the file.

internal import ArgumentParser
internal import SkeinNode

struct ConfigurationOptions: ParsableArguments {
    @Option(
        name: .customLong("config"),
        help: ArgumentHelp(
            "A YAML or JSON file whose keys are the environment names.", valueName: "file"))
    var file: String?

    func sources(flags: [String: String] = [:]) -> ConfigurationSources {
        ConfigurationSources(
            flags: flags, environment: ConfigurationSources.environmentOfProcess(), filePath: file)
    }

    /// For commands that need some values and are not bothered by what is wrong with others.
    /// - Throws: where the file cannot be read or JWT_SECRET cannot be used.
    func jwtSettings() throws(CommandFailure) -> JWTSettings {
        let report = NodeConfiguration.load(sources(), keysNeeded: false)
        if let fatal = report.errors.first(where: { $0.key == nil }) {
            throw CommandFailure(fatal.message)
        }
        guard let jwt = report.jwt else {
            let fatal = report.errors.first { $0.key == "JWT_SECRET" }
            throw CommandFailure(
                fatal?.message ?? "JWT_SECRET cannot be used; see `skein config check`.")
        }
        return jwt
    }

    /// What the control listener of another machine asks for, where we have it.
    func controlClient(
        _ url: String?, _ trust: ControlTrustOptions
    ) async throws(CommandFailure) -> ControlClient {
        let report = NodeConfiguration.load(sources(), keysNeeded: false)
        let configured = report.entries.first { $0.key == "CONTROL_LISTEN" }?.value
        // To listen everywhere is no place to call; this machine is.
        var here = configured ?? "127.0.0.1:9090"
        if here.hasPrefix("0.0.0.0:") { here = "127.0.0.1" + here.dropFirst("0.0.0.0".count) }
        // What is configured here speaks TLS where a certificate is.
        let hasTLS = report.entries.contains { $0.key == "CONTROL_TLS_CERTIFICATE" && !$0.value.isEmpty }
        let address = try ServerURL(
            url ?? (hasTLS ? "https://" : "") + here, scheme: "http", option: "--control", takesTLS: true)
        let trust = try trust.trust()
        if let key = report.apiKeys.first {
            return ControlClient(url: address, trust: trust, credential: ("X-API-Key", key))
        }
        if let jwt = report.jwt, let minter = try? await TokenMinter(jwt),
            let token = try? await minter.mint(
                user: "skein-operator", role: .admin, lifetime: .seconds(60))
        {
            return ControlClient(
                url: address, trust: trust, credential: ("Authorization", "Bearer \(token)"))
        }
        return ControlClient(url: address, trust: trust, credential: nil)
    }
}
