import SkeinWire
import Testing

@Suite struct CredentialsTests {
    @Test(
        arguments: [
            ("Bearer abc", "abc"), ("bearer  abc ", "abc"), ("BEARER\ta.b-c_d", "a.b-c_d"),
            ("Bearer", nil), ("Bearer ", nil), ("Bearer  ", nil), ("Basic abc", nil),
            ("Bearerabc", nil), ("Bearer a b", nil), ("", nil),
        ] as [(String, String?)])
    func readsAuthorization(value: String, token: String?) {
        let bytes = value.bytes
        let found = Bearer.token(inAuthorization: bytes.span)
        #expect(found.map(value.text) == token)
    }

    @Test(
        arguments: [
            ("bearer, abc", "abc"), ("bearer,abc", "abc"), ("chat, bearer ,\tabc", "abc"),
            ("bearer, abc, chat", "abc"), ("bearer", nil), ("bearer,", nil), ("bearer, ,abc", nil),
            ("abc, bearer", nil), ("bearers, abc", nil), ("", nil), (",,", nil),
        ] as [(String, String?)])
    func readsSubprotocols(value: String, token: String?) {
        let bytes = value.bytes
        let found = Bearer.token(inProtocols: bytes.span)
        #expect(found.map(value.text) == token)
    }

    @Test(arguments: [
        ("http://example.com", "example.com", true),
        ("http://EXAMPLE.com", "example.COM", true),
        ("https://example.com", "example.com", true),
        ("https://example.com", "example.com:443", true),
        ("http://example.com:80", "example.com", true),
        ("http://example.com:8080", "example.com:8080", true),
        ("http://[::1]:8080", "[::1]:8080", true),
        ("http://[::1]", "[::1]", true),
        ("http://[::1]", "[::1]:80", true),
        ("http://example.com:8080", "example.com", false),
        ("http://example.com", "example.com:8080", false),
        ("https://example.com", "example.com:80", false),
        ("http://example.com.evil.org", "example.com", false),
        ("http://evil-example.com", "example.com", false),
        ("http://example.com:80x", "example.com", false),
        ("http://example.com:999999", "example.com:999999", false),
        ("null", "null", false),
        ("", "example.com", false),
        ("http://", "", false),
        ("file://example.com", "example.com", false),
        ("http://[::1]", "[::2]", false),
    ])
    func comparesOriginWithHost(origin: String, host: String, isSame: Bool) {
        let (originBytes, hostBytes) = (origin.bytes, host.bytes)
        let answer = Origin.isSameHost(origin: originBytes.span, host: hostBytes.span)
        #expect(answer == isSame)
    }
}

@Suite struct QueryStringTests {
    static func value(_ name: StaticString, _ query: String) -> String? {
        let bytes = query.bytes
        return QueryString.value(of: name, in: bytes.span).map(query.text)
    }

    static func decode(_ raw: String) -> String? {
        let bytes = raw.bytes
        return ByteWriter.withTemporary(capacity: bytes.count) { writer in
            guard QueryString.decode(bytes.span, into: &writer) else { return nil }
            return writer.withWritten { string(copy($0)) }
        }
    }

    @Test func findsParameters() {
        #expect(Self.value("token", "token=abc") == "abc")
        #expect(Self.value("token", "a=1&token=abc&b=2") == "abc")
        #expect(Self.value("resume", "token=abc&resume=e:1-0") == "e:1-0")
        #expect(Self.value("token", "token=a=b") == "a=b")
        #expect(Self.value("token", "token=") == "")
        #expect(Self.value("token", "token") == "")
        #expect(Self.value("token", "token=first&token=second") == "first")
        #expect(Self.value("token", "mytoken=x&token2=y&tokens") == nil)
        #expect(Self.value("token", "") == nil)
        #expect(Self.value("token", "&&&") == nil)
    }

    @Test func undoesPercentEncoding() {
        #expect(Self.decode("a%2Bb+c%c5%bE") == "a+b cž")
        #expect(Self.decode("") == "")
        #expect(Self.decode("plain.-_~") == "plain.-_~")
        for bad in ["%", "%1", "a%zz", "%%30", "%0"] { #expect(Self.decode(bad) == nil) }
    }
}
