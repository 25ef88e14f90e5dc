"""Who a client is when it comes through a proxy: the PROXY protocol and forwarded headers, from whom
they are believed, and what counts against whose limits. Addresses of the loopback network play the
proxies (127.1.x.x speaks PROXY, 127.2.x.x forwards) and everybody else."""

import json
import os
import socket
import struct
import time

import pytest

from harness.raw import PING, PONG, TEXT, frame_bytes, upgrade_request
from harness.tokens import token
from harness.wait import until

SPEAKER, FORWARDER, STRANGER = "127.1.0.1", "127.2.0.1", "127.0.0.1"
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


@pytest.fixture(scope="module")
def node(start_shared, io):
    return start_shared(
        io=io,
        env={
            "WS_PROXY_PROTOCOL": "127.1.0.0/16",
            "WS_TRUSTED_PROXIES": "127.2.0.0/16,192.0.2.250",
            "WS_MAX_CONNECTIONS_PER_IP": "3",
            "WS_HANDSHAKE_TIMEOUT": "2s",
            "WS_ALLOWED_ORIGINS": "https://app.example",
        },
    )


def v1(source, port=4711) -> bytes:
    family = "TCP6" if ":" in source else "TCP4"
    return f"PROXY {family} {source} {'::1' if ':' in source else '127.0.0.1'} {port} 80\r\n".encode()


def v2(source=None, port=4711, command=1, extensions=b"") -> bytes:
    if source is None:
        family, block = 0, b""
    else:
        kind = socket.AF_INET6 if ":" in source else socket.AF_INET
        family = 0x21 if ":" in source else 0x11
        block = socket.inet_pton(kind, source) * 2 + struct.pack("!HH", port, 80)
    block += extensions
    return SIGNATURE + bytes([0x20 | command, family]) + struct.pack("!H", len(block)) + block


def forwarded(*values):
    return [("X-Forwarded-For", value) for value in values]


def address_of(node, user) -> list[str]:
    return [entry["remoteAddress"] for entry in node.connections(user)]


def open_through(node, user, prefix=b"", source=SPEAKER, **how):
    """A device whose handshake stands behind `prefix`, in one packet."""
    wire = node.wire(source=source)
    try:
        wire.send(prefix + upgrade_request(node.port, "/ws", token=token(user), **how))
        wire.answer = wire.response()
        if wire.answer.status == 101:
            wire.expect_event("connected")
    except BaseException:
        wire.close()
        raise
    return wire


def counted(node, result) -> float:
    return node.metrics().total("skein_handshakes_total", result=result)


# The PROXY protocol


@pytest.mark.parametrize(
    "prefix, address",
    [
        (v1("203.0.113.1"), "203.0.113.1"),
        (v1("2001:db8::1"), "2001:db8::1"),
        (v1("::ffff:203.0.113.2"), "203.0.113.2"),
        (b"PROXY UNKNOWN\r\n", SPEAKER),
        (v2("203.0.113.3"), "203.0.113.3"),
        (v2("2001:db8::3"), "2001:db8::3"),
        (v2("203.0.113.4", extensions=b"\x04\0\x03abc\x02\0\x04host"), "203.0.113.4"),
        (v2(command=0), SPEAKER),
        (v2(), SPEAKER),
    ],
    ids=["v1", "v1-6", "v1-mapped", "v1-unknown", "v2", "v2-6", "v2-tlv", "v2-local", "v2-unspec"],
)
def test_the_header_says_whose_a_connection_is(node, name, prefix, address):
    user = name()
    with open_through(node, user, prefix) as wire:
        assert wire.answer.status == 101, wire.answer
        assert address_of(node, user) == [address]


@pytest.mark.parametrize("make", [v1, v2])
def test_the_header_byte_by_byte(node, name, make):
    user = name()
    with node.wire(source=SPEAKER) as wire:
        for byte in make("203.0.113.5") + upgrade_request(node.port, "/ws", token=token(user)):
            wire.send(bytes([byte]))
        assert wire.response().status == 101
        wire.expect_event("connected")
        assert address_of(node, user) == ["203.0.113.5"]


def test_frames_behind_header_and_handshake(node, name):
    with node.wire(source=SPEAKER) as wire:
        wire.send(
            v2("203.0.113.6")
            + upgrade_request(node.port, "/ws", token=token(name()))
            + frame_bytes(TEXT, b'{"type":"ping","requestId":"early"}')
            + frame_bytes(PING, b"x")
        )
        assert wire.response().status == 101
        wire.expect_event("connected")
        frames = {frame.opcode: frame.payload for frame in (wire.read_frame(), wire.read_frame())}
        assert frames[PONG] == b"x"
        assert json.loads(frames[TEXT])["requestId"] == "early"


@pytest.mark.parametrize(
    "prefix",
    [
        b"",
        b"PROXY TCP4 203.0.113.1 127.0.0.1 1\r\n",
        b"PROXY TCP4 203.0.113.256 127.0.0.1 1 2\r\n",
        b"PROXY UDP4 203.0.113.1 127.0.0.1 1 2\r\n",
        b"PROXY TCP4 203.0.113.1 127.0.0.1 1 2\n",
        b"PROXY UNKNOWN " + b"x" * 200,
        SIGNATURE + b"\x11\x11\0\x0c" + bytes(12),
        SIGNATURE + b"\x21\x12\0\x0c" + bytes(12),
        SIGNATURE + b"\x21\x11\0\x04" + bytes(4),
        SIGNATURE + b"\x21\x11\xff\xff",
        v2("203.0.113.1", extensions=b"\x03\0\x04\0\0\0\0"),
        v2("203.0.113.1", extensions=b"\x04\0\x09a"),
    ],
    ids=[
        "none", "cut", "address", "datagram", "bare-lf", "long", "version", "family", "short",
        "huge", "checksum", "tlv",
    ],
)  # fmt: skip
def test_a_proxy_has_to_send_a_proper_header(node, name, prefix):
    before = counted(node, "proxy_header")
    with node.wire(source=SPEAKER) as wire:
        wire.send_whatever_happens(prefix + upgrade_request(node.port, "/ws", token=token(name())))
        response = wire.response()
        assert response.status == 400
        assert "PROXY" in response.json()["error"]
        wire.expect_end()
    until(lambda: counted(node, "proxy_header") == before + 1, what="the refusal in the metrics")


@pytest.mark.parametrize("source", [STRANGER, FORWARDER])
@pytest.mark.parametrize("make", [v1, v2])
def test_from_anybody_else_the_header_is_refused(node, name, make, source):
    before = counted(node, "proxy_header")
    with node.wire(source=source) as wire:
        request = upgrade_request(node.port, "/ws", token=token(name()))
        wire.send_whatever_happens(make("203.0.113.1") + request)
        assert wire.response().status == 400
        wire.expect_end()
    until(lambda: counted(node, "proxy_header") == before + 1, what="the refusal in the metrics")
    node.log.until("PROXY header")


def test_half_a_header_ends_with_the_handshakes_deadline(node):
    began = time.monotonic()
    with node.wire(source=SPEAKER) as wire:
        wire.send(v2("203.0.113.1")[:20])
        assert wire.read_to_end() == b""
    assert time.monotonic() - began > 1.5


# Limits


@pytest.mark.parametrize("how", ["proxy header", "forwarded header"])
def test_limits_are_the_clients(node, name, how):
    """Three connections for each client, and any number for the proxy."""

    def come(client):
        if how == "proxy header":
            return open_through(node, name(), v1(client))
        return open_through(node, name(), source=FORWARDER, headers=forwarded(client))

    stem = "198.51.100." if how == "proxy header" else "198.51.101."
    wires = [come(f"{stem}{client}") for client in range(1, 5) for _ in range(3)]
    try:
        assert [wire.answer.status for wire in wires] == [101] * 12
        with come(f"{stem}1") as refused:
            assert refused.answer.status == 429
            assert int(refused.answer.headers["retry-after"]) >= 0
        with come(f"{stem}9") as other:
            assert other.answer.status == 101
        wires.pop(0).close()

        def again():
            with come(f"{stem}1") as wire:
                return wire.answer.status == 101

        until(again, what="room for the client")
    finally:
        for wire in wires:
            wire.close()


def test_the_handshake_rate_is_the_clients(start, io, name):
    node = start(
        io=io,
        env={
            "TRUSTED_PROXIES": "127.2.0.0/16",
            "WS_HANDSHAKE_RATE": "1",
            "WS_HANDSHAKE_BURST": "3",
        },
    )

    def come(client):
        with open_through(
            node, name(), source=FORWARDER, headers=forwarded(client)
        ) as wire:
            return wire.answer.status

    assert [come(f"198.51.100.{n}") for n in range(1, 11)] == [101] * 10
    statuses = [come("198.51.100.99") for _ in range(10)]
    assert statuses[:3] == [101] * 3
    assert 429 in statuses


# Forwarded headers


@pytest.mark.parametrize(
    "values, address",
    [
        (["203.0.113.10"], "203.0.113.10"),
        (["203.0.113.10:4711"], "203.0.113.10"),
        (["2001:db8::10"], "2001:db8::10"),
        (["[2001:db8::10]:443"], "2001:db8::10"),
        (["198.51.100.7, 203.0.113.11"], "203.0.113.11"),
        (["203.0.113.12, 127.2.9.9"], "203.0.113.12"),
        (["203.0.113.12, 192.0.2.250"], "203.0.113.12"),
        (["203.0.113.13", "127.2.9.9"], "203.0.113.13"),
        (["lies", "203.0.113.14"], "203.0.113.14"),
        ([], FORWARDER),
    ],
)
def test_a_trusted_proxys_word(node, name, values, address):
    user = name()
    with open_through(node, user, source=FORWARDER, headers=forwarded(*values)) as wire:
        assert wire.answer.status == 101
        assert address_of(node, user) == [address]


def dropped(node) -> float:
    return node.metrics().total("skein_dropped_total", reason="malformed_forward")


@pytest.mark.parametrize("value", ["unknown", "203.0.113.1, x", "010.0.0.1", "203.0.113.1;", "a" * 9000])
def test_a_malformed_word_leaves_the_proxys_address(node, name, value):
    user, before = name(), dropped(node)
    with open_through(node, user, source=FORWARDER, headers=forwarded(value)) as wire:
        assert wire.answer.status == 101
        assert address_of(node, user) == [FORWARDER]
    assert dropped(node) == before + 1


def test_nobody_elses_word_counts(node, name):
    user, before = name(), dropped(node)
    headers = [*forwarded("203.0.113.20"), ("Forwarded", "for=203.0.113.20"), ("X-Real-IP", "203.0.113.20")]
    with open_through(node, user, source=STRANGER, headers=headers) as wire:
        assert wire.answer.status == 101
        assert address_of(node, user) == [STRANGER]
    user = name()
    headers = [("Forwarded", "for=203.0.113.20"), ("X-Real-IP", "203.0.113.20")]
    with open_through(node, user, source=FORWARDER, headers=headers):
        assert address_of(node, user) == [FORWARDER]
    assert dropped(node) == before


def test_a_header_behind_a_header(node, name):
    """A balancer that speaks PROXY before a proxy that forwards."""
    user = name()
    with open_through(
        node, user, v1("192.0.2.250"), headers=forwarded("203.0.113.30")
    ) as wire:
        assert wire.answer.status == 101
        assert address_of(node, user) == ["203.0.113.30"]
    user = name()
    with open_through(node, user, v1("192.0.2.9"), headers=forwarded("203.0.113.30")) as wire:
        assert wire.answer.status == 101
        assert address_of(node, user) == ["192.0.2.9"], "its peer is no proxy of ours"


def test_forwarded_where_it_is_chosen(start, io, name):
    node = start(
        io=io, env={"WS_TRUSTED_PROXIES": "127.2.0.0/16", "WS_FORWARDED_HEADER": "forwarded"}
    )
    for headers, address in [
        ([("Forwarded", 'for="[2001:db8::5]:80";proto=https')], "2001:db8::5"),
        ([("Forwarded", "for=_x, for=203.0.113.5, for=127.2.0.9")], "203.0.113.5"),
        ([*forwarded("203.0.113.6"), ("Forwarded", "for=203.0.113.7")], "203.0.113.7"),
        (forwarded("203.0.113.6"), FORWARDER),
    ]:
        user = name()
        with open_through(node, user, source=FORWARDER, headers=headers):
            assert address_of(node, user) == [address]


def test_the_origin_is_still_asked_behind_proxies(node, name):
    headers = [("Origin", "https://evil.example")]
    with open_through(node, name(), v1("203.0.113.40"), headers=headers) as wire:
        assert wire.answer.status == 403


def test_health_through_a_proxy(node):
    with node.wire(source=SPEAKER) as wire:
        wire.send(v2(command=0) + b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert wire.response().status == 200


def test_noise_from_proxies_harms_nobody(node, name):
    for n in range(30):
        for source in (SPEAKER, FORWARDER):
            with node.wire(source=source) as wire:
                prefix = [SIGNATURE, b"PROXY ", v2("203.0.113.1"), b"GET / HTTP/1.1\r\n"][n % 4]
                wire.send_whatever_happens(prefix + os.urandom(300))
    with open_through(node, name(), v1("203.0.113.50")) as wire:
        assert wire.answer.status == 101
