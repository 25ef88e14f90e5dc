"""Conversations drawn by lot: messages of all sizes in any fragments, control frames anywhere between
them, and at the end a close or a violation. The order of all answers is known."""

import random

from harness.raw import BINARY, CLOSE, CONTINUATION, TEXT

from ..case import (
    COMPRESSED,
    Group,
    Message,
    Pong,
    answered,
    close,
    closed,
    deflated,
    frame,
    ping,
    pong,
)
from .negotiation import OFFER

group = Group("sessions")

SIZES = (0, 1, 2, 7, 20, 125, 126, 127, 500, 4000, 20_000, 65_535, 65_536)
LETTERS = "abc é߿ࠀ€\uffff𐀀🧶\U0010ffff"


def payload(chance: random.Random, opcode: int) -> bytes:
    size = chance.choices(SIZES, weights=range(len(SIZES), 0, -1))[0]
    if opcode == BINARY:
        return chance.randbytes(size)
    words = "".join(chance.choices(LETTERS, k=size // 2)).encode()[:size]
    return words.decode(errors="ignore").encode().ljust(size)


def session(seed: int, compresses: bool) -> tuple:
    chance = random.Random(seed)
    sent, due = [], []

    def control():
        body = chance.randbytes(chance.choice((0, 1, 4, 60, 125)))
        if chance.random() < 0.7:
            sent.append(ping(body))
            due.append(Pong(body))
        else:
            sent.append(pong(body))

    for _ in range(chance.randint(1, 12)):
        while chance.random() < 0.3:
            control()
        opcode = chance.choice((TEXT, BINARY))
        content = payload(chance, opcode)
        is_compressed = compresses and chance.random() < 0.7
        body = deflated(content, level=chance.randint(0, 9)) if is_compressed else content
        if len(body) > 65_536:
            is_compressed, body = False, content
        cuts = sorted(chance.randint(0, len(body)) for _ in range(chance.choice((0, 0, 1, 2, 9))))
        edges = [0, *cuts, len(body)]
        for index in range(len(edges) - 1):
            is_first, is_last = index == 0, index == len(edges) - 2
            sent.append(
                frame(
                    opcode if is_first else CONTINUATION,
                    body[edges[index] : edges[index + 1]],
                    fin=is_last,
                    rsv=COMPRESSED if is_first and is_compressed else 0,
                )
            )
            if not is_last and chance.random() < 0.3:
                control()
        due.append(Message(opcode, content))
    end, answer = chance.choice(
        [
            (close(), answered(None, 1000)),
            (close(1000, "bye"), answered(1000)),
            (close(4999), answered(4999)),
            (frame(chance.randint(3, 7)), closed(1002)),
            (frame(TEXT, rsv=2), closed(1002)),
            (frame(TEXT, b"x", mask=False), closed(1002)),
            (frame(CONTINUATION, b"x"), closed(1002)),
            (frame(TEXT, b"", length=65_537), closed(1009)),
            (frame(TEXT, b"\xff"), closed(1007)),
            (frame(CLOSE, b"\x03"), closed(1002)),
        ]
    )
    return b"".join(sent) + end, *due, answer


for seed in range(120):
    group.add(f"seed-{seed}", *session(seed, compresses=False))

zipped = Group("sessions-compressed", offer=OFFER, agreed=True)
for seed in range(120):
    zipped.add(f"seed-{seed}", *session(seed, compresses=True))
