"""What a node writes to Redis for other backends to read, presence and online status, and what it
reads there: sessions."""

import json
import time

import pytest

from harness.redis import RedisServer
from harness.tokens import token
from harness.wait import holds, until

SESSIONS_AND_PRESENCE = 4


@pytest.fixture(scope="module")
def nodes(start_shared, io, redis):
    return [start_shared(io=io, redis=redis) for _ in range(2)]


@pytest.fixture
def keys(redis):
    with redis.client(SESSIONS_AND_PRESENCE) as client:
        yield client


def devices(keys, user) -> dict:
    flat = keys("HGETALL", f"presence:devices:{user}")
    return {flat[index]: json.loads(flat[index + 1]) for index in range(0, len(flat), 2)}


def is_present(keys, user):
    return keys("GET", f"presence:{user}") == "online"


# Presence


def test_presence_keys_of_one_device(nodes, keys, name, open_client):
    user = name()
    client = open_client(nodes[0], user, user_agent_header="Contract/1.0 (\"tests\")")
    until(lambda: is_present(keys, user), what="presence:{user}")
    until(lambda: devices(keys, user), what="presence:devices:{user}")
    until(lambda: keys("GET", f"online:{user}"), what="online:{user}")

    found = devices(keys, user)
    assert list(found) == [client.connection_id]
    device = found[client.connection_id]
    assert set(device) == {"socketId", "metadata", "timestamp"}
    assert device["socketId"] == client.connection_id
    assert device["metadata"] == {"userAgent": 'Contract/1.0 ("tests")'}
    assert device["timestamp"]

    assert abs(int(keys("GET", f"online:{user}")) - time.time()) < 60
    assert 0 < keys("TTL", f"presence:{user}") <= 300
    assert 0 < keys("TTL", f"presence:devices:{user}") <= 300
    assert 0 < keys("TTL", f"online:{user}") <= 60
    assert keys("TYPE", f"presence:devices:{user}") == "hash"


def test_presence_where_redis_forgot_the_scripts(nodes, keys, redis, name, open_client):
    with redis.client() as admin:
        admin("SCRIPT", "FLUSH")
    first = open_client(nodes[0], name())
    until(lambda: list(devices(keys, first.user)) == [first.connection_id], what="who met no script")
    second = open_client(nodes[0], name())
    until(lambda: list(devices(keys, second.user)) == [second.connection_id], what="who came after")
    with redis.client() as admin:
        admin("SCRIPT", "FLUSH")
    first.close()
    until(lambda: not is_present(keys, first.user), 20, what="who went without a script")
    assert is_present(keys, second.user)


def test_no_other_database_has_them(nodes, redis, name, open_client):
    user = name()
    open_client(nodes[0], user)
    with redis.client(SESSIONS_AND_PRESENCE) as keys:
        until(lambda: is_present(keys, user), what="presence")
    for db in (0, 1, 2, 3):
        with redis.client(db) as other:
            assert other("KEYS", f"*{user}*") == []


def test_devices_on_two_nodes(nodes, keys, name, open_client):
    user = name()
    first, second = open_client(nodes[0], user), open_client(nodes[1], user)
    both = {first.connection_id, second.connection_id}
    until(lambda: set(devices(keys, user)) == both, what="both devices")
    first.close()
    until(lambda: set(devices(keys, user)) == {second.connection_id}, what="one device")


@pytest.mark.one_tenant
@pytest.mark.slow
def test_leaving_one_node_is_not_leaving(nodes, keys, name, open_client):
    """The last device of one node is not the user's last: past the 5 s of quiet the user is still
    online by the other node."""
    user = name()
    first, second = open_client(nodes[0], user), open_client(nodes[1], user)
    until(lambda: len(devices(keys, user)) == 2, what="both devices")
    first.close()

    def online():
        return is_present(keys, user) and 0 < keys("TTL", f"online:{user}") <= 60

    holds(online, 9, what="presence by the other node")
    assert set(devices(keys, user)) == {second.connection_id}


@pytest.mark.one_tenant
@pytest.mark.slow
def test_leaving(nodes, keys, name, open_client):
    user = name()
    client = open_client(nodes[0], user)
    until(lambda: is_present(keys, user), what="presence")
    client.close()
    left = time.monotonic()
    until(lambda: not devices(keys, user), what="the device's field to go at once")
    if time.monotonic() - left < 3:
        assert is_present(keys, user), "presence goes only after 5 s of quiet"
    until(lambda: not keys("EXISTS", f"presence:{user}"), timeout=30, what="presence to go")
    assert time.monotonic() - left > 4, "gone before 5 s of quiet"
    until(lambda: keys("TTL", f"online:{user}") == -1, what="online: to lose its TTL")
    assert abs(int(keys("GET", f"online:{user}")) - time.time()) < 60, "it tells when last seen"


@pytest.mark.one_tenant
@pytest.mark.slow
def test_a_disconnect_goes_by_the_name(nodes, name, open_client):
    """Also one that JSON has to escape."""
    for user in (f"CORP\\{name()}", f'"{name()}"'):
        here, there = open_client(nodes[0], user), open_client(nodes[1], user)
        body = {"userId": user, "code": 4403, "reason": 'a "word"'}
        assert nodes[0].control("POST", "/disconnect", body).status < 300
        assert here.expect_closed(4403) == there.expect_closed(4403) == 'a "word"'


def test_a_reconnect_makes_no_noise(nodes, keys, name, open_client):
    user = name()
    first = open_client(nodes[0], user)
    until(lambda: is_present(keys, user), what="presence")
    first.close()
    time.sleep(2)
    second = open_client(nodes[0], user)
    holds(lambda: is_present(keys, user), 7, what="presence over a reconnect")
    assert set(devices(keys, user)) == {second.connection_id}
    assert 0 < keys("TTL", f"online:{user}") <= 60


@pytest.mark.one_tenant
@pytest.mark.slow
@pytest.mark.timeout(150)
def test_keys_are_renewed(nodes, keys, name, open_client):
    """Cut to less than it had, the time to live grows again while the connection lives."""
    user = name()
    open_client(nodes[0], user)
    until(lambda: keys("EXISTS", f"online:{user}"), what="online:{user}")
    keys("EXPIRE", f"online:{user}", 50)
    keys("EXPIRE", f"presence:{user}", 100)
    keys("EXPIRE", f"presence:devices:{user}", 100)

    def renewed():
        return keys("TTL", f"online:{user}") > 50

    until(renewed, timeout=60, every=0.2, what="the renewal of online:{user}")


@pytest.mark.one_tenant
@pytest.mark.slow
def test_a_node_that_dies_leaves_nothing_without_ttl(start, io, redis, keys, name):
    node = start(io=io, redis=redis)
    user = name()
    node.connect(user)
    until(lambda: is_present(keys, user) and devices(keys, user), what="presence")
    until(lambda: keys("EXISTS", f"online:{user}"), what="online")
    node.may_end = True
    node.process.kill()
    node.process.wait()
    for db in (0, SESSIONS_AND_PRESENCE):
        with redis.client(db) as client:
            for key in client("KEYS", "*"):
                if user in key or key.startswith("ws:"):
                    ttl = client("TTL", key)
                    if key == "ws:epoch":
                        continue  # it is all nodes', of the histories that outlive each of them
                    assert ttl > 0 or ttl == -2, f"{key} in {db} would outlive its node"


# Sessions


@pytest.fixture(scope="module")
def guarded(start_shared, io, redis):
    return start_shared(io=io, redis=redis, env={"AUTH_SESSION": "required"})


def test_no_session_no_entry(guarded, name):
    response = guarded.handshake(token=token(name()))
    assert response.status == 401
    assert response.json() == {"error": "Unauthorized"}


def test_a_session_lets_in(guarded, keys, name, open_client):
    user = name()
    keys("SET", f"session:{user}", "any value", "EX", 600)
    client = open_client(guarded, user)
    client.send("ping")
    client.expect("pong")


def test_a_session_alone_is_not_enough(guarded, keys, name):
    user = name()
    keys("SET", f"session:{user}", "x")
    assert guarded.handshake(token=token(user, ttl=-3600)).status == 401


def test_a_session_in_another_database_is_none(guarded, redis, name):
    user = name()
    with redis.client(0) as other:
        other("SET", f"session:{user}", "x")
    assert guarded.handshake(token=token(user)).status == 401


@pytest.mark.parametrize("how", ["deleted", "expired"])
def test_logout_closes_every_device(guarded, keys, name, open_client, how):
    user, stays = name(), name()
    for session in (user, stays):
        keys("SET", f"session:{session}", "x")
    devices = [open_client(guarded, user) for _ in range(3)]
    other = open_client(guarded, stays)
    if how == "deleted":
        keys("DEL", f"session:{user}")
    else:
        keys("PEXPIRE", f"session:{user}", 100)
    began = time.monotonic()
    for device in devices:
        device.expect_closed(4401)
    # Two seconds by the contract; the rest is for a busy machine.
    assert time.monotonic() - began < 6
    other.send("ping")
    other.expect("pong")
    assert guarded.handshake(token=token(user)).status == 401


@pytest.mark.one_tenant
def test_sessions_without_redis(start, io, name):
    """503 and when to try again, until it is back."""
    server = start(make=RedisServer)
    node = start(io=io, redis=server, env={"AUTH_SESSION": "required"})
    user = name()

    def handshake():
        return node.handshake(token=token(user))

    with server.client(SESSIONS_AND_PRESENCE) as keys:
        keys("SET", f"session:{user}", "x")
    assert handshake().status == 101
    server.kill()
    until(lambda: node.ready()[0] == 503, timeout=15, what="not ready")
    response = handshake()
    assert response.status == 503
    assert int(response.headers["retry-after"]) >= 0
    server.start()
    with server.client(SESSIONS_AND_PRESENCE) as keys:
        keys("SET", f"session:{user}", "x")
    until(lambda: handshake().status == 101, timeout=30, every=0.2, what="entry again")


# Passwords


@pytest.mark.one_tenant
def test_redis_with_a_password(start, io, name, open_client):
    server = start(make=RedisServer, password="a-good-password")
    for env in (
        {"REDIS_URL": server.url},
        {
            "REDIS_HOST": "127.0.0.1",
            "REDIS_PORT": str(server.port),
            "REDIS_PASSWORD": "a-good-password",
        },
    ):
        node = start(io=io, env=env)
        client = open_client(node, name())
        event = json.dumps({"type": "alert", "data": {"n": 1}})
        assert server.publish(f"user:{client.user}", event) == 1
        client.expect("alert", {"n": 1})


@pytest.mark.one_tenant
@pytest.mark.parametrize("password", ["wrong-password", None])
def test_redis_with_a_wrong_password(start, io, name, open_client, password):
    """Degraded, with the reason, and serving those who are here."""
    server = start(make=RedisServer, password="a-good-password")
    secret = f":{password}@" if password else ""
    url = f"redis://{secret}127.0.0.1:{server.port}"
    node = start(io=io, env={"REDIS_URL": url}, wait="listening")
    status, body = until(
        lambda: (found := node.ready())[1]["status"] == "degraded" and found,
        what="the degraded state",
    )
    assert status == 503
    assert body["reason"]
    assert "a-good-password" not in json.dumps(body)
    assert node.control("GET", "/health").status == 200
    alice, bob = open_client(node, name()), open_client(node, name())
    alice.chat(bob.user, 1)
    bob.expect("chat_message", {"senderId": alice.user, "message": 1})
    alice.expect("chat_message_sent")
    if password:
        assert password not in node.log.text
