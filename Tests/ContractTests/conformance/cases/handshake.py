"""RFC 6455 §4.2 and §9.1: requests that have to be taken, and those that have to be refused."""

import base64

from ..case import (
    RELAY,
    Answer,
    Event,
    Group,
    Pong,
    Request,
    answered,
    close,
    closed,
    echo_of_text,
    frame,
    ping,
    text,
)

group = Group("handshake", opened=False)
add = group.add
alive = (ping(b"alive"), Pong(b"alive"))


def served(name, *, edit=None, headers=(), without=(), answer=None, behind=b"", rest=alive, **how):
    """A request that is taken, after which the connection works."""
    request = Request("/echo", {"headers": headers, "without": without, **how}, edit, behind)
    add(name, request, Answer(101, answer or {}), *rest)


def refused(name, status, *, edit=None, headers=(), without=(), answer=None, path="/echo", **how):
    request = Request(path, {"headers": headers, "without": without, **how}, edit)
    add(name, request, Answer(status, answer or {}))


# Taken

none = {"sec-websocket-protocol": None, "sec-websocket-extensions": None}
served("plain", answer=none)
served("accept-of-the-rfcs-key", key="dGhlIHNhbXBsZSBub25jZQ==",
    answer={"sec-websocket-accept": "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="})  # fmt: skip
for name, values in {
    "upgrade-in-capitals": (("Upgrade", "WEBSOCKET"), ("Connection", "Upgrade")),
    "upgrade-mixed": (("Upgrade", "WebSocket"), ("Connection", "Upgrade")),
    "connection-in-capitals": (("Upgrade", "websocket"), ("Connection", "UPGRADE")),
    "connection-in-small": (("Upgrade", "websocket"), ("Connection", "upgrade")),
    "connection-list": (("Upgrade", "websocket"), ("Connection", "keep-alive, Upgrade")),
    "connection-list-tight": (("Upgrade", "websocket"), ("Connection", "keep-alive,Upgrade,te")),
    "connection-list-empty-elements": (("Upgrade", "websocket"), ("Connection", ", ,Upgrade,")),
    "connection-in-two-lines": (
        ("Upgrade", "websocket"),
        ("Connection", "keep-alive"),
        ("Connection", "Upgrade"),
    ),
    "upgrade-list": (("Upgrade", "h2c, websocket"), ("Connection", "Upgrade")),
    "spaces-around-values": (("Upgrade", "  websocket \t"), ("Connection", "\tUpgrade ")),
    "names-in-capitals": (("UPGRADE", "websocket"), ("CONNECTION", "Upgrade")),
    "names-in-small": (("upgrade", "websocket"), ("connection", "Upgrade")),
    "order-reversed": (("Connection", "Upgrade"), ("Upgrade", "websocket")),
}.items():
    served(name, headers=values, without=("Upgrade", "Connection"))
served("websocket-headers-in-small",
    headers=[("sec-websocket-version", "13")], without=["Sec-WebSocket-Version"])  # fmt: skip
served("no-space-after-colons", edit=(b"Upgrade: websocket", b"Upgrade:websocket"))
served("unknown-headers", headers=[(f"X-Unknown-{n}", "x" * n) for n in range(40)])
served("cookies", headers=[("Cookie", "a=b; c=d"), ("User-Agent", "Mozilla/5.0 (none)")])
served("own-origin", headers=[("Origin", "http://127.0.0.1:{port}")])
served("query", edit=(b"GET /echo ", b"GET /echo?a=b&c=%20d "))
served("absolute-form", edit=(b"GET /echo ", b"GET http://127.0.0.1:{port}/echo "))
served("header-values-beyond-ascii", edit=(b"Upgrade: w", b"X-Name: zo\xeb\r\nUpgrade: w"))
served("frames-behind-it", behind=text(b"early") + ping(b"early"),
    rest=(echo_of_text(b"early"), Pong(b"early")))  # fmt: skip
early = text(b"early")
served("half-a-frame-behind-it", behind=early[:7], rest=(early[7:], echo_of_text(b"early")))
served("close-behind-it", behind=close(1000), rest=(answered(1000),))
served("violation-behind-it", behind=frame(3), rest=(closed(1002),))
add("relay", Request("/ws"), Answer(101, none), Event("connected"), *alive, paths=RELAY)

# Subprotocols

served("subprotocol-unknown", headers=[("Sec-WebSocket-Protocol", "chat")], answer=none)
served("subprotocols-unknown", headers=[("Sec-WebSocket-Protocol", "chat, superchat")], answer=none)
served("subprotocol-bearer", headers=[("Sec-WebSocket-Protocol", "bearer, {token}")], token=None,
    answer={"sec-websocket-protocol": "bearer"})  # fmt: skip
served("subprotocol-bearer-in-two-lines", token=None,
    headers=[("Sec-WebSocket-Protocol", "bearer"), ("Sec-WebSocket-Protocol", "{token}")],
    answer={"sec-websocket-protocol": "bearer"})  # fmt: skip

for name, value in {
    "empty": "",
    "two-words": "chat room",
    "not-a-token": "chat, b@d",
    "not-ascii": "ch\xe4t",
    "twice-the-same": "chat, chat",
}.items():
    refused(f"subprotocol-malformed-{name}", 400, headers=[("Sec-WebSocket-Protocol", value)])

# Extensions that nobody here knows are not taken; what is no extension list at all is refused

for name, value in {
    "unknown": "x-unknown",
    "unknown-with-parameters": 'x-unknown; a; b=1; c="two"',
    "several-unknown": "foo, bar; baz=2, qux",
    "old-deflate": "x-webkit-deflate-frame, deflate-stream",
    "almost-deflate": "permessage-deflated",
}.items():
    served(f"extension-{name}", headers=[("Sec-WebSocket-Extensions", value)], answer=none)
served("extension-unknown-in-two-lines",
    headers=[("Sec-WebSocket-Extensions", "foo"), ("Sec-WebSocket-Extensions", "bar; baz=2")],
    answer=none)  # fmt: skip
for name, value in {
    "semicolon-alone": ";",
    "no-name": "; a=1",
    "parameter-without-name": "foo; =1",
    "value-missing": "foo; a=",
    "parameter-missing": "foo;",
    "two-words": "foo bar",
    "quote-open": 'foo; a="1',
    "quoted-not-a-token": 'foo; a="1 2"',
    "name-not-a-token": "fo@o",
    "value-not-a-token": "foo; a=b=c",
    "second-malformed": "foo, bar; =",
}.items():
    refused(f"extension-malformed-{name}", 400, headers=[("Sec-WebSocket-Extensions", value)])

# Refused

refused("no-upgrade", 426, without=["Upgrade"])
refused("no-connection", 426, without=["Connection"])
refused("other-upgrade", 426, headers=[("Upgrade", "h2c")], without=["Upgrade"])
refused("upgrade-websockets", 426, headers=[("Upgrade", "websockets")], without=["Upgrade"])
refused("other-connection", 426, headers=[("Connection", "close")], without=["Connection"])
refused("no-host", 400, without=["Host"])
refused("two-hosts", 400, headers=[("Host", "other.example")])
thirteen = {"sec-websocket-version": "13"}
for version in (
    "0",
    "7",
    "8",
    "12",
    "14",
    "25",
    "255",
    "013",
    "-13",
    "1 3",
    "13;",
    "x",
    "",
    "13, 8",
):
    refused(f"version-{version or 'empty'}", 426, answer=thirteen, without=["Sec-WebSocket-Version"],
        headers=[("Sec-WebSocket-Version", version)])  # fmt: skip
refused("no-version", 426, without=["Sec-WebSocket-Version"], answer=thirteen)
refused("version-twice", 400, headers=[("Sec-WebSocket-Version", "13")])
refused("no-key", 400, without=["Sec-WebSocket-Key"])
for size in (0, 1, 8, 14, 15, 17, 18, 32):
    refused(f"key-of-{size}", 400, without=["Sec-WebSocket-Key"],
        headers=[("Sec-WebSocket-Key", base64.b64encode(bytes(size)).decode())])  # fmt: skip
for name, key in {
    "not-base64": "!" * 22 + "==",
    "unpadded": "dGhlIHNhbXBsZSBub25jZQ",
    "half-padded": "dGhlIHNhbXBsZSBub25jZQ=",
    "url-alphabet": "-_-_-_-_-_-_-_-_-_-_-w==",
    "space-within": "dGhlIHNhbXBsZ BubA25jZQ=",
}.items():
    refused(f"key-{name}", 400, without=["Sec-WebSocket-Key"], headers=[("Sec-WebSocket-Key", key)])
refused("key-twice", 400, headers=[("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")])
for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH", "get", "FOO"):
    refused(f"method-{method}", 405, method=method)
for version in ("HTTP/1.0", "HTTP/0.9", "HTTP/2.0", "HTTP/3.0"):
    refused(version.lower().replace("/", "-"), 505, version=version)
refused("http-lower-case", (400, 505), version="http/1.1")
refused("body-by-length", 400, headers=[("Content-Length", "5")])
refused("body-by-chunks", 400, headers=[("Transfer-Encoding", "chunked")])
refused("obs-fold", 400, headers=[("X-Folded", "one\r\n two")])
refused("bare-line-feed", 400, edit=(b"Upgrade: websocket\r\n", b"Upgrade: websocket\n"))
refused("space-before-colon", 400, edit=(b"Upgrade: w", b"Upgrade : w"))
refused("nul-in-a-value", 400, edit=(b"Upgrade: w", b"X-Nul: a\0b\r\nUpgrade: w"))
refused("header-without-colon", 400, edit=(b"Upgrade: w", b"Nonsense\r\nUpgrade: w"))
refused("path-unknown", 404, path="/no-such-path")
refused("path-longer", 404, path="/echo/")
refused("path-in-capitals", 404, path="/ECHO")
refused("fragment-in-the-target", 400, path="/echo#part")
refused("other-origin", 403, headers=[("Origin", "https://evil.example")])
refused("no-token", 401, token=None)
refused("bad-token", 401, token="not.a.token")
refused("head-too-large", 431, headers=[("X-Big", "x" * 20_000)])
