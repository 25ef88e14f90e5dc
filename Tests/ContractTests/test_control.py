"""The control listener: health, readiness, metrics, who is connected, disconnecting, and what the
configuration is without what it keeps secret."""

import json
import time

import pytest

from harness.client import quiet
from harness.raw import PING
from harness.tokens import SECRET
from harness.wait import until

METRICS = """
skein_connections skein_users skein_messages_received_total skein_messages_sent_total
skein_bytes_received_total skein_bytes_sent_total skein_deliveries_total skein_dropped_total
skein_closes_total skein_slow_consumers_total skein_handshakes_total skein_malformed_total
skein_send_queue_high_water skein_inbox_depth skein_loop_turn_seconds skein_send_batch_size
skein_redis_up skein_redis_canary_age_seconds skein_publish_latency_seconds
skein_history_events_total skein_draining
""".split()


@pytest.fixture(scope="module")
def node(start_shared, io, backplane):
    return start_shared(io=io, redis=backplane)


def test_health(node, open_client, name):
    open_client(node, name())
    response = node.control("GET", "/health")
    assert response.status == 200
    assert response.headers["content-type"].startswith("application/json")
    health = response.json()
    assert {"status", "redis", "websocket", "shards", "version", "nodeId"} <= set(health)
    assert isinstance(health["shards"], list) and health["shards"]
    assert health["nodeId"] and health["version"]
    assert health["websocket"]["connections"] >= 1
    assert health["websocket"]["users"] >= 1


def test_health_counts(node, open_client, name):
    def counts():
        counts = node.control("GET", "/health").json()["websocket"]
        return counts["users"], counts["connections"]

    until(lambda: counts() == (0, 0), what="an empty node")
    user = name()
    clients = [open_client(node, user), open_client(node, user), open_client(node, name())]
    until(lambda: counts() == (2, 3), what="two users with three connections")
    for client in clients:
        client.close()
    until(lambda: counts() == (0, 0), what="an empty node")


def test_ready(node):
    response = node.control("GET", "/ready")
    assert response.status == 200
    assert response.headers["content-type"].startswith("application/json")
    assert response.json()["status"] == "ready"


def test_metrics_are_all_there(node, open_client, name, backplane):
    client = open_client(node, name())
    client.send("ping")
    client.expect("pong")
    metrics = node.metrics()
    # Without Redis there is nothing that could be up.
    expected = [name for name in METRICS if backplane or "redis" not in name]
    missing = [name for name in expected if not metrics.has(name)]
    assert not missing
    assert any(name.startswith("process_") for name, _, _ in metrics.samples)
    if backplane:
        assert metrics.total("skein_redis_up") == 1
        assert 0 <= metrics.total("skein_redis_canary_age_seconds") < 10
    assert metrics.total("skein_draining") == 0
    assert metrics.total("skein_handshakes_total") >= 1


def test_connection_metrics_by_shard_and_dialect(node, open_client, name):
    def relay():
        return node.metrics().total("skein_connections", dialect="relay")

    until(lambda: relay() == 0, what="an empty node")
    clients = [open_client(node, name()) for _ in range(6)]
    until(lambda: relay() == 6, what="six connections")
    metrics = node.metrics()
    assert metrics.total("skein_users") == 6
    shards = {labels["shard"] for sample, labels, _ in metrics.samples if sample == "skein_connections"}
    assert len(shards) == len(node.control("GET", "/health").json()["shards"])
    for client in clients:
        client.close()
    until(lambda: relay() == 0, what="an empty node")


def test_histograms_add_up(node, open_client, name):
    open_client(node, name())
    metrics = node.metrics()
    for histogram in [metric for metric, kind in metrics.types.items() if kind == "histogram"]:
        buckets = {}
        for sample, labels, value in metrics.samples:
            if sample == f"{histogram}_bucket":
                rest = tuple(sorted((k, v) for k, v in labels.items() if k != "le"))
                buckets.setdefault(rest, []).append((float(labels["le"]), value))
        for rest, pairs in buckets.items():
            counts = [value for _, value in sorted(pairs)]
            assert counts == sorted(counts), f"{histogram} is not cumulative"
            assert sorted(pairs)[-1][0] == float("inf"), f"{histogram} has no +Inf"
            assert metrics.total(f"{histogram}_count", **dict(rest)) == counts[-1]
            assert metrics.total(f"{histogram}_sum", **dict(rest)) >= 0


def test_connections_of_a_user(node, open_client, name):
    user = name()
    clients = [open_client(node, user), open_client(node, user, user_agent_header="Odd/2")]
    found = node.connections(user)
    assert {entry["connectionId"] for entry in found} == {c.connection_id for c in clients}
    for entry in found:
        assert entry["userId"] == user
        assert entry["dialect"] == "relay"
    assert {entry["userAgent"] for entry in found} >= {"Odd/2"}
    assert node.connections(name()) == []


def test_disconnect_a_user(node, open_client, name):
    user = name()
    clients = [open_client(node, user) for _ in range(3)]
    bystander = open_client(node, name())
    response = node.control(
        "POST", "/disconnect", {"userId": user, "code": 4403, "reason": "banned, sorry"}
    )
    assert 200 <= response.status < 300, response
    for client in clients:
        assert client.expect_closed(4403) == "banned, sorry"
    until(lambda: node.connections(user) == [], what="their end")
    quiet(bystander)


def test_disconnect_a_connection(node, open_client, name):
    user = name()
    goes, stays = open_client(node, user), open_client(node, user)
    response = node.control(
        "POST",
        "/disconnect",
        {"connectionId": goes.connection_id, "code": 4000, "reason": "moved"},
    )
    assert 200 <= response.status < 300, response
    assert goes.expect_closed(4000) == "moved"
    stays.send("ping")
    stays.expect("pong")


def test_what_was_accepted_goes_out_before_a_disconnect(node, open_client, name):
    alice, bob = open_client(node, name()), open_client(node, name())
    for n in range(100):
        alice.chat(bob.user, n)
    for _ in range(100):
        alice.expect("chat_message_sent")
    node.control("POST", "/disconnect", {"userId": bob.user, "code": 4403, "reason": "x"})
    for n in range(100):
        assert bob.expect("chat_message")["data"]["message"] == n
    bob.expect_closed(4403)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"{}", b'{"userId":1}', b'{"code":4403}', b'{"userId":"x","code":"y"}']
    + [b'{"userId":"x","code":7}', b'{"userId":"x","code":1006}', b'{"userId":"x","code":70000}'],
)
def test_disconnect_with_a_bad_body(node, body):
    response = node.control("POST", "/disconnect", body)
    assert response.status == 400, response
    assert isinstance(response.json(), dict)


def test_config_tells_all_but_secrets(start, io, redis):
    redis_url = redis.url.replace("redis://", "redis://:a-secret-password@")
    api_key = "an-api-key-of-more-than-thirty-two-bytes"
    node = start(
        io=io,
        wait="listening",
        env={"REDIS_URL": redis_url, "API_KEY": api_key, "WS_PING_INTERVAL": "17s"},
    )
    response = node.control("GET", "/config")
    assert response.status == 200
    text = json.dumps(response.json())
    for secret in (SECRET, "a-secret-password", api_key):
        assert secret not in text
    assert "***" in text
    for key in ("JWT_SECRET", "WS_PING_INTERVAL", "WS_MAX_MESSAGE_SIZE", "DRAIN_DEADLINE"):
        assert key in text
    assert "17s" in text or "17" in text
    assert "65536" in text


@pytest.mark.parametrize("path", ["/nowhere", "/ready/x", "/connections/x/y", "/..%2f"])
def test_not_found_is_json(node, path):
    response = node.control("GET", path)
    assert response.status == 404
    assert response.headers["content-type"].startswith("application/json")
    assert isinstance(response.json(), dict)


def test_the_control_plane_is_not_on_the_sockets_port(node):
    for path in ("/metrics", "/config", "/drain", "/connections", "/disconnect"):
        with node.wire() as wire:
            wire.send(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{node.port}\r\n\r\n".encode())
            assert wire.response().status == 404


def test_websockets_go_on_while_the_control_plane_is_busy(node, open_client, name):
    alice, bob = open_client(node, name()), open_client(node, name())
    for n in range(30):
        assert node.control("GET", "/metrics").status == 200
        alice.chat(bob.user, n)
        bob.expect("chat_message", {"senderId": alice.user, "message": n})
        alice.expect("chat_message_sent")


def test_idle_node_spends_next_to_nothing(node, open_raw, name):
    """Connected and silent: no loop turns for its own sake."""
    for _ in range(20):
        open_raw(node, name())
    before = node.cpu_seconds()
    time.sleep(3)
    assert node.cpu_seconds() - before < 0.6
    raw = open_raw(node, name())
    raw.frame(PING, b"x")
    assert raw.read_frame().payload == b"x"
