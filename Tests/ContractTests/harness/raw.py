"""RFC 6455 by hand: sends what no decent client would, and accepts only what the RFC allows a server
to send."""

import base64
import contextlib
import hashlib
import json
import os
import struct
import threading
from dataclasses import dataclass

from .http import Closed, Response, Wire

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def accept_of(key: str) -> str:
    return base64.b64encode(hashlib.sha1((key + GUID).encode()).digest()).decode()


def upgrade_request(
    port, path, *, token=None, headers=(), without=(), method="GET", version="HTTP/1.1", key=None
) -> bytes:
    """A handshake's head. `headers` are added, or stand in for the usual one of that name when
    `without` names it."""
    key = key or base64.b64encode(os.urandom(16)).decode()
    lines = {
        "Host": f"127.0.0.1:{port}",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": key,
        "Sec-WebSocket-Version": "13",
    }
    if token:
        lines["Authorization"] = f"Bearer {token}"
    head = [f"{method} {path} {version}"]
    head += [f"{name}: {value}" for name, value in lines.items() if name not in without]
    head += [f"{name}: {value}" for name, value in headers]
    return ("\r\n".join(head) + "\r\n\r\n").encode("latin-1")


@dataclass
class Frame:
    opcode: int
    payload: bytes
    fin: bool = True

    @property
    def code(self) -> int | None:
        """The close code, if this is a close frame that has one."""
        assert self.opcode == CLOSE, f"not a close frame: {self}"
        return struct.unpack("!H", self.payload[:2])[0] if self.payload else None

    @property
    def reason(self) -> str:
        return self.payload[2:].decode()


def frame_bytes(
    opcode, payload=b"", *, fin=True, rsv=0, mask=True, length=None, form=None, key=None
) -> bytes:
    """One frame. `length` lies about the payload's length; `form` (7, 16, 64) forces how many bits
    spell it; `key` is the mask where a random one will not do."""
    length = len(payload) if length is None else length
    form = form or (7 if length < 126 else 16 if length < 65_536 else 64)
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    masked = 0x80 if mask else 0
    if form == 7:
        head += bytes([masked | length])
    elif form == 16:
        head += struct.pack("!BH", masked | 126, length)
    else:
        head += struct.pack("!BQ", masked | 127, length)
    if not mask:
        return head + payload
    key = key or os.urandom(4)
    stream = (key * (len(payload) // 4 + 1))[: len(payload)]
    mixed = int.from_bytes(payload, "big") ^ int.from_bytes(stream, "big")
    return head + key + mixed.to_bytes(len(payload), "big")


def close_payload(code: int, reason: bytes | str = b"") -> bytes:
    return struct.pack("!H", code) + (reason.encode() if isinstance(reason, str) else reason)


class RawSocket(Wire):
    """A WebSocket whose every byte the test decides. It answers no ping by itself."""

    def handshake(self, port, path, **how) -> Response:
        key = how.setdefault("key", base64.b64encode(os.urandom(16)).decode())
        self.send(upgrade_request(port, path, **how))
        response = self.response()
        if response.status == 101:
            assert response.headers["upgrade"].lower() == "websocket"
            assert response.headers["connection"].lower() == "upgrade"
            assert response.headers["sec-websocket-accept"] == accept_of(key)
            assert "sec-websocket-extensions" not in response.headers, "none was offered"
        return response

    def frame(self, opcode, payload=b"", **how):
        payload = payload.encode() if isinstance(payload, str) else payload
        self.send(frame_bytes(opcode, payload, **how))

    def event(self, type, data=None, **envelope):
        self.frame(TEXT, json.dumps({"type": type, "data": data or {}, **envelope}))

    def read_frame(self) -> Frame:
        first, second = self.take(2)
        assert first & 0x70 == 0, f"reserved bits set with no extension agreed: {first:#x}"
        opcode = first & 0x0F
        assert opcode in (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG), f"opcode {opcode}"
        assert second & 0x80 == 0, "a server must not mask"
        length = second & 0x7F
        if length == 126:
            (length,) = struct.unpack("!H", self.take(2))
            assert length >= 126, "length is not minimal"
        elif length == 127:
            (length,) = struct.unpack("!Q", self.take(8))
            assert 65_536 <= length < 1 << 63, "length is not minimal"
        frame = Frame(opcode, self.take(length), bool(first & 0x80))
        if opcode >= CLOSE:
            assert frame.fin and length <= 125, f"control frame fragmented or too long: {frame}"
        if opcode == CLOSE:
            assert length != 1, "half a close code"
        return frame

    def read_message(self) -> Frame:
        """The next message, fragments together; control frames that come before it are passed
        over, except a close."""
        whole = None
        while True:
            frame = self.read_frame()
            if frame.opcode == CLOSE:
                raise AssertionError(f"closed with {frame.code} {frame.reason!r}")
            if frame.opcode in (PING, PONG):
                continue
            if whole is None:
                assert frame.opcode != CONTINUATION, "a continuation of nothing"
                whole = frame
            else:
                assert frame.opcode == CONTINUATION, "a new message within a message"
                whole = Frame(whole.opcode, whole.payload + frame.payload, frame.fin)
            if whole.fin:
                return whole

    def read_event(self) -> dict:
        message = self.read_message()
        assert message.opcode == TEXT
        return json.loads(message.payload.decode("utf-8"))

    def expect_event(self, type) -> dict:
        event = self.read_event()
        assert event["type"] == type, event
        return event

    def expect_close(self, *codes) -> Frame:
        """The server closes with one of `codes`: its close frame comes, perhaps after messages,
        then, once it is answered, the end of the stream."""
        while True:
            try:
                frame = self.read_frame()
            except Closed as closed:
                raise AssertionError(f"no close frame, expected {codes}: {closed}") from None
            if frame.opcode == CLOSE:
                break
        assert frame.code in codes, f"closed with {frame.code} {frame.reason!r}, not {codes}"
        self.send_whatever_happens(frame_bytes(CLOSE, frame.payload))
        self.expect_end()
        return frame


@contextlib.contextmanager
def flooding(wire, burst: bytes):
    """Sends `burst` again and again meanwhile, in a thread, whatever becomes of it."""
    stop = threading.Event()

    def flood():
        while not stop.is_set():
            wire.send_whatever_happens(burst)

    thread = threading.Thread(target=flood)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(20)
