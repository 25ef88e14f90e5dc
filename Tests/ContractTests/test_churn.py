"""Clients that come and go in every way at once, while two who stay go on talking: nothing of theirs
is lost, and of the others nothing is left."""

import random
import struct
import threading
import time

import pytest

from harness.http import Closed
from harness.raw import CLOSE, PING, TEXT, RawSocket, close_payload, frame_bytes, upgrade_request
from harness.tokens import token
from harness.wait import until

SO_LINGER = struct.pack("ii", 1, 0)  # closing resets


@pytest.fixture(scope="module")
def node(start_shared, io, backplane):
    return start_shared(
        io=io, redis=backplane, env={"WS_MAX_CONNECTIONS_PER_USER": "0", "WS_ECHO_PATH": "/echo"}
    )


def visit(node, chance, users):
    """One client's life, cut short at a random point in a random way."""
    user, path = chance.choice(users), chance.choice(["/ws", "/ws", "/echo"])
    raw = RawSocket(node.port)
    try:
        request = upgrade_request(node.port, path, token=token(user))
        if chance.random() < 0.15:
            raw.send(request[: chance.randrange(len(request))])
            return
        raw.send(request)
        if chance.random() < 0.15:
            return
        assert raw.response().status == 101
        hello = b'{"type":"chat_message","data":{"receiverId":"%s","message":1}}'
        for _ in range(chance.randrange(6)):
            raw.send(
                chance.choice(
                    [
                        frame_bytes(PING, b"x"),
                        frame_bytes(TEXT, b'{"type":"ping"}') * 20,
                        frame_bytes(TEXT, hello % chance.choice(users).encode()) * 5,
                    ]
                )
            )
        if chance.random() < 0.2:
            raw.send(frame_bytes(TEXT, b"x" * 30_000)[:20_000])
        elif chance.random() < 0.3:
            raw.frame(CLOSE, close_payload(1000))
            raw.read_to_end()
    except (Closed, OSError) as error:
        raise AssertionError(f"a well-behaved visitor was cut off: {error!r}") from None
    finally:
        if chance.random() < 0.4:
            raw.socket.setsockopt(1, 13, SO_LINGER)
        raw.close()


@pytest.mark.timeout(180)
def test_churn(node, name, open_client):
    alice, bob = open_client(node, name("alice")), open_client(node, name("bob"))
    users = [name("visitor") for _ in range(8)]
    seed = random.randrange(1 << 32)
    errors, stop = [], threading.Event()

    def crowd(number):
        chance = random.Random(seed + number)
        try:
            for _ in range(300):
                visit(node, chance, users)
        except BaseException as error:
            errors.append(error)

    def talk():
        n = 0
        while not stop.wait(0.005):
            alice.chat(bob.user, n)
            n += 1
        alice.chat(bob.user, "end")

    talker = threading.Thread(target=talk)
    talker.start()
    threads = [threading.Thread(target=crowd, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    time.sleep(0.2)
    stop.set()
    talker.join()
    assert not errors, f"seed {seed}: {errors}"

    heard = [event["data"]["message"] for event in bob.until(lambda e: e["data"]["message"] == "end")]
    assert heard[:-1] == list(range(len(heard) - 1))
    for message in heard:
        alice.expect("chat_message_sent", {"receiverId": bob.user, "message": message})
    for user in users:
        until(lambda: node.connections(user) == [], timeout=30, what=f"the end of {user}")

    def left():
        health = node.control("GET", "/health").json()["websocket"]
        return health["connections"]

    until(lambda: left() == 2, timeout=30, what="nobody but the two")
