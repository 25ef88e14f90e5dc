"""What bounds the node and not one of its connections: memory, contexts of compression, descriptors
that wait, one connection's share of a turn."""

import ctypes
import os
import socket
import threading
import time

import pytest

from harness.http import Closed
from harness.raw import BINARY, PING, PONG, TEXT, flooding, frame_bytes, upgrade_request
from harness.tokens import token
from harness.wait import until

TCP_USER_TIMEOUT = 18
DEFLATE = ("Sec-WebSocket-Extensions", "permessage-deflate")


# Memory of all connections


def test_at_the_memory_limit_the_biggest_goes(start, io, name, open_raw, open_client):
    """Past 80 % newcomers are refused and readiness says why; past all of it whoever holds the most is
    reset, and nobody else."""
    node = start(
        "--shards", "1", io=io,
        env={"WS_MEMORY_LIMIT": "64000000", "WS_MAX_MESSAGE_SIZE": "33554432",
             "WS_SEND_QUEUE_BYTES": "67108864", "WS_ECHO_PATH": "/echo"},
    )
    alice, bob = open_client(node, name()), open_client(node, name())

    def holding(count):
        """A connection that has sent so much of a message that never ends."""
        raw = open_raw(node, name(), "/echo")
        raw.send(frame_bytes(BINARY, b"x" * count, fin=False))
        return raw

    def memory():
        return node.metrics().total("skein_memory_bytes")

    biggest, small, growing = holding(30_000_000), holding(12_000_000), holding(12_000_000)
    until(lambda: memory() > 54_000_000, what="what they sent, held")
    assert node.handshake(token=token(name())).status == 503
    status, body = node.ready()
    assert status == 503 and "WS_MEMORY_LIMIT" in body["reason"], body
    assert node.metrics().total("skein_handshakes_total", result="memory") > 0
    # The one that is there already goes on, past the limit.
    growing.send(frame_bytes(0, b"y" * 12_000_000, fin=False))
    with pytest.raises(Closed):
        biggest.fill()
    until(lambda: memory() < 45_000_000, what="room again")
    assert node.metrics().total("skein_dropped_total", reason="memory") == 1
    for one in (small, growing):
        one.frame(PING, b"still here")
        assert one.read_frame().payload == b"still here"
    alice.chat(bob.user, "unharmed")
    assert bob.expect("chat_message")["data"]["message"] == "unharmed"
    until(lambda: node.ready()[0] == 200, what="readiness")
    assert node.handshake(token=token(name())).status == 101


# Compression


def offered(node, user):
    """A raw device that offered compression, and what the answer said of it."""
    raw = node.wire()
    raw.send(upgrade_request(node.port, "/ws", token=token(user), headers=[DEFLATE]))
    response = raw.response()
    assert response.status == 101, response
    return raw, response.headers.get("sec-websocket-extensions", "")


def any_frame(raw) -> tuple[int, bytes]:
    """First byte and payload of the next frame, also a compressed one."""
    first, second = raw.take(2)
    length = second & 0x7F
    if length == 126:
        length = int.from_bytes(raw.take(2), "big")
    elif length == 127:
        length = int.from_bytes(raw.take(8), "big")
    return first, raw.take(length)


def test_contexts_have_a_bound(start, io, name):
    """Past it a client is let in all the same, without a context."""
    node = start(
        "--shards", "1", io=io,
        env={"WS_COMPRESSION_SERVER_TAKEOVER": "true", "WS_COMPRESSION_CONTEXT_BYTES": "400000"},
    )
    wires, answers = zip(*(offered(node, name()) for _ in range(6)))
    kept = [answer for answer in answers if "server_no_context_takeover" not in answer]
    assert 1 <= len(kept) < 6, answers
    assert answers[0] in kept and answers[-1] not in kept
    held = node.metrics().total("skein_compression_bytes")
    assert 0 < held <= 400_000
    # Whoever leaves makes room.
    for wire in wires:
        wire.close()
    until(lambda: node.metrics().total("skein_compression_bytes") == 0, what="contexts freed")
    wire, answer = offered(node, name())
    assert "server_no_context_takeover" not in answer
    wire.close()


def test_an_event_is_compressed_once(start, io, name, open_client):
    """Every device gets the same bytes."""
    node = start("--shards", "1", io=io)
    user = name()
    wires = [offered(node, user)[0] for _ in range(5)]
    for wire in wires:
        any_frame(wire)  # connected
    alice = open_client(node, name())
    text = "".join(chr(97 + n * n % 23) for n in range(5_000))
    alice.chat(user, text)
    frames = [any_frame(wire) for wire in wires]
    assert frames[0][0] == 0xC0 | TEXT and len(frames[0][1]) < 5_000
    assert all(frame == frames[0] for frame in frames)
    for wire in wires:
        wire.close()


# Sockets


def test_a_thousand_half_open_hold_nobody_up(start, io, name, open_client):
    node = start(
        "--shards", "1", io=io, env={"WS_HANDSHAKE_TIMEOUT": "3s"}
    )
    alice = open_client(node, name())
    wires = [node.wire() for _ in range(1_000)]
    for wire in wires:
        wire.send(b"GET /ws HTTP/1.1\r\nHost: ")
    until(lambda: node.metrics().total("skein_handshaking") == 1_000, what="all of them accepted")
    alice.chat("nobody", 1)
    alice.expect("chat_message_sent", timeout=2)
    with open_client(node, name()) as bob:
        bob.send("ping")
        bob.expect("pong", timeout=2)
    until(lambda: node.metrics().total("skein_handshaking") == 0, what="their end")
    assert node.metrics().total("skein_handshakes_total", result="timeout") == 1_000
    for wire in wires:
        wire.close()


def test_accepted_sockets_have_a_user_timeout(start, io, name, open_client):
    """The kernel gives up on a peer that acknowledges nothing, within the pong timeout."""
    node = start(io=io, env={"WS_PONG_TIMEOUT": "47s"})
    alice = open_client(node, name())
    own = alice.socket.socket.getsockname()
    libc = ctypes.CDLL(None, use_errno=True)
    process = os.pidfd_open(node.process.pid)
    found = []
    try:
        for number in os.listdir(f"/proc/{node.process.pid}/fd"):
            if not os.readlink(f"/proc/{node.process.pid}/fd/{number}").startswith("socket:"):
                continue
            descriptor = libc.syscall(438, process, int(number), 0)  # pidfd_getfd
            if descriptor < 0:
                pytest.skip(f"cannot look into the node: {os.strerror(ctypes.get_errno())}")
            with socket.socket(fileno=descriptor) as copy:
                try:
                    if copy.getpeername() == own:
                        found.append(copy.getsockopt(socket.IPPROTO_TCP, TCP_USER_TIMEOUT))
                except OSError:
                    continue  # a listener, or no TCP at all
    finally:
        os.close(process)
    assert found == [47_000]


# A share of each turn


def test_a_flooder_has_its_share_and_no_more(start, io, name, open_raw, open_client):
    """One connection sends all it can; the others of its shard are answered as if it did not."""
    node = start("--shards", "1", io=io, env={"WS_ECHO_PATH": "/echo"})
    flooder = open_raw(node, name(), "/echo")
    with flooding(flooder, frame_bytes(PONG, b"") * 20_000):
        others = [open_client(node, name()) for _ in range(5)]
        slowest = 0.0
        end = time.monotonic() + 3
        while time.monotonic() < end:
            for one in others:
                began = time.monotonic()
                one.chat("nobody", 1)
                one.expect("chat_message_sent")
                slowest = max(slowest, time.monotonic() - began)
        assert slowest < 1, slowest
    # Nothing of it was lost, and nothing of it is out of order.
    flooder.frame(TEXT, "after all")
    assert flooder.read_message().payload == b"after all"
    if io == "uring":
        assert node.metrics().total("skein_deferred_reads_total") > 0


def test_what_is_deferred_stays_in_order(start, io, name, open_raw):
    """Numbered messages, far more than a share of a turn, come back in their order."""
    node = start(
        "--shards", "1", io=io,
        env={"WS_ECHO_PATH": "/echo", "WS_READ_TURN_SIZE": "8192", "WS_SEND_QUEUE_BYTES": "67108864",
             "WS_SEND_QUEUE_MESSAGES": "0"},
    )
    raw = open_raw(node, name(), "/echo")
    count = 60_000
    sender = threading.Thread(
        target=lambda: raw.send(b"".join(frame_bytes(TEXT, b"%d" % n) for n in range(count)))
    )
    sender.start()
    for n in range(count):
        assert raw.read_message().payload == b"%d" % n
    sender.join(20)
    if io == "uring":
        assert node.metrics().total("skein_deferred_reads_total") > 0
