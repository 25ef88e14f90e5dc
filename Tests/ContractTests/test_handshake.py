"""The handshake table: what is let in, and what each kind of refusal looks like."""

import base64
import json
import os
import time

import pytest
from websockets.exceptions import InvalidStatus

from harness.raw import PING, PONG, TEXT, RawSocket, frame_bytes, upgrade_request
from harness.tokens import SECRET, encode, sign, token
from harness.wait import until


@pytest.fixture(scope="module")
def node(start_shared, io):
    env = {"WS_ECHO_PATH": "/echo", "LOG_LEVEL": "debug", "WS_ALLOWED_ORIGINS": "https://app.example"}
    return start_shared(io=io, env=env)


def assert_unauthorized(response):
    assert response.status == 401, response
    assert response.json() == {"error": "Unauthorized"}


# Where a token may stand


def test_token_in_query(node, name, open_client):
    user = name()
    client = open_client(node, user, f"/ws?token={token(user)}", token=None)
    client.send("ping", {"timestamp": 1})
    client.expect("pong")


def test_token_among_other_query_items(node, name):
    user = name()
    response = node.handshake(f"/ws?v=2&token={token(user)}&x=%20", token=None)
    assert response.status == 101


def test_token_in_header(node, name, open_client):
    client = open_client(node, name())
    client.send("ping")
    client.expect("pong")


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_scheme_has_no_case(node, name, scheme):
    headers = [("Authorization", f"{scheme} {token(name())}")]
    assert node.handshake(headers=headers).status == 101


def test_token_as_subprotocol(node, name, open_client):
    user = name()
    client = open_client(node, user, token=None, subprotocols=["bearer", token(user)])
    assert client.socket.subprotocol == "bearer"
    client.send("ping")
    client.expect("pong")


@pytest.mark.parametrize("written", ["bearer,{}", "bearer , {}"])
def test_subprotocol_spacing(node, name, written):
    headers = [("Sec-WebSocket-Protocol", written.format(token(name())))]
    response = node.handshake(headers=headers)
    assert response.status == 101
    assert response.headers["sec-websocket-protocol"] == "bearer"


def test_subprotocol_header_twice(node, name):
    headers = [("Sec-WebSocket-Protocol", "bearer"), ("Sec-WebSocket-Protocol", token(name()))]
    response = node.handshake(headers=headers)
    assert response.status == 101
    assert response.headers["sec-websocket-protocol"] == "bearer"


def test_no_subprotocol_is_chosen_unasked(node, name):
    response = node.handshake(token=token(name()))
    assert response.status == 101
    assert "sec-websocket-protocol" not in response.headers


# Who is refused


def test_no_token(node):
    assert_unauthorized(node.handshake())


@pytest.mark.parametrize(
    "text",
    ["", "x", "a.b", "a.b.c", "..", "...", "e30.e30.", "!.!.!", "A" * 4000],
    ids=["empty", "word", "two-parts", "three-parts", "dots", "four-parts", "bare", "odd", "long"],
)
def test_garbage_for_a_token(node, text):
    assert_unauthorized(node.handshake(headers=[("Authorization", f"Bearer {text}")]))


def test_other_scheme(node, name):
    assert_unauthorized(node.handshake(headers=[("Authorization", f"Basic {token(name())}")]))


def test_bearer_subprotocol_alone(node):
    assert_unauthorized(node.handshake(headers=[("Sec-WebSocket-Protocol", "bearer")]))


def bad_tokens():
    good = token("eve")
    head, body, signature = good.split(".")
    other = token("mallory").split(".")[1]
    flipped = ("A" if signature[0] != "A" else "B") + signature[1:]
    return {
        "expired": token("eve", ttl=-3600),
        "expired past the tolerance": token("eve", ttl=-40),
        "not yet valid": token("eve", nbf=int(time.time()) + 3600),
        "not yet valid past the tolerance": token("eve", nbf=int(time.time()) + 45),
        "unsigned": token("eve", alg="none"),
        "unsigned, in capitals": token("eve", alg="NONE"),
        "says none but is signed": token("eve", alg="none") + signature,
        "wrong key": token("eve", secret="another-secret-of-more-than-32-bytes!"),
        "empty key": token("eve", secret=""),
        "HS512": token("eve", alg="HS512", digest="sha512"),
        "says RS256": token("eve", alg="RS256"),
        "says HS256 but is HS512": token("eve", digest="sha512"),
        "another's claims": f"{head}.{other}.{signature}",
        "no signature": f"{head}.{body}.",
        "changed signature": f"{head}.{body}.{flipped}",
        "cut signature": f"{head}.{body}.{signature[:-2]}",
        "no user": token(None),
        "empty user": token(""),
        "user of 129 characters": token("u" * 129),
        "user with a space": token("a b"),
        "user with a line break": token("a\nb"),
        "user with a NUL": token("a\0b"),
        "user not ASCII": token("zoë"),
        "user a number": token(7),
        "expiry in words": token("eve", exp="tomorrow"),
        "claims not an object": (lambda text: f"{text}.{sign(text, SECRET)}")(
            f"{head}.{encode(b'[]')}"
        ),
    }


@pytest.mark.parametrize("what", bad_tokens())
def test_bad_tokens(node, what):
    assert_unauthorized(node.handshake(token=bad_tokens()[what]))


def test_refused_alike_through_the_library(node):
    with pytest.raises(InvalidStatus) as refused:
        node.connect("eve", f"/ws?token={token('eve', ttl=-3600)}", token=None)
    assert refused.value.response.status_code == 401
    assert json.loads(refused.value.response.body) == {"error": "Unauthorized"}


# Who the user is


@pytest.mark.parametrize("claim", ["user_id", "userId"])
def test_other_claims_for_the_user(node, name, open_client, claim):
    user = name()
    client = open_client(node, user, token=token(None, **{claim: user}))
    assert [entry["connectionId"] for entry in node.connections(user)] == [client.connection_id]


def test_sub_goes_before_the_others(node, name, open_client):
    user, other = name(), name()
    open_client(node, user, token=token(user, user_id=other, userId=other))
    assert len(node.connections(user)) == 1
    assert node.connections(other) == []


def test_user_of_128_characters(node, open_client, name):
    user = name("u" * 115)[:128]
    assert len(user) == 128
    alice, bob = open_client(node, name()), open_client(node, user)
    alice.chat(user, "hi")
    bob.expect("chat_message", {"senderId": alice.user, "message": "hi"})


def test_user_of_odd_but_visible_characters(node, open_client, name):
    user = name("!#$%&'()*+/:;=?@[]^`{|}~\"\\")
    alice, bob = open_client(node, name()), open_client(node, user)
    bob.chat(alice.user, "hi")
    alice.expect("chat_message", {"senderId": user, "message": "hi"})


def test_clock_tolerance_for_nbf(node, name):
    assert node.handshake(token=token(name(), nbf=int(time.time()) + 15)).status == 101


def test_clock_tolerance_for_exp_is_the_handshakes_alone(node, name):
    """Ten seconds past `exp` the handshake holds, and the connection, for which there is no
    tolerance, ends."""
    user = name()
    client = node.connect(user, token=token(user, ttl=-10), expect_connected=False)
    assert client.expect_closed(4401) == "token expired"


def test_issuer_and_audience(start, name):
    node = start(env={"JWT_ISSUER": "https://id.example", "JWT_AUDIENCE": "skein"})
    good = {"iss": "https://id.example", "aud": "skein"}
    assert node.handshake(token=token(name(), **good)).status == 101
    assert node.handshake(token=token(name(), **good | {"aud": ["x", "skein"]})).status == 101
    for wrong in ({"iss": "https://id.example/"}, {"iss": None}, {"aud": "other"}, {"aud": None}):
        assert_unauthorized(node.handshake(token=token(name(), **good | wrong)))


# Origins


@pytest.mark.parametrize(
    "origin, status",
    [
        ("https://evil.example", 403),
        ("http://127.0.0.1", 403),  # the port counts
        ("http://127.0.0.1:1", 403),
        ("http://localhost:{port}", 403),
        ("http://127.0.0.1:{port}.evil.example", 403),
        ("https://app.example.evil.example", 403),
        ("https://app.example:444", 403),
        ("http://app.example", 403),
        ("null", 403),
        ("", 403),
        ("http://127.0.0.1:{port}", 101),
        ("https://app.example", 101),
    ],
)
def test_origin(node, name, origin, status):
    headers = [("Origin", origin.format(port=node.port))]
    assert node.handshake(token=token(name()), headers=headers).status == status


def test_a_star_lets_every_origin_in(start, io, name):
    node = start(io=io, env={"WS_ALLOWED_ORIGINS": "*"})
    headers = [("Origin", "https://evil.example")]
    assert node.handshake(token=token(name()), headers=headers).status == 101


# The table


def refusals():
    """What each malformed handshake is answered with; all of them bear a good token."""

    def request(**how):
        return lambda port: upgrade_request(port, "/ws", token=token("table"), **how)

    def edited(old, new):
        return lambda port: request()(port).replace(old, new)

    def headers(*lines, without=()):
        return request(headers=lines, without=without)

    key = base64.b64encode(os.urandom(16)).decode()
    short = base64.b64encode(os.urandom(15)).decode()
    long = base64.b64encode(os.urandom(17)).decode()
    return {
        "unknown path": (404, edited(b"GET /ws ", b"GET /nowhere ")),
        "path in capitals": (404, edited(b"GET /ws ", b"GET /WS ")),
        "path too long": (404, edited(b"GET /ws ", b"GET /wsx ")),
        "root": (404, edited(b"GET /ws ", b"GET / ")),
        "a slash in disguise": (404, edited(b"GET /ws ", b"GET /ws%2F.. ")),
        "a slash in disguise within": (404, edited(b"GET /ws ", b"GET /chat%2Fws ")),
        "decoded twice": (404, edited(b"GET /ws ", b"GET /%2577s ")),
        "NUL in the path": (400, edited(b"GET /ws ", b"GET /ws%00 ")),
        "overlong slash": (400, edited(b"GET /ws ", b"GET /ws%c0%af ")),
        "half an escape": (400, edited(b"GET /ws ", b"GET /ws?x=%2 ")),
        "escape of no text": (400, edited(b"GET /ws ", b"GET /ws?x=%ff ")),
        "fragment": (400, edited(b"GET /ws ", b"GET /ws#a ")),
        "relative target": (400, edited(b"GET /ws ", b"GET ws ")),
        "target of a WebSocket's scheme": (400, edited(b"GET /ws ", b"GET ws://x/ws ")),
        "user in the target": (400, edited(b"GET /ws ", b"GET http://a@x/ws ")),
        "asterisk": (405, edited(b"GET /ws ", b"OPTIONS * ")),
        "CONNECT": (405, edited(b"GET /ws ", b"CONNECT example.com:80 ")),
        "another expectation": (417, headers(("Expect", "200-ok"))),
        "POST": (405, request(method="POST", headers=[("Content-Length", "0")])),
        "HEAD": (405, request(method="HEAD")),
        "OPTIONS": (405, request(method="OPTIONS")),
        "no Upgrade": (426, request(without=["Upgrade"])),
        "no Connection": (426, request(without=["Connection"])),
        "neither": (426, request(without=["Upgrade", "Connection"])),
        "another Upgrade": (426, headers(("Upgrade", "h2c"), without=["Upgrade"])),
        "another Connection": (426, headers(("Connection", "keep-alive"), without=["Connection"])),
        "a longer word in Connection": (
            426,
            headers(("Connection", "Upgrades"), without=["Connection"]),
        ),
        "no version": (426, request(without=["Sec-WebSocket-Version"])),
        "no key": (400, request(without=["Sec-WebSocket-Key"])),
        "empty key": (400, headers(("Sec-WebSocket-Key", ""), without=["Sec-WebSocket-Key"])),
        "key of 15 bytes": (400, headers(("Sec-WebSocket-Key", short), without=["Sec-WebSocket-Key"])),
        "key of 17 bytes": (400, headers(("Sec-WebSocket-Key", long), without=["Sec-WebSocket-Key"])),
        "key not base64": (
            400,
            headers(("Sec-WebSocket-Key", "!" * 22 + "=="), without=["Sec-WebSocket-Key"]),
        ),
        "key twice": (400, headers(("Sec-WebSocket-Key", key))),
        "version twice": (400, headers(("Sec-WebSocket-Version", "13"))),
        "no Host": (400, request(without=["Host"])),
        "two Hosts": (400, headers(("Host", "other.example"))),
        "CL with TE": (400, headers(("Content-Length", "0"), ("Transfer-Encoding", "chunked"))),
        "a body by length": (400, lambda port: headers(("Content-Length", "5"))(port) + b"hello"),
        "a body by chunks": (
            400,
            lambda port: headers(("Transfer-Encoding", "chunked"))(port) + b"0\r\n\r\n",
        ),
        "obs-fold": (400, headers(("X-Folded", "one\r\n two"))),
        "obs-fold at once": (400, edited(b"HTTP/1.1\r\n", b"HTTP/1.1\r\n folded: x\r\n")),
        "bare LF everywhere": (400, edited(b"\r\n", b"\n")),
        "bare LF once": (400, edited(b"Upgrade: websocket\r\n", b"Upgrade: websocket\n")),
        "HTTP/1.0": (505, request(version="HTTP/1.0")),
        "HTTP/2.0": (505, request(version="HTTP/2.0")),
        "HTTP/3.1": (505, request(version="HTTP/3.1")),
    }


@pytest.mark.parametrize("what", refusals())
def test_refusals(node, what):
    status, request = refusals()[what]
    with node.wire() as wire:
        wire.send(request(node.port))
        if what == "HEAD":  # its answer may announce a body that must not come
            assert wire.take_until(b"\r\n\r\n").startswith(b"HTTP/1.1 405 ")
            wire.expect_end()
            return
        response = wire.response()
        assert response.status == status, response
        assert isinstance(response.json()["error"], str)
        assert "close" in response.headers["connection"].lower()
        if status == 405:
            assert response.headers["allow"] == "GET"
        if status == 426:
            assert response.headers["upgrade"] == "websocket"
            assert response.headers["sec-websocket-version"] == "13"
        wire.expect_end()


@pytest.mark.parametrize("version", ["8", "12", "14", "130", "0", "-13", "013", "13, 8", "x", ""])
def test_another_version(node, version):
    response = node.handshake(
        token=token("table"),
        headers=[("Sec-WebSocket-Version", version)],
        without=["Sec-WebSocket-Version"],
    )
    assert response.status == 426, response
    assert response.headers["sec-websocket-version"] == "13"


@pytest.mark.parametrize(
    "lines",
    [
        [("Upgrade", "WebSocket"), ("Connection", "keep-alive, Upgrade")],
        [("UPGRADE", "websocket"), ("cOnNeCtIoN", "UPGRADE,close")],
        [("Upgrade", "websocket"), ("Connection", "keep-alive"), ("Connection", "Upgrade")],
        [("Upgrade", "  websocket\t"), ("Connection", "\tUpgrade  ")],
        [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("X-Empty", "")],
        [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Content-Length", "0")],
    ],
    ids=["firefox", "case", "two lines", "spaces", "empty value", "empty body"],
)
def test_spellings_that_are_fine(node, name, lines):
    response = node.handshake(
        token=token(name()), headers=lines, without=["Upgrade", "Connection"]
    )
    assert response.status == 101, response


def test_head_too_large(node, name):
    for headers in ([("X-Big", "x" * 20_000)], [(f"X-{n}", "x" * 50) for n in range(400)]):
        with node.wire() as wire:
            wire.send_whatever_happens(
                upgrade_request(node.port, "/ws", token=token(name()), headers=headers)
            )
            assert wire.response().status == 431


@pytest.mark.parametrize(
    "line, status",
    [(b"GET /ws?" + b"x" * 40_000, 414), (b"x" * 40_000, 431), (b"GET /ws HTTP/1.1 " * 2_000, 431)],
    ids=["target", "method", "blanks"],
)
def test_a_line_without_end_is_too_large(node, line, status):
    before = node.metrics().total("skein_handshakes_total", result="too_large")
    with node.wire() as wire:
        wire.send_whatever_happens(line)
        assert wire.response().status == status
    until(
        lambda: node.metrics().total("skein_handshakes_total", result="too_large") == before + 1,
        what="the refusal in the metrics",
    )


@pytest.mark.parametrize(
    "target", ["/%77s", "/%57%53", "http://{host}/ws", "HTTP://x/%77s", "/ws?a=%C3%A9&b=%0A"]
)
def test_other_spellings_of_the_target(node, name, target):
    response = node.handshake(target.format(host=f"127.0.0.1:{node.port}"), token=token(name()))
    assert response.status == (404 if "57" in target else 101), response


def test_an_absolute_targets_host_is_the_one_that_counts(node, name):
    """RFC 9112 §3.2.2: the Host field is not looked at then."""
    for host, origin, status in [
        ("chat.example:81", "http://chat.example:81", 101),
        ("chat.example:81", f"http://127.0.0.1:{node.port}", 403),
        (f"127.0.0.1:{node.port}", f"http://127.0.0.1:{node.port}", 101),
    ]:
        headers = [("Origin", origin)]
        response = node.handshake(f"http://{host}/ws", token=token(name()), headers=headers)
        assert response.status == status, (host, origin)


def test_a_continue_is_not_waited_for(node, name):
    response = node.handshake(token=token(name()), headers=[("Expect", "100-continue")])
    assert response.status == 101


@pytest.mark.parametrize("how", ["whole", "one byte"])
def test_tls_on_the_plain_port(node, how):
    """Closed at once and without an answer, long before the handshake's deadline of 10 s."""
    before = node.metrics().total("skein_handshakes_total", result="tls")
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + os.urandom(506)
    with node.wire(timeout=8) as wire:
        wire.send(hello if how == "whole" else hello[:1])
        assert wire.read_to_end() == b""
    assert node.metrics().total("skein_handshakes_total", result="tls") == before + 1
    node.log.until("TLS")
    assert node.log.text.count("spoke TLS") == 1, "the hint is given once a minute"


def test_http_2_is_told_the_version(node):
    before = node.metrics().total("skein_handshakes_total", result="http_version")
    with node.wire() as wire:
        wire.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9))
        assert wire.response().status == 505
        wire.expect_end()
    assert node.metrics().total("skein_handshakes_total", result="http_version") == before + 1


def test_large_head_within_the_limit(node, name):
    assert node.handshake(token=token(name()), headers=[("X-Big", "x" * 15_000)]).status == 101


@pytest.mark.parametrize(
    "bytes_",
    [
        os.urandom(512).replace(b"\n", b"."),
        b"\r\n" * 100,
        b"\n" * 100,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + os.urandom(506),  # TLS
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /ws\r\n\r\n",
        b" GET /ws HTTP/1.1\r\n\r\n",
        b"GET /ws HTTP/1.1\r\n: no name\r\n\r\n",
        b"GET /ws HTTP/1.1\r\nHost : x\r\n\r\n",
        b"GET /ws HTTP/1.1\r\nHo\0st: x\r\n\r\n",
        b"\x81\x85\x00\x00\x00\x00hello",
    ],
    ids=[
        "noise", "crlf", "lf", "tls", "h2", "word", "no-version", "space", "no-name", "name-space",
        "nul", "frame",
    ],
)  # fmt: skip
def test_garbage_bytes(node, name, bytes_):
    """Refused with 4xx or 505, or just closed, and no one else notices."""
    with node.wire() as wire:
        wire.send_whatever_happens(bytes_ + b"\r\n\r\n")
        wire.socket.shutdown(1)
        answer = wire.read_to_end()
        assert answer == b"" or answer.startswith((b"HTTP/1.1 4", b"HTTP/1.1 505")), answer
    assert node.handshake(token=token(name())).status == 101


# Bytes as they come


def test_byte_by_byte(node, name):
    with node.wire() as raw:
        for byte in upgrade_request(node.port, "/ws", token=token(name())):
            raw.send(bytes([byte]))
        assert raw.response().status == 101
        raw.expect_event("connected")


def test_frames_behind_the_handshake(node, name):
    """What comes in the same packet as the handshake is processed after authentication."""
    with node.wire() as raw:
        raw.send(
            upgrade_request(node.port, "/ws", token=token(name()))
            + frame_bytes(TEXT, b'{"type":"ping","data":{"timestamp":7},"requestId":"early"}')
            + frame_bytes(PING, b"early")
            + frame_bytes(TEXT, b'{"type":"ping","requestId":"cut"}')[:9]
        )
        assert raw.response().status == 101
        raw.expect_event("connected")
        pongs = {}
        for _ in range(2):
            frame = raw.read_frame()
            pongs[frame.opcode] = frame.payload
        assert pongs[PONG] == b"early"
        assert json.loads(pongs[TEXT])["requestId"] == "early"


def test_frames_behind_a_refused_handshake_do_nothing(node, name, open_client):
    bob = open_client(node, name())
    frame = json.dumps({"type": "chat_message", "data": {"receiverId": bob.user, "message": "x"}})
    with node.wire() as raw:
        bad = token("eve", secret="another-secret-of-more-than-32-bytes!")
        raw.send(upgrade_request(node.port, "/ws", token=bad) + frame_bytes(TEXT, frame.encode()))
        assert_unauthorized(raw.response())
    bob.send("ping")
    bob.expect("pong")


def test_gone_in_the_middle(node, name):
    """Clients that leave at any point of the handshake leave nothing behind."""
    request = upgrade_request(node.port, "/ws", token=token(name()))
    for cut in (0, 1, 20, len(request) - 1, len(request)):
        with node.wire() as raw:
            raw.send(request[:cut])
    user = name()
    with node.connect(user):
        assert len(node.connections(user)) == 1
    until(lambda: node.connections(user) == [], what="the connection's end")


# Other things of the sockets listener


def test_health_on_the_sockets_port(node):
    with node.wire() as wire:
        wire.send(f"GET /health HTTP/1.1\r\nHost: 127.0.0.1:{node.port}\r\n\r\n".encode())
        response = wire.response()
    assert response.status == 200
    assert isinstance(response.json()["status"], str)


def test_health_asked_by_head(node):
    with node.wire() as wire:
        wire.send(b"HEAD /health HTTP/1.1\r\nHost: x\r\n\r\n")
        head = wire.take_until(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        assert b"Content-Length: 0\r\n" not in head
        wire.expect_end()


def test_echo_needs_a_token_outside_dev(node, name):
    assert_unauthorized(node.handshake("/echo"))
    assert_unauthorized(node.handshake("/echo", token=token("eve", ttl=-3600)))
    assert node.handshake("/echo", token=token(name())).status == 101


def test_a_client_that_offers_deflate_is_served(node, name, open_client):
    alice, bob = open_client(node, name(), compression="deflate"), open_client(node, name())
    for sender, receiver in ((alice, bob), (bob, alice)):
        sender.chat(receiver.user, "x" * 5000)
        receiver.expect("chat_message", {"senderId": sender.user, "message": "x" * 5000})
        sender.expect("chat_message_sent")


def test_handshakes_are_counted_by_result(node, name):
    before = node.metrics()
    assert node.handshake(token=token(name())).status == 101
    assert node.handshake().status == 401
    after = node.metrics()

    def grown(metric, **labels):
        return after.total(metric, **labels) - before.total(metric, **labels)

    assert grown("skein_handshakes_total") >= 2
    assert grown("skein_handshakes_total", result="accepted") == 1
    assert grown("skein_handshakes_total", result="unauthorized") == 1


def test_no_token_in_any_log_line(node, name):
    """At debug level, with tokens good and bad in every place where one may stand."""
    good, bad = token(name()), token(name(), ttl=-3600)
    for text in (good, bad):
        node.handshake(token=text)
        node.handshake(f"/ws?token={text}")
        node.handshake(f"/nowhere?token={text}")
        node.handshake(headers=[("Sec-WebSocket-Protocol", f"bearer, {text}")])
    with RawSocket(node.port) as raw:
        raw.send(b"GET /ws?token=" + good.encode() + b" HTTP/1.0\r\n\r\n")
        raw.read_to_end()
    log = node.log.text + node.out.text
    for text in (good, bad):
        _, claims, signature = text.split(".")
        assert claims not in log
        assert signature not in log
    assert SECRET not in log
