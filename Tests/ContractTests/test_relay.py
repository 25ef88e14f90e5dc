"""The relay dialect at `/ws`: every message of the contract, on both tenants and both backplanes."""

import json
import threading
from datetime import datetime, timezone

import pytest

from harness.client import quiet
from harness.wait import until


@pytest.fixture(scope="module")
def node(start_shared, io, backplane):
    return start_shared(io=io, redis=backplane)


@pytest.fixture
def alice(node, name, open_client):
    return open_client(node, name("alice"))


@pytest.fixture
def bob(node, name, open_client):
    return open_client(node, name("bob"))


# The first frame


def test_connected_comes_first(node, name, open_client):
    client = open_client(node, name())
    data = client.connected["data"]
    assert set(data) == {"connectionId", "epoch", "offset", "resume"}
    assert data["resume"] is True
    assert isinstance(data["connectionId"], str) and data["connectionId"]


def test_connection_ids_are_unique(node, name, open_client):
    user = name()
    ids = {open_client(node, user).connection_id for _ in range(5)}
    assert len(ids) == 5


def test_timestamps_are_now(alice):
    sent = datetime.fromisoformat(alice.connected["timestamp"].replace("Z", "+00:00"))
    assert abs((datetime.now(timezone.utc) - sent).total_seconds()) < 60


# ping


@pytest.mark.parametrize("given", ["2001-02-03T04:05:06.789Z", 1700000000000, "x", None, [1], 1.5])
def test_ping_returns_its_timestamp_as_given(alice, given):
    alice.send("ping", {"timestamp": given})
    alice.expect("pong", {"timestamp": given})


def test_ping_returns_the_envelopes_timestamp(alice):
    alice.send("ping", timestamp="2001-02-03T04:05:06.789Z")
    alice.expect("pong", {"timestamp": "2001-02-03T04:05:06.789Z"})


def test_ping_prefers_the_datas_timestamp(alice):
    alice.send("ping", {"timestamp": 1}, timestamp="2001-02-03T04:05:06.789Z")
    alice.expect("pong", {"timestamp": 1})


def test_ping_without_timestamp_or_data(alice):
    alice.text('{"type":"ping"}')
    alice.expect("pong")


def test_ping_answers_only_the_asking_device(node, alice, open_client):
    other = open_client(node, alice.user)
    alice.send("ping", {"timestamp": 1}, requestId="p-1")
    alice.expect("pong", {"timestamp": 1}, request_id="p-1")
    quiet(alice, other)


# chat_message


def test_chat_message_reaches_every_device_of_both(node, alice, bob, open_client):
    alice2, bob2 = open_client(node, alice.user), open_client(node, bob.user)
    alice.chat(bob.user, "hi", requestId="r-1")
    for device in (bob, bob2):
        device.expect("chat_message", {"senderId": alice.user, "message": "hi"})
    alice.expect("chat_message_sent", {"receiverId": bob.user, "message": "hi"}, request_id="r-1")
    alice2.expect("chat_message_sent", {"receiverId": bob.user, "message": "hi"})
    quiet(alice, alice2, bob, bob2)


def test_no_third_user_gets_it(node, alice, bob, name, open_client):
    carol = open_client(node, name("carol"))
    alice.chat(bob.user, "hi")
    bob.expect("chat_message")
    alice.expect("chat_message_sent")
    quiet(alice, carol)


MESSAGES = {
    "string": '"hello"',
    "empty string": '""',
    "null": "null",
    "true": "true",
    "false": "false",
    "zero": "0",
    "number": "-12.5e-3",
    "number beyond doubles": "123456789012345678901234567890",
    "number with zeros": "1.000000000000000000001",
    "array": '[1,"two",[3,[]],{}]',
    "object": '{"id":"m-1","text":"hi","nested":{"a":[{"b":null}]}}',
    "empty object": "{}",
    "unicode": '"zoë 日本語 🧶 \u2028 \u007f"',
    "escapes": r'"\" \\ \/ \b \f \n \r \t é 🧶 \u0000"',
    "looks like an envelope": '{"type":"error","data":{"code":"X"},"requestId":"r","senderId":"eve"}',
    "looks like its end": r'"}},\"type\":\"error\",{{"',
    "white space": '{ "a" : [ 1 ,\n\t2 ] }',
}


def exactly(text):
    """Numbers as they are spelled."""
    return json.loads(text, parse_int=str, parse_float=str)


@pytest.mark.parametrize("what", MESSAGES)
def test_any_json_value_is_passed_on_unchanged(alice, bob, what):
    message = MESSAGES[what]
    alice.text(
        f'{{"type":"chat_message","data":{{"receiverId":"{bob.user}","message":{message}}}}}'
    )
    for client, type in ((bob, "chat_message"), (alice, "chat_message_sent")):
        text = client.next_text()
        event = exactly(text)
        assert event["type"] == type
        assert event["data"]["message"] == exactly(message), text


def test_members_in_any_order_with_any_space(alice, bob):
    alice.text(
        ' \r\n\t{ "data" : { "message" : 1 , "extra" : { } , "receiverId" : "%s" } ,\n'
        ' "x" : [ ] , "requestId" : "r" , "type" : "chat_message" } ' % bob.user
    )
    bob.expect("chat_message", {"senderId": alice.user, "message": 1})
    alice.expect("chat_message_sent", {"receiverId": bob.user, "message": 1}, request_id="r")


def test_escaped_names_are_the_same_names(alice, bob):
    alice.text(
        r'{"t\u0079pe":"chat\u005fmessage","d\u0061ta":{"receiver\u0049d":"%s","m\u0065ssage":1}}'
        % bob.user
    )
    bob.expect("chat_message", {"senderId": alice.user, "message": 1})
    alice.expect("chat_message_sent", {"receiverId": bob.user, "message": 1})


def test_to_oneself(node, alice, open_client):
    other = open_client(node, alice.user)
    alice.chat(alice.user, "note", requestId="r-2")
    for device, request_id in ((alice, "r-2"), (other, None)):
        events = {event["type"]: event for event in (device.next(), device.next())}
        assert events["chat_message"]["data"] == {"senderId": alice.user, "message": "note"}
        assert "requestId" not in events["chat_message"]
        sent = events["chat_message_sent"]
        assert sent["data"] == {"receiverId": alice.user, "message": "note"}
        assert sent.get("requestId") == request_id


def test_to_someone_offline(alice, name):
    alice.chat(name("offline"), "hi", requestId="r-3")
    alice.expect("chat_message_sent", request_id="r-3")


def test_accepted_time_goes_out(alice, bob):
    alice.chat(bob.user, "hi", timestamp="2001-02-03T04:05:06.789Z")
    event = bob.expect("chat_message")
    assert not event["timestamp"].startswith("2001"), "a client's timestamp is ignored"
    sent = alice.expect("chat_message_sent")
    assert not sent["timestamp"].startswith("2001")


def test_a_device_that_came_later_and_one_that_left(node, alice, bob, open_client):
    bob2 = open_client(node, bob.user)
    alice.chat(bob.user, 1)
    for device in (bob, bob2):
        device.expect("chat_message")
    bob.close()
    alice.chat(bob2.user, 2)
    bob2.expect("chat_message", {"senderId": alice.user, "message": 2})
    bob3 = open_client(node, bob2.user)
    alice.chat(bob2.user, 3)
    for device in (bob2, bob3):
        device.expect("chat_message", {"senderId": alice.user, "message": 3})


def test_back_at_once_hears_at_once(node, alice, name):
    """A user who comes is heard of before `connected` is sent: nothing falls between."""
    user = name("flicker")
    for n in range(30):
        with node.connect(user) as flicker:
            alice.chat(user, n)
            flicker.expect("chat_message", {"senderId": alice.user, "message": n})
            alice.expect("chat_message_sent")


# typing, read_receipt


@pytest.mark.parametrize("is_typing", [True, False])
def test_typing(node, alice, bob, open_client, is_typing):
    alice2, bob2 = open_client(node, alice.user), open_client(node, bob.user)
    alice.send("typing", {"receiverId": bob.user, "isTyping": is_typing}, requestId="none")
    for device in (bob, bob2):
        device.expect("typing", {"senderId": alice.user, "isTyping": is_typing})
    quiet(alice, alice2, bob, bob2)  # no result, not even with a requestId


def test_read_receipt(node, alice, bob, open_client):
    alice2, bob2 = open_client(node, alice.user), open_client(node, bob.user)
    bob.send("read_receipt", {"senderId": alice.user, "messageIds": ["m-1", "m-2"]}, requestId="x")
    for device in (alice, alice2):
        device.expect("read_receipt", {"readBy": bob.user, "messageIds": ["m-1", "m-2"]})
    quiet(bob, bob2, alice, alice2)


# chat_edit, chat_delete


@pytest.mark.parametrize(
    "type, data",
    [
        ("chat_edit", {"message": {"id": "m-1", "text": "better"}}),
        ("chat_edit", {"message": "plain", "extra": [1, {"a": None}]}),
        ("chat_delete", {"messageId": "m-1"}),
        ("chat_delete", {"messageId": "m-1", "conversationId": "c-1"}),
    ],
)
def test_edit_and_delete_go_to_both(node, alice, bob, open_client, type, data):
    alice2, bob2 = open_client(node, alice.user), open_client(node, bob.user)
    data = {"receiverId": bob.user, **data}
    alice.send(type, data, requestId="r-4")
    out = {**data, "senderId": alice.user}
    alice.expect(type, out, request_id="r-4")
    for device in (alice2, bob, bob2):
        device.expect(type, out)
    quiet(alice, alice2, bob, bob2)


@pytest.mark.parametrize("type, rest", [("chat_edit", {"message": 1}), ("chat_delete", {"messageId": "m"})])
def test_no_one_speaks_for_another(alice, bob, type, rest):
    """A `senderId` that a client makes up does not survive, and does not stand twice."""
    for data in (
        {"senderId": "victim", "receiverId": bob.user, **rest},
        {"receiverId": bob.user, **rest, "senderId": "victim"},
    ):
        text = json.dumps({"type": type, "data": data})
        # Written in either way, it is the same name to whoever reads it.
        for spelled in (text, text.replace("senderId", "sender\\u0049d")):
            alice.text(spelled)
            for device in (bob, alice):
                assert device.expect(type)["data"]["senderId"] == alice.user


def test_edit_to_oneself_comes_once(node, alice, open_client):
    other = open_client(node, alice.user)
    alice.send("chat_edit", {"receiverId": alice.user, "message": 1}, requestId="r-5")
    alice.expect("chat_edit", request_id="r-5")
    other.expect("chat_edit")
    quiet(alice, other)


# notification_read


def test_unknown_notification(node, alice, open_client):
    other = open_client(node, alice.user)
    alice.send("notification_read", {"notificationId": "n-1"}, requestId="r-6")
    alice.expect_error("NOT_FOUND", request_id="r-6")
    quiet(alice, other)


# Errors


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "hello",
        "{",
        "}",
        "[]",
        '["ping"]',
        '"ping"',
        "1",
        "null",
        "true",
        "{}",
        '{"data":{}}',
        '{"type":null}',
        '{"type":1}',
        '{"type":["ping"]}',
        '{"type":"ping"',
        '{"type":"ping"} x',
        '{"type":"ping"}{"type":"ping"}',
        '{"type":"ping",}',
        "{'type':'ping'}",
        '{type:"ping"}',
        '{"type":"ping","data":{"timestamp":NaN}}',
        '{"type":"ping","data":{"timestamp":01}}',
        '{"type":"ping","data":{"timestamp":1.}}',
        '{"type":"ping","data":{"timestamp":+1}}',
        '{"type":"ping","data":{"timestamp":"\\x"}}',
        '{"type":"ping","data":{"timestamp":"\\u12g4"}}',
        '{"type":"ping","data":{"timestamp":"\t"}}',
        '{"type":"ping","data":{"timestamp":tru}}',
        '{"type":"ping","data":{"timestamp" 1}}',
        '{"type":"ping"/**/}',
    ],
)
def test_not_an_envelope(alice, text):
    alice.text(text)
    alice.expect_error("INVALID_MESSAGE")
    alice.send("ping", {"timestamp": 1})
    alice.expect("pong", {"timestamp": 1})


def test_an_invalid_message_gets_its_request_id_back(alice):
    alice.text('{"data":{},"requestId":"r-7"}')
    alice.expect_error("INVALID_MESSAGE", request_id="r-7")


@pytest.mark.parametrize("data", ["[]", '"x"', "1", "null"])
def test_data_that_is_no_object(alice, bob, data):
    alice.text(f'{{"type":"chat_message","data":{data}}}')
    event = alice.expect("error")
    assert event["data"]["code"] in ("INVALID_MESSAGE", "VALIDATION_ERROR")
    quiet(alice, bob)


BOB = "<bob>"
LONG = "u" * 129


@pytest.mark.parametrize(
    "type, data, field",
    [
        ("typing", {"isTyping": True}, "receiverId"),
        ("typing", {"receiverId": BOB}, "isTyping"),
        ("typing", {"receiverId": BOB, "isTyping": "yes"}, "isTyping"),
        ("typing", {"receiverId": BOB, "isTyping": 1}, "isTyping"),
        ("typing", {"receiverId": BOB, "isTyping": None}, "isTyping"),
        ("typing", {"receiverId": "", "isTyping": True}, "receiverId"),
        ("typing", {"receiverId": 7, "isTyping": True}, "receiverId"),
        ("read_receipt", {"messageIds": ["m"]}, "senderId"),
        ("read_receipt", {"senderId": BOB}, "messageIds"),
        ("read_receipt", {"senderId": BOB, "messageIds": "m"}, "messageIds"),
        ("read_receipt", {"senderId": BOB, "messageIds": {}}, "messageIds"),
        ("read_receipt", {"senderId": BOB, "messageIds": [1]}, "messageIds"),
        ("read_receipt", {"senderId": BOB, "messageIds": ["m", ""]}, "messageIds"),
        ("read_receipt", {"senderId": [], "messageIds": ["m"]}, "senderId"),
        ("chat_message", {"message": "x"}, "receiverId"),
        ("chat_message", {"receiverId": BOB}, "message"),
        ("chat_message", {"receiverId": None, "message": "x"}, "receiverId"),
        ("chat_message", {"receiverId": {}, "message": "x"}, "receiverId"),
        ("chat_message", {"receiverId": "a b", "message": "x"}, "receiverId"),
        ("chat_message", {"receiverId": "zoë", "message": "x"}, "receiverId"),
        ("chat_message", {"receiverId": LONG, "message": "x"}, "receiverId"),
        ("chat_message", {"receiverId": "a\u0000b", "message": "x"}, "receiverId"),
        ("chat_message", {"receiverId": "a\nb", "message": "x"}, "receiverId"),
        ("chat_edit", {"message": "x"}, "receiverId"),
        ("chat_edit", {"receiverId": BOB}, "message"),
        ("chat_delete", {"messageId": "m"}, "receiverId"),
        ("chat_delete", {"receiverId": BOB}, "messageId"),
        ("chat_delete", {"receiverId": BOB, "messageId": 1}, "messageId"),
        ("chat_delete", {"receiverId": BOB, "messageId": LONG}, "messageId"),
        ("notification_read", {}, "notificationId"),
        ("notification_read", {"notificationId": 1}, "notificationId"),
        ("notification_read", {"notificationId": ""}, "notificationId"),
    ],
)
def test_a_wrong_field_is_named(alice, bob, type, data, field):
    data = {key: bob.user if value == BOB else value for key, value in data.items()}
    alice.send(type, data, requestId="v-1")
    alice.expect_error("VALIDATION_ERROR", naming=field, request_id="v-1")
    quiet(alice, bob)


@pytest.mark.parametrize("type", ["typing", "read_receipt", "chat_message", "chat_edit", "chat_delete"])
def test_missing_data_is_empty_data(alice, type):
    alice.text(f'{{"type":"{type}"}}')
    alice.expect_error("VALIDATION_ERROR")


@pytest.mark.parametrize(
    "type",
    ["nonsense", "", "PING", "ping ", "message.send", "join_room", "x" * 500, 'quote"back\\', "zoë"]
    # What only backends and the node say, no client may say to another.
    + ["notification", "notification_bulk", "alert", "presence", "user_online", "user_offline"]
    + ["system", "error", "connected", "pong", "chat_message_sent"],
)
def test_unknown_events(alice, bob, type):
    alice.send(type, {"receiverId": bob.user, "message": "x"}, targetUserId=bob.user, requestId="u")
    alice.expect_error("UNKNOWN_EVENT", request_id="u")
    quiet(alice, bob)


def test_a_bad_message_never_closes(alice, bob):
    for n in range(50):
        alice.text("{" * n)
        alice.expect_error("INVALID_MESSAGE")
        alice.send("nonsense")
        alice.expect_error("UNKNOWN_EVENT")
        alice.send("typing")
        alice.expect_error("VALIDATION_ERROR")
    quiet(alice, bob)


@pytest.mark.parametrize("opening, closing", [("[", "]"), ('{"a":', "}")])
def test_nesting_that_would_exhaust_a_stack(alice, bob, opening, closing):
    """Delivered or refused, but nobody falls over it."""
    depth = 60_000 // len(opening + closing)
    deep = opening * depth + "1" + closing * depth
    alice.text(f'{{"type":"chat_message","data":{{"receiverId":"{bob.user}","message":{deep}}}}}')
    answer = alice.next_text()
    if '"error"' in answer[:200]:
        assert "INVALID_MESSAGE" in answer or "VALIDATION_ERROR" in answer, answer
    else:
        assert deep in answer
        assert deep in bob.next_text()
    quiet(alice, bob)


def test_a_target_in_a_clients_envelope_means_nothing(node, alice, bob, name, open_client):
    carol = open_client(node, name("carol"))
    alice.send("typing", {"receiverId": bob.user, "isTyping": True}, targetUserId=carol.user)
    bob.expect("typing")
    quiet(alice, bob, carol)


# requestId


@pytest.mark.parametrize("request_id", ["r", "x" * 100, "zoë 🧶", 'quote " back \\ slash / \n', ""])
def test_request_id_comes_back_as_it_was(node, alice, bob, open_client, request_id):
    other = open_client(node, alice.user)
    alice.send("ping", {"timestamp": 1}, requestId=request_id)
    assert alice.expect("pong", request_id=request_id)["requestId"] == request_id
    alice.send("nonsense", requestId=request_id)
    alice.expect_error("UNKNOWN_EVENT", request_id=request_id)
    alice.chat(bob.user, 1, requestId=request_id)
    alice.expect("chat_message_sent", request_id=request_id)
    other.expect("chat_message_sent")
    bob.expect("chat_message")


def test_request_ids_match_their_requests(alice, name):
    offline = name("offline")
    for n in range(100):
        alice.chat(offline, n, requestId=f"q-{n}")
    for n in range(100):
        event = alice.expect("chat_message_sent", request_id=f"q-{n}")
        assert event["data"]["message"] == n


# Order


def test_order_of_a_thousand_messages(node, alice, bob, open_client):
    alice2, bob2 = open_client(node, alice.user), open_client(node, bob.user)
    for n in range(1000):
        alice.chat(bob.user, n)
    for device, type in (
        (bob, "chat_message"),
        (bob2, "chat_message"),
        (alice, "chat_message_sent"),
        (alice2, "chat_message_sent"),
    ):
        got = [device.expect(type)["data"]["message"] for _ in range(1000)]
        assert got == list(range(1000))


def test_one_order_for_all_devices(node, bob, name, open_client):
    """Four senders at once: both devices of the receiver see the very same sequence, in which each
    sender's messages stand as they were sent."""
    bob2 = open_client(node, bob.user)
    senders = [open_client(node, name(f"sender{n}")) for n in range(4)]

    def send(sender):
        for n in range(250):
            sender.chat(bob.user, n)

    threads = [threading.Thread(target=send, args=(sender,)) for sender in senders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sequences = []
    for device in (bob, bob2):
        events = [device.expect("chat_message")["data"] for _ in range(1000)]
        sequences.append([(data["senderId"], data["message"]) for data in events])
    assert sequences[0] == sequences[1]
    for sender in senders:
        numbers = [n for user, n in sequences[0] if user == sender.user]
        assert numbers == list(range(250))


def test_different_events_keep_their_order_too(alice, bob):
    for n in range(100):
        alice.chat(bob.user, n)
        alice.send("typing", {"receiverId": bob.user, "isTyping": n % 2 == 0})
        alice.send("chat_delete", {"receiverId": bob.user, "messageId": str(n)})
    for n in range(100):
        assert bob.expect("chat_message")["data"]["message"] == n
        assert bob.expect("typing")["data"]["isTyping"] == (n % 2 == 0)
        assert bob.expect("chat_delete")["data"]["messageId"] == str(n)
    for n in range(100):
        alice.expect("chat_message_sent")
        alice.expect("chat_delete")


def test_a_large_message_of_the_full_size(alice, bob):
    """65,536 bytes come in; what goes out may be a little more or less."""
    head = f'{{"type":"chat_message","data":{{"receiverId":"{bob.user}","message":"'
    message = "x" * (65_536 - len(head) - 3)
    alice.text(f'{head}{message}"}}}}')
    bob.expect("chat_message", {"senderId": alice.user, "message": message})
    alice.expect("chat_message_sent", {"receiverId": bob.user, "message": message})


def test_metrics_count_what_was_done(node, alice, bob):
    least = {
        "skein_messages_received_total": 100,
        "skein_messages_sent_total": 200,
        "skein_bytes_received_total": 5_000,
        "skein_bytes_sent_total": 10_000,
        "skein_deliveries_total": 100,
    }
    before = node.metrics()
    for n in range(100):
        alice.chat(bob.user, n)
    for _ in range(100):
        bob.expect("chat_message")
        alice.expect("chat_message_sent")

    def missing():
        now = node.metrics()
        return [
            metric
            for metric, growth in least.items()
            if now.total(metric) - before.total(metric) < growth
        ]

    until(lambda: not missing(), what=f"the growth of {least}")


def test_presence_makes_no_noise_here(node, alice, name):
    """`user_online` and its kind reach `/ws` only when a backend sends them."""
    with node.connect(name("passer-by")):
        quiet(alice)
    quiet(alice)
