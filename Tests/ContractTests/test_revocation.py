"""Taking tokens back before they expire: by user and by token, on one node and on several, for what
is open and for what comes later."""

import time

import pytest

from harness.tokens import token
from harness.wait import until

SESSIONS_AND_PRESENCE = 4
KEY = "ws:revocations"


@pytest.fixture(scope="module")
def node(start_shared, io, backplane):
    return start_shared(io=io, redis=backplane)


@pytest.fixture(scope="module")
def pair(start_shared, io, redis):
    return [start_shared(io=io, redis=redis) for _ in range(2)]


def revoke(node, expect=200, **body):
    response = node.control("POST", "/revoke", body)
    assert response.status == expect, response
    return response.json()


def status(node, text) -> int:
    return node.handshake(token=text).status


def now(offset=0) -> int:
    return int(time.time()) + offset


def assert_open(client):
    client.send("ping")
    client.expect("pong")


def test_a_user_is_revoked(node, backplane, open_client, name):
    user, other = name(), name()
    old = token(user, iat=now(-60))
    clients = [open_client(node, user, token=old), open_client(node, user, token=token(user))]
    bystander = open_client(node, other, token=token(other, iat=now(-60)))
    began = time.monotonic()
    answer = revoke(node, userId=user)
    assert answer["closed"] == 2
    assert answer["scope"] == ("cluster" if backplane else "node")
    for client in clients:
        assert client.expect_closed(4401) == "token revoked"
    assert time.monotonic() - began < 2
    assert status(node, old) == 401  # remembered a moment ago
    assert status(node, token(user, iat=now(-1))) == 401
    assert status(node, token(user)) == 401  # does not say when it was issued
    assert_open(bystander)
    # A new sign-in.
    fresh = open_client(node, user, token=token(user, iat=now(+2)))
    assert_open(fresh)


def test_only_what_was_issued_before(node, open_client, name):
    user = name()
    new, old = now(-10), now(-100)
    kept = open_client(node, user, token=token(user, iat=new))
    ended = open_client(node, user, token=token(user, iat=old))
    for moment in (now(-50), time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now(-50)))):
        revoke(node, userId=user, before=moment)
    assert ended.expect_closed(4401) == "token revoked"
    assert_open(kept)
    assert status(node, token(user, iat=old)) == 401
    assert status(node, token(user, iat=new)) == 101


def test_one_token_is_revoked(node, open_client, name):
    user, first, second = name(), name("jti"), name("jti")
    text = token(user, jti=first, iat=now(+5))
    ended = open_client(node, user, token=text)
    kept = open_client(node, user, token=token(user, jti=second))
    assert revoke(node, tokenId=first)["closed"] == 1
    assert ended.expect_closed(4401) == "token revoked"
    assert status(node, text) == 401
    assert_open(kept)
    assert status(node, token(user, jti=second)) == 101


def test_a_revocation_ends(node, name):
    user = name()
    text = token(user, iat=now(-10))
    revoke(node, userId=user, ttlSeconds=1)
    assert status(node, text) == 401
    until(lambda: status(node, text) == 101, 5, what="the end of the revocation")


def test_the_list(node, name):
    user, jti = name(), name("jti")
    revoke(node, userId=user, before=1_700_000_000, ttlSeconds=3_000)
    revoke(node, tokenId=jti, ttlSeconds=3_000)
    answer = node.control("GET", "/revocations").json()
    assert answer["count"] >= 2
    found = {entry.get("userId") or entry.get("tokenId"): entry for entry in answer["revocations"]}
    assert found[user]["before"] == "2023-11-14T22:13:20.000Z"
    assert "before" not in found[jti] and found[jti]["expiresAt"].endswith("Z")
    assert node.metrics().total("skein_revocations") == answer["count"]
    assert node.control("GET", "/health").json()["revocations"] == answer["count"]


def test_what_cannot_be_revoked(node):
    for body in ({}, {"userId": "a", "tokenId": "b"}, {"userId": ""}, {"userId": "a", "before": "x"}):
        assert revoke(node, 400, **body)["error"]["code"] == "VALIDATION_ERROR"
    assert node.control("GET", "/revoke").status == 405


@pytest.mark.one_tenant
def test_the_table_is_bounded(start, io, name):
    node = start(io=io, env={"WS_MAX_REVOCATIONS": "3"})
    users = [name() for _ in range(3)]
    for user in users:
        revoke(node, userId=user, ttlSeconds=60)
    error = revoke(node, 503, userId=name())["error"]
    assert "WS_MAX_REVOCATIONS" in error["message"]
    revoke(node, userId=users[0], ttlSeconds=60)  # is there already
    assert status(node, token(users[2])) == 401


# Several nodes


def test_all_nodes_hear_of_it(pair, open_client, name):
    user, jti = name(), name("jti")
    texts = [token(user, iat=now(-10)) for _ in pair]
    clients = [open_client(node, user, token=text) for node, text in zip(pair, texts)]
    other = open_client(pair[1], name(), token=token(name(), jti=jti))
    answer = revoke(pair[0], userId=user)
    assert answer["scope"] == "cluster" and answer["closed"] == 1
    began = time.monotonic()
    for client in clients:
        assert client.expect_closed(4401) == "token revoked"
    assert time.monotonic() - began < 2
    for node in pair:
        assert status(node, texts[1]) == 401
    assert revoke(pair[0], tokenId=jti)["closed"] == 0
    assert other.expect_closed(4401) == "token revoked"


def test_nodes_that_start_later_know(pair, redis, start, io, name):
    user, jti = name(), name('jti "quoted"')
    revoke(pair[0], userId=user, before=now(-5))
    revoke(pair[1], tokenId=jti)
    node = start(io=io, redis=redis)
    until(lambda: status(node, token(user, iat=now(-10))) == 401, what="the user's revocation")
    until(lambda: status(node, token(name(), jti=jti)) == 401, what="the token's revocation")
    assert status(node, token(user, iat=now())) == 101


def test_what_redis_keeps_of_it(pair, redis, name):
    user = name()
    revoke(pair[0], userId=user, ttlSeconds=1)
    revoke(pair[0], userId=user + "-2", ttlSeconds=100)
    with redis.client(SESSIONS_AND_PRESENCE) as client:

        def has(user):
            return any(entry.endswith(":" + user) for entry in client("ZRANGE", KEY, 0, -1))

        until(lambda: has(user) and has(user + "-2"), what="both in Redis")
        assert client("TTL", KEY) > 0
        time.sleep(1.1)
        revoke(pair[0], userId=user + "-3", ttlSeconds=100)
        until(lambda: has(user + "-3"), what="the third in Redis")
        assert not has(user) and has(user + "-2")


@pytest.mark.one_tenant
def test_redis_away_and_back(start, io, name):
    from harness.redis import RedisServer

    redis = start(make=RedisServer)
    nodes = [start(io=io, redis=redis) for _ in range(2)]
    user = name()
    text = token(user, iat=now(-10))
    early = name()
    revoke(nodes[0], userId=early)
    redis.kill()
    until(lambda: all(node.ready()[0] == 503 for node in nodes), what="both degraded")
    assert revoke(nodes[0], userId=user)["scope"] == "node"
    assert status(nodes[0], text) == 401
    redis.start()
    until(lambda: status(nodes[1], text) == 401, 20, what="the other node to hear of it")
    # Redis had lost all it had; a node that starts now learns it nonetheless.
    until(lambda: nodes[0].ready()[0] == 200, what="a node that is whole again")
    late = start(io=io, redis=redis)
    until(lambda: status(late, token(early)) == 401 and status(late, text) == 401, 20, what="both")


def test_redis_refuses_for_a_while(start, io, name):
    """What Redis does not take is told to the others when it takes writes again."""
    from harness.redis import RedisServer

    redis = start(make=RedisServer)
    nodes = [start(io=io, redis=redis) for _ in range(2)]
    user = name()
    text = token(user, iat=now(-10))
    with redis.client() as admin:
        admin("CONFIG", "SET", "min-replicas-to-write", "1")
        revoke(nodes[0], userId=user)
        assert status(nodes[0], text) == 401
        until(lambda: nodes[0].ready()[0] == 503, 20, what="the refusal to be noticed")
        admin("CONFIG", "SET", "min-replicas-to-write", "0")
    until(lambda: status(nodes[1], text) == 401, 30, what="the other node to hear of it")


def test_malformed_commands_are_dropped(pair, redis, name):
    user = name()
    before = pair[0].metrics().total("skein_malformed_total", source="backplane")
    bad = (
        '{"command":"revoke"}', '{"command":"revoke","entry":"u:1:%s"}' % user,
        '{"command":"revoke","entry":7,"expiresAt":9999999999999}',
        '{"command":"revoke","entry":"u:x:%s","expiresAt":9999999999999}' % user,
        '{"command":"revoke","entry":"t:","expiresAt":9999999999999}', '{"command":"dance"}', '{"command":7}',
    )
    for text in bad:
        redis.publish("ws:commands", text)
    until(
        lambda: pair[0].metrics().total("skein_malformed_total", source="backplane") == before + len(bad),
        what="all of them counted",
    )
    assert status(pair[0], token(user, iat=0)) == 101
