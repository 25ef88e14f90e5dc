"""RFC 7692 §6 and §7.2: what travels under RSV1, once permessage-deflate is agreed."""

import zlib

from harness.raw import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT

from ..case import (
    BOTH,
    COMPRESSED,
    LIMIT,
    RELAY,
    TAIL,
    Event,
    Group,
    Message,
    Pong,
    answered,
    binary,
    close,
    closed,
    compressed,
    deflated,
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
from .negotiation import OFFER

group = Group("compression", offer=OFFER, agreed=True)
add = group.add
prose = "The quick brown fox jumps over the lazy dog, and then does it all again. " * 40

noise = randomness.randbytes(700)
far = noise + bytes(3000) + noise + bytes(40_000) + noise
NO_SERVER, NO_CLIENT = "server_no_context_takeover", "client_no_context_takeover"
CLIENT_BITS = "client_max_window_bits"


def deflate(*parameters) -> str:
    return "; ".join(("permessage-deflate", *parameters))


# The examples of RFC 7692 §7.2.3

HELLO = bytes.fromhex("f248cdc9c90700")


def rsv1(opcode, payload: bytes, **how) -> bytes:
    return frame(opcode, payload, rsv=COMPRESSED, **how)


add("rfc-hello", rsv1(TEXT, HELLO), echo_of_text("Hello"))
add(
    "rfc-hello-in-two",
    fragments(TEXT, [HELLO[:3], HELLO[3:]], rsv=COMPRESSED),
    echo_of_text("Hello"),
)
add("rfc-hello-stored", rsv1(TEXT, bytes.fromhex("000500faff48656c6c6f00")), echo_of_text("Hello"))
add("rfc-hello-bfinal", rsv1(TEXT, bytes.fromhex("f348cdc9c9070000")), echo_of_text("Hello"))
add(
    "rfc-hello-two-blocks",
    rsv1(TEXT, bytes.fromhex("f248050000 00ffffcac9c90700")),
    echo_of_text("Hello"),
)
add("rfc-empty", rsv1(TEXT, b"\x00"), echo_of_text(""))
add("hello-twice", rsv1(TEXT, HELLO) * 2, *[echo_of_text("Hello")] * 2)
add("bfinal-twice", rsv1(TEXT, bytes.fromhex("f348cdc9c9070000")) * 2, *[echo_of_text("Hello")] * 2)

# Messages of all kinds

payloads = {"prose": prose.encode(), "noise": noise, "zeros": bytes(5000), "far": far}
for kind, payload in payloads.items():
    opcode = TEXT if kind == "prose" else BINARY
    for level in range(10):
        add(
            f"{kind}-level-{level}",
            compressed(opcode, payload, level=level),
            Message(opcode, payload),
        )
    for name, strategy in {
        "fixed": zlib.Z_FIXED,
        "huffman": zlib.Z_HUFFMAN_ONLY,
        "rle": zlib.Z_RLE,
        "filtered": zlib.Z_FILTERED,
    }.items():
        add(
            f"{kind}-{name}",
            compressed(opcode, payload, strategy=strategy),
            Message(opcode, payload),
        )
    for count in (2, 3, 10, 100):
        size = max(1, len(deflated(payload)) // count)
        add(
            f"{kind}-in-{count}",
            fragments(opcode, pieces_of(deflated(payload), size), rsv=COMPRESSED),
            Message(opcode, payload),
        )
    for bits in (9, 10, 12):
        add(
            f"{kind}-window-{bits}",
            compressed(opcode, payload, bits=bits),
            Message(opcode, payload),
        )
for size in (0, 1, 2, 125, 126, 127, 1000, 16_384, 32_768, 32_769, 65_535, 65_536):
    for kind, stuff in (("text", b"abcdefgh "), ("zeros", b"\0"), ("noise", far)):
        payload = (stuff * (size // len(stuff) + 1))[:size]
        opcode = TEXT if kind == "text" else BINARY
        add(f"{kind}-of-{size}", compressed(opcode, payload), Message(opcode, payload))
        add(f"{kind}-of-{size}-plain", frame(opcode, payload), Message(opcode, payload))
add("in-bytes", fragments(TEXT, pieces_of(deflated(prose), 1), rsv=COMPRESSED), echo_of_text(prose))
add("empty-first-fragment", fragments(TEXT, [b"", HELLO], rsv=COMPRESSED), echo_of_text("Hello"))
add("empty-last-fragment", fragments(TEXT, [HELLO, b""], rsv=COMPRESSED), echo_of_text("Hello"))
add("empty-fragments-between",
    fragments(TEXT, [HELLO[:2], b"", b"", HELLO[2:]], rsv=COMPRESSED), echo_of_text("Hello"))  # fmt: skip
add("ping-between", rsv1(TEXT, HELLO[:3], fin=False) + ping(b"p"), Pong(b"p"),
    last(HELLO[3:]), echo_of_text("Hello"))  # fmt: skip
flushed = zlib.compressobj(9, zlib.DEFLATED, -15)
flushes = b"".join(
    flushed.compress(word.encode() + b" ") + flushed.flush(mode)
    for word, mode in zip(
        prose.split()[:60], [zlib.Z_SYNC_FLUSH, zlib.Z_FULL_FLUSH] * 30, strict=True
    )
)
add(
    "many-flushes",
    rsv1(TEXT, flushes.removesuffix(TAIL)),
    echo_of_text(" ".join(prose.split()[:60]) + " "),
)
add("answer-is-compressed", compressed(TEXT, prose), echo_of_text(prose, compressed=True))
add("answer-to-plain-is-compressed", text(prose), echo_of_text(prose, compressed=True))
add("plain-and-compressed-in-turn",
    (text("plain ü") + compressed(TEXT, prose) + binary(noise) + compressed(BINARY, far)) * 4,
    *[echo_of_text("plain ü"), echo_of_text(prose), echo_of_binary(noise), echo_of_binary(far)] * 4)  # fmt: skip
add("coalesced", compressed(TEXT, "zoë") * 200, *[echo_of_text("zoë")] * 200)
add("plain-fragments", fragments(TEXT, [b"a", b"b"]) + compressed(TEXT, "c"),
    echo_of_text("ab"), echo_of_text("c"))  # fmt: skip
add("control-frames-stay-plain", ping(b"x" * 125) + compressed(TEXT, prose) + close(1000),
    Pong(b"x" * 125), echo_of_text(prose), answered(1000))  # fmt: skip
add("close-within", rsv1(TEXT, HELLO[:3], fin=False) + close(1000), answered(1000), paths=BOTH)

# Reserved bits

for name, opcode in {"ping": PING, "pong": PONG, "close": CLOSE}.items():
    add(f"rsv1-on-{name}", rsv1(opcode, b""), closed(1002), paths=BOTH)
    add(f"rsv1-on-{name}-with-payload", rsv1(opcode, HELLO), closed(1002), paths=BOTH)
    add(
        f"rsv1-on-{name}-within",
        rsv1(TEXT, HELLO[:3], fin=False) + rsv1(opcode, b""),
        closed(1002),
        paths=BOTH,
    )
add("rsv1-on-a-continuation", rsv1(TEXT, HELLO[:3], fin=False) + rsv1(CONTINUATION, HELLO[3:]),
    closed(1002), paths=BOTH)  # fmt: skip
add("rsv1-on-a-later-continuation",
    rsv1(TEXT, HELLO[:3], fin=False) + more(HELLO[3:5]) + rsv1(CONTINUATION, HELLO[5:]),
    closed(1002), paths=BOTH)  # fmt: skip
add("rsv1-on-a-plain-messages-continuation", text(b"a", fin=False) + rsv1(CONTINUATION, HELLO),
    closed(1002), paths=BOTH)  # fmt: skip
add("rsv1-on-a-continuation-of-nothing", rsv1(CONTINUATION, HELLO), closed(1002), paths=BOTH)
for bits in (5, 6, 7):
    add(f"rsv{bits}", frame(TEXT, HELLO, rsv=bits), closed(1002), paths=BOTH)
add("rsv1-and-a-reserved-opcode", rsv1(3, HELLO), closed(1002), paths=BOTH)
add("rsv1-unmasked", rsv1(TEXT, HELLO, mask=False), closed(1002), paths=BOTH)
add(
    "compressed-within-compressed",
    rsv1(TEXT, HELLO[:3], fin=False) + rsv1(TEXT, HELLO),
    closed(1002),
    paths=BOTH,
)

# Corrupt

for name, spelt in {
    "block-type-3": "07",
    "block-type-3-later": "f248cdc9c90700 ffffffff",
    "stored-length-wrong": "00 0500 0000 48656c6c6f 00",
    "stored-too-short": "00 ff00 00ff 4865",
    "distance-too-far": "02 13 00 00",
    "second-of-a-context": "f200110000",
    "code-lengths-oversubscribed": "ed fd ff ff ff ff ff ff ff ff ff",
    "symbol-of-no-code": "63 18 c6 ff ff ff",
}.items():
    add(f"corrupt-{name}", rsv1(TEXT, bytes.fromhex(spelt)), closed(1007), paths=BOTH)
    add(f"corrupt-{name}-binary", rsv1(BINARY, bytes.fromhex(spelt)), closed(1007))
    add(f"corrupt-{name}-in-bytes",
        fragments(TEXT, pieces_of(bytes.fromhex(spelt), 1), rsv=COMPRESSED), closed(1007))  # fmt: skip
half = deflated(prose)
for part in (3, 2):
    add(f"corrupt-cut-to-1-{part}", rsv1(TEXT, half[: len(half) // part]), closed(1007), paths=BOTH)
add(
    "corrupt-after-good",
    compressed(TEXT, prose) + rsv1(TEXT, b"\x07"),
    echo_of_text(prose),
    closed(1007),
)
add("corrupt-noise", rsv1(BINARY, b"\xff" * 500), closed(1007))
add(
    "not-compressed-at-all",
    rsv1(TEXT, b"hello, this is no deflate stream"),
    closed(1007),
    paths=BOTH,
)
for name, bad in {
    "latin-1": b"caf\xe9 ",
    "overlong": b"\xc0\xaf",
    "surrogate": b"ok \xed\xa0\x80 ok",
    "truncated": b"end \xe2\x82",
    "after-much": b"x" * 50_000 + b"\xff",
    "beyond-unicode": b"\xf4\x90\x80\x80",
}.items():
    add(f"invalid-utf8-{name}", compressed(TEXT, bad), closed(1007), paths=BOTH)
    add(f"invalid-utf8-{name}-in-bytes",
        fragments(TEXT, pieces_of(deflated(bad), 1), rsv=COMPRESSED), closed(1007))  # fmt: skip
    add(f"binary-{name}", compressed(BINARY, bad), echo_of_binary(bad))
    add(f"invalid-utf8-{name}-plain", text(bad), closed(1007), paths=BOTH)
add("utf8-cut-by-blocks", rsv1(TEXT, deflated("🧶" * 999, level=0)), echo_of_text("🧶" * 999))
add("utf8-of-no-utf8-bytes", compressed(TEXT, "\x80\xff" * 100), echo_of_text("\x80\xff" * 100))

# Sizes, which are those of the inflated message

full = b"x" * LIMIT
add("full", compressed(TEXT, full), echo_of_text(full))
add("full-stored", fragments(BINARY, pieces_of(deflated(far[:LIMIT], level=9), 999), rsv=COMPRESSED),
    echo_of_binary(far[:LIMIT]))  # fmt: skip
for name, size in {
    "one": LIMIT + 1,
    "a-mebibyte": 1 << 20,
    "16-mebibytes": 1 << 24,
    "60-mebibytes": 60 << 20,
}.items():
    bomb = deflated(bytes(size), level=9)
    add(f"bomb-of-{name}", rsv1(TEXT, bomb), closed(1009), paths=BOTH)
    add(f"bomb-of-{name}-binary", rsv1(BINARY, bomb), closed(1009))
    add(
        f"bomb-of-{name}-in-fragments",
        fragments(TEXT, pieces_of(bomb, 50), rsv=COMPRESSED),
        closed(1009),
    )
add("bomb-behind-a-message", compressed(TEXT, prose) + rsv1(TEXT, deflated(bytes(1 << 22))),
    echo_of_text(prose), closed(1009))  # fmt: skip
# What does not compress grows a little, so that a few bytes over the limit may be sent.
add("too-big-by-its-header", rsv1(TEXT, b"", length=2 * LIMIT), closed(1009), paths=BOTH)
add("too-big-by-its-fragments", rsv1(BINARY, b"", fin=False) + frame(CONTINUATION, b"", length=2 * LIMIT),
    closed(1009))  # fmt: skip
add("large-bomb", rsv1(BINARY, deflated(bytes((1 << 24) + 1))), closed(1009), profile="large")
large = prose.encode() * 3000
add("large", compressed(TEXT, large), echo_of_text(large), profile="large")
add("large-in-fragments", fragments(TEXT, pieces_of(deflated(large), 100), rsv=COMPRESSED),
    echo_of_text(large), profile="large")  # fmt: skip
add("large-noise", compressed(BINARY, far * 40), echo_of_binary(far * 40), profile="large")

# Contexts that are kept

SHARED = bytes.fromhex("f200110000")
"""`Hello` after a `Hello` in the same context."""
keeps = {"offer": deflate(), "profile": "takeover"}
add("context-rfc", rsv1(TEXT, HELLO) + rsv1(TEXT, SHARED), *[echo_of_text("Hello")] * 2, **keeps)
context = zlib.compressobj(9, zlib.DEFLATED, -15)


def continued(payload: bytes) -> bytes:
    return (context.compress(payload) + context.flush(zlib.Z_SYNC_FLUSH))[:-4]


words = [f"{prose[: n * 10]} {n}" for n in range(30)]
add("context-of-many", b"".join(rsv1(TEXT, continued(word.encode())) for word in words),
    *map(echo_of_text, words), **keeps)  # fmt: skip
add("context-kept-over-plain-messages", rsv1(TEXT, HELLO) + text("plain") + rsv1(TEXT, SHARED),
    echo_of_text("Hello"), echo_of_text("plain"), echo_of_text("Hello"), **keeps)  # fmt: skip
add("context-kept-over-fragments",
    fragments(TEXT, pieces_of(HELLO, 2), rsv=COMPRESSED) + fragments(TEXT, pieces_of(SHARED, 1), rsv=COMPRESSED),
    *[echo_of_text("Hello")] * 2, **keeps)  # fmt: skip
add("context-of-the-server", text(prose) * 5, *[echo_of_text(prose, compressed=True)] * 5, **keeps)
add(
    "context-given-up-by-the-client",
    compressed(TEXT, prose) * 5,
    *[echo_of_text(prose)] * 5,
    **keeps,
)
add("context-server-asked-not-to", text(prose) * 5, *[echo_of_text(prose)] * 5,
    offer=deflate(NO_SERVER), profile="takeover")  # fmt: skip
add("context-small-windows", text(prose) * 3 + binary(far) * 2,
    *[echo_of_text(prose)] * 3, *[echo_of_binary(far)] * 2,
    offer=deflate("server_max_window_bits=9"), profile="takeover")  # fmt: skip
add("context-bomb", rsv1(TEXT, HELLO) + rsv1(TEXT, deflated(bytes(1 << 22))),
    echo_of_text("Hello"), closed(1009), **keeps)  # fmt: skip
add("context-corrupt", rsv1(TEXT, HELLO) + rsv1(TEXT, SHARED) + rsv1(TEXT, b"\x07"),
    *[echo_of_text("Hello")] * 2, closed(1007), **keeps)  # fmt: skip
add("context-not-kept", rsv1(TEXT, HELLO) + rsv1(TEXT, SHARED), echo_of_text("Hello"), closed(1007),
    offer=deflate(NO_CLIENT, CLIENT_BITS))  # fmt: skip
add(
    "windows-of-9-bits",
    text(prose) + binary(far),
    echo_of_text(prose),
    echo_of_binary(far),
    profile="window",
)

# The relay dialect

asked = b'{"type":"ping","data":{"timestamp":7}}'
told = Event("pong", {"timestamp": 7})
for name, frames in {
    "whole": compressed(TEXT, asked),
    "in-bytes": fragments(TEXT, pieces_of(deflated(asked), 1), rsv=COMPRESSED),
    "padded": compressed(TEXT, asked.rjust(65_536)),
    "plain": text(asked),
}.items():
    add(f"relay-{name}", frames, told, paths=RELAY)
add("relay-binary", compressed(BINARY, asked), closed(1003), paths=RELAY)
add("relay-not-json", compressed(TEXT, "hello") + compressed(TEXT, asked),
    Event("error", {"code": "INVALID_MESSAGE"}), told, paths=RELAY)  # fmt: skip
add("relay-texts-200", compressed(TEXT, asked) * 200, *[told] * 200, paths=RELAY)
