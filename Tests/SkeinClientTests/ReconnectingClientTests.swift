import SkeinClient
import Testing

/// Conversations, input by input, and what the machine says to each.
@Suite("ReconnectingClient")
struct ReconnectingClientTests {
    static let greeting =
        #"{"type":"connected","data":{"connectionId":"c","epoch":"e1","offset":"5-0","resume":true}}"#

    static func event(_ offset: String) -> String {
        #"{"type":"chat_message","offset":"\#(offset)","data":{"message":{"type":"x","offset":"9-9"}},"timestamp":"t"}"#
    }

    static func resumed(_ recovered: Bool, _ replayed: Int = 0) -> String {
        #"{"type":"resumed","data":{"recovered":\#(recovered),"replayed":\#(replayed)},"timestamp":"t"}"#
    }

    static func started() -> ReconnectingClient {
        var client = ReconnectingClient(seed: 7)
        _ = client.start()
        return client
    }

    static func say(_ text: String, to client: inout ReconnectingClient) -> ReconnectingClient.Received {
        client.textReceived(Array(text.utf8).span)
    }

    /// Of a `connect`.
    static func connect(_ next: ReconnectingClient.Next) -> (milliseconds: Int, query: String?)? {
        guard case .connect(let milliseconds, let query) = next else { return nil }
        return (milliseconds, query)
    }

    /// Of a `renewToken`.
    static func renewal(_ next: ReconnectingClient.Next) -> String? {
        guard case .renewToken(_, let query) = next else { return nil }
        return query
    }

    @Test("the first connection is at once and asks for nothing")
    func first() {
        var client = ReconnectingClient(seed: 1)
        #expect(client.start() == .connect(afterMilliseconds: 0, query: nil))
    }

    @Test("a greeting's offset is the place until an event has one")
    func place() {
        var client = Self.started()
        #expect(client.query == nil)
        #expect(Self.say(Self.greeting, to: &client) == .connected(mayResume: true))
        #expect(client.query == "resume=e1:5-0")
        #expect(Self.say(Self.event("6-1"), to: &client) == .deliver)
        #expect(client.query == "resume=e1:6-1")
        let plain = #"{"type":"typing","data":{"senderId":"a","isTyping":true},"timestamp":"t"}"#
        #expect(Self.say(plain, to: &client) == .deliver)
        #expect(client.query == "resume=e1:6-1")
    }

    @Test("what came before is a duplicate, and changes no place")
    func duplicates() {
        var client = Self.started()
        _ = Self.say(Self.greeting, to: &client)
        #expect(Self.say(Self.event("6-1"), to: &client) == .deliver)
        #expect(Self.say(Self.event("6-1"), to: &client) == .duplicate)
        #expect(Self.say(Self.event("6-0"), to: &client) == .duplicate)
        #expect(Self.say(Self.event("10-0"), to: &client) == .deliver)
        #expect(client.query == "resume=e1:10-0")
    }

    @Test("recovered: the missed events once, and on from there")
    func recovered() {
        var client = Self.started()
        _ = Self.say(Self.greeting, to: &client)
        _ = Self.say(Self.event("6-0"), to: &client)
        #expect(Self.connect(client.lost())?.query == "resume=e1:6-0")
        let again = Self.greeting.replacing("5-0", with: "9-0")
        #expect(Self.say(again, to: &client) == .connected(mayResume: true))
        #expect(Self.say(Self.event("6-0"), to: &client) == .duplicate)
        #expect(Self.say(Self.event("7-0"), to: &client) == .deliver)
        // Cut off in the middle of it: the place is what was given, not what the greeting said.
        #expect(Self.connect(client.lost())?.query == "resume=e1:7-0")
        _ = Self.say(again, to: &client)
        #expect(Self.say(Self.event("9-0"), to: &client) == .deliver)
        #expect(Self.say(Self.resumed(true, 1), to: &client) == .resumed(replayed: 1))
        #expect(Self.say(Self.event("9-1"), to: &client) == .deliver)
    }

    @Test("not recovered: read anew, and go on from the greeting, in its epoch")
    func notRecovered() {
        var client = Self.started()
        _ = Self.say(Self.greeting, to: &client)
        _ = Self.say(Self.event("700-0"), to: &client)
        _ = client.lost()
        let anew = Self.greeting.replacing("e1", with: "e 2").replacing("5-0", with: "3-0")
        _ = Self.say(anew, to: &client)
        #expect(Self.say(Self.resumed(false), to: &client) == .reread)
        #expect(client.query == "resume=e%202:3-0")
        // Offsets begin again in a new epoch: smaller ones are no duplicates.
        #expect(Self.say(Self.event("4-0"), to: &client) == .deliver)
    }

    @Test("a node without history: every return is a reread")
    func withoutHistory() {
        let plain = #"{"type":"connected","data":{"connectionId":"c","resume":false},"timestamp":"t"}"#
        var client = Self.started()
        #expect(Self.say(plain, to: &client) == .connected(mayResume: false))
        let next = Self.connect(client.lost())
        #expect(next != nil && next?.query == nil)
        #expect(Self.say(plain, to: &client) == .connected(mayResume: false))
        // From one with history to one without.
        _ = Self.say(Self.greeting, to: &client)
        _ = client.lost()
        #expect(Self.say(plain, to: &client) == .reread)
    }

    @Test("a hint is honoured to the millisecond, and bounded", arguments: [
        (#"{"reconnectAfterMs":1234}"#, 1_234), (#"{ "reconnectAfterMs" : 0 }"#, 0),
        (#"{"reconnectAfterMs":99999999}"#, 300_000),
    ])
    func hints(reason: String, milliseconds: Int) {
        var client = Self.started()
        let next = client.closed(code: 1012, reason: reason)
        #expect(next == .connect(afterMilliseconds: milliseconds, query: nil))
    }

    @Test("sent away for what no place leads to: a reread, once")
    func nothingToResume() {
        var client = Self.started()
        _ = Self.say(Self.greeting, to: &client)
        let away = client.closed(code: 1012, reason: #"{"reconnectAfterMs":7,"resume":false}"#)
        #expect(away == .connect(afterMilliseconds: 7, query: nil))
        // Also where the next connection cannot be made.
        #expect(Self.connect(client.refused(status: 503))?.query == nil)
        #expect(Self.say(Self.greeting, to: &client) == .reread)
        let again = client.closed(code: 1012, reason: #"{"reconnectAfterMs":7,"resume":true}"#)
        #expect(Self.connect(again)?.query != nil)
        _ = client.lost()
        #expect(Self.say(Self.greeting, to: &client) == .connected(mayResume: true))
    }

    @Test("without a usable hint it backs off", arguments: [
        "", "restart", "{", #"{"reconnectAfterMs":-5}"#, #"{"reconnectAfterMs":"7"x}"#,
        #"{"reconnectAfterMs":1e3}"#,
    ])
    func noHint(reason: String) {
        var client = Self.started()
        let next = Self.connect(client.closed(code: 1012, reason: reason))
        #expect((125...500).contains(next?.milliseconds ?? -1))
    }

    @Test("waits grow to their bound, spread over it, and begin again after a greeting")
    func backOff() {
        var client = Self.started()
        var waits: [Int] = []
        for _ in 0..<200 {
            if let next = Self.connect(client.lost()) { waits.append(next.milliseconds) }
        }
        #expect(waits.count == 200)
        #expect(waits.allSatisfy { (125...10_000).contains($0) })
        for (round, wait) in waits.prefix(5).enumerated() { #expect(wait <= 250 << (round + 1)) }
        let late = waits.dropFirst(8)
        #expect(late.contains { $0 < 2_500 } && late.contains { $0 > 7_500 })
        _ = Self.say(Self.greeting, to: &client)
        #expect((125...500).contains(Self.connect(client.lost())?.milliseconds ?? -1))
    }

    @Test("two seeds do not come back together")
    func seeds() {
        var one = ReconnectingClient(seed: 1), two = ReconnectingClient(seed: 2)
        let apart = (0..<20).filter { _ in one.lost() != two.lost() }
        #expect(apart.count > 15)
        var zero = ReconnectingClient(seed: 0)
        #expect(zero.lost() != zero.lost())
    }

    @Test("closes and answers that mean it")
    func ends() {
        var client = Self.started()
        #expect(client.closed(code: 1000, reason: "") == .giveUp(.closed(code: 1000)))
        #expect(client.closed(code: 4403, reason: "") == .giveUp(.closed(code: 4403)))
        for status in [400, 403, 404, 426, 301] {
            #expect(client.refused(status: status) == .giveUp(.refused(status: status)))
        }
    }

    @Test("an expired or refused token is renewed, with the place kept")
    func tokens() {
        var client = Self.started()
        _ = Self.say(Self.greeting, to: &client)
        #expect(Self.renewal(client.closed(code: 4401, reason: "token expired")) == "resume=e1:5-0")
        #expect(Self.renewal(client.refused(status: 401)) == "resume=e1:5-0")
    }

    @Test("Retry-After is a floor", arguments: [429, 503])
    func retryAfter(status: Int) {
        var client = Self.started()
        let next = Self.connect(client.refused(status: status, retryAfterSeconds: 7))
        #expect((7_125...7_500).contains(next?.milliseconds ?? -1))
        let bounded = Self.connect(client.refused(status: status, retryAfterSeconds: .max))
        #expect((300_000...301_000).contains(bounded?.milliseconds ?? -1))
    }

    @Test("what is no envelope is the application's", arguments: [
        "", "{", "[]", "hello", #"{"type":7}"#, #"{"type":"x","offset":7}"#, #"{"type":"x","offset":"7"}"#,
        #"{"type":"x","offset":"7-"}"#, #"{"type":"x","offset":"-7"}"#, #"{"type":"x","offset":"1-2-3"}"#,
        #"{"type":"x","offset":"99999999999999999999999-1"}"#,
        #"{"type":"resumed","data":{"recovered":false}}"#,
        #"{"a":"\"#,
    ])
    func strange(text: String) {
        var client = Self.started()
        #expect(Self.say(text, to: &client) == .deliver)
        #expect(client.query == nil)
    }

    @Test("members are found wherever they stand, and not inside of others")
    func members() {
        var client = Self.started()
        let text = """
             { "data" : { "resume" : true , "offset":"1-1","x":[{"}":"]"},"\\"epoch\\":"], "epoch":"e"} ,
               "type" : "connected" }
            """
        #expect(Self.say(text, to: &client) == .connected(mayResume: true))
        #expect(client.query == "resume=e:1-1")
    }
}
