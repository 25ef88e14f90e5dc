// Certificates for the TLS tests, made once per run by the openssl command in a directory of its own.

import Foundation
@testable import SkeinWire

struct Certificates: Sendable {
    static let shared = Certificates()

    private let folder: URL

    private init() {
        folder = FileManager.default.temporaryDirectory.appending(path: "skein-tls-\(UUID().uuidString)")
        try? FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        makeAuthority("root", subject: "/CN=Skein test root")
        makeAuthority("stranger", subject: "/CN=Somebody else")
        make("ec", names: "DNS:localhost,IP:127.0.0.1")
        make("rsa", names: "DNS:localhost,DNS:rsa.example.org", key: ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"])
        make("chat", names: "DNS:chat.example.org")
        make("wild", names: "DNS:*.example.org")
        make("plain", names: nil, subject: "/CN=plain.example.org")
        make("client", names: "DNS:nobody", subject: "/O=Skein/CN=client seven")
        make("intruder", names: "DNS:nobody", subject: "/CN=intruder", issuer: "stranger")
        make("weak", names: "DNS:localhost", key: ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"])
        make("expired", names: "DNS:localhost", days: "-1")
        run("pkey", "-in", "ec.key", "-aes256", "-passout", "pass:open sesame", "-out", "ec.locked.key")
    }

    func pem(_ name: String) -> [UInt8] {
        guard let data = try? Data(contentsOf: folder.appending(path: name)) else {
            preconditionFailure("no test file \(name)")
        }
        return [UInt8](data)
    }

    func identity(_ name: String) throws -> TLSIdentity {
        try TLSIdentity(certificatePEM: pem("\(name).crt"), keyPEM: pem("\(name).key"))
    }

    func authority(_ name: String = "root") throws -> TLSAuthority {
        try TLSAuthority(certificatePEM: pem("\(name).crt"))
    }

    private static let curve = ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]

    private func makeAuthority(_ name: String, subject: String) {
        run(["genpkey"] + Self.curve + ["-out", "\(name).key"])
        run("req", "-x509", "-new", "-key", "\(name).key", "-subj", subject, "-days", "30",
            "-out", "\(name).crt")
    }

    private func make(
        _ name: String, names: String?, subject: String? = nil, key: [String] = curve,
        issuer: String = "root", days: String = "30"
    ) {
        run(["genpkey"] + key + ["-out", "\(name).key"])
        run("req", "-new", "-key", "\(name).key", "-subj", subject ?? "/CN=\(name)", "-out", "\(name).csr")
        let extensions = names.map { "subjectAltName=\($0)" } ?? "basicConstraints=CA:FALSE"
        try? Data(extensions.utf8).write(to: folder.appending(path: "\(name).ext"))
        run("x509", "-req", "-in", "\(name).csr", "-CA", "\(issuer).crt", "-CAkey", "\(issuer).key",
            "-CAcreateserial", "-days", days, "-extfile", "\(name).ext", "-out", "\(name).crt")
    }

    private func run(_ arguments: String...) { run(arguments) }

    private func run(_ arguments: [String]) {
        let process = Process()
        process.executableURL = URL(filePath: "/usr/bin/openssl")
        process.arguments = arguments
        process.currentDirectoryURL = folder
        process.standardError = FileHandle.nullDevice
        process.standardOutput = FileHandle.nullDevice
        try? process.run()
        process.waitUntilExit()
        precondition(process.terminationStatus == 0, "openssl \(arguments.joined(separator: " ")) failed")
    }
}
