"""Whoever may publish on the same Redis: what they say about themselves must not stop a node, lead
its counting astray, or cost a user an event."""

import json
import time

import pytest

from harness.wait import until


@pytest.fixture(scope="module")
def node(start_shared, io, redis):
    return start_shared(io=io, redis=redis)


def tap(redis, channel):
    """What a backend hears on a channel."""
    client = redis.client()
    client("SUBSCRIBE", channel)
    return client


def node_id(client):
    return client.connection_id.split("-")[0]


@pytest.mark.parametrize("sequence", ["f" * 16, "7" * 16, "0" * 16, "00000000000000zz", ""])
def test_an_invented_via_changes_nothing(node, redis, name, open_client, sequence):
    alice = open_client(node, name("alice"))
    via = f"{node_id(alice)}-{'0' * 16}-{sequence}-{'0' * 16}"
    with redis.client() as client:
        for _ in range(3):
            event = {"type": "alert", "data": {"n": 1}, "via": via}
            client("PUBLISH", f"user:{alice.user}", json.dumps(event))
            alice.expect("alert", {"n": 1})
    for n in range(20):
        alice.chat(alice.user, n)
        kinds = {event["type"]: event["data"]["message"] for event in (alice.next(), alice.next())}
        assert kinds == {"chat_message": n, "chat_message_sent": n}


def test_an_envelope_that_is_passed_on_arrives(node, redis, name, open_client):
    alice, bob = open_client(node, name("alice")), open_client(node, name("bob"))
    ear = tap(redis, f"user:{alice.user}")
    alice.chat(alice.user, "to pass on")
    alice.next(), alice.next()
    heard = ear.reply()
    while "chat_message_sent" in str(heard[2]):
        heard = ear.reply()
    ear.close()
    with redis.client() as client:
        client("PUBLISH", f"user:{bob.user}", heard[2])
    bob.expect("chat_message", {"senderId": alice.user, "message": "to pass on"})


@pytest.mark.parametrize("code,reason", [(4000, "r" * 70_000), (4000, 'a "quoted" one'), (1005, "x"),
                                         (0, "x"), (65535, "x"), ("4000", "x")])
def test_a_foreign_command_is_taken_with_care(node, redis, name, open_client, code, reason):
    alice, bob = open_client(node, name("alice")), open_client(node, name("bob"))
    command = {"command": "disconnect", "userId": alice.user, "code": code, "reason": reason}
    with redis.client() as client:
        client("PUBLISH", "ws:commands", json.dumps(command))
    if code == 4000:
        said = alice.expect_closed(4000)
        assert said == (reason if len(reason) <= 123 else "")
    else:
        alice.chat(alice.user, "still here")
        alice.next(), alice.next()
    bob.chat(bob.user, "and so is the node")
    bob.next(), bob.next()


def test_many_members_all_arrive(node, name, open_client):
    alice, bob = open_client(node, name("alice")), open_client(node, name("bob"))
    extra = {f"field{n}": n for n in range(200)}
    data = {**extra, "receiverId": bob.user, "message": 1}
    alice.send("chat_edit", data)
    bob.expect("chat_edit", {**data, "senderId": alice.user})
    alice.expect("chat_edit", {**data, "senderId": alice.user})
    alice.send("chat_edit", {**{f"f{n}": n for n in range(1_100)}, **data}, requestId="many")
    alice.expect_error("VALIDATION_ERROR", naming="data", request_id="many")


def test_a_silent_connection_keeps_no_drained_node(start, io, redis):
    node = start(io=io, redis=redis)
    silent = node.wire()
    began = time.monotonic()
    node.signal(15)
    assert node.wait_exit() == 0
    assert time.monotonic() - began < 8, "it waited for a connection that had asked for nothing"
    silent.close()


def test_a_lost_link_for_sessions_comes_back(start, io, redis):
    """Redis drops the client that asks for sessions and writes presence."""
    node = start(io=io, redis=redis)
    with redis.client() as client:
        clients = client("CLIENT", "LIST")
        text = clients.decode() if isinstance(clients, bytes) else str(clients)
        ours = [line for line in text.splitlines() if "name=skein-" in line and " db=4" in line]
        assert ours
        for line in ours:
            address = dict(word.split("=", 1) for word in line.split())["addr"]
            client("CLIENT", "KILL", address)
    until(lambda: node.ready()[0] == 200, what="ready again")
