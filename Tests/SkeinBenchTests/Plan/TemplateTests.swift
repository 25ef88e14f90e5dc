import SkeinBench
import Testing

@Suite("Template")
struct TemplateTests {
    static var names: Template.Names {
        var names = Template.Names()
        names.user = "u6"
        names.to = "u7"
        names.token = Array("a.b.c".utf8)
        names.index = 6
        names.partner = 7
        names.stream = 0xABC
        return names
    }

    static func text(_ rendered: Template.Rendered) -> String {
        String(decoding: rendered.bytes, as: UTF8.self)
    }

    @Test("placeholders in both notations, and what is none", arguments: [
        ("/ws?id=%index%&to=%partner%", "/ws?id=6&to=7"), ("/pair?id={index}&p={partner}", "/pair?id=6&p=7"),
        ("Authorization: Bearer %token%", "Authorization: Bearer a.b.c"), ("%user%->%to%", "u6->u7"),
        ("100%25 %nothing% {\"a\":{}} %", "100%25 %nothing% {\"a\":{}} %"), ("", ""), ("%%user%%", "%u6%"),
        ("zoë %user% 🧶", "zoë u6 🧶"),
    ])
    func placeholders(template: String, expected: String) {
        #expect(Self.text(Template(template).render(Self.names)) == expected)
    }

    @Test("the marker has its place, and the padding fills up to the size")
    func padding() {
        let template = MessagePreset.template("chat")
        let bare = template.render(Self.names)
        let padded = template.render(Self.names, paddedTo: 128)
        #expect(bare.bytes.count < 128 && padded.bytes.count == 128)
        let place = padded.markerPlace ?? -1
        #expect(String(decoding: padded.bytes[place..<place + 18], as: UTF8.self) == "@@00000abc00000000")
        #expect(template.render(Self.names, paddedTo: 10) == bare)
        #expect(MessagePreset.template("%seq%:%marker%").render(Self.names).numberPlace == 0)
    }
}
