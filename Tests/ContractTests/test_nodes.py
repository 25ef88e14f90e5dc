"""Many nodes on one Redis: their leases, what becomes of a dead one's devices, connections counted over
all of them, drains that go as fast as the others can take, and what a node leaves behind."""

import json
import signal
import threading
import time

import pytest

from harness.node import skein
from harness.redis import RedisServer
from harness.tokens import SECRET, token
from harness.wait import holds, until
from test_drain import Leavers, drain, report_of

SESSIONS_AND_PRESENCE = 4
LEASE = 1.5
# A lease, its grace, and the time until the others look: what a death takes at most, on a busy machine.
DEATH = 20
# And until whoever cleared up has looked once more.
SECOND_LOOK = 15 + DEATH
QUICK = {"WS_NODE_LEASE": "1500ms", "WS_NODE_GRACE": "200ms", "DRAIN_DEADLINE": "10s"}


@pytest.fixture
def server(start):
    """A Redis of the test's own: what is in it is what the test's nodes left."""
    return start(make=RedisServer)


@pytest.fixture
def make(start, io, server):
    return lambda *arguments, **env: start(*arguments, io=io, redis=server, env={**QUICK, **env})


@pytest.fixture
def own(server):
    with server.client(0) as client:
        yield client


@pytest.fixture
def keys(server):
    with server.client(SESSIONS_AND_PRESENCE) as client:
        yield client


def node_id(node) -> str:
    return node.control("GET", "/health").json()["nodeId"]


def listed(node) -> dict:
    response = node.control("GET", "/nodes")
    assert response.status == 200, response
    return {found["nodeId"]: found for found in response.json()["nodes"]}


def know_each_other(*nodes):
    ids = {node_id(node) for node in nodes}
    for node in nodes:
        until(lambda: set(listed(node)) == ids, what=f"{len(ids)} nodes in /nodes")
    return ids


def devices(keys, user) -> set:
    return set(keys("HKEYS", f"presence:devices:{user}"))


def kill(node):
    node.may_end = True
    node.process.kill()
    node.process.wait()


# Leases


@pytest.mark.one_tenant
def test_a_lease_comes_and_goes(make, own, keys, open_client, name):
    a, b = make("--shards", "1"), make("--shards", "2")
    know_each_other(a, b)
    open_client(a, name())
    open_client(a, name())
    for node, shards in ((a, 1), (b, 2)):
        key = f"ws:node:{node_id(node)}"
        until(lambda: json.loads(own("GET", key))["acceptPerSecond"], what="listeners that are open")
        assert 0 < own("PTTL", key) <= LEASE * 1_000
        lease = json.loads(own("GET", key))
        assert lease["nodeId"] == node_id(node)
        assert lease["address"] == f"127.0.0.1:{node.port}"
        assert lease["controlAddress"] == f"127.0.0.1:{node.control_port}"
        assert lease["shards"] == shards
        assert lease["acceptPerSecond"] == 2_000 * shards
        assert lease["draining"] is False
    assert 0 < own("PTTL", "ws:nodes")
    # B learns what A carries by A's lease.
    until(lambda: listed(b)[node_id(a)]["connections"] == 2, what="A's connections as B sees them")
    assert listed(b)[node_id(a)]["users"] == 2
    assert b.metrics().total("skein_nodes") == 2
    assert b.metrics().total("skein_node_lease_age_seconds") < LEASE
    gone = node_id(b)
    b.stop()
    assert not own("EXISTS", f"ws:node:{gone}")
    assert own("ZRANGE", "ws:nodes", "0", "-1") == [node_id(a)]
    of_a = f"ws:node:{node_id(a)}"
    assert sorted(keys("KEYS", "ws:node:*")) == [f"{of_a}:turn", f"{of_a}:users"]
    assert 0 < keys("PTTL", f"{of_a}:turn") and 0 < keys("PTTL", f"{of_a}:users")
    until(lambda: set(listed(a)) == {node_id(a)}, what="A alone")
    assert a.metrics().total("skein_nodes_cleared_total") == 0, "it said goodbye by itself"


@pytest.mark.one_tenant
def test_without_redis_a_node_lists_itself(start, io, open_client, name):
    node = start(io=io)
    open_client(node, name())
    (found,) = listed(node).values()
    assert found["nodeId"] == node_id(node)
    assert found["connections"] == 1
    assert found["acceptPerSecond"] > 0
    assert "leaseMilliseconds" not in found
    assert node.metrics().total("skein_nodes") == 1


@pytest.mark.one_tenant
def test_status_shows_all_nodes(make):
    a, b = make(WS_ADVERTISE_HOST="a.example"), make(WS_ADVERTISE_HOST="b.example")
    know_each_other(a, b)
    here = ("--control", f"http://127.0.0.1:{a.control_port}")
    result = skein("status", "--once", *here, env={"JWT_SECRET": SECRET})
    assert result.returncode == 0, result.stderr
    for node, host in ((a, "a.example"), (b, "b.example")):
        (line,) = (line for line in result.stdout.splitlines() if f"{host}:{node.control_port}" in line)
        assert node_id(node) in line and "serves" in line
    result = skein("status", "--json", *here, env={"JWT_SECRET": SECRET})
    status = json.loads(result.stdout)
    assert status["nodeId"] == node_id(a)
    assert {node["nodeId"] for node in status["nodes"]} == {node_id(a), node_id(b)}


@pytest.mark.one_tenant
def test_what_is_no_lease_does_no_harm(make, own):
    a = make()
    for member, text in (
        ("f" * 16, "{"),
        ("e" * 16, '{"shards":"many","connections":-5,"acceptPerSecond":1e99}'),
        ("not-an-id", "{}"),
    ):
        own("ZADD", "ws:nodes", 2**52, member)
        own("SET", f"ws:node:{member}", text)
    until(lambda: "e" * 16 in listed(a), what="the one that is a lease at all")
    assert listed(a)["e" * 16]["connections"] == 0
    assert set(listed(a)) == {node_id(a), "e" * 16}
    assert a.ready()[0] == 200
    # A key of another type under our names is an error of Redis's, and no more than that.
    own("DEL", "ws:nodes")
    own("SET", "ws:nodes", "mine")
    until(lambda: "registry of nodes" in a.log.text, what="a line in the log")
    assert a.ready()[0] == 200
    own("DEL", "ws:nodes")
    until(lambda: own("ZRANGE", "ws:nodes", "0", "-1") == [node_id(a)], what="the lease again")


# Death


@pytest.mark.slow
def test_a_dead_node_takes_its_devices_with_it(make, own, keys, open_client, name):
    """When its lease has ended, and no sooner; users with a device elsewhere stay; one node does it."""
    a, b, c = make(), make(), make()
    know_each_other(a, b, c)
    alone, both = name("alone"), name("both")
    a.connect(alone)
    a.connect(both)
    elsewhere = open_client(b, both)
    until(lambda: len(devices(keys, both)) == 2 and devices(keys, alone), what="all devices")
    dead = node_id(a)
    lease = own("PTTL", f"ws:node:{dead}")
    kill(a)
    died = time.monotonic()

    def untouched():
        if time.monotonic() - died > lease / 1_000 - 0.1:
            return True
        return devices(keys, alone) and len(devices(keys, both)) == 2 and keys("EXISTS", f"presence:{alone}")

    holds(untouched, lease / 1_000, what="devices for as long as the lease")
    until(lambda: not devices(keys, alone), DEATH, what="the end of the dead node's devices")
    assert devices(keys, both) == {elsewhere.connection_id}
    until(lambda: not keys("EXISTS", f"presence:{alone}"), what="presence to go")
    assert keys("TTL", f"online:{alone}") == -1, "it tells when last seen"
    assert abs(int(keys("GET", f"online:{alone}")) - time.time()) < 60
    assert keys("GET", f"presence:{both}") == "online"
    assert 0 < keys("TTL", f"online:{both}") <= 60

    def cleared(metric):
        return b.metrics().total(metric) + c.metrics().total(metric)

    until(lambda: cleared("skein_nodes_cleared_total") == 1, what="one that cleared up")
    holds(lambda: cleared("skein_nodes_cleared_total") == 1, 1, what="just one")
    assert cleared("skein_nodes_cleared_devices_total") == 2
    assert cleared("skein_nodes_cleared_users_total") == 1
    assert not keys("KEYS", f"ws:node:{dead}*")
    for node in (b, c):
        until(lambda: dead not in listed(node), what="/nodes without the dead one")
    # What a Redis that had stood still carries out later goes too, and has been told who was last seen when.
    seen = keys("GET", f"online:{alone}")
    late, since = name("late"), name("since")
    for user in (alone, late, since):
        keys("SADD", f"ws:node:{dead}:users", user)
        keys("HSET", f"presence:devices:{user}", f"{dead}-{'0' * 16}", "{}")
    keys("SET", f"online:{alone}", int(seen) - 1, "EX", 60)
    keys("SET", f"online:{since}", int(seen) + 3_600)
    until(lambda: dead not in own("ZRANGE", "ws:nodes", "0", "-1"), SECOND_LOOK, every=0.2, what="a second look")
    assert not own("KEYS", f"ws:node:{dead}*") and not keys("KEYS", f"ws:node:{dead}*")
    assert not any(devices(keys, user) for user in (alone, late, since))
    assert keys("GET", f"online:{since}") == str(int(seen) + 3_600)
    assert int(keys("GET", f"online:{alone}")) >= int(seen) and keys("TTL", f"online:{alone}") == -1
    assert cleared("skein_nodes_cleared_total") == 1, "it died once"
    assert cleared("skein_nodes_cleared_devices_total") == 5


@pytest.mark.one_tenant
@pytest.mark.slow
def test_a_dead_node_with_many_users(make, keys, name, open_raw):
    """More than one step of Redis takes."""
    a, b = make(), make()
    know_each_other(a, b)
    users = [name() for _ in range(700)]
    raws = [a.raw(user) for user in users]
    last = users[-1]
    until(lambda: devices(keys, last), what="the last one's device")
    assert keys("SCARD", f"ws:node:{node_id(a)}:users") == len(users)
    kill(a)
    until(lambda: b.metrics().total("skein_nodes_cleared_total") == 1, DEATH, what="the clearing")
    assert b.metrics().total("skein_nodes_cleared_devices_total") == len(users)
    assert keys("KEYS", "presence:*") == []
    assert len(keys("KEYS", "online:*")) == len(users)
    for raw in raws:
        raw.close()


@pytest.mark.one_tenant
@pytest.mark.slow
def test_many_devices_are_said_again(make, server, keys, name):
    """More than a shard says at once, to a Redis that came back empty: all are there, and stay."""
    node = make(WS_MAX_CONNECTIONS_PER_IP="0", WS_HANDSHAKE_RATE="0", WS_HISTORY_SIZE="0")
    raws = [node.raw(name()) for _ in range(2_300)]
    server.kill()
    until(lambda: node.ready()[0] == 503, 30, what="the outage to be noticed")
    server.start()
    with server.client(4) as again:
        count = lambda: len(again("KEYS", "presence:devices:*"))
        until(lambda: count() == len(raws), 60, every=0.2, what="every device")
        with server.client() as own:
            until(lambda: own("KEYS", "ws:node:*:old*") == [], 30, what="the sweep")
        time.sleep(1)
        assert count() == len(raws)
    for raw in raws:
        raw.close()


@pytest.mark.one_tenant
@pytest.mark.slow
def test_a_key_of_another_kind_keeps_nothing(make, keys, name):
    """What somebody else wrote under one user's name does not keep the dead one's other devices."""
    a, b = make(), make()
    know_each_other(a, b)
    users = [name() for _ in range(20)]
    for user in users:
        a.connect(user)
    until(lambda: devices(keys, users[-1]), what="the devices")
    keys("SET", f"presence:devices:{users[7]}", "something else")
    kill(a)
    until(lambda: b.metrics().total("skein_nodes_cleared_total") == 1, DEATH, what="the clearing")
    assert b.metrics().total("skein_nodes_cleared_devices_total") == len(users) - 1
    assert keys("KEYS", "presence:devices:*") == [f"presence:devices:{users[7]}"]
    assert b.ready()[0] == 200


@pytest.mark.slow
def test_a_node_that_stood_still_is_whole_again(make, own, keys, open_client, name):
    """Stopped for longer than its lease, it counts as dead; when it goes on, all is written again."""
    a, b = make(), make()
    know_each_other(a, b)
    user = name()
    client = open_client(a, user)
    until(lambda: devices(keys, user) == {client.connection_id}, what="its device")
    stopped = node_id(a)
    a.process.send_signal(signal.SIGSTOP)
    until(lambda: not devices(keys, user), DEATH, what="the end of its devices")
    assert not keys("EXISTS", f"presence:{user}")
    until(lambda: set(listed(b)) == {node_id(b)}, what="B alone")
    a.process.send_signal(signal.SIGCONT)
    until(lambda: devices(keys, user) == {client.connection_id}, what="its device again")
    until(lambda: keys("GET", f"presence:{user}") == "online", what="its presence")
    until(lambda: set(listed(b)) == {node_id(b), stopped}, what="both")
    until(lambda: a.ready()[0] == 200, what="readiness")
    client.send("ping")
    client.expect("pong")
    assert client.connection_id in keys("HKEYS", f"presence:devices:{user}")


@pytest.mark.one_tenant
@pytest.mark.slow
def test_who_left_while_redis_was_away_is_gone(make, server, keys, open_client, name):
    """Their fields are no device's any more, and would count against their user for ever."""
    a = make(WS_MAX_CONNECTIONS_PER_USER="2")
    user, other = name(), name()
    stays, leaves = open_client(a, user), open_client(a, user)
    last = open_client(a, other)
    until(lambda: len(devices(keys, user)) == 2 and devices(keys, other), what="the devices")
    server.freeze()
    until(lambda: a.ready()[0] == 503, what="Redis gone")
    leaves.close()
    last.close()
    until(lambda: a.metrics().total("skein_connections") == 1, what="one connection")
    time.sleep(0.1)
    server.thaw()
    until(lambda: a.ready()[0] == 200, 30, what="readiness")
    until(lambda: devices(keys, user) == {stays.connection_id}, what="the one that stayed")
    until(lambda: not devices(keys, other), what="nobody")
    until(lambda: not keys("EXISTS", f"presence:{other}"), what="presence to go")
    assert keys("TTL", f"online:{other}") == -1
    assert keys("GET", f"presence:{user}") == "online"
    open_client(a, user)


@pytest.mark.one_tenant
@pytest.mark.slow
def test_what_redis_writes_after_a_node_has_left_goes_too(make, server, own, keys, open_client, name):
    """A Redis that stood still may yet carry out what it got on a lost link, when the node has said goodbye."""
    a, b = make(), make()
    know_each_other(a, b)
    client = open_client(a, name())
    gone = node_id(a)
    server.freeze()
    until(lambda: a.ready()[0] == b.ready()[0] == 503, what="Redis gone")
    server.thaw()
    until(lambda: a.ready()[0] == b.ready()[0] == 200, 30, what="readiness")
    a.stop()
    assert not own("EXISTS", f"ws:node:{gone}")
    assert not keys("KEYS", f"ws:node:{gone}*")
    assert 0 < own("PTTL", "ws:nodes")
    late = name("late")
    keys("SADD", f"ws:node:{gone}:users", late)
    keys("HSET", f"presence:devices:{late}", client.connection_id, "{}")
    until(lambda: gone not in own("ZRANGE", "ws:nodes", "0", "-1"), SECOND_LOOK, every=0.2, what="a second look")
    assert not own("KEYS", f"ws:node:{gone}*") and not keys("KEYS", f"ws:node:{gone}*")
    assert not devices(keys, late)
    assert b.metrics().total("skein_nodes_cleared_total") == 0, "it left"


# Connections of a user, over all nodes


def test_a_users_connections_are_counted_over_all_nodes(make, keys, open_client, name):
    a, b = make(WS_MAX_CONNECTIONS_PER_USER="3"), make(WS_MAX_CONNECTIONS_PER_USER="3")
    user = name()
    first = open_client(a, user)
    open_client(a, user)
    open_client(b, user)
    for node in (a, b):
        response = node.handshake(token=token(user))
        assert response.status == 429
        assert int(response.headers["retry-after"]) > 0
        assert node.metrics().total("skein_handshakes_total", result="too_many_user") == 1
    assert len(devices(keys, user)) == 3
    open_client(b, name())
    first.close()
    until(lambda: b.handshake(token=token(user)).status == 101, what="room again")


@pytest.mark.slow
def test_a_race_for_the_last_place(make, keys, name, open_client):
    """Forty at once over two nodes, and as many get in as may."""
    a, b = make(WS_MAX_CONNECTIONS_PER_USER="5"), make(WS_MAX_CONNECTIONS_PER_USER="5")
    for _ in range(3):
        user, raws, statuses = name(), [], []
        ready = threading.Barrier(40)

        def arrive(node):
            raw = node.wire()
            raws.append(raw)
            ready.wait()
            statuses.append(raw.handshake(node.port, "/ws", token=token(user)).status)

        threads = [threading.Thread(target=arrive, args=((a, b)[n % 2],)) for n in range(40)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(statuses) == [101] * 5 + [429] * 35
        assert len(devices(keys, user)) == 5
        for raw in raws:
            raw.close()
        until(lambda: not devices(keys, user), what="all gone")


@pytest.mark.one_tenant
@pytest.mark.slow
def test_a_dead_nodes_devices_count_until_its_lease_ends(make, keys, name, open_client):
    a = make(WS_MAX_CONNECTIONS_PER_USER="2")
    # It never clears up by itself here: who comes finds room all the same.
    b = make(WS_MAX_CONNECTIONS_PER_USER="2", WS_NODE_GRACE="1h")
    know_each_other(a, b)
    user = name()
    for _ in range(2):
        a.connect(user)
    assert b.handshake(token=token(user)).status == 429
    kill(a)
    assert b.handshake(token=token(user)).status == 429
    until(lambda: b.handshake(token=token(user)).status == 101, DEATH, every=0.1, what="room")


@pytest.mark.one_tenant
def test_without_redis_the_local_count_holds(make, server, name, open_client):
    node = make(WS_MAX_CONNECTIONS_PER_USER="2")
    user = name()
    open_client(node, user)
    server.kill()
    until(lambda: node.ready()[0] == 503, what="Redis gone")
    open_client(node, user)
    assert node.handshake(token=token(user)).status == 429


# Drain


def told_by(leavers, began):
    return [end - began for end, _ in leavers.wait()]


@pytest.mark.one_tenant
@pytest.mark.slow
def test_a_drain_goes_as_fast_as_the_others_can_take(make, name):
    """The even slope would be 50 a second; the others take ten, until the deadline says otherwise."""
    a = make("--shards", "1")
    b, c = make(WS_ACCEPT_RATE="6"), make(WS_ACCEPT_RATE="4")
    know_each_other(a, b, c)
    leavers = Leavers([a.connect(name()) for _ in range(200)])
    time.sleep(LEASE)  # what arrived just now is no longer news
    began = time.monotonic()
    drain(a, "POST", deadlineSeconds=10, waveMs=200)
    progress = until(
        lambda: (found := a.control("GET", "/drain").json())["perSecond"] is not None and found,
        what="a pace",
    )
    assert progress["peers"] == 2
    until(lambda: listed(b)[node_id(a)]["draining"], what="draining as B sees it")
    times = told_by(leavers, began)
    early = sum(1 for t in times if t < 3.5)
    # Ten a second, and the first wave or two went before the registry was asked.
    assert 15 <= early <= 70, early
    assert times[-1] < 9
    late = [t for t in times if t > 4.2]
    assert len(late) > 80, "then the deadline's slope"
    fullest = max(sum(1 for t in times if at <= t < at + 0.5) for at in times)
    assert fullest < 60, "and no wall"
    assert a.wait_exit() == 0
    report = report_of(a)
    assert report["told"] == 200
    assert report["pacedBy"] == "deadline"
    assert report["peers"] == 2


@pytest.mark.one_tenant
def test_a_drain_that_the_others_can_take(make, name):
    a, b = make(), make(WS_ACCEPT_RATE="1000")
    know_each_other(a, b)
    leavers = Leavers([a.connect(name()) for _ in range(30)])
    drain(a, "POST", deadlineSeconds=3, waveMs=100)
    leavers.wait()
    assert a.wait_exit() == 0
    report = report_of(a)
    assert report["pacedBy"] == "none"
    assert report["told"] == report["moved"] == 30


@pytest.mark.one_tenant
def test_a_drain_that_is_cancelled_is_taken_back(make):
    a, b = make(DRAIN_PRE_STOP="30s"), make()
    know_each_other(a, b)
    drain(a, "POST")
    until(lambda: listed(b)[node_id(a)]["draining"], what="draining as B sees it")
    assert listed(b)[node_id(a)]["acceptPerSecond"] == 0
    assert a.control("DELETE", "/drain").status == 200
    until(lambda: not listed(b)[node_id(a)]["draining"], what="serving again")
    assert listed(b)[node_id(a)]["acceptPerSecond"] > 0
    a.signal(signal.SIGTERM)
    until(lambda: a.ready()[0] == 503, what="not ready")
    a.signal(signal.SIGTERM)
    a.wait_exit(20)


@pytest.mark.one_tenant
@pytest.mark.parametrize("size", ["256", "0"])
def test_clients_are_told_whether_they_can_resume(make, name, size):
    node = make(WS_HISTORY_SIZE=size)
    client = node.connect(name())
    assert client.connected["data"]["resume"] is (size != "0")
    drain(node, "SIGTERM")
    assert json.loads(client.expect_closed(1012))["resume"] is (size != "0")
    assert node.wait_exit() == 0


@pytest.mark.one_tenant
@pytest.mark.slow
def test_a_drained_node_leaves_nothing(make, server, name):
    """No key but when its users were last seen, no channel, no connection."""
    b = make()

    def state():
        found = {}
        for db in range(16):
            with server.client(db) as client:
                found[db] = {key for key in client("KEYS", "*") if not key.startswith("online:")}
        with server.client() as client:
            found["channels"] = set(client("PUBSUB", "CHANNELS"))
            found["patterns"] = client("PUBSUB", "NUMPAT")
        return found

    until(lambda: own_keys(server), what="B's lease")
    before = state()
    a = make("--shards", "2")
    know_each_other(a, b)
    clients = [a.connect(name()) for _ in range(50)]
    left = [a.connect(name()) for _ in range(10)]
    for client in left:
        client.close()
    assert state() != before
    leavers = Leavers(clients)
    drain(a, "SIGTERM")
    leavers.wait()
    assert a.wait_exit() == 0
    ended = time.monotonic()
    after = state()
    presence = {key for key in after[SESSIONS_AND_PRESENCE] if key.startswith("presence:")}
    assert not any(key.startswith("presence:devices:") for key in presence)
    after[SESSIONS_AND_PRESENCE] -= presence
    assert after == before
    # Who left with the node may come back elsewhere within the five seconds of quiet.
    with server.client(SESSIONS_AND_PRESENCE) as keys:
        assert all(keys("PTTL", key) <= 5_000 for key in presence)
        until(lambda: not keys("KEYS", "presence:*"), what="presence to go")
        assert time.monotonic() - ended < 8
        assert all(keys("TTL", key) == -1 for key in keys("KEYS", "online:*"))


def own_keys(server):
    with server.client(0) as client:
        return client("KEYS", "ws:node:*")


@pytest.mark.one_tenant
@pytest.mark.slow
def test_moving_to_another_node_makes_no_noise(make, keys, name, open_client):
    """Told to leave and back elsewhere within five seconds, a user was never offline."""
    a, b = make(), make()
    know_each_other(a, b)
    user = name()
    client = open_client(a, user)
    until(lambda: keys("GET", f"presence:{user}") == "online", what="presence")
    drain(a, "SIGTERM")
    client.expect_closed(1012)
    assert a.wait_exit() == 0
    holds(lambda: keys("GET", f"presence:{user}") == "online", 2, what="presence")
    back = open_client(b, user)
    holds(lambda: keys("GET", f"presence:{user}") == "online", 7, what="presence")
    assert devices(keys, user) == {back.connection_id}
    assert 0 < keys("TTL", f"online:{user}") <= 60


@pytest.mark.parametrize("over", ["memory", "redis"])
@pytest.mark.parametrize("shards", [1, 4])
def test_all_accepted_before_is_delivered_before(start, io, server, name, over, shards):
    """The sender has it confirmed, and then the node is told to leave: whoever was here gets it in front
    of the 1012, though it is still on its way between shards, or through Redis."""
    node = start(
        "--shards", str(shards), io=io, redis=server if over == "redis" else None,
        env={"DRAIN_DEADLINE": "400ms", "DRAIN_WAVE": "20ms"},
    )
    senders = [node.connect(name()) for _ in range(8)]
    receivers = [node.connect(name()) for _ in range(8)]
    confirmed = dict.fromkeys(range(8), -1)
    got = {n: [] for n in range(8)}
    draining = threading.Event()

    def pour(n):
        count = 0
        while not draining.is_set():
            senders[n].chat(receivers[n].user, count)
            senders[n].expect("chat_message_sent")
            confirmed[n] = count
            count += 1
        senders[n].close()

    def gather(n):
        try:
            while True:
                event = json.loads(receivers[n].socket.recv(30))
                got[n].append(event["data"]["message"])
        except Exception as end:  # the close is what it waits for
            assert getattr(end, "rcvd", None) is not None and end.rcvd.code == 1012, end

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8) for work in (pour, gather)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    before = dict(confirmed)
    draining.set()
    drain(node, "POST", deadlineSeconds=5, waveMs=20)
    for thread in threads:
        thread.join()
    assert node.wait_exit() == 0
    for n in range(8):
        assert got[n] == list(range(len(got[n])))
        assert len(got[n]) > before[n], f"{before[n]} was confirmed, {len(got[n])} came"
    report = report_of(node)
    assert report["eventsLeft"] == 0
    assert report["fencesLate"] == 0


@pytest.mark.one_tenant
def test_a_fence_that_does_not_come_is_not_waited_for(make, server, name):
    """Redis stands still: the wave goes all the same."""
    node = make(DRAIN_DEADLINE="10s", WS_DRAIN_FENCE="200ms")
    leavers = Leavers([node.connect(name()) for _ in range(5)])
    server.freeze()
    began = time.monotonic()
    drain(node, "POST", deadlineSeconds=2, waveMs=100)
    assert all(close is not None and close.code == 1012 for _, close in leavers.wait())
    assert time.monotonic() - began < 8
    assert node.wait_exit() == 0
    server.thaw()
