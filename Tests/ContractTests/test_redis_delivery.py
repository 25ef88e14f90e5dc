"""Two nodes on one Redis, and backends that PUBLISH beside them: every event once, in one order, on
every device, wherever it is connected."""

import json
import threading
import uuid

import pytest

from harness.client import quiet
from harness.redis import Redis
from harness.wait import holds, until


@pytest.fixture(scope="module")
def nodes(start_shared, io, redis):
    return [start_shared(io=io, redis=redis) for _ in range(2)]


@pytest.fixture
def publish(redis):
    """Publishes as a backend does: a dictionary, or bytes as they are."""
    with redis.client() as client:

        def publish(channel, event):
            client("PUBLISH", channel, event if isinstance(event, bytes) else json.dumps(event))

        yield publish


@pytest.fixture
def users(nodes, name, open_client):
    """Alice on both nodes, Bob on the first, Carol on the second."""
    a, b = nodes
    alice, bob, carol = name("alice"), name("bob"), name("carol")
    return {
        "alice a": open_client(a, alice),
        "alice b": open_client(b, alice),
        "bob": open_client(a, bob),
        "carol": open_client(b, carol),
    }


def relay(type="alert", **data):
    return {"type": type, "data": data, "timestamp": "2024-05-06T07:08:09.123Z"}


def nothing_more(publish, *clients):
    """What comes next on the broadcast channel is the very next that each gets."""
    marker = uuid.uuid4().hex
    publish("websocket:broadcast", relay("alert", marker=marker))
    for client in clients:
        client.expect("alert", {"marker": marker})


# Users to users


def test_exactly_once_on_every_device(users, publish):
    alice_a, alice_b, bob, carol = users.values()
    for sender, receivers in ((bob, (alice_a, alice_b)), (carol, (alice_a, alice_b))):
        sender.chat(alice_a.user, sender.user, requestId="r")
        for device in receivers:
            device.expect("chat_message", {"senderId": sender.user, "message": sender.user})
        sender.expect("chat_message_sent", request_id="r")
    for sender, other in ((alice_a, alice_b), (alice_b, alice_a)):
        for receiver in (bob, carol):
            sender.chat(receiver.user, "hi", requestId="r")
            receiver.expect("chat_message", {"senderId": sender.user, "message": "hi"})
            sent = {"receiverId": receiver.user, "message": "hi"}
            sender.expect("chat_message_sent", sent, request_id="r")
            other.expect("chat_message_sent", sent)
    nothing_more(publish, *users.values())


def test_every_kind_crosses(users, publish):
    alice_a, alice_b, bob, carol = users.values()
    carol.send("typing", {"receiverId": bob.user, "isTyping": True})
    bob.expect("typing", {"senderId": carol.user, "isTyping": True})
    carol.send("read_receipt", {"senderId": bob.user, "messageIds": ["m"]})
    bob.expect("read_receipt", {"readBy": carol.user, "messageIds": ["m"]})
    for type, rest in (("chat_edit", {"message": {"x": 1}}), ("chat_delete", {"messageId": "m"})):
        bob.send(type, {"receiverId": alice_a.user, **rest}, requestId="r")
        out = {"receiverId": alice_a.user, **rest, "senderId": bob.user}
        bob.expect(type, out, request_id="r")
        for device in (alice_a, alice_b):
            device.expect(type, out)
    nothing_more(publish, *users.values())


@pytest.mark.parametrize("message", ['"zoë 🧶 \\u0000 \\ud83e\\uddf6"', "1.000000000000000000001", "null"])
def test_messages_cross_unchanged(users, message):
    _, _, bob, carol = users.values()
    bob.text(
        f'{{"type":"chat_message","data":{{"receiverId":"{carol.user}","message":{message}}}}}'
    )
    got = json.loads(carol.next_text(), parse_float=str)
    assert got["data"]["message"] == json.loads(message, parse_float=str)


def test_one_order_on_all_nodes(users):
    """Bob on one node and Carol on the other write to Alice at once: both of her devices see the
    very same sequence."""
    alice_a, alice_b, bob, carol = users.values()

    def send(sender):
        for n in range(500):
            sender.chat(alice_a.user, n)

    threads = [threading.Thread(target=send, args=(sender,)) for sender in (bob, carol)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sequences = []
    for device in (alice_a, alice_b):
        events = [device.expect("chat_message")["data"] for _ in range(1000)]
        sequences.append([(data["senderId"], data["message"]) for data in events])
    assert sequences[0] == sequences[1]
    for sender in (bob, carol):
        numbers = [n for user, n in sequences[0] if user == sender.user]
        assert numbers == list(range(500))
        sent = [sender.expect("chat_message_sent")["data"]["message"] for _ in range(500)]
        assert sent == list(range(500))


def test_a_full_size_message_crosses(users):
    _, _, bob, carol = users.values()
    bob.chat(carol.user, "x" * 65_000)
    carol.expect("chat_message", {"senderId": bob.user, "message": "x" * 65_000})


# Backends: `user:{id}`


def test_user_channel(users, publish):
    alice_a, alice_b, bob, carol = users.values()
    publish(f"user:{alice_a.user}", relay("notification", notification={"title": "hi"}))
    for device in (alice_a, alice_b):
        event = device.expect("notification", {"notification": {"title": "hi"}})
        assert event["timestamp"] == "2024-05-06T07:08:09.123Z", "the publisher's is kept"
    nothing_more(publish, *users.values())


def test_without_a_timestamp_it_gets_one(users, publish):
    bob = users["bob"]
    publish(f"user:{bob.user}", {"type": "alert", "data": {"n": 1}})
    assert not bob.expect("alert", {"n": 1})["timestamp"].startswith("2024")


@pytest.mark.parametrize(
    "type",
    ["notification", "notification_bulk", "alert", "presence", "user_online", "user_offline"]
    + ["system", "typing", "chat_message", "x-unheard-of", "with.dots", 'odd "name" \\ zoë'],
)
def test_any_type_is_delivered_as_it_is(users, publish, type):
    bob = users["bob"]
    data = {"userId": "someone", "n": 1.5, "nested": {"a": [None, True, "é"]}}
    publish(f"user:{bob.user}", {**relay(type), "data": data})
    bob.expect(type, data)


def test_missing_data_from_a_backend_is_empty(users, publish):
    bob = users["bob"]
    publish(f"user:{bob.user}", {"type": "alert"})
    bob.expect("alert", {})


def test_for_a_user_who_is_not_here(users, publish, name):
    publish(f"user:{name()}", relay())
    nothing_more(publish, *users.values())


# Backends: `websocket:broadcast`


def test_broadcast_to_everyone(users, publish):
    publish("websocket:broadcast", relay("system", message="hello, all"))
    for client in users.values():
        event = client.expect("system", {"message": "hello, all"})
        assert event["timestamp"] == "2024-05-06T07:08:09.123Z"
    nothing_more(publish, *users.values())


def test_broadcast_with_a_target(users, publish):
    alice_a, alice_b, bob, carol = users.values()
    publish("websocket:broadcast", {**relay(n=1), "targetUserId": alice_a.user})
    for device in (alice_a, alice_b):
        device.expect("alert", {"n": 1})
    nothing_more(publish, *users.values())


# Backends: the chat channels


def test_chat_user_channel(users, publish):
    """In its own envelope: `payload` is `data` here."""
    alice_a, alice_b, bob, carol = users.values()
    payload = {"message": {"id": "m-1", "content": "hi"}}
    publish(f"chat:user:{alice_a.user}", {"type": "message.new", "payload": payload})
    for device in (alice_a, alice_b):
        device.expect("message.new", payload)
    nothing_more(publish, *users.values())


def test_chat_broadcast(users, publish):
    """To the user that `payload.userId` names, and to no one else."""
    alice_a, alice_b, bob, carol = users.values()
    payload = {"userId": alice_a.user, "onlineAt": "2024-05-06T07:08:09.123Z"}
    publish("chat:broadcast", {"type": "user.online", "payload": payload})
    for device in (alice_a, alice_b):
        device.expect("user.online", payload)
    nothing_more(publish, *users.values())


# What is malformed


MALFORMED = {
    "empty": b"",
    "text": b"hello",
    "cut": b'{"type":"alert","data":{',
    "trailing": b'{"type":"alert","data":{}} x',
    "array": b'[{"type":"alert","data":{}}]',
    "number": b"1",
    "no type": b'{"data":{"n":1}}',
    "type a number": b'{"type":1,"data":{}}',
    "type null": b'{"type":null,"data":{}}',
    "not UTF-8": b'{"type":"alert","data":{"a":"\xff\xfe"}}',
    "a surrogate in UTF-8": b'{"type":"alert","data":{"a":"\xed\xa0\x80"}}',
    "NUL": b"\0" * 100,
    "deep": b"[" * 100_000,
}


@pytest.mark.parametrize("what", MALFORMED)
@pytest.mark.parametrize("channel", ["user:{}", "websocket:broadcast", "chat:user:{}"])
def test_malformed_is_counted_and_dropped(nodes, users, publish, channel, what):
    bob = users["bob"]
    before = nodes[0].metrics().total("skein_malformed_total")
    publish(channel.format(bob.user), MALFORMED[what])
    until(
        lambda: nodes[0].metrics().total("skein_malformed_total") == before + 1,
        what="the count of what is malformed",
    )
    publish(f"user:{bob.user}", relay(n=1))
    bob.expect("alert", {"n": 1})


def test_chat_broadcast_to_nobody_is_dropped(users, publish):
    for event in (
        {"type": "user.online", "payload": {}},
        {"type": "user.online", "payload": {"userId": 7}},
        {"type": "user.online"},
    ):
        publish("chat:broadcast", event)
    nothing_more(publish, *users.values())


# Subscriptions


def subscribers(redis, *channels):
    with redis.client() as client:
        counts = client("PUBSUB", "NUMSUB", *channels)
    return [counts[index + 1] for index in range(0, len(counts), 2)]


def test_subscribed_before_connected(nodes, redis, name):
    """A backend that publishes as soon as the client is told that it is connected reaches it."""
    for n in range(20):
        user = name("early")
        with nodes[n % 2].connect(user) as client:
            with redis.client() as backend:
                event = json.dumps(relay(n=n))
                assert backend("PUBLISH", f"user:{user}", event) == 1
                assert backend("PUBLISH", f"chat:user:{user}", event.replace("data", "payload")) == 1
            client.expect("alert", {"n": n})
            client.expect("alert", {"n": n})


def test_many_users_at_once(nodes, redis, name):
    """More than one batch of SUBSCRIBE."""
    users = [name(f"crowd{n}") for n in range(100)]
    raws = []
    try:
        for user in users:
            raws.append(nodes[0].raw(user))
        with redis.client() as backend:
            for n, user in enumerate(users):
                assert backend("PUBLISH", f"user:{user}", json.dumps(relay(n=n))) == 1
        for n, raw in enumerate(raws):
            assert raw.expect_event("alert")["data"] == {"n": n}
    finally:
        for raw in raws:
            raw.close()


@pytest.mark.one_tenant
@pytest.mark.slow
def test_channels_are_left_ten_seconds_after_the_last_device(nodes, redis, name, open_client):
    user = name()
    channels = [f"user:{user}", f"chat:user:{user}"]
    first, second = open_client(nodes[0], user), open_client(nodes[0], user)
    assert subscribers(redis, *channels) == [1, 1], "a node subscribes once, not once a device"
    first.close()
    holds(lambda: subscribers(redis, *channels) == [1, 1], 1, what="the subscription")
    second.close()
    holds(lambda: subscribers(redis, *channels) == [1, 1], 5, what="the subscription")
    until(lambda: subscribers(redis, *channels) == [0, 0], timeout=30, what="leaving")


@pytest.mark.one_tenant
@pytest.mark.slow
def test_back_within_ten_seconds_stays_subscribed(nodes, redis, name, open_client, publish):
    user = name()
    open_client(nodes[0], user).close()
    holds(lambda: subscribers(redis, f"user:{user}") == [1], 6, what="the subscription")
    back = open_client(nodes[0], user)
    holds(lambda: subscribers(redis, f"user:{user}") == [1], 8, what="the subscription")
    publish(f"user:{user}", relay(n=1))
    back.expect("alert", {"n": 1})


# Addresses of Redis


@pytest.mark.parametrize("given", ["REDIS_URL", "WS_REDIS_URL", "REDIS_HOST", "--redis-url"])
def test_how_redis_may_be_named(start, io, redis, name, open_client, given):
    arguments, env = [], {}
    if given == "--redis-url":
        arguments, env = ["--redis-url", redis.url], {"REDIS_URL": "redis://127.0.0.1:1"}
    elif given == "WS_REDIS_URL":
        env = {"WS_REDIS_URL": redis.url, "REDIS_URL": "redis://127.0.0.1:1"}
    elif given == "REDIS_URL":
        env = {"REDIS_URL": redis.url, "REDIS_HOST": "127.0.0.1", "REDIS_PORT": "1"}
    else:
        env = {"REDIS_HOST": "127.0.0.1", "REDIS_PORT": str(redis.port)}
    node = start(*arguments, io=io, env=env)
    client = open_client(node, name())
    assert redis.publish(f"user:{client.user}", json.dumps(relay(n=1))) == 1
    client.expect("alert", {"n": 1})


def test_memory_by_choice(start, io, redis, name, open_client):
    """`WS_ADAPTER=memory` holds even where an address of Redis is given."""
    node = start(io=io, redis=redis, env={"WS_ADAPTER": "memory"})
    client = open_client(node, name())
    assert redis.publish(f"user:{client.user}", json.dumps(relay())) == 0
    client.send("ping")
    client.expect("pong")


def test_foreign_traffic_on_redis_does_not_matter(nodes, redis, users, publish):
    """Other channels and keys of the same server are none of ours."""
    bob = users["bob"]
    for channel in ("user", "user:", "users:x", "websocket:broadcast2", "news"):
        publish(channel, relay())
    with Redis(redis.port) as client:
        for n in range(500):
            client("SET", f"foreign:{n}", "x")
    publish(f"user:{bob.user}", relay(n=2))
    bob.expect("alert", {"n": 2})
