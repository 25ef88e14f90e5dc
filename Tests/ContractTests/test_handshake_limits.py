"""How many may come, how fast, and how slowly: 429, 503, and the handshake's deadline. Client
addresses are those of the loopback network, so that each test has its own."""

import threading
import time

import pytest

from harness.raw import RawSocket, upgrade_request
from harness.tokens import token
from harness.wait import holds, until


@pytest.fixture(scope="module")
def node(start_shared, io):
    return start_shared(
        io=io,
        env={
            "WS_MAX_CONNECTIONS_PER_USER": "3",
            "WS_MAX_CONNECTIONS_PER_IP": "5",
            "WS_HANDSHAKE_TIMEOUT": "1s",
        },
    )


def assert_refused(response, status):
    assert response.status == status, response
    assert int(response.headers["retry-after"]) >= 0


def test_per_user(node, name, open_raw):
    user = name()
    # From several addresses, so that only the user's limit is met.
    devices = [open_raw(node, user, source=f"127.0.1.{n}") for n in range(1, 4)]
    assert_refused(node.handshake(token=token(user), source="127.0.1.4"), 429)
    assert node.handshake(token=token(name()), source="127.0.1.4").status == 101

    devices[0].close()
    until(
        lambda: node.handshake(token=token(user), source="127.0.1.4").status == 101,
        what="room for another device",
    )
    for device in devices[1:]:
        device.event("ping")
        device.expect_event("pong")


def test_per_address(node, name, open_raw):
    here, there = "127.0.2.1", "127.0.2.2"
    devices = [open_raw(node, name(), source=here) for _ in range(5)]
    assert_refused(node.handshake(token=token(name()), source=here), 429)
    assert node.handshake(token=token(name()), source=there).status == 101

    devices[0].close()
    until(
        lambda: node.handshake(token=token(name()), source=here).status == 101,
        what="room for the address",
    )


def test_per_user_in_a_rush(node, name):
    """Twelve at once, on all shards: three get in, the others are refused, none is forgotten."""
    user, sockets, statuses = name(), [], []
    barrier = threading.Barrier(12)

    def come(n):
        raw = RawSocket(node.port, source=f"127.0.3.{n}")
        sockets.append(raw)
        barrier.wait()
        statuses.append(raw.handshake(node.port, "/ws", token=token(user)).status)

    threads = [threading.Thread(target=come, args=(n,)) for n in range(1, 13)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    try:
        assert sorted(statuses) == [101] * 3 + [429] * 9
        assert len(node.connections(user)) == 3
    finally:
        for raw in sockets:
            raw.close()
    until(lambda: node.connections(user) == [], what="their end")


def test_per_node(start, io, name, open_raw):
    node = start(io=io, env={"WS_MAX_CONNECTIONS": "4"})
    devices = [open_raw(node, name()) for _ in range(4)]
    assert_refused(node.handshake(token=token(name())), 503)
    devices[2].event("ping")
    devices[2].expect_event("pong")
    devices[0].close()
    until(lambda: node.handshake(token=token(name())).status == 101, what="room on the node")


def test_handshake_rate(start, io, name):
    node = start(io=io, env={"WS_HANDSHAKE_RATE": "1", "WS_HANDSHAKE_BURST": "5"})

    def come(source):
        return node.handshake(token=token(name()), source=source)

    began = time.monotonic()
    responses = [come("127.0.4.1") for _ in range(20)]
    allowed = 5 + int(time.monotonic() - began) + 1
    statuses = [response.status for response in responses]
    assert statuses[:5] == [101] * 5
    assert 5 <= statuses.count(101) <= allowed, statuses
    assert set(statuses) == {101, 429}, statuses
    assert_refused(next(response for response in responses if response.status == 429), 429)

    assert come("127.0.4.2").status == 101, "another address has a rate of its own"
    until(lambda: come("127.0.4.1").status == 101, every=1.5, timeout=30, what="its next turn")


def test_limits_are_by_default_those_of_the_contract(start, io, name, open_raw):
    """20 devices for a user; a 21st is refused."""
    node = start(io=io, env={"WS_MAX_CONNECTIONS_PER_IP": None})
    user = name()
    for _ in range(20):
        open_raw(node, user)
    assert_refused(node.handshake(token=token(user)), 429)


@pytest.mark.parametrize("sent", ["nothing", "half", "drips"])
def test_the_handshake_has_an_absolute_deadline(node, name, sent):
    request = upgrade_request(node.port, "/ws", token=token(name()), headers=[("X", "x" * 4000)])
    began = time.monotonic()
    with node.wire(source="127.0.5.1", timeout=0.1) as wire:
        if sent == "half":
            wire.send(request[: len(request) // 2])
        closed = False
        while not closed and time.monotonic() - began < 20:
            if sent == "drips":
                wire.send_whatever_happens(request[:1])
                request = request[1:]
            try:
                data = wire.socket.recv(1000)
                closed = not data
                assert not data or data.startswith(b"HTTP/1.1 4"), data
            except TimeoutError:
                pass
            except ConnectionError:
                closed = True
        assert closed, "still open after 20 s"
        assert time.monotonic() - began > 0.8, "closed before its time"


def test_the_deadline_ends_with_the_handshake(node, name, open_raw):
    raw = open_raw(node, name(), source="127.0.6.1")
    time.sleep(1.5)
    raw.event("ping")
    raw.expect_event("pong")


def test_slow_heads_take_nothing_from_others(node, name, open_raw):
    idle = [node.wire(source=f"127.0.7.{n}") for n in range(1, 50)]
    try:
        for n in range(5):
            assert node.handshake(token=token(name()), source=f"127.0.8.{n + 1}").status == 101
        for wire in idle:
            wire.read_to_end()
    finally:
        for wire in idle:
            wire.close()
    holds(lambda: node.ready()[0] == 200, 0.2, what="readiness")
