"""A device of a user, by the `websockets` library: strict about what it is sent, and quick to read,
so that only tests that mean to be slow consumers are."""

import json
import re
import uuid

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from .careful import CarefulSocket

RFC3339_MILLISECONDS = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
ENVELOPE = {"type", "targetUserId", "data", "timestamp", "requestId", "offset", "room"}


def unique(pairs):
    """For `json.loads`: an object that names a member twice says two things at once."""
    names = [name for name, _ in pairs]
    assert len(names) == len(set(names)), f"a member occurs twice: {names}"
    return dict(pairs)


def checked(text) -> dict:
    """An event in the relay envelope, as the contract has it."""
    assert isinstance(text, str), f"not a text message: {text!r}"
    event = json.loads(text, object_pairs_hook=unique)
    assert isinstance(event["type"], str), event
    assert isinstance(event["data"], dict), event
    assert RFC3339_MILLISECONDS.fullmatch(event["timestamp"]), event
    assert set(event) <= ENVELOPE, event
    return event


class Client:
    def __init__(self, url, *, user=None, token=None, headers=None, source=None, timeout=20, **how):
        self.user = user
        headers = dict(headers or {})
        if token:
            headers["Authorization"] = f"Bearer {token}"
        how.setdefault("compression", None)
        if source:
            how["source_address"] = (source, 0)
        if how.get("ssl"):
            how["ssl"].sslsocket_class = CarefulSocket
        self.socket = connect(
            url,
            additional_headers=headers,
            proxy=None,
            open_timeout=timeout,
            close_timeout=5,
            ping_interval=None,
            max_size=None,
            max_queue=None,  # never stops reading: else every test's client were a slow consumer
            **how,
        )
        self.connected = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    # Sending

    def text(self, text: str):
        self.socket.send(text)

    def send(self, type, data=None, **envelope):
        self.text(json.dumps({"type": type, "data": {} if data is None else data, **envelope}))

    def chat(self, receiver, message, **envelope):
        self.send("chat_message", {"receiverId": receiver, "message": message}, **envelope)

    # Receiving

    def next_text(self, timeout=20):
        try:
            return self.socket.recv(timeout)
        except TimeoutError:
            raise AssertionError(f"{self.user} got nothing in {timeout} s") from None
        except ConnectionClosed as closed:
            raise AssertionError(f"{self.user} was closed: {closed}") from None

    def next(self, timeout=20) -> dict:
        return checked(self.next_text(timeout))

    def expect(self, type, data=None, request_id=None, timeout=20) -> dict:
        """The very next event is this one."""
        event = self.next(timeout)
        assert event["type"] == type, f"{self.user} expected {type}, got {event}"
        if data is not None:
            assert event["data"] == data, event
        assert event.get("requestId") == request_id, event
        return event

    def expect_error(self, code, naming=None, request_id=None) -> dict:
        event = self.expect("error", request_id=request_id)
        assert set(event["data"]) == {"code", "message"}, event
        assert event["data"]["code"] == code, event
        assert isinstance(event["data"]["message"], str) and event["data"]["message"], event
        if naming:
            assert naming in event["data"]["message"], f"{naming} is not named: {event}"
        return event

    def until(self, wanted, timeout=20) -> list[dict]:
        """Events up to and with the first that `wanted` takes."""
        events = []
        while True:
            events.append(self.next(timeout))
            if wanted(events[-1]):
                return events

    def expect_closed(self, code, timeout=20) -> str:
        """Closed by the server with `code`, perhaps after events; returns the reason."""
        try:
            while True:
                self.socket.recv(timeout)
        except TimeoutError:
            raise AssertionError(f"{self.user} is still open after {timeout} s") from None
        except ConnectionClosed as closed:
            assert closed.rcvd is not None, f"{self.user}: ended without a close frame: {closed}"
            assert closed.rcvd.code == code, f"{closed.rcvd.code} {closed.rcvd.reason!r}"
            return closed.rcvd.reason

    @property
    def connection_id(self) -> str:
        return self.connected["data"]["connectionId"]


def quiet(sender: Client, *receivers: Client):
    """Nothing was under way to `receivers`, nor to `sender`: the next that they get is a marker
    that `sender` sends now, and order holds. Proves silence without waiting for it."""
    users = {receiver.user for receiver in receivers} - {sender.user}
    for user in users or {"nobody-at-all"}:
        marker = {"marker": uuid.uuid4().hex}
        sender.chat(user, marker)
        sender.expect("chat_message_sent", {"receiverId": user, "message": marker})
        for receiver in receivers:
            if receiver.user == user:
                receiver.expect("chat_message", {"senderId": sender.user, "message": marker})
            elif receiver.user == sender.user and receiver is not sender:
                receiver.expect("chat_message_sent", {"receiverId": user, "message": marker})
