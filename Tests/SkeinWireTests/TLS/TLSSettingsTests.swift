import Testing
@testable import SkeinWire

@Suite("TLS settings")
struct TLSSettingsTests {
    private let files = Certificates.shared

    @Test func readsChainsAndKeys() throws {
        let identity = try TLSIdentity(
            certificatePEM: files.pem("ec.crt") + files.pem("root.crt"), keyPEM: files.pem("ec.key"))
        #expect(identity.certificates.count == 2 && identity.subject == "CN=ec")
        let locked = try TLSIdentity(
            certificatePEM: files.pem("ec.crt"), keyPEM: files.pem("ec.locked.key"), keyPassword: "open sesame")
        #expect(locked.key == identity.key)
        #expect(try TLSAuthority(certificatePEM: files.pem("root.crt") + files.pem("stranger.crt")).subjects
            == ["CN=Skein test root", "CN=Somebody else"])
    }

    @Test func saysWhatIsWrong() throws {
        let certificate = files.pem("ec.crt")
        let key = files.pem("ec.key")
        func error(_ certificate: [UInt8], _ key: [UInt8], _ password: String? = nil) -> TLSSettingsError? {
            do throws(TLSSettingsError) {
                _ = try TLSIdentity(certificatePEM: certificate, keyPEM: key, keyPassword: password)
                return nil
            } catch {
                return error
            }
        }
        #expect(error([], key) == .notPEM(.certificate))
        #expect(error(Array("hello".utf8), key) == .notPEM(.certificate))
        #expect(error(certificate, []) == .notPEM(.key))
        #expect(error(key, key) == .missing(.certificate))
        #expect(error(certificate, certificate) == .missing(.key))
        #expect(error(certificate, files.pem("rsa.key")) == .keyMismatch(subject: "CN=ec"))
        #expect(error(files.pem("weak.crt"), files.pem("weak.key")) == .weakKey(subject: "CN=weak", bits: 1_024))
        #expect(error(certificate + files.pem("stranger.crt"), key) == .chainOutOfOrder(subject: "CN=ec"))
        for password in [nil, "", "open", String(repeating: "x", count: 5_000)] {
            #expect(error(certificate, files.pem("ec.locked.key"), password) == .wrongPassword)
        }
        var damaged = certificate
        damaged[certificate.count / 2] = 0x21
        guard case .damaged(.certificate, _) = error(damaged, key) else {
            Issue.record("read a damaged certificate")
            return
        }
        // Cut anywhere inside, a file is never taken for a whole one.
        let last = certificate.lastIndex { $0 > 0x20 } ?? 0
        for end in stride(from: 1, to: last, by: 13) {
            let cut = error(Array(certificate[..<end]), key)
            #expect(cut == .halfWritten(.certificate) || cut == .notPEM(.certificate), "cut at \(end)")
        }
        #expect(error(certificate, Array(key[..<(key.count / 2)])) == .halfWritten(.key))
    }

    @Test func refusesContextsThatCannotWork() throws {
        func error(_ change: (inout TLSSettings) -> Void) throws -> TLSSettingsError? {
            var settings = try TLSFixture.settings("ec")
            change(&settings)
            do throws(TLSSettingsError) {
                _ = try TLSContext(settings)
                return nil
            } catch {
                return error
            }
        }
        #expect(try error { $0.identities = [] } == .noIdentity)
        #expect(try error { $0.ciphers = "ROT13" } == .unknownCiphers("ROT13"))
        #expect(try error { $0.clientCertificates = .required } == .missing(.authority))
        #expect(try error { $0.ciphers = "ECDHE-ECDSA-AES256-GCM-SHA384" } == nil)
    }

    @Test func warnsOfDates() throws {
        let expired = try files.identity("expired")
        #expect(expired.warnings(atUnixSeconds: expired.notBeforeUnixSeconds)
            == [.expired(subject: "CN=expired", unixSeconds: expired.notAfterUnixSeconds)])
        let good = try files.identity("ec")
        #expect(good.notAfterUnixSeconds - good.notBeforeUnixSeconds == 30 * 86_400)
        #expect(good.warnings(atUnixSeconds: good.notBeforeUnixSeconds + 1).isEmpty)
        #expect(good.warnings(atUnixSeconds: good.notBeforeUnixSeconds - 1)
            == [.notYetValid(subject: "CN=ec", unixSeconds: good.notBeforeUnixSeconds)])
        #expect(good.warnings(atUnixSeconds: good.notAfterUnixSeconds - 86_400)
            == [.expiresSoon(subject: "CN=ec", unixSeconds: good.notAfterUnixSeconds)])
    }

    @Test func everyErrorSaysWhatToDo() {
        let errors: [TLSSettingsError] = [
            .notPEM(.key), .halfWritten(.certificate), .damaged(.key, reason: "bad"), .missing(.authority),
            .wrongPassword, .keyMismatch(subject: "CN=a"), .weakKey(subject: "CN=a", bits: 512),
            .chainOutOfOrder(subject: "CN=a"), .noIdentity, .unknownCiphers("x"), .openSSL(reason: "bad"),
        ]
        for error in errors {
            #expect(error.description.contains(":"))
            #expect(!error.description.contains("TLSSettingsError"))
        }
    }
}
