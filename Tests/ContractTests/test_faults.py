"""What happens to a machine and not to a protocol: a thread that does not run for two seconds, a log
that nobody can write to, peers that reset their TLS connection in whatever state it is."""

import ctypes
import os
import re
import signal
import socket
import ssl
import struct
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest

from harness.away import Away
from harness.certificate import Certificate
from harness.node import BINARY, Lines, environment, launch, loopback
from harness.client import Client
from harness.raw import TEXT, RawSocket, frame_bytes, upgrade_request
from harness.tokens import SECRET, token
from harness.wait import holds, until

PTRACE_ATTACH, PTRACE_DETACH, WALL = 16, 17, 0x40000000


class Stalled:
    """One thread of a process stands still: traced, and not told to go on."""

    def __init__(self, process, name):
        tasks = Path(f"/proc/{process.pid}/task")
        found = [int(task.name) for task in tasks.iterdir()
                 if (task / "comm").read_text().strip() == name]
        assert len(found) == 1, f"{len(found)} threads are called {name}"
        self.thread, self.libc = found[0], ctypes.CDLL(None, use_errno=True)

    def trace(self, request):
        result = self.libc.ptrace(request, self.thread, ctypes.c_void_p(0), ctypes.c_void_p(0))
        return result == 0

    def __enter__(self):
        if not self.trace(PTRACE_ATTACH):
            pytest.skip(f"cannot trace here: {os.strerror(ctypes.get_errno())}")
        os.waitpid(self.thread, WALL)
        return self

    def __exit__(self, *_):
        assert self.trace(PTRACE_DETACH)


def test_a_shard_stands_still(start, io, name):
    """The users of the other shard notice nothing; what was sent to those of this one waits."""
    node = start("--shards", "2", io=io)
    devices = {}
    while len(devices) < 4:
        user = name()
        device = node.connect(user)
        shard = node.connections(user)[0]["shard"]
        keys = [(shard, 0), (shard, 1)]
        key = next((key for key in keys if key not in devices), None)
        if key:
            devices[key] = device
        else:
            device.close()
    with Stalled(node.process, "skein-shard-0"):
        began = time.monotonic()
        count = 0
        while time.monotonic() - began < 2:
            devices[1, 0].chat(devices[1, 1].user, count)
            assert devices[1, 1].expect("chat_message")["data"]["message"] == count
            devices[1, 0].expect("chat_message_sent")
            count += 1
            if count % 10 == 0:
                devices[1, 0].chat(devices[0, 0].user, count)
                devices[1, 0].expect("chat_message_sent")
        assert count > 10
        assert node.control("GET", "/health").status == 200
    for number in range(10, count + 1, 10):
        assert devices[0, 0].expect("chat_message")["data"]["message"] == number
    devices[0, 1].chat(devices[0, 0].user, "awake")
    assert devices[0, 0].expect("chat_message")["data"]["message"] == "awake"


def test_the_log_is_full(io, name):
    """Nobody can be told, nobody is let down, and the metrics say how much was not written."""
    with open("/dev/full", "w") as full:
        process = launch(
            [BINARY, "serve", *loopback(()), "--io", io],
            env=environment({"JWT_SECRET": SECRET, "LOG_LEVEL": "trace", "WS_HANDSHAKE_RATE": "0"}),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=full, text=True)
    try:
        lines = Lines(process.stdout)

        def port_after(pattern):
            return int(re.search(pattern + r"(\d+)", lines.until(pattern)).group(1))

        port, control = port_after(r"wss?://127\.0\.0\.1:"), port_after(r"http://127\.0\.0\.1:")

        def dropped():
            with urllib.request.urlopen(f"http://127.0.0.1:{control}/metrics", timeout=10) as answer:
                text = answer.read().decode()
            return int(re.search(r"^skein_log_lines_dropped_total (\d+)", text, re.M).group(1))

        user = name()
        with Client(f"ws://127.0.0.1:{port}/ws", user=user, token=token(user)) as device:
            device.expect("connected")
            for number in range(10):
                before = dropped()
                # Worth a line of the log.
                process.send_signal(signal.SIGHUP)
                until(lambda: dropped() > before, what="a line that was not written counted")
                device.chat(user, number)
                device.until(lambda event: event["type"] == "chat_message")
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()


def reset(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def test_resets_over_tls(start, io, name, tmp_path):
    """In every state of a connection, many at a time; the node counts them out and serves the next."""
    certificate = Certificate(tmp_path)
    node = start(io=io, env=certificate.settings | {"WS_ECHO_PATH": "/echo"})
    context = certificate.client_context()
    user = name()
    head = upgrade_request(node.port, "/echo", token=token(user))

    def plain():
        return socket.create_connection(("127.0.0.1", node.port), 20)

    def wrapped():
        return context.wrap_socket(plain(), server_hostname="localhost")

    def opened():
        sock = wrapped()
        sock.sendall(head)
        received = b""
        while b"\r\n\r\n" not in received:
            received += sock.recv(4096)
        assert received.startswith(b"HTTP/1.1 101"), received
        return sock

    def before_a_byte():
        reset(plain())

    def within_the_hello():
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        session = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
        with pytest.raises(ssl.SSLWantReadError):
            session.do_handshake()
        sock = plain()
        sock.sendall(outgoing.read()[:100])
        reset(sock)

    def after_the_handshake():
        reset(wrapped())

    def within_the_head():
        sock = wrapped()
        sock.sendall(head[:60])
        reset(sock)

    def before_the_answer():
        sock = wrapped()
        sock.sendall(head)
        reset(sock)

    def when_open():
        reset(opened())

    def within_a_frame():
        sock = opened()
        sock.sendall(frame_bytes(TEXT, b"x" * 1000)[:500])
        reset(sock)

    def within_the_echo():
        sock = opened()
        for _ in range(20):
            sock.sendall(frame_bytes(TEXT, b"x" * 60_000))
        reset(sock)

    def after_a_close():
        sock = opened()
        sock.sendall(frame_bytes(8, struct.pack(">H", 1000)))
        reset(sock)

    def after_close_notify():
        sock = opened()
        sock.setblocking(False)
        with pytest.raises(OSError):
            sock.unwrap()  # sends ours, and cannot wait for theirs
        reset(sock)

    states = [before_a_byte, within_the_hello, after_the_handshake, within_the_head, before_the_answer,
              when_open, within_a_frame, within_the_echo, after_a_close, after_close_notify]
    for _ in range(5):
        for state in states:
            state()
    until(lambda: node.metrics().total("skein_connections") == 0, what="all of them counted out")
    sock = opened()
    sock.sendall(frame_bytes(TEXT, b"after all"))
    assert sock.recv(64).endswith(b"after all")
    sock.close()


def test_resets_while_coming_back_and_being_sent_away(start, io, name):
    """Devices go in the middle of what they had missed, and of the drain that tells them to go."""
    node = start("--shards", "2", io=io, env={"DRAIN_DEADLINE": "10s"})
    user = name()
    with node.connect(user) as device:
        place = device.connected["data"]
        for number in range(100):
            device.chat(user, f"{number} " + "x" * 2_000)
        device.until(lambda event: event["data"].get("message", "").startswith("99 "))
    path = f"/ws?resume={place['epoch']}:{place['offset']}"
    for kept in (0, 1, 5_000):
        for _ in range(10):
            wire = node.wire(receive_buffer=4_096)
            wire.send(upgrade_request(node.port, path, token=token(user)))
            if kept:
                wire.take(kept)
            reset(wire.socket)
    until(lambda: node.metrics().total("skein_connections") == 0, what="those who came back counted out")
    with node.connect(user, path) as device:
        missed = device.until(lambda event: event["type"] == "resumed")
        assert missed.pop()["data"]["recovered"] is True
        texts = [event["data"]["message"] for event in missed if event["type"] == "chat_message"]
        assert [text.split()[0] for text in texts] == [str(number) for number in range(100)]

    closing = [node.raw(name()) for _ in range(40)]
    before, behind, silent = closing[:10], closing[10:20], closing[20:]
    node.control("POST", "/drain", {"deadlineSeconds": 5})
    node.may_end = True
    for wire in before:
        reset(wire.socket)
    for wire in behind + silent:
        until(lambda: wire.read_frame().opcode == 8, what="the word to leave")
        if wire in behind:
            wire.frame(8, struct.pack(">H", 1012))
        reset(wire.socket)
    assert node.wait_exit() == 0
    report = next(line for line in node.out.lines if line.startswith("{"))
    assert '"closedAtDeadline":0' in report, report


def remembered() -> str:
    """The TCP connections that the kernel knows on this side."""
    return subprocess.run(["ss", "-Htan"], capture_output=True, text=True, check=True).stdout


@pytest.mark.skipif(not Away.possible(), reason="needs a network namespace")
def test_a_peer_is_gone_with_data_in_flight(start, io, name):
    """Nothing acknowledges what is sent to it, and no reset comes: it is closed within WS_PONG_TIMEOUT, and
    nothing of it is left, in the node or in the kernel."""
    away = Away()
    try:
        node = start("--listen", f"{away.near}:0", io=io, env={
            "WS_PING_INTERVAL": "1s", "WS_PONG_TIMEOUT": "3s", "WS_WRITE_TIMEOUT": "1h"})
        there, here = name(), name()

        def connect(user):
            return Client(f"ws://{away.near}:{node.port}/ws", user=user, token=token(user))

        far, near = away.run(lambda: connect(there)), connect(here)
        far.expect("connected")
        near.expect("connected")
        # Answering what it is asked, it stays.
        holds(lambda: len(node.connections(there)) == 1, 4)
        away.vanish()
        near.chat(there, "into the void")
        near.expect("chat_message_sent")
        until(lambda: not node.connections(there), what="the peer found to be gone")
        until(lambda: away.far not in remembered(), what="what was in flight given up")
        assert len(node.connections(here)) == 1
        far.close()
        near.close()
    finally:
        away.close()
