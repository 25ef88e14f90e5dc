"""Redis gone, frozen, or hanging up, under traffic: those on the node go on hearing each other, once
and in order; readiness tells; what was subscribed is subscribed again."""

import json
import threading
import time

import pytest

from harness.redis import RedisServer
from harness.wait import until

# The contract says 5 s; the rest is for a busy machine.
TELLS_WITHIN = 9


@pytest.fixture
def server(start):
    return start(make=RedisServer)


@pytest.fixture
def node(start, io, server):
    """Without history, for Redis loses its own here whenever it is killed, and then whoever is
    connected is told to come back: `test_resume.py` has that, and outages with history."""
    return start(io=io, redis=server, env={"WS_HISTORY_SIZE": "0"})


class Traffic:
    """Alice writes numbers to Bob, who has two devices, 50 a second, until she is told to stop."""

    def __init__(self, node, name, open_client):
        self.alice = open_client(node, name("alice"))
        self.bob = [open_client(node, name("bob"))]
        self.bob.append(open_client(node, self.bob[0].user))
        self.count = 0
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        while not self.stopping.wait(0.02):
            self.alice.chat(self.bob[0].user, self.count)
            self.count += 1

    def stop(self):
        self.stopping.set()
        self.thread.join()

    def check(self):
        """Every message reached every device once, in order."""
        self.stop()
        wanted = list(range(self.count))
        for device, type in (
            (self.bob[0], "chat_message"),
            (self.bob[1], "chat_message"),
            (self.alice, "chat_message_sent"),
        ):
            got = []
            while not got or got[-1] != self.count - 1:
                got.append(device.expect(type)["data"]["message"])
            lost = sorted(set(wanted) - set(got))
            twice = sorted({n for n in got if got.count(n) > 1})
            assert got == wanted, f"{type}: lost {lost}, twice {twice}, of {self.count}"


@pytest.fixture
def traffic(node, name, open_client):
    made = Traffic(node, name, open_client)
    yield made
    made.stop()


def talk(node, name, open_client):
    """Two users meet now, and hear each other."""
    carol, dave = open_client(node, name("carol")), open_client(node, name("dave"))
    carol.chat(dave.user, "hi")
    dave.expect("chat_message", {"senderId": carol.user, "message": "hi"})
    carol.expect("chat_message_sent")
    return carol, dave


def expect_degraded(node):
    began = time.monotonic()
    status, body = until(
        lambda: (found := node.ready())[0] == 503 and found, timeout=15, what="not ready"
    )
    assert time.monotonic() - began < TELLS_WITHIN
    assert body["status"] == "degraded"
    assert body["reason"]
    health = node.control("GET", "/health")
    assert health.status == 200, "alive all the same"
    assert "redis" in health.json()
    until(lambda: node.metrics().total("skein_redis_up") == 0, what="the metric")


def expect_recovered(node, server, *users):
    began = time.monotonic()
    # Both at once: right after a connection was killed the node may not have noticed yet.
    until(
        lambda: node.ready()[0] == 200 and node.metrics().total("skein_redis_up") == 1,
        timeout=30,
        what="readiness",
    )
    assert time.monotonic() - began < TELLS_WITHIN
    for user in users:
        event = json.dumps({"type": "alert", "data": {"back": True}})
        until(lambda: server.publish(f"user:{user}", event) == 1, what=f"user:{user} again")


def reached(client):
    """Whatever came before, the backend's word came too."""
    client.until(lambda event: event["type"] == "alert" and event["data"] == {"back": True})


@pytest.mark.slow
def test_redis_killed(node, server, name, open_client, traffic):
    carol, dave = talk(node, name, open_client)
    time.sleep(0.5)
    server.kill()
    killed = time.monotonic()
    expect_degraded(node)
    # Local delivery goes on, for those who were here and for those who come.
    carol.chat(dave.user, "still here")
    dave.expect("chat_message", {"senderId": carol.user, "message": "still here"})
    carol.expect("chat_message_sent")
    talk(node, name, open_client)
    time.sleep(max(0, 5 - (time.monotonic() - killed)))
    server.start()
    expect_recovered(node, server, dave.user)
    reached(dave)
    late = talk(node, name, open_client)[1]
    expect_recovered(node, server, late.user)
    reached(late)
    traffic.check()


@pytest.mark.slow
def test_redis_frozen(node, server, name, open_client, traffic):
    """The connection stands, the port answers the TCP handshake, and nothing comes back."""
    carol, dave = talk(node, name, open_client)
    time.sleep(0.5)
    server.freeze()
    frozen = time.monotonic()
    try:
        expect_degraded(node)
        carol.chat(dave.user, "still here")
        dave.expect("chat_message", {"senderId": carol.user, "message": "still here"})
        carol.expect("chat_message_sent")
        time.sleep(max(0, 5 - (time.monotonic() - frozen)))
    finally:
        server.thaw()
    expect_recovered(node, server, dave.user)
    reached(dave)
    traffic.check()


@pytest.mark.slow
def test_redis_frozen_and_back_before_it_is_noticed(node, server, traffic):
    """A hiccup of a second, several times: late, but once and in order."""
    for _ in range(3):
        time.sleep(0.5)
        server.freeze()
        time.sleep(1)
        server.thaw()
    until(lambda: node.ready()[0] == 200, timeout=30, what="readiness")
    traffic.check()


@pytest.mark.slow
def test_subscriber_connections_killed(node, server, name, open_client, traffic):
    """`CLIENT KILL TYPE pubsub`: back by itself, without a word lost between local users."""
    dave = open_client(node, name("dave"))
    time.sleep(0.5)
    with server.client() as client:
        assert client("CLIENT", "KILL", "TYPE", "pubsub") >= 1
    expect_recovered(node, server, dave.user)
    reached(dave)
    time.sleep(0.5)
    traffic.check()


@pytest.mark.slow
def test_every_connection_killed(node, server, name, open_client, traffic):
    dave = open_client(node, name("dave"))
    time.sleep(0.5)
    with server.client() as client:
        client("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        client("CLIENT", "KILL", "TYPE", "pubsub")
    expect_recovered(node, server, dave.user)
    reached(dave)
    time.sleep(0.5)
    traffic.check()


@pytest.mark.one_tenant
@pytest.mark.slow
def test_redis_absent_at_the_start(start, io, name, open_client):
    server = start(make=RedisServer, start=False)
    node = start(io=io, redis=server, wait="listening")
    carol, dave = talk(node, name, open_client)
    status, body = node.ready()
    assert status == 503
    assert body["status"] in ("starting", "degraded")
    assert body["reason"]
    server.start()
    expect_recovered(node, server, dave.user)
    reached(dave)
    carol.chat(dave.user, "again")
    dave.expect("chat_message", {"senderId": carol.user, "message": "again"})


@pytest.mark.one_tenant
@pytest.mark.slow
def test_ready_when_degraded_by_choice(start, io, server, name, open_client):
    node = start(io=io, redis=server, env={"READY_WHEN_DEGRADED": "true"})
    talk(node, name, open_client)
    server.kill()
    until(lambda: node.metrics().total("skein_redis_up") == 0, timeout=15, what="noticing")
    assert node.ready()[0] == 200
    talk(node, name, open_client)


@pytest.mark.one_tenant
@pytest.mark.slow
def test_presence_is_written_again_after_redis_lost_it(node, server, name, open_client):
    """Redis comes back empty: the keys of those who are connected come back too."""
    user = name()
    client = open_client(node, user)
    server.kill()
    expect_degraded(node)
    server.start()
    until(lambda: node.ready()[0] == 200, timeout=30, what="readiness")
    with server.client(4) as keys:
        until(
            lambda: keys("GET", f"presence:{user}") == "online"
            and keys("HKEYS", f"presence:devices:{user}") == [client.connection_id],
            timeout=60,
            every=0.2,
            what="presence",
        )


@pytest.mark.one_tenant
@pytest.mark.slow
def test_a_drain_while_redis_is_gone(node, server, name, open_client):
    client = open_client(node, name())
    server.kill()
    expect_degraded(node)
    assert node.control("POST", "/drain", {}).status == 202
    client.expect_closed(1012)
    assert node.wait_exit() == 0
