"""What a case is made of. A script alternates between bytes, which are sent, and expectations, which
wait for what the server has to do; a case passes when its script comes to its end."""

import random
import zlib
from dataclasses import dataclass, field

from harness.raw import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    close_payload,
    frame_bytes,
    upgrade_request,
)

ECHO, RELAY = ("/echo",), ("/ws",)
BOTH = ECHO + RELAY
LIMIT = 65_536
"""The default of WS_MAX_MESSAGE_SIZE."""

OPCODES = {
    "continuation": CONTINUATION,
    "text": TEXT,
    "binary": BINARY,
    "close": CLOSE,
    "ping": PING,
    "pong": PONG,
}

randomness = random.Random(6455)
"""The same cases, to the bit, in every run: a failure shows bytes that can be sent again."""


# What is sent


def frame(opcode, payload=b"", **how) -> bytes:
    """One masked frame; see `frame_bytes` for what it can be made to do wrong."""
    payload = payload.encode() if isinstance(payload, str) else payload
    how.setdefault("key", randomness.randbytes(4))
    return frame_bytes(opcode, payload, **how)


def text(payload=b"", **how) -> bytes:
    return frame(TEXT, payload, **how)


def binary(payload=b"", **how) -> bytes:
    return frame(BINARY, payload, **how)


def more(payload=b"", **how) -> bytes:
    """A continuation that is not the last."""
    return frame(CONTINUATION, payload, fin=False, **how)


def last(payload=b"", **how) -> bytes:
    return frame(CONTINUATION, payload, **how)


def ping(payload=b"", **how) -> bytes:
    return frame(PING, payload, **how)


def pong(payload=b"", **how) -> bytes:
    return frame(PONG, payload, **how)


def close(code=None, reason=b"", **how) -> bytes:
    return frame(CLOSE, b"" if code is None else close_payload(code, reason), **how)


def fragments(opcode, pieces, **how) -> bytes:
    """One message, a frame for each of `pieces`; `rsv` is set on the first alone."""
    rsv = how.pop("rsv", 0)
    count = len(pieces)
    return b"".join(
        frame(
            CONTINUATION if index else opcode,
            piece,
            fin=index == count - 1,
            rsv=0 if index else rsv,
            **how,
        )
        for index, piece in enumerate(pieces)
    )


def pieces_of(payload: bytes, size: int) -> list[bytes]:
    return [payload[at : at + size] for at in range(0, len(payload), size)] or [b""]


COMPRESSED = 4
"""RSV1, as `frame` counts reserved bits."""
TAIL = b"\x00\x00\xff\xff"


def deflated(payload: bytes | str, *, level=6, strategy=zlib.Z_DEFAULT_STRATEGY, bits=15) -> bytes:
    """`payload` as RFC 7692 §7.2.1 has it on the wire, with no context before it."""
    payload = payload.encode() if isinstance(payload, str) else payload
    deflater = zlib.compressobj(level, zlib.DEFLATED, -bits, 8, strategy)
    out = deflater.compress(payload) + deflater.flush(zlib.Z_SYNC_FLUSH)
    return out[:-4] if out.endswith(TAIL) else b"\x00"


def compressed(opcode, payload, **how) -> bytes:
    """One compressed message in one frame."""
    return frame(opcode, deflated(payload, **how), rsv=COMPRESSED)


@dataclass(frozen=True)
class Request:
    """A handshake's head, for cases that do it themselves; its arguments are `upgrade_request`'s.
    `edit` replaces bytes of it; `behind` follows in the same packet."""

    path: str = "/echo"
    how: dict = field(default_factory=dict)
    edit: tuple[bytes, bytes] | None = None
    behind: bytes = b""

    def head(self, port: int, token: str, key: str) -> bytes:
        how = {"token": token, "key": key} | self.how
        how["headers"] = [
            (name, value.format(port=port, token=token)) for name, value in how.get("headers", ())
        ]
        head = upgrade_request(port, self.path, **how)
        if self.edit:
            old, new = (part.replace(b"{port}", b"%d" % port) for part in self.edit)
            assert old in head, f"{old} is not in {head}"
            head = head.replace(old, new)
        return head + self.behind


@dataclass(frozen=True)
class Leave:
    """Ends our direction of the stream, with no close frame."""


# What has to come back


@dataclass(frozen=True)
class Answer:
    """The answer to a handshake. `headers` are compared; None means that there is none."""

    status: int | tuple[int, ...] = 101
    headers: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Message:
    """The next data message, whole and inflated. `compressed` says how it has to come, if that is
    not the server's choice."""

    opcode: int
    payload: bytes
    compressed: bool | None = None


@dataclass(frozen=True)
class Event:
    """The next message is a JSON object of the relay dialect with these members and data."""

    type: str
    data: dict | None = None


@dataclass(frozen=True)
class Pong:
    """The next frame is this pong."""

    payload: bytes = b""


@dataclass(frozen=True)
class Pongs:
    """Pongs for these pings, in order, up to the last; some may be left out (§5.5.3)."""

    payloads: tuple[bytes, ...]


@dataclass(frozen=True)
class Closed:
    """The server closes: the next frame is a close with one of `codes`; we answer it, and the stream
    ends with nothing else in it."""

    codes: tuple[int | None, ...]


@dataclass(frozen=True)
class CloseAnswered:
    """The server answers our close with one of `codes`, and ends the stream first and cleanly, with
    nothing else in it."""

    codes: tuple[int | None, ...]
    clean: bool = True


@dataclass(frozen=True)
class Ended:
    """The stream ends; nothing but a close frame comes before that."""


def closed(*codes) -> Closed:
    return Closed(codes)


def answered(*codes, clean=True) -> CloseAnswered:
    return CloseAnswered(codes, clean)


def echo_of_text(payload, **how) -> Message:
    return Message(TEXT, payload.encode() if isinstance(payload, str) else payload, **how)


def echo_of_binary(payload, **how) -> Message:
    return Message(BINARY, payload, **how)


Step = (
    bytes
    | Request
    | Leave
    | Answer
    | Message
    | Event
    | Pong
    | Pongs
    | Closed
    | CloseAnswered
    | Ended
)


@dataclass(frozen=True)
class Case:
    """`id` is `group/name`. `paths` are the endpoints it holds for, `profile` names the node it needs
    (see `catalogue.PROFILES`). `offer` is the Sec-WebSocket-Extensions of its handshake: None leaves
    that to the run, `plain` forbids one. A case that is not `opened` does its handshake itself."""

    id: str
    script: tuple[Step, ...]
    paths: tuple[str, ...] = ECHO
    profile: str = "default"
    offer: str | None = None
    plain: bool = False
    uncut: bool = False
    """Sent in the pieces it has in every manner: once the server has closed, more is answered with a
    reset, and asyncio, whose write then fails, gives up what it has not read yet."""
    opened: bool = True
    agreed: bool | None = None
    """Whether the offer has to be accepted; None leaves it to the server."""


class Group:
    """Cases whose ids begin alike."""

    def __init__(self, name: str, **defaults):
        self.name, self.defaults, self.cases = name, defaults, []

    def add(self, name: str, *script: Step, **how):
        self.cases.append(Case(f"{self.name}/{name}", script, **self.defaults | how))
