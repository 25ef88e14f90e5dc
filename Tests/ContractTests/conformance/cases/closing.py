"""RFC 6455 §5.5.1 and §7: the closing handshake, its codes and reasons, and the end of the stream."""

from ..case import (
    BOTH,
    Ended,
    Group,
    Leave,
    Pong,
    answered,
    binary,
    close,
    closed,
    echo_of_binary,
    echo_of_text,
    frame,
    last,
    more,
    ping,
    pong,
    text,
)

group = Group("closing", paths=BOTH)
add = group.add

# Codes and reasons

add("without-payload", close(), answered(None, 1000))
for byte in (0x00, 0x03, 0x7F, 0xFF):
    add(f"one-byte-{byte:02x}", frame(8, bytes([byte])), closed(1002))

VALID = (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014)
VALID += (3000, 3001, 3500, 3999, 4000, 4001, 4500, 4999)
INVALID = (0, 1, 2, 100, 500, 999, 1004, 1005, 1006, 1015, 1016, 1017, 1100, 1999, 2000, 2500, 2999)
INVALID += (5000, 5001, 9999, 10_000, 32_768, 60_000, 65_535)
for code in VALID:
    add(f"code-{code}", close(code), answered(code))
    add(f"code-{code}-with-reason", close(code, "good bye"), answered(code))
for code in INVALID:
    add(f"code-{code}", close(code), closed(1002))
    add(f"code-{code}-with-reason", close(code, "good bye"), closed(1002))

for size in (1, 2, 61, 122, 123):
    add(f"reason-of-{size}", close(1000, b"r" * size), answered(1000))
add("reason-of-123-not-ascii", close(1000, "é" * 61 + "x"), answered(1000))
add("reason-of-124", close(1000, b"r" * 124), closed(1002))
for name, reason in {
    "ff": b"\xff",
    "lone-continuation": b"ok \x80",
    "cut": b"ok \xe2\x82",
    "cut-at-123": b"x" * 122 + b"\xc3",
    "overlong": b"\xc0\xaf",
    "surrogate": b"ok \xed\xa0\x80",
    "beyond-unicode": b"\xf4\x90\x80\x80",
}.items():
    # A bad reason is answered as a bad code is.
    add(f"reason-not-utf8-{name}", close(1000, reason), closed(1002))
add("reason-with-nul", close(1000, b"a\0b"), answered(1000))
add("reason-of-nonsense-but-utf8", close(4000, "\uffff\U0010ffff🧶"), answered(4000))
add("masked-with-zeros", close(1000, b"bye", key=bytes(4)), answered(1000))

# Around it

add("text-behind-is-ignored", close(1000) + text(b"late"), answered(1000, clean=False), uncut=True)
add("ping-behind-is-ignored", close(1001) + ping(b"late"), answered(1001, clean=False), uncut=True)
add("pong-behind-is-ignored", close(1000) + pong(b"late"), answered(1000, clean=False), uncut=True)
add("violation-behind-is-ignored", close(1000) + frame(3), answered(1000, clean=False), uncut=True)
add(
    "noise-behind-is-ignored", close(1000) + b"\xff" * 5000, answered(1000, clean=False), uncut=True
)
add("close-twice", close(1000) + close(1001), answered(1000, clean=False), uncut=True)
add("close-behind-a-violation", frame(3) + close(1000), closed(1002))
add("within-a-message", text(b"begun", fin=False) + close(1000), answered(1000))
add("within-a-long-message", text(b"begun", fin=False) + more(b"x" * 1000) + close(4000),
    answered(4000))  # fmt: skip
add("within-a-character", text(b"\xe2\x82", fin=False) + close(1000), answered(1000))
add("at-once", close(1000), answered(1000))
add("behind-unasked-pong", pong(b"x") + close(1000), answered(1000))
add("behind-a-ping", ping(b"x") + close(1000), Pong(b"x"), answered(1000))
add("both-at-once", frame(3) + close(3000, "mine"), closed(1002))

echo = Group("closing")
echo.add("behind-messages", text(b"1") + text(b"2") + close(1000),
    echo_of_text(b"1"), echo_of_text(b"2"), answered(1000))  # fmt: skip
echo.add("behind-a-large-message", binary(b"x" * 65_536) + close(1000),
    echo_of_binary(b"x" * 65_536), answered(1000))  # fmt: skip
echo.add("behind-many-messages", b"".join(text(b"%d" % n) for n in range(150)) + close(1000),
    *(echo_of_text(b"%d" % n) for n in range(150)), answered(1000))  # fmt: skip
echo.add("behind-a-fragmented-message", text(b"a", fin=False) + last(b"b") + close(1000),
    echo_of_text(b"ab"), answered(1000))  # fmt: skip
echo.add("continuation-behind-is-ignored", text(b"a", fin=False) + close(1000) + last(b"b"),
    answered(1000, clean=False), uncut=True)  # fmt: skip

# The stream's end without a close frame

add("left-at-once", Leave(), Ended())
add("left-after-a-ping", ping(b"x"), Pong(b"x"), Leave(), Ended())
add("left-within-a-header", text(b"x" * 200)[:3], Leave(), Ended())
add("left-within-a-mask", text(b"hello")[:4], Leave(), Ended())
add("left-within-a-payload", text(b"hello")[:8], Leave(), Ended())
add("left-within-a-message", text(b"hello", fin=False), Leave(), Ended())
add("left-behind-a-close", close(1000), Leave(), answered(1000, clean=False), uncut=True)
echo.add("left-behind-a-message", text(b"hello"), echo_of_text(b"hello"), Leave(), Ended())
group.cases += echo.cases
