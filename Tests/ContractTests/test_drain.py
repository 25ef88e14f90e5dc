"""Leaving on purpose: readiness first, then 1012 in waves with a hint, everything accepted flushed,
exit 0 and a report; by POST, by SIGTERM, by SIGINT, and at once by a second signal."""

import json
import signal
import threading
import time

import pytest
from websockets.exceptions import ConnectionClosed

from harness.http import Closed
from harness.raw import CLOSE, PING, close_payload
from harness.tokens import token
from harness.wait import holds, until


@pytest.fixture
def make(start, io):
    """A node of the test's own, which the test drains."""
    return lambda *arguments, **env: start(*arguments, io=io, env=env)


def report_of(node) -> dict:
    """The one JSON line on stdout."""
    reports = []
    for line in node.out.lines:
        if line.startswith("{"):
            reports.append(json.loads(line))
    assert len(reports) == 1, node.out.text
    assert {"told", "moved", "closedAtDeadline", "eventsFlushed", "eventsLeft"} <= set(reports[0])
    return reports[0]


def drain(node, how, **plan):
    if how == "POST":
        response = node.control("POST", "/drain", plan)
        assert response.status == 202, response
        node.may_end = True
    else:
        node.signal(getattr(signal, how))


class Leavers:
    """Clients that note when and how they were told to leave."""

    def __init__(self, clients):
        self.ends = {}
        self.threads = [
            threading.Thread(target=self.watch, args=(client,)) for client in clients
        ]
        for thread in self.threads:
            thread.start()

    def watch(self, client):
        try:
            while True:
                client.socket.recv(60)
        except ConnectionClosed as closed:
            self.ends[client] = (time.monotonic(), closed.rcvd)
        except TimeoutError:
            self.ends[client] = (time.monotonic(), None)

    def wait(self):
        for thread in self.threads:
            thread.join()
        return sorted(self.ends.values(), key=lambda end: end[0])


@pytest.mark.parametrize("how", ["POST", "SIGTERM", "SIGINT"])
def test_clients_are_told_and_the_node_leaves(make, name, how):
    node = make(DRAIN_DEADLINE="10s")
    leavers = Leavers([node.connect(name()) for _ in range(20)])
    drain(node, how)
    hints = []
    for _, close in leavers.wait():
        assert close is not None and close.code == 1012, close
        hint = json.loads(close.reason)
        assert set(hint) == {"reconnectAfterMs", "resume"}
        assert hint["resume"] is False, "nothing can be resumed elsewhere without a shared history"
        assert isinstance(hint["reconnectAfterMs"], int) and hint["reconnectAfterMs"] >= 0
        hints.append(hint["reconnectAfterMs"])
    assert len(set(hints)) > 5, f"not jittered: {hints}"
    assert node.wait_exit() == 0
    report = report_of(node)
    assert report["told"] == 20
    assert report["moved"] == 20
    assert report["closedAtDeadline"] == 0
    assert report["eventsLeft"] == 0


def test_waves_make_a_slope(make, name):
    """Forty clients over four seconds: spread out, not a wall, and within the deadline."""
    node = make(DRAIN_DEADLINE="60s", DRAIN_WAVE="10s")
    leavers = Leavers([node.connect(name()) for _ in range(40)])
    began = time.monotonic()
    drain(node, "POST", deadlineSeconds=5, waveMs=250)
    ends = leavers.wait()
    times = [end - began for end, _ in ends]
    assert all(close is not None and close.code == 1012 for _, close in ends)
    assert times[-1] - times[0] > 1, f"a wall: {times}"
    assert times[-1] < 12
    fullest = max(sum(1 for t in times if start <= t < start + 0.1) for start in times)
    assert fullest <= 20, f"half of them within a tenth of a second: {times}"
    assert node.wait_exit() == 0
    assert report_of(node)["told"] == 40


def test_a_node_without_clients_leaves_at_once(make):
    for how in ("POST", "SIGTERM"):
        node = make(DRAIN_DEADLINE="60s")
        drain(node, how)
        assert node.wait_exit(15) == 0
        report = report_of(node)
        assert report["told"] == 0
        assert report["eventsLeft"] == 0


def test_progress_and_readiness(make, name, open_raw):
    """While one client does not close: not ready, one remaining, and no new ones."""
    node = make(DRAIN_DEADLINE="60s")
    stubborn = open_raw(node, name())
    mover = node.connect(name())
    before = node.control("GET", "/drain")
    assert before.status == 200
    assert before.json()["remaining"] == 2
    drain(node, "POST", deadlineSeconds=60, waveMs=50)

    def draining():
        status, body = node.ready()
        return status == 503 and body["status"] == "draining"

    until(draining, what="draining in /ready")
    assert node.metrics().total("skein_draining") == 1
    mover.expect_closed(1012, timeout=60)
    until(lambda: node.control("GET", "/drain").json()["remaining"] == 1, what="one remaining")
    holds(draining, 1, what="draining in /ready")
    with pytest.raises(OSError):
        node.wire(timeout=2).close()

    while (frame := stubborn.read_frame()).opcode != CLOSE:
        assert frame.opcode == PING
    assert frame.code == 1012
    stubborn.frame(CLOSE, close_payload(1012))
    assert node.wait_exit() == 0
    assert report_of(node)["moved"] == 2


@pytest.mark.slow
def test_the_deadline_holds(make, name, open_raw):
    """A client that answers no close does not keep the node."""
    node = make(DRAIN_DEADLINE="2s")
    open_raw(node, name())
    with node.connect(name()) as mover:
        began = time.monotonic()
        drain(node, "SIGTERM")
        mover.expect_closed(1012)
        assert node.wait_exit(20) == 0
    assert time.monotonic() - began > 1.5, "it did not wait for the deadline"
    report = report_of(node)
    assert report["told"] == 2
    assert report["moved"] == 1
    assert report["closedAtDeadline"] == 1


def test_pre_stop_fails_readiness_first(make, name, open_client):
    node = make(DRAIN_PRE_STOP="3s", DRAIN_DEADLINE="10s")
    client = open_client(node, name())
    began = time.monotonic()
    drain(node, "SIGTERM")
    until(lambda: node.ready()[0] == 503, timeout=2.5, what="not ready")
    assert node.ready()[1]["status"] == "draining"
    # Whoever comes before the load balancer has noticed is still served.
    assert node.handshake(token=token(name())).status == 101
    client.send("ping")
    client.expect("pong")
    client.expect_closed(1012)
    assert time.monotonic() - began > 2.5, "told before preStop was over"
    assert node.wait_exit() == 0


def test_cancel(make, name, open_client):
    """As long as the listeners are open."""
    node = make(DRAIN_PRE_STOP="30s")
    client = open_client(node, name())
    drain(node, "POST")
    until(lambda: node.ready()[0] == 503, what="not ready")
    response = node.control("DELETE", "/drain")
    assert 200 <= response.status < 300, response
    until(lambda: node.ready()[0] == 200, what="readiness again")
    assert node.metrics().total("skein_draining") == 0
    assert node.handshake(token=token(name())).status == 101
    client.send("ping")
    client.expect("pong")
    # It still knows how to leave, and a second signal cuts this preStop short.
    node.signal(signal.SIGTERM)
    until(lambda: node.ready()[0] == 503, what="not ready")
    node.signal(signal.SIGTERM)
    assert node.wait_exit(20) in (143, -signal.SIGTERM)


@pytest.mark.parametrize("first", ["SIGTERM", "SIGINT"])
def test_a_second_sigterm_leaves_at_once(make, name, open_raw, first):
    node = make(DRAIN_DEADLINE="60s")
    open_raw(node, name())
    drain(node, first)
    until(lambda: node.ready()[0] == 503, what="not ready")
    holds(lambda: node.process.poll() is None, 0.5, what="the drain")
    node.signal(signal.SIGTERM)
    began = time.monotonic()
    # Status 143 is what a shell calls the end by SIGTERM, too.
    assert node.wait_exit(20) in (143, -signal.SIGTERM)
    # Two seconds by the contract; the rest is for a busy machine.
    assert time.monotonic() - began < 5


def test_everything_accepted_is_flushed(make, name, open_client):
    """What its sender was told is sent, to someone who is here, arrives before the 1012."""
    node = make(DRAIN_DEADLINE="10s")
    alice, bob = open_client(node, name()), open_client(node, name())
    for n in range(200):
        alice.chat(bob.user, {"n": n, "pad": "x" * 2000})
    for _ in range(200):
        alice.expect("chat_message_sent")
    drain(node, "POST")
    for n in range(200):
        assert bob.expect("chat_message")["data"]["message"]["n"] == n
    bob.expect_closed(1012)
    assert node.wait_exit() == 0
    assert report_of(node)["eventsLeft"] == 0


def test_no_gap_under_traffic(make, name, open_client):
    """Alice pours while the node drains: up to his 1012, Bob misses nothing in between."""
    node = make(DRAIN_DEADLINE="10s")
    alice, bob = open_client(node, name()), open_client(node, name())

    def pour():
        n = 0
        try:
            while n < 100_000:
                alice.chat(bob.user, {"n": n, "pad": "x" * 2000})
                n += 1
                time.sleep(0.001)
        except ConnectionClosed:
            pass

    thread = threading.Thread(target=pour)
    thread.start()
    time.sleep(0.5)
    drain(node, "POST")
    got = []
    try:
        while True:
            event = json.loads(bob.socket.recv(30))
            assert event["type"] == "chat_message"
            got.append(event["data"]["message"]["n"])
    except ConnectionClosed as closed:
        assert closed.rcvd is not None and closed.rcvd.code == 1012, closed
    thread.join()
    assert got
    assert got == list(range(len(got)))
    assert node.wait_exit() == 0
    assert report_of(node)["eventsLeft"] == 0


def test_queues_are_flushed_to_a_reader_that_is_behind(make, name, open_client, open_raw):
    """Megabytes wait for Bob, who begins to read only when the drain has begun."""
    node = make(DRAIN_DEADLINE="20s", WS_SEND_QUEUE_BYTES="33554432", WS_SEND_QUEUE_MESSAGES="9999")
    alice = open_client(node, name())
    bob_name = name()
    bob = open_raw(node, bob_name, receive_buffer=4096)
    for n in range(150):
        alice.chat(bob_name, {"n": n, "pad": "x" * 50_000})
        alice.expect("chat_message_sent")
    drain(node, "POST")
    numbers = []
    try:
        while (frame := bob.read_frame()).opcode != CLOSE:
            numbers.append(json.loads(frame.payload)["data"]["message"]["n"])
    except Closed as closed:
        raise AssertionError(f"no 1012 after {len(numbers)} messages: {closed}") from None
    assert numbers == list(range(150))
    assert frame.code == 1012
    bob.frame(CLOSE, close_payload(1012))
    assert node.wait_exit() == 0
    report = report_of(node)
    assert report["eventsLeft"] == 0
    assert report["eventsFlushed"] >= 1


def test_a_drain_on_redis(start, io, redis, name, open_client):
    """Those who leave one node find each other again on the other."""
    a, b = (start(io=io, redis=redis, env={"DRAIN_DEADLINE": "10s"}) for _ in range(2))
    bob_name = name()
    alice, bob = open_client(b, name()), open_client(a, bob_name)
    drain(a, "POST")
    bob.expect_closed(1012)
    bob = open_client(b, bob_name)
    alice.chat(bob_name, "moved")
    bob.expect("chat_message", {"senderId": alice.user, "message": "moved"})
    assert a.wait_exit() == 0


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"deadlineSeconds":"soon"}', b'{"deadlineSeconds":-1}', b'{"waveMs":0}'])
def test_a_bad_plan_starts_nothing(make, name, open_client, body):
    node = make()
    client = open_client(node, name())
    assert node.control("POST", "/drain", body).status == 400
    assert node.ready()[0] == 200
    client.send("ping")
    client.expect("pong")
