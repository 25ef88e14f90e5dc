"""RFC 6455 §5.2 and §5.3: opcodes, reserved bits, masks and lengths."""

from harness.raw import BINARY, CONTINUATION, TEXT

from ..case import (
    BOTH,
    ECHO,
    OPCODES,
    Group,
    Message,
    Pong,
    binary,
    close,
    closed,
    echo_of_binary,
    echo_of_text,
    frame,
    last,
    more,
    ping,
    randomness,
    text,
)

group = Group("framing")
add = group.add

# Opcodes

for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15):
    name = f"reserved-opcode-{opcode}"
    add(name, frame(opcode), closed(1002), paths=BOTH)
    add(f"{name}-with-payload", frame(opcode, b"payload"), closed(1002), paths=BOTH)
    add(f"{name}-not-final", frame(opcode, b"x", fin=False), closed(1002), paths=BOTH)
    add(f"{name}-within-a-message", text(b"a", fin=False), frame(opcode), closed(1002))
    add(f"{name}-after-a-message", text(b"a"), echo_of_text(b"a"), frame(opcode), closed(1002))

# Reserved bits: 4, 2 and 1 stand for RSV1, RSV2 and RSV3

for name, opcode in OPCODES.items():
    for rsv in range(1, 8):
        compresses = rsv == 4 and opcode in (TEXT, BINARY)
        add(
            f"rsv{rsv}-{name}",
            frame(opcode, rsv=rsv),
            closed(1002),
            plain=compresses,
            paths=ECHO if opcode == BINARY else BOTH,
        )

for rsv in range(1, 8):
    add(
        f"rsv{rsv}-on-a-later-fragment",
        text(b"a", fin=False),
        frame(CONTINUATION, b"b", rsv=rsv),
        closed(1002),
        paths=BOTH,
    )
add("rsv1-with-payload", text(b"hello", rsv=4), closed(1002), paths=BOTH, plain=True)
add("rsv1-after-good-messages", text(b"a") * 3 + text(b"b", rsv=4),
    *[echo_of_text(b"a")] * 3, closed(1002), plain=True)  # fmt: skip
add("rsv2-and-a-reserved-opcode", frame(3, rsv=2), closed(1002), paths=BOTH)

# Masks

for name, opcode in OPCODES.items():
    paths = ECHO if opcode == BINARY else BOTH
    add(f"unmasked-{name}", frame(opcode, mask=False), closed(1002), paths=paths)
    payload = b"\x03\xe8bye" if name == "close" else b"hello"
    add(
        f"unmasked-{name}-with-payload",
        frame(opcode, payload, mask=False),
        closed(1002),
        paths=paths,
    )
add("unmasked-within-a-message", text(b"a", fin=False),
    frame(CONTINUATION, b"b", mask=False), closed(1002), paths=BOTH)  # fmt: skip
add("unmasked-after-good-messages", text(b"a") + text(b"b", mask=False),
    echo_of_text(b"a"), closed(1002))  # fmt: skip
add("unmasked-large", binary(bytes(65_536), mask=False), closed(1002))

every_byte = bytes(range(256))
for key in ("00000000", "ffffffff", "01000080", "00ff00ff", "ff000000", "000000ff", "7f7f7f7f"):
    mask = bytes.fromhex(key)
    add(f"mask-{key}-text", text("zoë ✓" * 20, key=mask), echo_of_text("zoë ✓" * 20))
    add(f"mask-{key}-binary", binary(every_byte, key=mask), echo_of_binary(every_byte))
for size in (*range(1, 18), 31, 32, 33, 63, 64, 65):
    payload = randomness.randbytes(size)
    add(f"mask-phase-{size}", binary(payload, key=b"\x11\x22\x33\x44"), echo_of_binary(payload))
for shift in range(8):
    payload = randomness.randbytes(61)
    add(
        f"mask-alignment-{shift}",
        ping(bytes(shift)) + binary(payload) + ping(b"end"),
        Pong(bytes(shift)),
        echo_of_binary(payload),
        Pong(b"end"),
    )
add(
    "mask-of-each-fragment",
    binary(b"abc", fin=False, key=b"\x01\x02\x03\x04")
    + more(b"defgh", key=b"\xff\x00\xff\x00")
    + last(b"i", key=b"\x00\x00\x00\x00"),
    echo_of_binary(b"abcdefghi"),
)
add("example-of-the-rfc", bytes.fromhex("818537fa213d7f9f4d5158"), echo_of_text(b"Hello"))

# Lengths

SIZES = (0, 1, 2, 3, 124, 125, 126, 127, 128, 129, 254, 255, 256, 257, 1000, 4095, 4096, 4097)
SIZES += (8191, 8192, 8193, 16_384, 32_767, 32_768, 65_523, 65_534, 65_535, 65_536)
for size in SIZES:
    payload = randomness.randbytes(size)
    add(f"binary-of-{size}", binary(payload), echo_of_binary(payload))
    words = ("plain ASCII, " * (size // 13 + 1)).encode()[:size]
    add(f"text-of-{size}", text(words), echo_of_text(words))
for size in (65_537, 131_072, 1 << 20, 5_000_001, (1 << 24) - 1, 1 << 24):
    payload = randomness.randbytes(1000) * (size // 1000 + 1)
    add(f"large-of-{size}", binary(payload[:size]), echo_of_binary(payload[:size]), profile="large")
add("large-text", text("größer " * 200_000), echo_of_text("größer " * 200_000), profile="large")

SPELLINGS = [(16, length) for length in (0, 1, 2, 124, 125)]
SPELLINGS += [(64, length) for length in (0, 1, 125, 126, 127, 65_534, 65_535)]
for form, length in SPELLINGS:
    for name, opcode in (("text", TEXT), ("binary", BINARY)):
        add(
            f"length-{length}-in-{form}-bits-{name}",
            frame(opcode, b"x" * min(length, 200), length=length, form=form),
            closed(1002),
            paths=BOTH if opcode == TEXT else ECHO,
        )
    add(
        f"length-{length}-in-{form}-bits-continuation",
        text(b"a", fin=False) + frame(CONTINUATION, b"", length=length, form=form),
        closed(1002),
    )
for name in ("ping", "pong", "close"):
    for form, length in ((16, 5), (16, 126), (64, 5), (64, 65_536)):
        add(
            f"length-{length}-in-{form}-bits-{name}",
            frame(OPCODES[name], b"\x03\xe8bye", length=length, form=form),
            closed(1002),
            paths=BOTH,
        )
for length in (1 << 63, (1 << 63) + 5, (1 << 64) - 1, 0xC000000000000001):
    add(f"length-{length:x}", text(b"", length=length, form=64), closed(1002), paths=BOTH)
    add(f"length-{length:x}-binary", binary(b"x" * 50, length=length, form=64), closed(1002))

# Many at once, and headers that come apart

for count in (2, 10, 100, 200):
    add(
        f"coalesced-{count}",
        b"".join(text(f"message {n}") for n in range(count)),
        *(echo_of_text(f"message {n}") for n in range(count)),
    )
add(
    "coalesced-of-all-sizes",
    b"".join(binary(every_byte[:n]) for n in range(0, 256, 5)),
    *(Message(BINARY, every_byte[:n]) for n in range(0, 256, 5)),
)
whole = text(b"x" * 300)
for at in (1, 2, 3, 4, 5, 6, 7, 8, 9, 200, 307):
    add(f"apart-at-{at}", whole[:at], whole[at:], echo_of_text(b"x" * 300))
add("text-and-binary-in-turn", (text(b"t") + binary(b"b")) * 20,
    *[echo_of_text(b"t"), echo_of_binary(b"b")] * 20)  # fmt: skip
add("nothing-behind-a-violation-is-read", frame(3) + text(b"late") + ping(b"late"), closed(1002))
add("violation-then-close", frame(3) + close(1000), closed(1002), paths=BOTH)
