// How the commands that ask a control listener over TLS know it, and how it knows them.

internal import ArgumentParser
internal import SkeinNode

struct ControlTrustOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Authorities of a control listener with TLS, of wss:// too where a command takes one, PEM (CONTROL_CA); "
                + "else the system's.",
            valueName: "file"))
    var ca: String?
    @Option(
        help: ArgumentHelp(
            "Our certificate, where the listener asks for one, PEM (CONTROL_CERT).", valueName: "file"))
    var cert: String?
    @Option(help: ArgumentHelp("Its private key, PEM (CONTROL_KEY).", valueName: "file"))
    var key: String?

    func trust() throws(CommandFailure) -> ControlTrust {
        let environment = ConfigurationSources.environmentOfProcess()
        func value(_ given: String?, _ name: String) -> String? {
            (given ?? environment[name]).flatMap { $0.isEmpty ? nil : $0 }
        }
        let trust = ControlTrust(
            authorities: value(ca, "CONTROL_CA"), certificate: value(cert, "CONTROL_CERT"),
            key: value(key, "CONTROL_KEY"))
        guard (trust.certificate == nil) == (trust.key == nil) else {
            throw CommandFailure("--cert and --key go together; give both, or none.", status: 64)
        }
        return trust
    }
}
