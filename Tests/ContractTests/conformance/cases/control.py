"""RFC 6455 §5.5.2 and §5.5.3: pings, pongs, and what control frames may not be."""

from harness.raw import TEXT

from ..case import (
    BOTH,
    OPCODES,
    Group,
    Pong,
    Pongs,
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
    ping,
    pong,
    randomness,
    text,
)

group = Group("control", paths=BOTH)
add = group.add

for size in (0, 1, 2, 3, 4, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 123, 124, 125):
    payload = randomness.randbytes(size)
    add(f"ping-of-{size}", ping(payload), Pong(payload))
add("ping-that-is-not-utf8", ping(b"\xff\xfe\xc0\x80"), Pong(b"\xff\xfe\xc0\x80"))
add("ping-twice-the-same", ping(b"a"), Pong(b"a"), ping(b"a"), Pong(b"a"))
add("ping-with-a-zero-mask", ping(b"hello", key=bytes(4)), Pong(b"hello"))

for name in ("ping", "pong", "close"):
    opcode = OPCODES[name]
    payload = b"\x03\xe8" + b"x" * 70_000
    for size in (126, 127, 128, 1000, 65_535, 65_536):
        add(f"{name}-of-{size}", frame(opcode, payload[:size]), closed(1002))
    add(f"{name}-of-126-by-its-header", frame(opcode, b"", length=126), closed(1002))
    add(f"{name}-fragmented", frame(opcode, fin=False), closed(1002))
    add(f"{name}-fragmented-with-payload", frame(opcode, payload[:5], fin=False), closed(1002))
    add(
        f"{name}-fragmented-in-two",
        frame(opcode, payload[:5], fin=False) + last(b"more"),
        closed(1002),
    )
    add(
        f"{name}-fragmented-within-a-message",
        text(b"a", fin=False) + frame(opcode, payload[:5], fin=False),
        closed(1002),
    )
    add(f"{name}-too-long-within-a-message", text(b"a", fin=False) + frame(opcode, payload[:126]),
        closed(1002))  # fmt: skip

for size in (0, 1, 2, 63, 124, 125):
    add(f"pong-unasked-of-{size}", pong(bytes(size)) + ping(b"alive"), Pong(b"alive"))
add("pongs-unasked", b"".join(pong(b"%d" % n) for n in range(100)) + ping(b"alive"), Pong(b"alive"))
add("pong-unasked-not-utf8", pong(b"\xff\xff") + ping(b"alive"), Pong(b"alive"))

for count in (2, 10, 100, 200):
    payloads = tuple(b"%d" % n for n in range(count))
    add(f"pings-{count}", b"".join(map(ping, payloads)), Pongs(payloads))
    full = tuple(b"%04d" % n + bytes(121) for n in range(count))
    add(f"pings-{count}-of-125", b"".join(map(ping, full)), Pongs(full))
flood = tuple(b"%d" % n for n in range(2000))
add("ping-flood", b"".join(map(ping, flood)), Pongs(flood), ping(b"alive"), Pong(b"alive"))
add("pings-one-by-one", *(step for n in range(50) for step in (ping(b"%d" % n), Pong(b"%d" % n))))

echo = Group("control")
echo.add(
    "pings-among-messages",
    b"".join(text(b"%d" % n) + ping(b"%d" % n) for n in range(30)),
    *(step for n in range(30) for step in (echo_of_text(b"%d" % n), Pong(b"%d" % n))),
)
echo.add(
    "ping-within-a-message",
    text(b"one ", fin=False) + ping(b"between"),
    Pong(b"between"),
    last(b"two"),
    echo_of_text(b"one two"),
)
echo.add(
    "ping-within-a-binary-message",
    binary(b"one ", fin=False) + ping(b"\xff"),
    Pong(b"\xff"),
    last(b"two"),
    echo_of_binary(b"one two"),
)
echo.add(
    "pings-between-all-fragments",
    text(b"0", fin=False),
    *(step for n in range(20) for step in (ping(b"%d" % n), Pong(b"%d" % n), more(b"x"))),
    last(b"end"),
    echo_of_text(b"0" + b"x" * 20 + b"end"),
)
echo.add(
    "pings-between-coalesced-fragments",
    text(b"0", fin=False)
    + b"".join(ping(b"%d" % n) + more(b"x") for n in range(20))
    + last(b"end"),
    *(Pong(b"%d" % n) for n in range(20)),
    echo_of_text(b"0" + b"x" * 20 + b"end"),
)
echo.add(
    "pong-within-a-message",
    text(b"one ", fin=False) + pong(b"unasked") + last(b"two"),
    echo_of_text(b"one two"),
)
echo.add(
    "ping-full-within-a-character",
    text(b"\xe2\x82", fin=False) + ping(bytes(range(125))),
    Pong(bytes(range(125))),
    last(b"\xac"),
    echo_of_text("€"),
)
echo.add(
    "ping-before-and-behind",
    ping(b"1") + fragments(TEXT, [b"a", b"b", b"c"]) + ping(b"2"),
    Pong(b"1"),
    echo_of_text(b"abc"),
    Pong(b"2"),
)
add("ping-then-close", ping(b"1") + close(1000), Pong(b"1"), answered(1000))
add("ping-after-close", close(1000) + ping(b"late"), answered(1000, clean=False), uncut=True)
add("ping-then-violation", ping(b"1") + frame(3), Pong(b"1"), closed(1002))
group.cases += echo.cases
