"""History: whoever comes back with `?resume=` gets everything it missed, in order, or is told that it
cannot; on one node and on many, whatever happens to Redis meanwhile."""

import json
import re
import threading
import time
import urllib.parse

import pytest

from harness.client import quiet
from harness.raw import frame_bytes, upgrade_request
from harness.redis import RedisServer
from harness.tokens import token
from harness.wait import until

OFFSET = re.compile(r"\d{1,19}-\d{1,19}")


@pytest.fixture(scope="module")
def places(start_shared, io, backplane):
    """Nodes to come back to: two on Redis, the one there is without."""
    return [start_shared(io=io, redis=backplane) for _ in range(2 if backplane else 1)]


@pytest.fixture
def node(places):
    return places[0]


@pytest.fixture
def elsewhere(places):
    """Another node, where there is one."""
    return places[-1]


def point(client, offset=None) -> str:
    """Where a client would come back to."""
    return f"{client.connected['data']['epoch']}:{offset or client.connected['data']['offset']}"


def number(offset) -> tuple[int, int]:
    first, number = offset.split("-")
    return int(first), int(number)


@pytest.fixture
def resume(open_client):
    def resume(node, user, point, **how):
        return open_client(node, user, path=f"/ws?resume={point}", **how)

    return resume


def missed(client, recovered=True) -> list[dict]:
    """What came between `connected` and `resumed`."""
    events = client.until(lambda event: event["type"] == "resumed")
    data = events.pop()["data"]
    assert data == {"recovered": recovered, "replayed": len(events)}
    return events


def messages(events) -> list:
    return [event["data"]["message"] for event in events]


# The first frame


def test_connected_says_where_one_stands(node, name, open_client):
    data = open_client(node, name()).connected["data"]
    assert set(data) == {"connectionId", "epoch", "offset", "resume"}
    assert data["resume"] is True
    assert re.fullmatch(r"[0-9a-f]{16}", data["epoch"])
    assert OFFSET.fullmatch(data["offset"])


def test_the_epoch_is_one_for_all(places, name, open_client):
    epochs = {open_client(node, name()).connected["data"]["epoch"] for node in places for _ in range(2)}
    assert len(epochs) == 1


def test_kept_events_have_growing_offsets(node, name, open_client):
    alice, bob = open_client(node, name("alice")), open_client(node, name("bob"))
    last = number(bob.connected["data"]["offset"])
    for index in range(20):
        alice.chat(bob.user, index)
        offset = bob.expect("chat_message")["offset"]
        assert OFFSET.fullmatch(offset) and number(offset) > last
        last = number(offset)
        assert OFFSET.fullmatch(alice.expect("chat_message_sent")["offset"])
    late = open_client(node, bob.user)
    assert number(late.connected["data"]["offset"]) == last


def test_the_moment_has_no_offset(node, name, open_client):
    alice, bob = open_client(node, name("alice")), open_client(node, name("bob"))
    alice.send("typing", {"receiverId": bob.user, "isTyping": True})
    assert "offset" not in bob.expect("typing")
    alice.send("ping", {"timestamp": 1})
    assert "offset" not in alice.expect("pong")
    alice.send("nonsense")
    assert "offset" not in alice.expect_error("UNKNOWN_EVENT")


def test_without_resume_nothing_is_replayed(node, name, open_client):
    alice, bob = open_client(node, name("alice")), name("bob")
    alice.chat(bob, "before")
    alice.expect("chat_message_sent")
    quiet(alice, open_client(node, bob))


# Coming back


def test_everything_missed_in_order(node, elsewhere, name, open_client, resume):
    alice, bob = open_client(node, name("alice")), open_client(elsewhere, name("bob"))
    alice.chat(bob.user, "seen")
    alice.expect("chat_message_sent")
    last = bob.expect("chat_message")["offset"]
    bob.close()
    for index in range(50):
        alice.chat(bob.user, index, requestId=f"r{index}")
        alice.expect("chat_message_sent", request_id=f"r{index}")
    back = resume(elsewhere, bob.user, point(bob, last))
    events = missed(back)
    assert messages(events) == list(range(50))
    offsets = [number(event["offset"]) for event in events]
    assert offsets == sorted(set(offsets)) and offsets[0] > number(last)
    assert number(back.connected["data"]["offset"]) == offsets[-1]
    assert not any("requestId" in event for event in events)
    quiet(alice, back)


def test_on_another_node(node, elsewhere, name, open_client, resume):
    alice, bob = open_client(node, name("alice")), open_client(node, name("bob"))
    bob.close()
    for index in range(10):
        alice.chat(bob.user, index)
        alice.expect("chat_message_sent")
    back = resume(elsewhere, bob.user, point(bob))
    assert messages(missed(back)) == list(range(10))
    quiet(alice, back)


def test_offline_from_the_start(node, name, open_client, resume):
    """A user to whom nothing had ever happened missed something all the same."""
    alice, bob = open_client(node, name("alice")), open_client(node, name("bob"))
    bob.close()
    time.sleep(0.05)
    alice.chat(bob.user, "first")
    alice.expect("chat_message_sent")
    assert messages(missed(resume(node, bob.user, point(bob)))) == ["first"]


def test_nothing_missed(node, elsewhere, name, open_client, resume):
    alice = open_client(node, name("alice"))
    alice.close()
    assert missed(resume(elsewhere, alice.user, point(alice))) == []
    alice = open_client(node, alice.user)
    alice.chat(alice.user, 1)
    last = alice.until(lambda event: event["type"] == "chat_message_sent")[-1]["offset"]
    alice.close()
    assert missed(resume(elsewhere, alice.user, point(alice, last))) == []


def test_every_kind_that_is_kept(node, elsewhere, name, open_client, resume):
    alice, bob = open_client(node, name("alice")), open_client(elsewhere, name("bob"))
    bob.close()
    alice.chat(bob.user, "hi")
    alice.send("typing", {"receiverId": bob.user, "isTyping": True})
    alice.send("chat_edit", {"receiverId": bob.user, "message": "hello"})
    alice.send("chat_delete", {"receiverId": bob.user, "messageId": "m"})
    alice.send("read_receipt", {"senderId": bob.user, "messageIds": ["m"]})
    quiet_marker = {"end": True}
    alice.chat(bob.user, quiet_marker)
    alice.until(lambda event: event["data"].get("message") == quiet_marker)
    events = missed(resume(elsewhere, bob.user, point(bob)))
    assert [event["type"] for event in events] == [
        "chat_message", "chat_edit", "chat_delete", "read_receipt", "chat_message",
    ]  # fmt: skip


def test_others_hear_each_event_once_while_one_resumes(node, elsewhere, name, open_client, resume):
    """Devices of one user come and go and resume, on all nodes, under traffic; the one that stays gets
    everything once and in order, and so do those that return."""
    alice = open_client(node, name("alice"))
    stays = open_client(elsewhere, name("bob"))
    comes = open_client(node, stays.user)
    stop, count = threading.Event(), [0]

    def talk():
        while not stop.wait(0.002):
            alice.chat(stays.user, count[0])
            count[0] += 1

    thread = threading.Thread(target=talk)
    thread.start()
    got, last = [], comes.connected["data"]["offset"]
    try:
        for turn in range(12):
            for _ in range(5):
                event = comes.expect("chat_message")
                got.append(event["data"]["message"])
                last = event["offset"]
            comes.close()
            comes = resume((node, elsewhere)[turn % 2], stays.user, point(stays, last))
            for event in missed(comes):
                got.append(event["data"]["message"])
                last = event["offset"]
    finally:
        stop.set()
        thread.join()
    while not got or got[-1] != count[0] - 1:
        got.append(comes.expect("chat_message")["data"]["message"])
    assert got == list(range(count[0]))
    assert [stays.expect("chat_message")["data"]["message"] for _ in got] == got


def test_messages_behind_the_handshake_are_answered_after_the_replay(node, name, open_client, open_raw):
    alice, bob = open_client(node, name("alice")), open_client(node, name("bob"))
    bob.close()
    alice.chat(bob.user, "missed")
    alice.expect("chat_message_sent")
    with node.wire() as wire:
        ping = json.dumps({"type": "ping", "data": {"timestamp": 7}}).encode()
        head = upgrade_request(node.port, f"/ws?resume={point(bob)}", token=token(bob.user))
        wire.send(head + frame_bytes(1, ping))
        assert wire.response().status == 101
        assert [wire.read_event()["type"] for _ in range(4)] == [
            "connected", "chat_message", "resumed", "pong",
        ]  # fmt: skip


# What cannot be recovered


@pytest.mark.parametrize(
    "text",
    ["", "x", "0", ":", "1:2", "0123456789abcdef", "0123456789abcdef:", "0123456789abcdef:1",
     "zzzzzzzzzzzzzzzz:1-1", "0123456789abcdef:1-1-1", "0123456789abcdef:-1-1", "é" * 30,
     "9" * 3000, "0123456789abcdef:99999999999999999999-1"],
)  # fmt: skip
def test_malformed(node, name, resume, text):
    client = resume(node, name(), urllib.parse.quote(text, safe=":"))
    assert missed(client, recovered=False) == []
    assert client.connected["data"]["resume"] is True


def test_another_epoch(node, name, open_client, resume):
    alice = open_client(node, name())
    offset = alice.connected["data"]["offset"]
    assert missed(resume(node, alice.user, f"0123456789abcdef:{offset}"), recovered=False) == []


@pytest.mark.parametrize("offset", ["9223372036854775807-1", "9999999999999999999-9999999999999999999"])
def test_an_offset_that_was_never_given(node, name, open_client, resume, offset):
    alice = open_client(node, name())
    assert missed(resume(node, alice.user, point(alice, offset)), recovered=False) == []


def test_percent_encoded(node, name, open_client, resume):
    alice = open_client(node, name())
    assert missed(resume(node, alice.user, point(alice).replace(":", "%3A"))) == []


@pytest.fixture
def short(start, io, backplane):
    """A node that keeps ten events of a user, for two seconds."""
    return start(io=io, redis=backplane, env={"WS_HISTORY_SIZE": "10", "WS_HISTORY_TTL": "2s"})


@pytest.mark.parametrize("count, recovered", [(10, True), (11, False), (200, False)])
def test_trimmed_by_count(short, name, open_client, resume, count, recovered):
    alice, bob = open_client(short, name("alice")), open_client(short, name("bob"))
    bob.close()
    for index in range(count):
        alice.chat(bob.user, index)
        alice.expect("chat_message_sent")
    events = missed(resume(short, bob.user, point(bob)), recovered)
    assert messages(events) == (list(range(count)) if recovered else [])


def test_trimmed_by_age(short, name, open_client, resume):
    alice, bob = open_client(short, name("alice")), open_client(short, name("bob"))
    bob.close()
    alice.chat(bob.user, "old")
    old = alice.expect("chat_message_sent")
    time.sleep(2.3)
    assert missed(resume(short, bob.user, point(bob)), recovered=False) == []
    # Who has seen the last of it has missed nothing, however long ago that was.
    alice.close()
    assert missed(resume(short, alice.user, point(alice, old["offset"]))) == []


def test_history_off(start, io, backplane, name, open_client, resume):
    node = start(io=io, redis=backplane, env={"WS_HISTORY_SIZE": "0"})
    alice = open_client(node, name("alice"))
    assert set(alice.connected["data"]) == {"connectionId", "resume"}
    assert alice.connected["data"]["resume"] is False
    alice.chat(alice.user, 1)
    assert "offset" not in alice.expect("chat_message")
    back = resume(node, alice.user, "0123456789abcdef:1-1")
    assert missed(back, recovered=False) == []


# Slow consumers

# So large that the kernel's buffers do not hold it all.
LARGE = {
    "WS_MESSAGE_RATE": "0",
    "WS_SEND_QUEUE_BYTES": "65536",
    "WS_HISTORY_USER_BYTES": "16777216",
}

def test_a_slow_consumer_comes_back_and_misses_nothing(start, io, backplane, name, open_client, resume):
    node = start(io=io, redis=backplane, env=LARGE)
    alice = open_client(node, name("alice"))
    # More than a send queue holds, and less than a history: it has to come back, and can.
    text, count = "x" * 30_000, 240
    slow_user = name("slow")
    slow = node.raw(slow_user, receive_buffer=4_096)
    epoch, last = slow.connected["data"]["epoch"], slow.connected["data"]["offset"]
    got, slowed = [], 0
    for index in range(count):
        alice.chat(slow_user, f"{index}:{text}")
        alice.expect("chat_message_sent")
    # It reads what it was sent up to its 4008, if it was closed, and comes back until all is there.
    while len(got) < count:
        try:
            while len(got) < count:
                event = slow.read_event()
                if event["type"] == "resumed":
                    assert event["data"]["recovered"] is True
                elif event["type"] == "chat_message":
                    got.append(event["data"]["message"])
                    last = event["offset"]
        except AssertionError as closed:
            assert "4008" in str(closed), closed
            slowed += 1
            slow.close()
            slow = node.raw(slow_user, f"/ws?resume={epoch}:{last}", receive_buffer=4_096)
    slow.close()
    assert slowed, "it was never closed"
    assert got == [f"{index}:{text}" for index in range(count)]


def test_a_replay_is_more_than_a_send_queue_holds(start, io, backplane, name, open_client):
    """The replay alone is past the limits of a send queue, for a client that reads slowly: it is not
    a slow consumer for that."""
    node = start(io=io, redis=backplane, env={**LARGE, "WS_SEND_QUEUE_MESSAGES": "4"})
    alice, bob = open_client(node, name("alice")), open_client(node, name("bob"))
    bob.close()
    text = "y" * 30_000
    for index in range(240):
        alice.chat(bob.user, f"{index}:{text}")
        alice.expect("chat_message_sent")
    with node.raw(bob.user, f"/ws?resume={point(bob)}", receive_buffer=4_096) as slow:
        time.sleep(0.5)
        got = []
        while (event := slow.read_event())["type"] != "resumed":
            got.append(event["data"]["message"])
    assert got == [f"{index}:{text}" for index in range(240)]
    assert event["data"] == {"recovered": True, "replayed": 240}


def test_a_replay_without_limits_of_the_queue(start, io, backplane, name, open_client):
    """0 is none, also for who resumes and reads slowly."""
    limits = {"WS_SEND_QUEUE_MESSAGES": "0", "WS_SEND_QUEUE_BYTES": "0"}
    node = start(io=io, redis=backplane, env={**LARGE, **limits})
    alice, bob = open_client(node, name("alice")), open_client(node, name("bob"))
    bob.close()
    for index in range(200):
        alice.chat(bob.user, f"{index}:{'y' * 30_000}")
        alice.expect("chat_message_sent")
    with node.raw(bob.user, f"/ws?resume={point(bob)}", receive_buffer=4_096) as slow:
        time.sleep(0.5)
        while (event := slow.read_event())["type"] != "resumed":
            pass
    assert event["data"] == {"recovered": True, "replayed": 200}


def test_a_history_larger_than_an_answer_may_be(start, io, redis, name, open_client, resume):
    """Whoever missed more than a read brings is told so, and nobody else notices."""
    node = start(io=io, redis=redis, env={**LARGE, "WS_HISTORY_SIZE": "2048"})
    alice, bob = open_client(node, name("alice")), open_client(node, name("bob"))
    bob.close()
    text = "z" * 60_000
    for index in range(1_200):
        alice.chat(bob.user, text)
        alice.expect("chat_message_sent")
    back = resume(node, bob.user, point(bob))
    assert missed(back, recovered=False) == []
    alice.chat(bob.user, "last")
    event = back.expect("chat_message")
    assert event["data"]["message"] == "last"
    assert node.ready()[0] == 200
    back.close()
    alice.chat(bob.user, "missed")
    alice.expect("chat_message_sent")
    again = resume(node, bob.user, f"{back.connected['data']['epoch']}:{event['offset']}")
    assert messages(missed(again)) == ["missed"]


def test_metrics(node, name, open_client, resume):
    before = node.metrics()
    alice, bob = open_client(node, name("alice")), open_client(node, name("bob"))
    bob.close()
    alice.chat(bob.user, 1)
    alice.expect("chat_message_sent")
    assert len(missed(resume(node, bob.user, point(bob)))) == 1
    missed(resume(node, bob.user, "x"), recovered=False)
    missed(resume(node, bob.user, "0123456789abcdef:1-1"), recovered=False)
    after = node.metrics()

    def grown(name, **labels):
        return after.total(name, **labels) - before.total(name, **labels)

    assert grown("skein_history_events_total") >= 2
    assert grown("skein_replayed_total") == 1
    for result in ("recovered", "lost", "malformed"):
        assert grown("skein_resumes_total", result=result) == 1
    for name in ("skein_history_bytes", "skein_history_users", "skein_history_dropped_total"):
        assert after.has(name)


# Memory


def test_memory_bounds(start, io, name, open_client, resume):
    """One user's events may not push out its own bound, nor all users' the node's."""
    env = {"WS_HISTORY_USER_BYTES": "8192", "WS_HISTORY_BYTES": "65536", "WS_MESSAGE_RATE": "0"}
    node = start("--shards", "1", io=io, env=env)
    alice, bob = open_client(node, name("alice")), open_client(node, name("bob"))
    bob.close()
    text = "z" * 1_000
    for index in range(20):
        alice.chat(bob.user, f"{index}:{text}")
        alice.expect("chat_message_sent")
    assert missed(resume(node, bob.user, point(bob)), recovered=False) == []
    for index in range(100):
        alice.chat(name(f"other-{index}"), text)
        alice.expect("chat_message_sent")
    metrics = node.metrics()
    # A user's record is some 150 bytes beside its events.
    assert metrics.total("skein_history_bytes") <= 65_536 + 110 * 200
    assert metrics.total("skein_history_dropped_total", reason="user_bytes") > 0
    assert metrics.total("skein_history_dropped_total", reason="bytes") > 0


def test_memory_begins_anew_with_each_start(start, io, name, open_client, resume):
    first = start(io=io)
    alice = open_client(first, name())
    again = point(alice)
    alice.close()
    first.stop()
    second = start(io=io)
    assert missed(resume(second, alice.user, again), recovered=False) == []


# Redis


@pytest.fixture
def server(start):
    return start(make=RedisServer)


class Traffic:
    """Alice, on one node, writes numbers to Bob; one of Bob's devices stays as long as it is let, on
    another node, and comes back by resume whenever it is closed."""

    def __init__(self, nodes, name, open_client):
        self.nodes, self.open_client = nodes, open_client
        self.alice = open_client(nodes[0], name("alice"))
        self.bob = open_client(nodes[-1], name("bob"))
        self.epoch = self.bob.connected["data"]["epoch"]
        self.last = self.bob.connected["data"]["offset"]
        self.count, self.returns, self.lost = 0, 0, 0
        self.got = []
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        while not self.stopping.wait(0.005):
            self.alice.chat(self.bob.user, self.count)
            self.count += 1

    def take(self, event):
        if event["type"] == "resumed":
            self.lost += not event["data"]["recovered"]
        elif event["type"] == "chat_message":
            self.got.append(event["data"]["message"])
        self.last = event.get("offset", self.last)

    def follow(self, done):
        """Reads, and comes back where it is closed, until `done`."""
        deadline = time.monotonic() + 60
        while not done():
            assert time.monotonic() < deadline, f"{len(self.got)} of {self.count}"
            try:
                self.take(json.loads(self.bob.socket.recv(0.2)))
            except TimeoutError:
                continue
            except Exception:
                self.returns += 1
                time.sleep(0.1)
                self.bob = self.open_client(
                    self.nodes[self.returns % len(self.nodes)],
                    self.bob.user,
                    path=f"/ws?resume={self.epoch}:{self.last}",
                )

    def check(self):
        """Every number once and in order."""
        self.stopping.set()
        self.thread.join()
        self.follow(lambda: self.got and self.got[-1] == self.count - 1)
        missing = sorted(set(range(self.count)) - set(self.got))
        twice = sorted({n for n in self.got if self.got.count(n) > 1})
        assert self.got == list(range(self.count)), f"lost {missing}, twice {twice}, of {self.count}"
        assert self.lost == 0


@pytest.fixture
def two(start, io, server):
    # Room for all that a frozen Redis is given at once: a node that hears of it later than the other reads it.
    return [start(io=io, redis=server, env={"WS_HISTORY_SIZE": "4096"}) for _ in range(2)]


@pytest.fixture
def traffic(two, name, open_client):
    made = Traffic(two, name, open_client)
    yield made
    made.stopping.set()
    made.thread.join()


def for_a_while(traffic, seconds):
    end = time.monotonic() + seconds
    traffic.follow(lambda: time.monotonic() > end)


def test_keys_in_redis(two, server, name, open_client):
    alice = open_client(two[0], name("alice"))
    for index in range(3):
        alice.chat(alice.user, index)
        offset = alice.until(lambda event: event["type"] == "chat_message_sent")[-1]["offset"]
    with server.client() as redis:
        stream, position = f"ws:history:{{{alice.user}}}", f"ws:position:{{{alice.user}}}"
        entries = redis("XRANGE", stream, "-", "+")
        assert len(entries) == 6
        assert entries[-1][0] == offset
        event = json.loads(dict(zip(entries[-1][1][::2], entries[-1][1][1::2]))["e"])
        assert event["type"] == "chat_message_sent" and event["offset"] == offset
        assert redis("GET", position).startswith(offset + "-")
        assert 600_000 < redis("PTTL", stream) <= 675_000, "an eighth more, so that not every event sets it"
        assert redis("PTTL", position) > 600_000
        assert redis("GET", "ws:epoch") == alice.connected["data"]["epoch"]


def test_a_stream_that_went_early_ends_all_the_same(two, server, name, open_client):
    alice = open_client(two[0], name("alice"))
    stream = f"ws:history:{{{alice.user}}}"
    with server.client() as redis:
        for index in range(3):
            alice.chat(alice.user, index)
            alice.until(lambda event: event["type"] == "chat_message_sent")
            assert redis("PTTL", stream) > 600_000
            redis("DEL", stream)


def test_what_backends_publish_has_no_offset(two, server, name, open_client):
    alice = open_client(two[0], name("alice"))
    server.publish(f"user:{alice.user}", json.dumps({"type": "alert", "data": {}, "offset": "1-1"}))
    assert "offset" not in alice.expect("alert")


@pytest.mark.slow
def test_scripts_forgotten_under_traffic(traffic, server):
    with server.client() as redis:
        for _ in range(5):
            for_a_while(traffic, 0.7)
            redis("SCRIPT", "FLUSH")
    traffic.check()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["pubsub", "normal", "all"])
def test_links_killed_under_traffic(traffic, server, kind):
    """Nobody misses or doubles anything, though what one node says while the other is deaf is not
    published a second time."""
    with server.client() as redis:
        for _ in range(6):
            for_a_while(traffic, 0.7)
            for each in ("normal", "pubsub") if kind == "all" else (kind,):
                redis("CLIENT", "KILL", "TYPE", each, "SKIPME", "yes")
    traffic.check()


@pytest.mark.slow
def test_redis_frozen_under_traffic(traffic, two, server):
    for _ in range(2):
        for_a_while(traffic, 0.7)
        server.freeze()
        for_a_while(traffic, 4)
        server.thaw()
        until(lambda: all(node.ready()[0] == 200 for node in two), 30, what="readiness")
    traffic.check()


@pytest.mark.slow
def test_a_redis_that_lost_the_newest_is_found_out(two, server, name, open_client, resume):
    """As after a failover to a replica that lagged: what is left looks whole, and is not."""
    alice = open_client(two[0], name("alice"))
    alice.chat(alice.user, 1)
    kept = alice.until(lambda event: event["type"] == "chat_message_sent")[-1]["offset"]
    old = alice.connected["data"]["epoch"]
    mark = f"ws:appended:{two[0].control('GET', '/health').json()['nodeId']}"
    with server.client() as redis:
        said = redis("GET", mark)
        assert int(said, 16) >= 2 and 0 < redis("PTTL", mark)
        redis("SET", mark, "%016x" % (int(said, 16) - 1), "XX", "KEEPTTL")
        redis("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        until(lambda: redis("GET", "ws:epoch") != old, 15, what="another epoch")
    alice.expect_closed(1012)
    assert "lost events" in two[0].log.text
    assert missed(resume(two[1], alice.user, f"{old}:{kept}"), recovered=False) == []


def test_a_redis_that_lost_everything_is_another_history(two, server, name, open_client, resume):
    alice = open_client(two[0], name("alice"))
    server.kill()
    until(lambda: two[0].ready()[0] == 503, 15, what="not ready")
    away = resume(two[0], name("late"), point(alice))
    assert away.connected["data"]["resume"] is False
    assert missed(away, recovered=False) == []
    server.start()
    # Whoever stayed is told: nobody can say what it missed.
    assert "reconnectAfterMs" in json.loads(alice.expect_closed(1012))
    until(lambda: two[0].ready()[0] == 200, 30, what="readiness")
    back = resume(two[0], alice.user, point(alice))
    assert missed(back, recovered=False) == []
    assert back.connected["data"]["epoch"] != alice.connected["data"]["epoch"]


@pytest.mark.slow
def test_deleted_under_our_feet(two, server, name, open_client):
    alice = open_client(two[0], name("alice"))
    with server.client() as redis:
        redis("FLUSHALL")
    alice.expect_closed(1012)


def test_keys_of_another_type(two, server, name, open_client):
    """One user's trouble, and nobody else's."""
    user = name("odd")
    with server.client() as redis:
        redis("SET", f"ws:history:{{{user}}}", "x")
        redis("LPUSH", f"ws:position:{{{user}}}", "x")
    odd = open_client(two[0], user)
    alice = open_client(two[1], name("alice"))
    alice.chat(user, "hi")
    alice.expect("chat_message_sent")
    assert odd.expect("chat_message")["data"]["message"] == "hi"
    again = open_client(two[0], user)
    assert again.connected["data"]["resume"] is True
    assert two[0].ready()[0] == 200
