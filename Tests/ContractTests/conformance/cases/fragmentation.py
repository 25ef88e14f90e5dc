"""RFC 6455 §5.4: messages in many frames, on the echo endpoint and in the relay dialect."""

import json

from harness.raw import BINARY, CONTINUATION, TEXT

from ..case import (
    BOTH,
    RELAY,
    Event,
    Group,
    Message,
    Pong,
    answered,
    binary,
    close,
    closed,
    echo_of_binary,
    echo_of_text,
    fragments,
    frame,
    last,
    more,
    pieces_of,
    ping,
    randomness,
    text,
)

group = Group("fragmentation")
add = group.add

for kind, opcode in (("text", TEXT), ("binary", BINARY)):
    for count in (2, 3, 4, 5, 8, 16, 17, 64, 100, 1000, 5000):
        pieces = [b"%x" % (n % 16) for n in range(count)]
        add(f"{kind}-in-{count}", fragments(opcode, pieces), Message(opcode, b"".join(pieces)))
    for count in (2, 3, 10, 5000):
        add(f"{kind}-in-{count}-empty", fragments(opcode, [b""] * count), Message(opcode, b""))
    for name, pieces in {
        "empty-first": [b"", b"a", b"b"],
        "empty-last": [b"a", b"b", b""],
        "empty-between": [b"a", b"", b"", b"b"],
        "growing": [b"x" * n for n in (0, 1, 125, 126, 127, 1000, 30_000)],
        "shrinking": [b"x" * n for n in (30_000, 1000, 127, 126, 125, 1, 0)],
        "to-the-limit": [b"x" * 30_000, b"y" * 30_000, b"z" * 5536],
        "of-125": [b"x" * 125] * 9,
        "of-126": [b"x" * 126] * 9,
    }.items():
        add(f"{kind}-{name}", fragments(opcode, pieces), Message(opcode, b"".join(pieces)))
    add(
        f"{kind}-two-in-a-row",
        fragments(opcode, [b"a", b"b"]) + fragments(opcode, [b"c", b"d", b"e"]),
        Message(opcode, b"ab"),
        Message(opcode, b"cde"),
    )
    add(
        f"{kind}-then-whole",
        fragments(opcode, [b"a", b"b"]) + frame(opcode, b"c"),
        Message(opcode, b"ab"),
        Message(opcode, b"c"),
    )
    for within, other in (("text", TEXT), ("binary", BINARY)):
        for payload in (b"", b"x"):
            what = "payload" if payload else "empty"
            add(
                f"{within}-within-{kind}-{what}",
                frame(opcode, b"a", fin=False) + frame(other, payload),
                closed(1002),
            )
            add(
                f"{within}-within-{kind}-{what}-not-final",
                frame(opcode, b"a", fin=False) + more(b"b") + frame(other, payload, fin=False),
                closed(1002),
            )
    add(
        f"{kind}-continued-after-its-end",
        fragments(opcode, [b"a", b"b"]) + last(b"c"),
        Message(opcode, b"ab"),
        closed(1002),
    )
    add(
        f"{kind}-whole-continued",
        frame(opcode, b"a") + more(b"b"),
        Message(opcode, b"a"),
        closed(1002),
    )
    add(
        f"{kind}-a-step-at-a-time",
        frame(opcode, b"a", fin=False),
        ping(b"1"),
        Pong(b"1"),
        more(b""),
        ping(b"2"),
        Pong(b"2"),
        last(b"b"),
        Message(opcode, b"ab"),
    )

for payload in (b"", b"x", b"x" * 200):
    for fin in (True, False):
        add(
            f"continuation-of-nothing-{len(payload)}-{'final' if fin else 'open'}",
            frame(CONTINUATION, payload, fin=fin),
            closed(1002),
            paths=BOTH,
        )
add(
    "continuation-of-nothing-after-ping",
    ping(b"1") + last(b"x"),
    Pong(b"1"),
    closed(1002),
    paths=BOTH,
)
add("types-in-turn", b"".join(
        fragments((TEXT, BINARY)[n % 2], [b"a", b"b"]) for n in range(20)),
    *(Message((TEXT, BINARY)[n % 2], b"ab") for n in range(20)))  # fmt: skip
add("close-within", text(b"a", fin=False) + close(1000), answered(1000), paths=BOTH)

noise = randomness.randbytes(60_000)
add("noise-in-1000s", fragments(BINARY, pieces_of(noise, 1000)), echo_of_binary(noise))
add("noise-in-bytes", fragments(BINARY, pieces_of(noise[:3000], 1)), echo_of_binary(noise[:3000]))
large = noise * 20
add("large", fragments(BINARY, pieces_of(large, 65_537)), echo_of_binary(large), profile="large")
add(
    "large-in-many",
    fragments(BINARY, pieces_of(large, 400)),
    echo_of_binary(large),
    profile="large",
)
long = "Übergröße " * 50_000
add(
    "large-text",
    fragments(TEXT, pieces_of(long.encode(), 7777)),
    echo_of_text(long),
    profile="large",
)
add("pings-flood-within", text(b"a", fin=False) + ping(b"p") * 50 + last(b"b"),
    *[Pong(b"p")] * 50, echo_of_text(b"ab"))  # fmt: skip
add("two-large-at-the-limit", binary(bytes(65_536)) + fragments(BINARY, [bytes(65_535), b"x"]),
    echo_of_binary(bytes(65_536)), echo_of_binary(bytes(65_535) + b"x"))  # fmt: skip

asked = json.dumps({"type": "ping", "data": {"timestamp": 7}}).encode()
pong_event = Event("pong", {"timestamp": 7})
for size in (1, 2, 3, 7, 10, 30):
    add(f"relay-in-{size}s", fragments(TEXT, pieces_of(asked, size)), pong_event, paths=RELAY)
add("relay-padded-in-5000", fragments(TEXT, [b" "] * 5000 + [asked]), pong_event, paths=RELAY)
add(
    "relay-empty-fragments",
    fragments(TEXT, [b""] * 1000 + [asked] + [b""]),
    pong_event,
    paths=RELAY,
)
add(
    "relay-ping-between",
    text(asked[:9], fin=False) + ping(b"between"),
    Pong(b"between"),
    last(asked[9:]),
    pong_event,
    paths=RELAY,
)
