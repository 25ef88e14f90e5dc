"""RFC 6455 §5.6 and §8.1: text is UTF-8 (RFC 3629), told as early as can be, however it is cut."""

from harness.raw import BINARY, TEXT

from ..case import (
    BOTH,
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
    pieces_of,
    ping,
    text,
)

group = Group("utf8")
add = group.add

# Valid

BOUNDARIES = (
    (0x00, 0x01, 0x7E, 0x7F, 0x80, 0x81, 0x7FE, 0x7FF, 0x800, 0x801, 0xFFF, 0x1000, 0x3FFF, 0x4000)
    + (0xCFFF, 0xD000, 0xD7FE, 0xD7FF, 0xE000, 0xE001, 0xFEFF, 0xFFF9, 0xFFFD, 0xFFFE, 0xFFFF)
    + (0x10000, 0x10001, 0x3FFFF, 0x40000, 0xFFFFF, 0x100000, 0x10FFFE, 0x10FFFF)
)
for scalar in BOUNDARIES:
    add(f"valid-{scalar:04x}", text(chr(scalar)), echo_of_text(chr(scalar)))
for plane in range(17):
    noncharacters = "".join(chr(plane << 16 | low) for low in (0xFFFD, 0xFFFE, 0xFFFF))
    add(f"valid-end-of-plane-{plane}", text(noncharacters), echo_of_text(noncharacters))
for scalar in BOUNDARIES[4:]:
    encoded = chr(scalar).encode()
    for at in range(1, len(encoded)):
        add(
            f"split-{scalar:04x}-at-{at}",
            fragments(TEXT, [b"<" + encoded[:at], encoded[at:] + b">"]),
            echo_of_text(b"<" + encoded + b">"),
        )
mixed = "κόσμε \ud7ff\ue000\ufffd\uffff \U00010000\U0010ffff \u0000\u0080\u0800 🧶 ASCII"
for size in (1, 2, 3, 4, 5, 7, 11):
    cutting = pieces_of(mixed.encode(), size)
    add(f"valid-in-{size}s", fragments(TEXT, cutting), echo_of_text(mixed))
for before in (*range(12, 20), *range(28, 36), *range(60, 68), 1000, 4093, 8189):
    words = "x" * before + "é€🧶" + "y" * 40
    add(f"valid-behind-{before}", text(words), echo_of_text(words))
add("valid-byte-order-mark", text("\ufeffbom"), echo_of_text("\ufeffbom"))
add("valid-empty", text(), echo_of_text(b""))
add("valid-large", text("日本語" * 7000), echo_of_text("日本語" * 7000))
add("valid-split-by-a-ping", text(b"\xf0\x9f", fin=False) + ping(b"\xff"), Pong(b"\xff"),
    last(b"\xa7\xb6"), echo_of_text("🧶"))  # fmt: skip
add("valid-split-by-empty-fragments",
    fragments(TEXT, [b"\xf0", b"", b"\x9f", b"", b"", b"\xa7", b"\xb6", b""]),
    echo_of_text("🧶"))  # fmt: skip
add("binary-is-not-validated", binary(bytes(range(256)) * 4), echo_of_binary(bytes(range(256)) * 4))
add("binary-fragments-are-not-validated", fragments(BINARY, [b"\xff", b"\xc0\x80", b"\xed\xa0"]),
    echo_of_binary(b"\xff\xc0\x80\xed\xa0"))  # fmt: skip

# Invalid, and where it is known to be: how many bytes an endpoint needs to have seen

INVALID = {
    "continuation-80": ("80", 1),
    "continuation-bf": ("bf", 1),
    "continuation-80bf": ("80 bf", 1),
    "continuation-three": ("80 bf 80", 1),
    "continuation-after-two": ("c3 a9 80", 3),
    "continuation-after-four": ("f0 9f a7 b6 b6", 5),
    "lead-c2-then-space": ("c2 20", 2),
    "lead-df-then-space": ("df 20", 2),
    "lead-e1-then-space": ("e1 20", 2),
    "lead-ef-then-space": ("ef 20", 2),
    "lead-f1-then-space": ("f1 20", 2),
    "lead-f4-then-space": ("f4 20", 2),
    "lead-twice": ("c3 c3", 2),
    "three-cut-then-space": ("e2 82 20", 3),
    "four-cut-then-space": ("f0 9f 20", 3),
    "four-cut-late-then-space": ("f0 9f a7 20", 4),
    "overlong-c0-80": ("c0 80", 1),
    "overlong-c0-af": ("c0 af", 1),
    "overlong-c1-bf": ("c1 bf", 1),
    "overlong-e0-80-80": ("e0 80 80", 2),
    "overlong-e0-80-af": ("e0 80 af", 2),
    "overlong-e0-9f-bf": ("e0 9f bf", 2),
    "overlong-f0-80-80-80": ("f0 80 80 80", 2),
    "overlong-f0-80-80-af": ("f0 80 80 af", 2),
    "overlong-f0-8f-bf-bf": ("f0 8f bf bf", 2),
    "surrogate-d800": ("ed a0 80", 2),
    "surrogate-db7f": ("ed ad bf", 2),
    "surrogate-db80": ("ed ae 80", 2),
    "surrogate-dbff": ("ed af bf", 2),
    "surrogate-dc00": ("ed b0 80", 2),
    "surrogate-df80": ("ed be 80", 2),
    "surrogate-dfff": ("ed bf bf", 2),
    "surrogate-pair": ("ed a0 bd ed b7 b6", 2),
    "beyond-110000": ("f4 90 80 80", 2),
    "beyond-13ffff": ("f4 bf bf bf", 2),
    "beyond-140000": ("f5 80 80 80", 1),
    "beyond-f6": ("f6 80 80 80", 1),
    "beyond-f7": ("f7 bf bf bf", 1),
    "five-bytes": ("f8 88 80 80 80", 1),
    "five-bytes-last": ("fb bf bf bf bf", 1),
    "six-bytes": ("fc 84 80 80 80 80", 1),
    "six-bytes-last": ("fd bf bf bf bf bf", 1),
    "byte-fe": ("fe", 1),
    "byte-ff": ("ff", 1),
    "byte-order-mark-of-utf16": ("fe ff 00 41", 1),
    "latin-1": ("63 61 66 e9 20", 5),
}
for name, (spelt, known) in INVALID.items():
    bad = bytes.fromhex(spelt)
    add(f"invalid-{name}", text(bad), closed(1007), paths=BOTH)
    add(f"invalid-{name}-within", text(b"x" * 37 + bad + b"y" * 20), closed(1007), paths=BOTH)
    add(f"invalid-{name}-in-bytes", fragments(TEXT, pieces_of(b"a" + bad + b"z", 1)), closed(1007))
    # Fail-fast: what comes after the byte that decides it is never sent.
    add(
        f"fail-fast-{name}-fragment",
        text(b"good ", fin=False) + more(bad[:known]),
        closed(1007),
        paths=BOTH,
    )
    announced = frame(TEXT, b"good " + bad[:known], length=1000)
    add(f"fail-fast-{name}-frame", announced, closed(1007))

for name, spelt in {
    "c3": "c3", "e2": "e2", "e2-82": "e2 82", "f0": "f0", "f0-9f": "f0 9f", "f0-9f-a7": "f0 9f a7",
    "after-a-good-one": "e2 82 ac e2",
}.items():  # fmt: skip
    bad = bytes.fromhex(spelt)
    add(f"truncated-{name}", text(b"end" + bad), closed(1007), paths=BOTH)
    add(f"truncated-{name}-alone", text(bad), closed(1007), paths=BOTH)
    add(f"truncated-{name}-last-fragment", fragments(TEXT, [b"a", b"b" + bad]), closed(1007))
    add(
        f"truncated-{name}-empty-last", fragments(TEXT, [b"a" + bad, b""]), closed(1007), paths=BOTH
    )
    add(f"truncated-{name}-then-a-message", text(bad) + text(b"\xac"), closed(1007))
add("invalid-after-a-good-message", text("é") + text(b"\xe9"), echo_of_text("é"), closed(1007))
add("invalid-at-the-end-of-much", text(b"x" * 60_000 + b"\xed\xa0\x80"), closed(1007))
add("invalid-in-the-first-of-many", text(b"\xff", fin=False) + more(b"x") * 100, closed(1007))
