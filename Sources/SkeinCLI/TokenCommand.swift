// `skein token`: a token signed with the configured secret, alone on stdout.

internal import ArgumentParser
internal import SkeinNode

struct TokenCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "token", abstract: "Makes a JWT with the configured secret.",
        discussion: """
            Examples:
              JWT_SECRET=… skein token --user alice
              skein token --config /etc/skein.yaml --user backend --role service --ttl 10m
            """)

    @OptionGroup var options: ConfigurationOptions
    @Option(help: ArgumentHelp("The user ID, `sub`.", valueName: "id"))
    var user: String
    @Option(help: ArgumentHelp("The name that others see.", valueName: "name"))
    var username: String?
    @Option(help: ArgumentHelp("user, service or admin.", valueName: "role"))
    var role = "user"
    @Option(help: ArgumentHelp("How long it is good for.", valueName: "duration"))
    var ttl = "1h"

    func run() async throws {
        guard let role = TokenMinter.Role(rawValue: role) else {
            throw CommandFailure("--role is `\(role)`; write user, service or admin.", status: 64)
        }
        guard let lifetime = DurationText.read(ttl), lifetime >= .seconds(1) else {
            throw CommandFailure(
                "--ttl is `\(ttl)`; write a duration such as 1h or 30m.", status: 64)
        }
        let settings = try options.jwtSettings()
        do throws(ConfigurationProblem) {
            let minter = try await TokenMinter(settings)
            let token = try await minter.mint(
                user: user, username: username, role: role, lifetime: lifetime)
            StandardStream.output.write(line: token)
        } catch {
            throw CommandFailure(error.message)
        }
    }
}
