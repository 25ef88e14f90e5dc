"""Sizes: RFC 6455 §10.4 asks for limits, the contract says where they are and that they are kept from
a header alone, before anything of the payload has come."""

from harness.raw import BINARY, TEXT

from ..case import (
    BOTH,
    LIMIT,
    Group,
    Pong,
    binary,
    closed,
    echo_of_binary,
    echo_of_text,
    fragments,
    frame,
    last,
    more,
    ping,
    text,
)

group = Group("limits")
add = group.add

for length in (
    LIMIT + 1,
    LIMIT + 2,
    1 << 17,
    1 << 20,
    1 << 31,
    (1 << 32) - 1,
    1 << 32,
    1 << 62,
    (1 << 63) - 1,
):
    add(f"text-of-{length}-by-its-header", text(b"", length=length), closed(1009), paths=BOTH)
    add(f"binary-of-{length}-by-its-header", binary(b"", length=length), closed(1009))
    add(f"continuation-of-{length}-by-its-header",
        text(b"a", fin=False) + frame(0, b"", length=length), closed(1009), paths=BOTH)  # fmt: skip
add("text-one-over", text(b"x" * (LIMIT + 1)), closed(1009), paths=BOTH)
add("binary-one-over", binary(b"x" * (LIMIT + 1)), closed(1009))
add("text-far-over", text(b"x" * 1_000_000), closed(1009), paths=BOTH)
add("without-its-mask", text(b"", length=LIMIT + 1)[:10], closed(1009), paths=BOTH, plain=True)

for name, sizes in {
    "full-and-one": (LIMIT, 1),
    "one-and-full": (1, LIMIT),
    "halves": (LIMIT // 2, LIMIT // 2 + 1),
    "thirds": (30_000, 30_000, 30_000),
    "tenths": (6554,) * 10,
    "thousand": (66,) * 993,
    "to-the-limit-and-one": (LIMIT, 0, 0, 1),
}.items():
    for kind, opcode in (("text", TEXT), ("binary", BINARY)):
        *before, over = sizes
        add(
            f"{kind}-fragments-{name}",
            frame(opcode, b"x" * before[0], fin=False)
            + b"".join(more(b"x" * size) for size in before[1:])
            + frame(0, b"", length=over),
            closed(1009),
            paths=BOTH if opcode == TEXT else ("/echo",),
        )
full = b"x" * LIMIT
add("full-three-times", text(full) * 3, *[echo_of_text(full)] * 3)
add("full-in-fragments", fragments(TEXT, [full[:1], full[1:]]), echo_of_text(full))
add("full-and-an-empty-fragment", fragments(BINARY, [full, b"", b""]), echo_of_binary(full))
add("control-frames-do-not-count",
    text(full[:-1], fin=False) + ping(bytes(125)) * 20 + last(b"x"),
    *[Pong(bytes(125))] * 20, echo_of_text(full))  # fmt: skip
add("count-begins-anew", (fragments(BINARY, [full[:40_000], b"y"]) + binary(full)) * 3,
    *[echo_of_binary(full[:40_000] + b"y"), echo_of_binary(full)] * 3)  # fmt: skip

# Other limits than the default one

add("small-full", text(b"x" * 1000), echo_of_text(b"x" * 1000), profile="small")
add("small-one-over", text(b"", length=1001), closed(1009), profile="small", paths=BOTH)
add("small-in-fragments-over", text(b"x" * 999, fin=False) + more(b"") + frame(0, b"", length=2),
    closed(1009), profile="small", paths=BOTH)  # fmt: skip
add("small-control-frames-are-not-limited", ping(bytes(125)), Pong(bytes(125)), profile="tiny")
add("tiny-full", binary(b"x"), echo_of_binary(b"x"), profile="tiny")
add("tiny-over", binary(b"", length=2), closed(1009), profile="tiny")
add("tiny-fragments", binary(b"x", fin=False) + more() * 10 + frame(0, b"", length=1),
    closed(1009), profile="tiny")  # fmt: skip
add("large-one-over", binary(b"", length=(1 << 24) + 1), closed(1009), profile="large")
add("large-in-fragments-over",
    binary(bytes(1 << 23), fin=False) + more(bytes(1 << 22)) + frame(0, b"", length=(1 << 22) + 1),
    closed(1009), profile="large")  # fmt: skip
