"""Limits of an open connection: floods, readers that stop, peers that vanish, tokens that expire.
Each ends one connection with the code the contract names, and nobody else notices."""

import json
import threading
import time

import pytest

from harness.http import Closed
from harness.raw import CLOSE, PING, PONG, TEXT, flooding, frame_bytes
from harness.tokens import token
from harness.wait import until


# Message rate


@pytest.fixture(scope="module")
def strict(start_shared, io):
    return start_shared(io=io, env={"WS_MESSAGE_RATE": "5", "WS_MESSAGE_BURST": "10"})


def test_messages_over_the_rate_are_refused_one_by_one(strict, name, open_client):
    alice, bob = open_client(strict, name()), open_client(strict, name())
    began = time.monotonic()
    for n in range(60):
        alice.chat(bob.user, n, requestId=f"q-{n}")
    answers = [alice.next() for _ in range(60)]
    allowed = 10 + int(5 * (time.monotonic() - began)) + 1
    # Every message has one answer, in order, and the first are in the burst.
    assert [event["requestId"] for event in answers] == [f"q-{n}" for n in range(60)]
    sent = [n for n, event in enumerate(answers) if event["type"] == "chat_message_sent"]
    refused = [event for event in answers if event["type"] == "error"]
    assert sent[:10] == list(range(10))
    assert 10 <= len(sent) <= allowed
    assert len(sent) + len(refused) == 60
    assert {event["data"]["code"] for event in refused} == {"RATE_LIMITED"}
    # What was refused was not delivered; what was not, was.
    assert [bob.expect("chat_message")["data"]["message"] for _ in sent] == sent


def test_the_rate_recovers(strict, name, open_client):
    alice = open_client(strict, name())
    for _ in range(30):
        alice.send("ping")
    for _ in range(30):
        alice.next()

    def accepted():
        alice.send("ping")
        return alice.next()["type"] == "pong"

    until(accepted, every=0.5, what="a message within the rate")


def test_malformed_messages_count_too(strict, name, open_client):
    alice = open_client(strict, name())
    for _ in range(60):
        alice.text("{")
    codes = [alice.expect("error")["data"]["code"] for _ in range(60)]
    assert codes[:10] == ["INVALID_MESSAGE"] * 10
    assert codes.count("RATE_LIMITED") >= 30


def test_a_thousand_refusals_close(strict, name, open_raw, open_client):
    before = strict.metrics().total("skein_closes_total", code="4429")
    flooder, bob = open_raw(strict, name()), open_client(strict, name())
    flood = frame_bytes(TEXT, b'{"type":"ping"}') * 50

    def pour():
        for _ in range(60):
            flooder.send_whatever_happens(flood)

    thread = threading.Thread(target=pour)
    thread.start()
    kinds = {"pong": 0, "error": 0}
    while (frame := flooder.read_frame()).opcode != CLOSE:
        event = json.loads(frame.payload)
        kinds[event["type"]] += 1
        assert event["type"] == "pong" or event["data"]["code"] == "RATE_LIMITED"
    assert frame.code == 4429
    assert 990 <= kinds["error"] <= 1000
    thread.join()
    flooder.send_whatever_happens(frame_bytes(CLOSE, frame.payload))
    flooder.read_to_end()
    bob.send("ping")
    bob.expect("pong")
    assert strict.metrics().total("skein_closes_total", code="4429") == before + 1


@pytest.mark.one_tenant
@pytest.mark.slow
def test_ten_seconds_over_the_rate_close(strict, name, open_client):
    alice = open_client(strict, name())
    began = time.monotonic()
    stop = threading.Event()

    def press():
        while not stop.wait(0.05) and time.monotonic() - began < 40:
            try:
                for _ in range(3):
                    alice.send("ping")
            except Exception:
                return

    thread = threading.Thread(target=press)
    thread.start()
    try:
        alice.expect_closed(4429, timeout=40)
    finally:
        stop.set()
        thread.join()
    assert time.monotonic() - began > 8, "closed long before ten seconds of it"


def test_the_default_rate(start, io, name, open_client):
    node = start(io=io, env={"WS_MESSAGE_RATE": None})
    alice = open_client(node, name())
    began = time.monotonic()
    for _ in range(300):
        alice.send("ping")
    types = [alice.next()["type"] for _ in range(300)]
    allowed = 100 + int(50 * (time.monotonic() - began)) + 1
    assert types[:100] == ["pong"] * 100
    assert types.count("pong") <= allowed


# Slow consumers


def stall(node, name, open_raw, open_client, **how):
    """Bob stops reading while Alice goes on sending him large messages, until he is counted as slow.
    Meanwhile Alice talks to Carol, who gets every word."""
    alice, carol = open_client(node, name("alice")), open_client(node, name("carol"))
    bob_name = name("bob")
    bob = open_raw(node, bob_name, receive_buffer=4096, **how)
    before = node.metrics().total("skein_slow_consumers_total")
    sent = 0
    deadline = time.monotonic() + 40
    while node.metrics().total("skein_slow_consumers_total") == before:
        assert time.monotonic() < deadline, f"not counted as slow after {sent} messages"
        for _ in range(20):
            alice.chat(bob_name, {"n": sent, "pad": "x" * 60_000})
            alice.chat(carol.user, sent)
            sent += 1
        for _ in range(20):
            alice.expect("chat_message_sent")
            alice.expect("chat_message_sent")
            carol.expect("chat_message")
    assert node.metrics().total("skein_slow_consumers_total") == before + 1
    return alice, bob, bob_name, carol, sent


def test_a_reader_that_stops_is_closed(node, name, open_raw, open_client):
    """Told 4008 behind what was already on its way, without a gap in that."""
    alice, bob, bob_name, carol, sent = stall(node, name, open_raw, open_client)
    numbers = []
    try:
        while (frame := bob.read_frame()).opcode != CLOSE:
            if frame.opcode == TEXT:
                numbers.append(json.loads(frame.payload)["data"]["message"]["n"])
    except Closed as closed:
        raise AssertionError(f"no 4008 after {len(numbers)} messages: {closed}") from None
    assert frame.code == 4008
    assert frame.reason == "slow consumer"
    assert numbers == list(range(len(numbers))), "a gap within what was delivered"
    assert 0 < len(numbers) < sent
    until(lambda: node.connections(bob_name) == [], what="the end of the slow one")
    assert node.metrics().total("skein_closes_total", code="4008") >= 1


def test_a_reader_that_never_returns_is_reset(start, io, name, open_raw, open_client):
    node = start(io=io, env={"WS_WRITE_TIMEOUT": "1s"})
    alice, bob, bob_name, carol, _ = stall(node, name, open_raw, open_client)
    until(lambda: node.connections(bob_name) == [], timeout=30, what="the reset")
    alice.chat(bob_name, "offline now")
    alice.expect("chat_message_sent")


def test_a_write_that_makes_no_progress(start, io, name, open_raw, open_client):
    """One large message that does not fit into a full socket, and nothing after it: past the write
    stall it is closed and counted, although its queue is far from full."""
    env = {"WS_WRITE_TIMEOUT": "1s", "WS_SEND_QUEUE_BYTES": "67108864"}
    node = start(io=io, env={**env, "WS_SEND_QUEUE_MESSAGES": "100000"})
    alice = open_client(node, name("alice"))
    bob_name = name("bob")
    open_raw(node, bob_name, receive_buffer=4096)
    for n in range(200):
        alice.chat(bob_name, "x" * 60_000)
        alice.expect("chat_message_sent")
    until(
        lambda: node.metrics().total("skein_slow_consumers_total") == 1,
        timeout=30,
        what="the slow consumer",
    )
    until(lambda: node.connections(bob_name) == [], timeout=30, what="its end")


def test_a_slow_reader_that_reads_is_kept(start, io, name, open_raw, open_client):
    """Slower than the sender for a while, but within the queue: nothing is lost."""
    node = start(io=io, env={"WS_WRITE_TIMEOUT": "30s", "WS_SEND_QUEUE_BYTES": "67108864"})
    alice = open_client(node, name("alice"))
    bob_name = name("bob")
    bob = open_raw(node, bob_name, receive_buffer=4096)
    for n in range(200):
        alice.chat(bob_name, {"n": n, "pad": "x" * 40_000})
        alice.expect("chat_message_sent")
    for n in range(200):
        assert bob.read_event()["data"]["message"]["n"] == n
    bob.event("ping")
    bob.expect_event("pong")
    assert node.metrics().total("skein_slow_consumers_total") == 0


def test_the_queues_bound_in_messages(start, io, name, open_raw, open_client):
    """Many small messages to a reader that stopped: closed by their number, though they are far
    from a mebibyte."""
    node = start(io=io, env={"WS_SEND_QUEUE_MESSAGES": "16", "WS_SEND_QUEUE_BYTES": "67108864"})
    stall(node, name, open_raw, open_client)


def test_a_reader_that_drips_does_not_put_off_its_end(start, io, name, open_raw, open_client):
    """Told 4008 it has the write timeout to take what is queued, however often it takes a little."""
    node = start("--shards", "1", io=io, env={"WS_WRITE_TIMEOUT": "3s"})
    # In small segments, so that what is taken soon makes room for a little more.
    alice, bob, bob_name, carol, _ = stall(node, name, open_raw, open_client, segment=536)
    sockets = lambda: node.metrics().total("process_open_fds")
    before, stop = sockets(), threading.Event()

    def drip():
        try:
            while not stop.is_set() and bob.socket.recv(1_024):
                time.sleep(0.02)
        except OSError:
            pass

    dripping = threading.Thread(target=drip)
    dripping.start()
    try:
        until(lambda: sockets() == before - 1, timeout=8, what="its end")
    finally:
        stop.set()
        dripping.join(20)


def test_a_pinger_that_does_not_read_is_a_slow_consumer(start, io, name, open_raw, open_client):
    """Its pongs wait in its send queue, within the queue's bounds, and others notice nothing of it."""
    node = start("--shards", "1", io=io)
    pinger = open_raw(node, name(), receive_buffer=4096)
    with flooding(pinger, frame_bytes(PING, b"p" * 125) * 1_000):
        until(lambda: node.metrics().total("skein_slow_consumers_total") == 1, what="its end")
        assert node.metrics().total("skein_send_queue_high_water") < 2 << 20
        with open_client(node, name()) as other:
            other.chat("nobody", 1)
            other.expect("chat_message_sent")


def test_no_limit_of_the_queue(start, io, name, open_raw, open_client):
    """0 is none: whoever stops is not told 4008, however much waits."""
    node = start(
        io=io,
        env={"WS_SEND_QUEUE_MESSAGES": "0", "WS_SEND_QUEUE_BYTES": "0", "WS_WRITE_TIMEOUT": "60s"},
    )
    alice = open_client(node, name("alice"))
    bob = open_raw(node, (bob_name := name("bob")), receive_buffer=4096)
    for n in range(400):
        alice.chat(bob_name, {"n": n, "pad": "x" * 40_000})
        alice.expect("chat_message_sent")
    assert node.metrics().total("skein_send_queue_high_water") > 2_000_000
    for n in range(400):
        assert bob.read_event()["data"]["message"]["n"] == n
    assert node.metrics().total("skein_slow_consumers_total") == 0


# Peers that vanish


@pytest.fixture(scope="module")
def hasty(start_shared, io):
    env = {"WS_PING_INTERVAL": "500ms", "WS_PONG_TIMEOUT": "2s", "WS_ECHO_PATH": "/echo"}
    return start_shared(io=io, env=env)


@pytest.mark.parametrize("path", ["/ws", "/echo"])
def test_a_peer_that_answers_no_ping_is_closed(hasty, name, open_raw, path):
    user = name()
    raw = open_raw(hasty, user, path)
    began, pings = time.monotonic(), 0
    try:
        while (frame := raw.read_frame()).opcode == PING:
            pings += 1
        assert frame.opcode == CLOSE, frame
        raw.read_to_end()
    except Closed:
        pass
    assert pings >= 1, "it was never pinged"
    assert time.monotonic() - began > 1.5, "closed before its time"
    until(lambda: hasty.connections(user) == [], what="the connection's end")


def test_a_peer_that_answers_pings_stays(hasty, name, open_raw):
    raw = open_raw(hasty, name())
    began = time.monotonic()
    while time.monotonic() - began < 5:
        frame = raw.read_frame()
        assert frame.opcode == PING, frame
        raw.frame(PONG, frame.payload)
    raw.event("ping")
    raw.expect_event("pong")


def test_any_byte_counts_as_a_sign_of_life(hasty, name, open_raw):
    """One byte of a frame once in a while, and no pong at all."""
    raw = open_raw(hasty, name())
    slow = frame_bytes(TEXT, b'{"type":"ping"}')
    began = time.monotonic()
    for at in range(len(slow)):
        raw.send(slow[at : at + 1])
        time.sleep(0.25)
    assert time.monotonic() - began > 4
    assert raw.read_event()["type"] == "pong"


def test_the_library_stays(hasty, name, open_client):
    alice, bob = open_client(hasty, name()), open_client(hasty, name())
    time.sleep(3)
    alice.chat(bob.user, 1)
    bob.expect("chat_message")


# Expiry


@pytest.mark.parametrize("path", ["/ws", "/echo"])
def test_expiry_closes(node, name, path):
    user = name()
    expires = int(time.time()) + 2
    client = node.connect(
        user, path, token=token(user, exp=expires), expect_connected=path == "/ws"
    )
    with client:
        assert client.expect_closed(4401) == "token expired"
    assert time.time() >= expires - 0.1, "closed before it expired"


def test_expiry_of_one_device_leaves_the_other(node, name, open_client):
    user = name()
    stays = open_client(node, user)
    goes = open_client(node, user, token=token(user, ttl=2))
    goes.expect_closed(4401)
    stays.send("ping")
    stays.expect("pong")
    assert len(until(lambda: node.connections(user), what="the other device")) == 1


def test_a_distant_expiry_is_not_now(node, name, open_client):
    """Also one whose seconds overflow a 32-bit or a millisecond count."""
    for exp in (1 << 31, 1 << 32, 253_402_300_799, 9_007_199_254_740_991, 1 << 62):
        user = name()
        client = open_client(node, user, token=token(user, exp=exp))
        client.send("ping")
        client.expect("pong")
