// The control plane over a real socket on loopback.

import Foundation
import FoundationNetworking
import Skein
import SkeinNode
import Testing

@Suite struct ControlListenerTests {
    private func withListener(
        _ body: (String, FakeNode) async throws -> Void
    ) async throws {
        let node = FakeNode()
        let logs = LogQueue(LogSettings(), write: { _ in true })
        let listen = try #require(ListenAddress("127.0.0.1:0"))
        let plane = ControlPlane(
            node: node, settings: ControlSettings(listen: listen), authenticator: nil, logs: logs)
        let listener = try await ControlListener.start(plane, on: listen, logs: logs)
        try await body("http://\(listener.address)", node)
        await listener.stop()
    }

    private func send(
        _ method: String, _ url: String, body: Data? = nil
    ) async throws -> (status: Int, type: String?, body: String) {
        var request = URLRequest(url: try #require(URL(string: url)))
        request.httpMethod = method
        request.httpBody = body
        let (data, response) = try await URLSession.shared.data(for: request)
        let http = try #require(response as? HTTPURLResponse)
        return (
            http.statusCode, http.value(forHTTPHeaderField: "Content-Type"),
            String(decoding: data, as: UTF8.self)
        )
    }

    @Test func answersOverHTTP() async throws {
        try await withListener { url, node in
            let health = try await send("GET", url + "/health")
            #expect(health.status == 200)
            #expect(health.type == "application/json")
            let metrics = try await send("GET", url + "/metrics")
            #expect(metrics.type == "text/plain; version=0.0.4; charset=utf-8")
            let user = try await send("GET", url + "/connections?user=alice&x=1")
            #expect(user.body.contains(#""connectionId":"c1""#))
            let body = Data(#"{"userId":"alice","code":4403}"#.utf8)
            #expect(try await send("POST", url + "/disconnect", body: body).status == 200)
            #expect(node.state { $0.closed } == ["alice 4403 "])
            #expect(try await send("POST", url + "/drain").status == 202)
            #expect(try await send("GET", url + "/drain").body.contains(#""phase":"waves""#))
            #expect(try await send("GET", url + "/no").status == 404)
            let large = Data(repeating: 0x20, count: ControlPlane.bodyBytesMax + 1)
            #expect(try await send("POST", url + "/disconnect", body: large).status == 413)
        }
    }

    @Test func aTakenPortIsSaidSo() async throws {
        try await withListener { url, node in
            let listen = try #require(ListenAddress(String(url.dropFirst("http://".count))))
            let logs = LogQueue(LogSettings(), write: { _ in true })
            let plane = ControlPlane(
                node: node, settings: ControlSettings(listen: listen), authenticator: nil,
                logs: logs)
            let error = await #expect(throws: ServerError.self) {
                try await ControlListener.start(plane, on: listen, logs: logs)
            }
            #expect(error?.description.contains("--control-listen") == true)
        }
    }
}
