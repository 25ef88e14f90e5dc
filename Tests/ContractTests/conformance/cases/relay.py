"""What the relay dialect adds: text is JSON, binary is refused (RFC 6455 §7.4.1, 1003)."""

import json

from harness.raw import BINARY, TEXT

from ..case import (
    RELAY,
    Event,
    Group,
    Pong,
    answered,
    binary,
    close,
    closed,
    fragments,
    frame,
    last,
    ping,
    text,
)

group = Group("relay", paths=RELAY)
add = group.add


def asked(n) -> bytes:
    return json.dumps({"type": "ping", "data": {"timestamp": n}}).encode()


def told(n) -> Event:
    return Event("pong", {"timestamp": n})


for size in (0, 1, 125, 126, 65_535, 65_536):
    add(f"binary-of-{size}", binary(bytes(size)), closed(1003))
add("binary-that-is-json", binary(asked(1)), closed(1003))
add("binary-that-is-not-utf8", binary(b"\xff\xfe"), closed(1003))
add("binary-in-fragments", fragments(BINARY, [b"a", b"b"]), closed(1003))
add("binary-after-text", text(asked(1)), told(1), binary(b"x"), closed(1003))
add("binary-behind-text", text(asked(1)) + binary(b"x") + text(asked(2)), told(1), closed(1003))
add("binary-after-ping", ping(b"1") + binary(b"x"), Pong(b"1"), closed(1003))

add("text", text(asked(1)), told(1))
for count in (2, 50, 200):
    add(f"texts-{count}", b"".join(text(asked(n)) for n in range(count)), *map(told, range(count)))
for size in (125, 126, 127, 65_535, 65_536):
    add(f"text-of-{size}", text(asked(7).rjust(size)), told(7))
add("texts-and-pings", b"".join(text(asked(n)) + ping(b"%d" % n) for n in range(20)),
    *(step for n in range(20) for step in (told(n), Pong(b"%d" % n))))  # fmt: skip
error = Event("error", {"code": "INVALID_MESSAGE"})
for name, payload in {
    "empty": b"",
    "word": b"hello",
    "cut": b'{"type":"ping"',
    "array": b"[]",
    "number": b"1",
    "null": b"null",
    "no-type": b"{}",
    "type-not-a-string": b'{"type":1}',
    "byte-order-mark": b'\xef\xbb\xbf{"type":"ping"}',
    "nul": b'{"type":"ping"}\0',
    "deep": b"[" * 60_000,
}.items():
    add(f"not-a-message-{name}", text(payload) + text(asked(1)), error, told(1))
add("unknown-type", text(b'{"type":"no-such-thing"}') + text(asked(1)),
    Event("error", {"code": "UNKNOWN_EVENT"}), told(1))  # fmt: skip
add("message-then-close", text(asked(1)) + close(1000), told(1), answered(1000))
add("fragments-then-close", fragments(TEXT, [asked(1)[:5], asked(1)[5:]]) + close(1001),
    told(1), answered(1001))  # fmt: skip
add("error-then-close", text(b"{") + close(1000), error, answered(1000))
add("violation-behind-a-message", text(asked(1)) + frame(3), told(1), closed(1002))
add("unmasked-behind-a-message", text(asked(1)) + text(asked(2), mask=False), told(1), closed(1002))
add("continuation-of-nothing", text(asked(1)) + last(b"x"), told(1), closed(1002))
