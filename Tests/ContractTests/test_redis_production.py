"""Redis as production has it: behind an ACL, in TLS, on a Unix socket, failing over under Sentinel,
full, loading, busy, demoted. Each ends in a log line and a reason in `/ready` that say what to do,
in bounded retries, and in a recovery that loses, repeats and reorders nothing."""

import json
import re
import threading
import time
from pathlib import Path

import pytest

from harness.node import skein
from harness.redis import RedisError, RedisServer, free_port
from harness.redis_farm import Authority, Farm, SecureRedis, Shaped
from harness.tokens import SECRET
from harness.wait import holds, until
from test_redis_outage import Traffic, reached, talk

pytestmark = [pytest.mark.one_tenant, pytest.mark.slow]
README = Path(__file__).resolve().parents[2] / "README.md"


@pytest.fixture
def traffic_of(name, open_client):
    """`traffic_of(node)`: messages that flow until they are checked."""
    made = []

    def begin(node):
        made.append(Traffic(node, name, open_client))
        return made[-1]

    yield begin
    for traffic in made:
        traffic.stop()


def expect_reason(node, *parts, timeout=20):
    """`/ready` refuses with a reason that holds `parts`, `/health` repeats it, and the log says it
    once."""

    def told():
        status, body = node.ready()
        return status == 503 and all(part in body["reason"] for part in parts) and body

    body = until(told, timeout, what=f"{parts} in /ready, not {node.ready()};")
    health = node.control("GET", "/health")
    assert health.status == 200
    assert health.json()["redis"] != "up"
    for part in parts:
        until(lambda: part in node.log.text, what=f"{part!r} in the log")
    return body["reason"]


def expect_ready(node, timeout=20):
    until(
        lambda: node.ready()[0] == 200 and node.metrics().total("skein_redis_up") == 1,
        timeout,
        what=f"readiness, not {node.ready()};",
    )


def heard_by(node, server, client):
    """What backends publish arrives, so the node hears the right Redis."""
    event = json.dumps({"type": "alert", "data": {"back": True}})
    until(lambda: server.publish(f"user:{client.user}", event) == 1, what="the subscription")
    reached(client)


def attempts(server):
    with server.client() as client:
        info = client("INFO", "stats")
    return int(re.search(r"total_connections_received:(\d+)", info)[1])


def readme_rule():
    """The words behind ACL SETUSER in the README."""
    found = re.search(r"ACL SETUSER (skein on .*?)\n```", README.read_text(), re.S)
    return found[1].replace("\\\n", " ").split()


def url(server, user, password):
    return f"redis://{user}:{password}@127.0.0.1:{server.port}"


# Who we are there


def test_the_rule_of_the_readme_is_enough(start, io, name, open_client):
    server = start(make=Shaped)
    rule = readme_rule()
    password = next(word for word in rule if word.startswith(">"))[1:]
    with server.client() as admin:
        admin("ACL", "SETUSER", *rule)
        admin("ACL", "LOG", "RESET")
        env = {"REDIS_URL": url(server, "skein", password), "AUTH_SESSION": "required"}
        node = start(io=io, env=env)
        carol, dave = name("carol"), name("dave")
        with server.client(4) as keys:
            for user in (carol, dave):
                keys("SET", f"session:{user}", "token")
            carol, dave = open_client(node, carol), open_client(node, dave)
            carol.chat(dave.user, "hi")
            dave.expect("chat_message")
            carol.expect("chat_message_sent")
            until(lambda: keys("GET", f"presence:{dave.user}") == "online", what="presence")
            heard_by(node, server, dave)
            dave.close()
            until(lambda: keys("GET", f"presence:{dave.user}") is None, 20, what="leaving")
            until(lambda: server.client()("PUBSUB", "NUMSUB", f"user:{dave.user}")[1] == 0, 30)
        assert node.control("POST", "/disconnect", {"userId": carol.user, "code": 4403}).status == 200
        carol.expect_closed(4403)
        node.stop()
        assert admin("ACL", "LOG") == [], "something was refused"


def test_a_wrong_password(start, io):
    server = start(make=Shaped)
    with server.client() as admin:
        admin("ACL", "SETUSER", "skein", "on", ">old", "~*", "&*", "+@all")
    env = {"REDIS_HOST": "127.0.0.1", "REDIS_PORT": str(server.port)}
    env |= {"REDIS_USERNAME": "skein", "REDIS_PASSWORD": "new"}
    node = start(io=io, env=env, wait="listening")
    expect_reason(node, "WRONGPASS", "REDIS_USERNAME", "REDIS_PASSWORD")
    before = attempts(server)
    time.sleep(5)
    assert attempts(server) - before < 40, "a storm"
    assert node.log.text.count("WRONGPASS") == 1, "said once"
    assert "new" not in [word.strip("`'\"") for word in node.log.text.split()]
    with server.client() as admin:
        admin("ACL", "SETUSER", "skein", ">new")
    expect_ready(node)
    failures = node.metrics().total("skein_backplane_link_failures_total", cause="credentials")
    assert failures >= 3


def test_a_password_that_is_needed_and_one_that_is_not(start, io):
    server = start(make=lambda: RedisServer(password="secret"))
    node = start(io=io, env={"REDIS_URL": f"redis://127.0.0.1:{server.port}"}, wait="listening")
    expect_reason(node, "NOAUTH", "set REDIS_PASSWORD")
    open_server = start(make=Shaped)
    env = {"REDIS_URL": f"redis://:secret@127.0.0.1:{open_server.port}"}
    node = start(io=io, env=env, wait="listening")
    expect_reason(node, "it has no password", "requirepass")


@pytest.mark.parametrize(
    "without,part",
    [
        (["resetchannels", "&ws:*", "&websocket:*", "&chat:*"], "&user:*"),
        (["-publish"], "+publish"),
        (["-subscribe"], "+subscribe"),
        (["-select"], "+select"),
        (["-hset"], "+hset"),
        (["-set"], "+set"),
        (["resetkeys", "~session:*"], "~presence:*"),
    ],
)
def test_what_the_acl_forbids_is_named(start, io, name, open_client, without, part):
    server = start(make=Shaped)
    with server.client() as admin:
        admin("ACL", "SETUSER", "skein", "on", ">pw", "~*", "&*", "+@all")
        admin("ACL", "SETUSER", "skein", *without)
        env = {"REDIS_URL": url(server, "skein", "pw"), "WS_HISTORY_SIZE": "0"}
        node = start(io=io, env=env, wait="listening")
        carol, dave = open_client(node, name("carol")), open_client(node, name("dave"))
        carol.chat(dave.user, 1)
        dave.expect("chat_message", {"senderId": carol.user, "message": 1})
        # A plain SET and a script that sets are both refused, and either may be the last: of what a script may
        # not do, Redis 7.0 says neither NOPERM nor which command it was.
        said = "refused" if without[0] == "-set" else "NOPERM"
        expect_reason(node, said, part)
        holds(lambda: node.ready()[0] == 503, 4, what="the truth")
        refusals = [line.split(" ", 1)[1] for line in node.log.lines if "NOPERM" in line]
        assert len(refusals) == len(set(refusals)), "each is said once"
        admin("ACL", "SETUSER", "skein", "~*", "&*", "+@all")
    expect_ready(node)
    heard_by(node, server, dave)
    carol.chat(dave.user, 2)
    dave.expect("chat_message", {"senderId": carol.user, "message": 2})
    with server.client(4) as keys:
        until(lambda: keys("HLEN", f"presence:devices:{dave.user}") == 1, 30, what="presence")


def burst(alice, bob, carol):
    for number in range(40):
        alice.chat(carol.user, number)
        if number % 10 == 5:
            alice.chat(bob.user, number)


def expect_numbers(client, sender, numbers):
    for number in numbers:
        client.expect("chat_message", {"senderId": sender.user, "message": number}, timeout=30)


def test_a_channel_that_the_acl_forbids_holds_up_the_others_once(start, io, name, open_client):
    """What goes to Redis in one script: those before the refused event are done, those behind it come again."""
    server = start(make=Shaped)
    alice, bob, carol = name("alice"), name("bob"), name("carol")
    channels = [f"&{kind}:{user}" for kind in ("user", "chat:user") for user in (alice, carol)]
    with server.client() as admin:
        admin("ACL", "SETUSER", "skein", "on", ">pw", "~*", "+@all", "resetchannels", "&ws:*",
              "&websocket:broadcast", "&chat:broadcast", *channels)
        node = start(io=io, env={"REDIS_URL": url(server, "skein", "pw")})
        other = start(io=io, redis=server)
        alice, bob, carol = open_client(node, alice), open_client(other, bob), open_client(other, carol)
        burst(alice, bob, carol)
        expect_numbers(carol, alice, range(40))
        admin("ACL", "SETUSER", "skein", "&*")
        expect_ready(node)
        # They are in history, and nobody heard of them: the next one tells that they are missing.
        alice.chat(bob.user, 40)
        expect_numbers(bob, alice, (5, 15, 25, 35, 40))


def test_a_command_that_the_acl_forbids_repeats_nothing(start, io, name, open_client):
    """What one of several events in a script needs is refused again and again: those before it came once."""
    server = start(make=Shaped)
    with server.client() as admin:
        admin("ACL", "SETUSER", "skein", "on", ">pw", "~*", "&*", "+@all")
        node = start(io=io, env={"REDIS_URL": url(server, "skein", "pw")})
        other = start(io=io, redis=server)
        alice = open_client(node, name("alice"))
        bob, carol = open_client(other, name("bob")), open_client(other, name("carol"))
        # Her history has its deadline; his will need one.
        alice.chat(carol.user, -1)
        expect_numbers(carol, alice, (-1,))
        alice.expect("chat_message_sent")
        admin("ACL", "SETUSER", "skein", "-pexpire")
        burst(alice, bob, carol)
        until(lambda: "NOPERM" in node.log.text or "ACL" in node.log.text, 20, what="the refusal in the log")
        time.sleep(3)
        admin("ACL", "SETUSER", "skein", "+pexpire")
        expect_numbers(carol, alice, range(40))
        expect_numbers(bob, alice, (5, 15, 25, 35))
        # And the next thing that she hears is the next thing that is said.
        alice.chat(carol.user, 40)
        expect_numbers(carol, alice, (40,))


# What state it is in


def test_out_of_memory(start, io, name, open_client, traffic_of):
    server = start(make=Shaped)
    node = start(io=io, redis=server)
    traffic = traffic_of(node)
    with server.client() as admin:
        admin("CONFIG", "SET", "maxmemory", "1")
        expect_reason(node, "OOM", "maxmemory")
        late = open_client(node, name("late"))
        heard_by(node, server, late)
        admin("CONFIG", "SET", "maxmemory", "0")
    expect_ready(node)
    with server.client(4) as keys:
        until(lambda: keys("GET", f"presence:{late.user}") == "online", 30, what="presence")
        until(lambda: keys("HLEN", f"presence:devices:{late.user}") == 1, 30, what="its device")
    traffic.check()


def test_busy_with_a_script(start, io, traffic_of):
    server = start(make=lambda: Shaped("--busy-reply-threshold", 100))
    node = start(io=io, redis=server)
    traffic = traffic_of(node)
    script = server.client(timeout=60)
    stuck = threading.Thread(target=lambda: pytest.raises(RedisError, script, "EVAL", "while true do end", 0))
    stuck.start()
    expect_reason(node, "BUSY", "SCRIPT KILL")
    with server.client() as admin:
        admin("SCRIPT", "KILL")
    stuck.join()
    script.close()
    expect_ready(node)
    traffic.check()


def test_loading(start, io, name, open_client):
    server = start(make=lambda: Shaped("--loading-process-events-interval-bytes", 1024))
    with server.client() as client:
        for number in range(300):
            client("SET", f"filler:{number}", "x" * 1_000)
        client("SAVE")
    node = start(io=io, redis=server)
    server.kill()
    server.words += ["--key-load-delay", "20000"]
    server.start()
    expect_reason(node, "LOADING", "loading its data")
    carol, dave = open_client(node, name("carol")), open_client(node, name("dave"))
    carol.chat(dave.user, "still here")
    dave.expect("chat_message")
    expect_ready(node, 40)
    heard_by(node, server, dave)


def test_demoted_to_a_replica(start, io, traffic_of):
    """Somebody makes it a replica and tells nobody; its connections stand."""
    server, other = start(make=Shaped), start(make=Shaped)
    node = start(io=io, redis=server)
    traffic = traffic_of(node)
    with server.client() as admin:
        admin("REPLICAOF", "127.0.0.1", other.port)
        expect_reason(node, "is a replica", "REDIS_SENTINELS")
        admin("REPLICAOF", "NO", "ONE")
    expect_ready(node)
    traffic.check()


def test_no_room_for_clients(start, io, traffic_of):
    server = start(make=Shaped)
    node = start(io=io, redis=server)
    traffic = traffic_of(node)
    with server.client() as admin:
        admin("CONFIG", "SET", "maxclients", "1")
        for kind in ("normal", "pubsub"):
            admin("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")
        expect_reason(node, "max number of clients reached", "maxclients")
        admin("CONFIG", "SET", "maxclients", "1000")
    expect_ready(node)
    traffic.check()


def test_a_cluster(start, io, name, open_client):
    """One node that holds every slot will do, with one database; without slots it says so."""
    server = start(make=lambda: Shaped("--cluster-enabled", "yes", "--cluster-port", free_port()))
    node = start(io=io, redis=server, wait="listening")
    expect_reason(node, "CLUSTERDOWN", "cluster")
    with server.client() as admin:
        admin("CLUSTER", "ADDSLOTSRANGE", 0, 16_383)
        until(lambda: "cluster_state:ok" in admin("CLUSTER", "INFO"), 20)
        expect_ready(node, 45)
        carol, dave = talk(node, name, open_client)
        heard_by(node, server, dave)
        until(lambda: admin("GET", f"presence:{dave.user}") == "online", what="presence")
        carol.close()
        holds(lambda: node.ready()[0] == 200, 8, what="readiness after a departure")


def test_a_cluster_that_lacks_slots(start, io, name, open_client):
    server = start(make=lambda: Shaped("--cluster-enabled", "yes", "--cluster-port", free_port()))
    with server.client() as admin:
        admin("CLUSTER", "ADDSLOTSRANGE", 0, 16_383)
        until(lambda: "cluster_state:ok" in admin("CLUSTER", "INFO"), 20)
        admin("CONFIG", "SET", "cluster-require-full-coverage", "no")
        admin("CLUSTER", "DELSLOTSRANGE", 0, 16_383)
        admin("CLUSTER", "ADDSLOTSRANGE", 0, 8_000)
    node = start(io=io, redis=server, wait="listening")
    for _ in range(6):
        talk(node, name, open_client)
    expect_reason(node, "cluster")


def test_a_subscriber_that_redis_finds_too_slow(start, io, name, open_client, traffic_of):
    """Redis hangs up on who hears channels when its output buffer is full."""
    server = start(make=lambda: Shaped("--client-output-buffer-limit", "pubsub", "256kb", "0", "0"))
    node = start(io=io, redis=server)
    traffic = traffic_of(node)
    dave = open_client(node, name("dave"))
    heard_by(node, server, dave)
    with server.client() as client:
        client("MULTI")
        for number in range(100):
            event = {"type": "alert", "data": {"n": number, "fill": "x" * 30_000}}
            client("PUBLISH", f"user:{dave.user}", json.dumps(event))
        client("EXEC")
    node.log.until("client-output-buffer-limit pubsub")
    cause = {"cause": "subscriber_closed"}
    assert node.metrics().total("skein_backplane_link_failures_total", **cause) >= 1
    expect_ready(node)
    heard_by(node, server, dave)
    time.sleep(0.5)
    traffic.check()


def test_a_unix_socket(start, io, name, open_client):
    server = start(make=lambda: Shaped("--unixsocket", "{folder}/redis.sock", start=False))
    path = f"{server.folder}/redis.sock"
    node = start(io=io, env={"REDIS_URL": f"unix://{path}"}, wait="listening")
    expect_reason(node, path, "No such file", "unixsocket")
    server.start()
    expect_ready(node)
    _, dave = talk(node, name, open_client)
    heard_by(node, server, dave)


@pytest.mark.parametrize("number", ["redis://127.0.0.1:1/3", "unix:///run/redis.sock?db=1"])
def test_a_database_in_the_url_is_refused(number):
    done = skein("config", "check", env={"JWT_SECRET": SECRET, "REDIS_URL": number})
    assert done.returncode == 1
    assert "names a database" in done.stdout + done.stderr


# Sentinel


@pytest.mark.parametrize("how", ["kill", "failover"])
@pytest.mark.timeout(150)
def test_sentinels_fail_over(start, io, name, open_client, traffic_of, how):
    farm = start(make=Farm)
    # With a history, a primary that lacks the newest events sends clients back instead.
    settings = farm.settings | {"WS_HISTORY_SIZE": "0"}
    node = start(io=io, env=settings)
    other = start(io=io, env=settings)
    traffic = traffic_of(node)
    dave = open_client(node, name("dave"))
    heard_by(node, farm, dave)
    primary = farm.primary()
    if how == "kill":
        primary.kill()
    else:
        with farm.sentinels[1].client() as sentinel:
            sentinel("SENTINEL", "FAILOVER", "chat")
    until(lambda: farm.sentinels[0].primary() != primary.port, 30, what="another primary")
    for each in (node, other):
        until(lambda: f":{farm.primary().port}" in each.log.text, 30, what="the new address")
        expect_ready(each, 30)
    heard_by(node, farm, dave)
    carol = open_client(other, name("carol"))
    carol.chat(dave.user, "across nodes")
    dave.expect("chat_message", {"senderId": carol.user, "message": "across nodes"})
    time.sleep(1)
    traffic.check()
    if how == "kill":
        # The old one comes back, thinks that it is primary for a moment, and is left alone.
        primary.start()
        time.sleep(3)
        assert node.ready()[0] == 200
        heard_by(node, farm, dave)


def test_sentinels_that_do_not_know(start, io):
    server = start(make=Shaped)
    dead = free_port()
    env = {"REDIS_SENTINELS": f"127.0.0.1:{dead},127.0.0.1:{server.port}"}
    node = start(io=io, env=env, wait="listening")
    expect_reason(node, f"127.0.0.1:{dead}: Connection refused", "this is no Sentinel", "mymaster")


# TLS


@pytest.fixture(scope="module")
def authority():
    made = Authority()
    yield made
    made.close()


def test_tls(start, io, name, open_client, traffic_of, authority):
    certificate = authority.issue("redis")
    server = start(make=lambda: SecureRedis(authority, *certificate))
    node = start(io=io, redis=server, env={"REDIS_TLS_CA": str(authority.file)})
    traffic = traffic_of(node)
    _, dave = talk(node, name, open_client)
    heard_by(node, server, dave)
    with server.client() as admin:
        admin("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        admin("CLIENT", "KILL", "TYPE", "pubsub")
    expect_ready(node)
    heard_by(node, server, dave)
    large = json.dumps({"type": "alert", "data": {"fill": "x" * 60_000}})
    server.publish(f"user:{dave.user}", large)
    dave.until(lambda event: event["data"].get("fill") == "x" * 60_000)
    time.sleep(0.5)
    traffic.check()


def test_tls_with_a_certificate_of_ours(start, io, authority):
    certificate, key = authority.issue("client")
    server = start(make=lambda: SecureRedis(authority, *authority.issue("redis"), clients="yes"))
    server.certificate = (certificate, key)
    env = {"REDIS_TLS_CA": str(authority.file)}
    node = start(io=io, redis=server, env=env, wait="listening")
    expect_reason(node, "TLS", "REDIS_TLS_CERTIFICATE")
    env |= {"REDIS_TLS_CERTIFICATE": str(certificate), "REDIS_TLS_KEY": str(key)}
    start(io=io, redis=server, env=env)


@pytest.mark.parametrize(
    "case,part",
    [
        ("unknown", "REDIS_TLS_CA"),
        ("name", "REDIS_TLS_SERVER_NAME"),
        ("expired", "expired"),
        ("plain port", "is this its tls-port"),
        ("plain client", "rediss://"),
        ("no file", "No such file"),
    ],
)
def test_tls_that_fails(start, io, authority, case, part):
    names = "DNS:redis.example" if case == "name" else "IP:127.0.0.1"
    certificate = authority.issue("redis", names, days=-1 if case == "expired" else 30)
    env = {"REDIS_TLS_CA": str(authority.file)}
    if case == "unknown":
        env = {}
    if case == "no file":
        env = {"REDIS_TLS_CA": "/nowhere/ca.pem"}
    if case == "plain port":
        server = start(make=Shaped)
        env["REDIS_URL"] = server.url.replace("redis://", "rediss://")
    else:
        server = start(make=lambda: SecureRedis(authority, *certificate))
        env["REDIS_URL"] = server.url
    if case == "plain client":
        env = {"REDIS_URL": server.url.replace("rediss://", "redis://")}
    node = start(io=io, env=env, wait="listening")
    expect_reason(node, "TLS", part)
    if case == "name":
        env["REDIS_TLS_SERVER_NAME"] = "redis.example"
        start(io=io, env=env)
