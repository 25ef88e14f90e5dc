"""Tokens signed with private keys: public keys from PEM, from a JWKS file, from a JWKS URL, and
their rotation under a node that runs."""

import json
import signal

import pytest

from harness.issuer import ALGORITHMS, Issuer, KeyServer, key_set
from harness.node import skein
from harness.tokens import SECRET, token
from harness.wait import holds, until

pytestmark = pytest.mark.one_tenant


@pytest.fixture(scope="module")
def issuers():
    return {algorithm: Issuer(algorithm) for algorithm in ALGORITHMS}


@pytest.fixture
def start_with(start, io):
    """A node without a secret, with these settings."""
    return lambda **settings: start(io=io, env={"JWT_SECRET": None, **settings})


def status(node, text) -> int:
    return node.handshake(token=text).status


def reload(node):
    """SIGHUP; a process that it ended would fail the test."""
    node.process.send_signal(signal.SIGHUP)


def is_logged(node, pattern, times=1):
    until(
        lambda: sum(pattern in line for line in node.log.lines) >= times,
        what=f"{times} lines with {pattern!r} in {node.describe()}",
    )


def test_every_algorithm_from_one_file(start_with, issuers, tmp_path, open_client, name):
    path = tmp_path / "keys.pem"
    path.write_text("".join(issuer.pem for issuer in issuers.values()))
    node = start_with(JWT_PUBLIC_KEY_FILE=str(path))
    assert node.control("GET", "/health").json()["keys"]["keys"] == dict.fromkeys(ALGORITHMS, 1)
    for algorithm, issuer in issuers.items():
        user = name()
        client = open_client(node, user, token=issuer.token(user))
        client.send("ping")
        client.expect("pong")
        assert status(node, Issuer(algorithm).token(name())) == 401
        assert status(node, issuer.token(name(), ttl=-60)) == 401
        assert status(node, issuer.token(name(), kid="unheard-of")) == 101
    # Nothing that a public key could be made into signs anything.
    for secret in (SECRET, *(issuer.pem for issuer in issuers.values())):
        assert status(node, token(name(), secret=secret)) == 401
    assert status(node, token(name(), alg="none")) == 401


def test_a_secret_and_keys_side_by_side(start, io, issuers, tmp_path, name):
    path = tmp_path / "jwks.json"
    path.write_text(key_set(issuers["ES256"]))
    node = start(io=io, env={"JWT_JWKS_FILE": str(path)})
    assert status(node, token(name())) == 101
    assert status(node, issuers["ES256"].token(name())) == 101
    assert status(node, issuers["RS256"].token(name())) == 401
    # The secret verifies HS256 and nothing else, whatever a header says.
    assert status(node, token(name(), alg="ES256")) == 401
    assert status(node, token(name(), secret=issuers["ES256"].pem)) == 401


def test_rotation_by_file(start_with, issuers, tmp_path, name, open_client):
    old, new = issuers["RS256"], Issuer("RS256")
    path = tmp_path / "keys.pem"
    path.write_text(old.pem)
    node = start_with(JWT_PUBLIC_KEY_FILE=str(path))
    user = name()
    client = open_client(node, user, token=old.token(user))
    seen = old.token(name())
    assert status(node, seen) == 101 and status(node, new.token(name())) == 401

    path.write_text(old.pem + new.pem)
    reload(node)
    until(lambda: status(node, new.token(name())) == 101, what="the new key")
    assert status(node, seen) == 101

    path.write_text(new.pem)
    reload(node)
    # Also what was remembered of it.
    until(lambda: status(node, seen) == 401, what="an end of the old key")
    assert status(node, new.token(name())) == 101
    # A connection that is open stays: revoking is for that.
    client.send("ping")
    client.expect("pong")


def test_half_a_file_takes_no_key_away(start_with, issuers, tmp_path, name):
    path = tmp_path / "keys.pem"
    whole = issuers["ES256"].pem + issuers["EdDSA"].pem
    path.write_text(whole)
    node = start_with(JWT_PUBLIC_KEY_FILE=str(path))
    for number, bad in enumerate((whole[:-30], "", whole[40:], "nonsense"), 1):
        path.write_text(bad)
        reload(node)
        is_logged(node, "the keys of before stay", number)
        for algorithm in ("ES256", "EdDSA"):
            assert status(node, issuers[algorithm].token(name())) == 101
    path.write_text(issuers["ES256"].pem)
    reload(node)
    until(lambda: status(node, issuers["EdDSA"].token(name())) == 401, what="the file put right")
    assert status(node, issuers["ES256"].token(name())) == 101


def keys_of(node):
    return node.control("GET", "/health").json()["keys"]


def test_rotation_by_url(start, start_with, name):
    old, new = Issuer("RS256", "2026-a"), Issuer("EdDSA", "2026-b")
    server = start(key_set(old), make=KeyServer)
    node = start_with(JWT_JWKS_URL=server.url, JWT_JWKS_REFRESH="1h")
    # Not by a token: one that comes before the first fetch has ended asks for another, and the next
    # may ask only after 30 s.
    until(lambda: keys_of(node)["jwks"]["state"] == "ok", what="the first fetch")
    assert keys_of(node)["keys"] == {"RS256": 1}
    assert status(node, old.token(name())) == 101
    assert node.metrics().total("skein_jwks_up") == 1

    server.body = key_set(old, new)
    asked = server.asked
    assert status(node, new.token(name())) == 101
    assert server.asked == asked + 1
    # Names that nobody knows do not make the node ask again and again.
    for number in range(30):
        assert status(node, new.token(name(), kid=f"made-up-{number}")) == 401
    assert server.asked == asked + 1
    assert status(node, Issuer("RS256").token(name(), kid="2026-a")) == 401


def test_a_url_that_fails(start, start_with, name):
    issuer, later = Issuer("ES256", "1"), Issuer("ES256", "2")
    server = start(key_set(issuer), make=KeyServer)
    node = start_with(JWT_JWKS_URL=server.url, JWT_JWKS_REFRESH="1s")
    until(lambda: status(node, issuer.token(name())) == 101, what="the key")
    for body, code in ((key_set(later), 500), ("{", 200), (" " * (2 << 20), 200), (key_set(), 200)):
        server.body, server.status = body, code
        asked = server.asked
        until(lambda: server.asked >= asked + 2, what="two more fetches")
        until(lambda: node.metrics().total("skein_jwks_up") == 0, what="the failure in the metrics")
        assert status(node, issuer.token(name())) == 101
        jwks = node.control("GET", "/health").json()["keys"]["jwks"]
        assert jwks["state"] == "failing" and jwks["reason"] and jwks["ageSeconds"] > 0
    assert sum("JWT_JWKS_URL" in line and "stay" in line for line in node.log.lines) == 1
    server.body, server.status = key_set(later), 200
    until(lambda: status(node, later.token(name())) == 101, what="recovery")
    until(lambda: status(node, issuer.token(name())) == 401, what="an end of the old key")


def test_a_url_that_nobody_serves(start, start_with, io, name):
    server = KeyServer("")
    url = server.url
    server.close()
    node = start_with(JWT_JWKS_URL=url)
    until(
        lambda: node.control("GET", "/health").json()["keys"]["jwks"]["state"] == "failing",
        what="the failure in /health",
    )
    assert status(node, Issuer("RS256").token(name())) == 401
    assert node.ready()[0] == 200


# The command line


def check(**env):
    return skein("config", "check", "--json", env=env)


def test_the_check_says_what_is_wrong(tmp_path, issuers):
    path = tmp_path / "file"
    path.write_text(issuers["RS256"].pem)
    good = check(JWT_PUBLIC_KEY_FILE=str(path))
    assert good.returncode == 0, good
    assert not json.loads(good.stdout)["problems"]
    path.write_text(issuers["RS256"].pem[:-20])
    for env, key in (
        ({"JWT_PUBLIC_KEY_FILE": str(path)}, "JWT_PUBLIC_KEY_FILE"),
        ({"JWT_PUBLIC_KEY_FILE": str(tmp_path / "none")}, "JWT_PUBLIC_KEY_FILE"),
        ({"JWT_JWKS_FILE": str(path)}, "JWT_JWKS_FILE"),
        ({"JWT_JWKS_URL": "http://id.example/jwks"}, "JWT_JWKS_URL"),
        ({"JWT_JWKS_URL": "https://user:secret@id.example/jwks"}, "JWT_JWKS_URL"),
        ({"JWT_JWKS_URL": "file:///etc/passwd"}, "JWT_JWKS_URL"),
        ({"JWT_JWKS_URL": "https://id.example/jwks", "JWT_JWKS_CA": str(path)}, "JWT_JWKS_CA"),
        ({"JWT_JWKS_URL": "https://id.example/jwks", "JWT_JWKS_REFRESH": "1ms"}, "JWT_JWKS_REFRESH"),
        ({"JWT_SECRET": SECRET, "JWT_LEEWAY": "1h"}, "JWT_LEEWAY"),
        ({"JWT_SECRET": "short", "JWT_JWKS_URL": "https://id.example/"}, "JWT_SECRET"),
        ({}, "JWT_SECRET"),
    ):
        result = check(**env)
        assert result.returncode == 1, (env, result)
        problems = json.loads(result.stdout)["problems"]
        assert [problem["key"] for problem in problems if problem["severity"] == "error"] == [key], problems
        assert "secret@" not in result.stdout + result.stderr


def test_a_node_does_not_start_with_a_bad_file(tmp_path):
    path = tmp_path / "keys.pem"
    path.write_text("-----BEGIN PUBLIC KEY-----\n")
    result = skein("serve", "--listen", "127.0.0.1:0", env={"JWT_PUBLIC_KEY_FILE": str(path)})
    assert result.returncode == 1
    assert "JWT_PUBLIC_KEY_FILE" in result.stderr and "cut short" in result.stderr


def test_tokens_cannot_be_made_from_public_keys(tmp_path, issuers):
    path = tmp_path / "keys.pem"
    path.write_text(issuers["RS256"].pem)
    result = skein("token", "--user", "alice", env={"JWT_PUBLIC_KEY_FILE": str(path)})
    assert result.returncode == 1 and result.stdout == ""
    assert "public keys" in result.stderr and "JWT_SECRET" in result.stderr
