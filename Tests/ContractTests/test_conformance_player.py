"""The player objects to what a server must not send: stub servers that answer one case wrongly, each
in its own way, and one that answers it well."""

import asyncio

import pytest

from conformance.case import Case, answered, close, closed, echo_of_text, text
from conformance.player import Manner, Target, play
from harness.raw import CLOSE, CONTINUATION, PING, PONG, TEXT, accept_of, close_payload, frame_bytes

ECHO = frame_bytes(TEXT, b"hello", mask=False)
CLOSE_ANSWER = frame_bytes(CLOSE, close_payload(1000), mask=False)
WHOLE = Manner("whole", "whole")
CASE = Case("stub/echo", (text(b"hello") + close(1000), echo_of_text(b"hello"), answered(1000)))


def plain(opcode, payload=b"", **how) -> bytes:
    return frame_bytes(opcode, payload, mask=False, **how)


async def outcome(answer: bytes, *, case=CASE, head=b"", accept=None, manner=WHOLE):
    """What the player says of a server that sends `answer` whatever comes."""

    async def serve(reader, writer):
        request = await reader.readuntil(b"\r\n\r\n")
        key = request.split(b"Sec-WebSocket-Key: ")[1].split(b"\r\n")[0].decode()
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: %s\r\n%s\r\n" % ((accept or accept_of(key)).encode(), head)
        )
        await reader.read(1000)
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        return await play(case, "/echo", Target(port, "token", None), manner)


@pytest.mark.parametrize(
    "answer",
    [
        ECHO + CLOSE_ANSWER,
        plain(TEXT, b"he", fin=False) + plain(CONTINUATION, b"llo") + CLOSE_ANSWER,
    ],
    ids=["whole", "fragmented"],
)
def test_a_good_answer(answer):
    assert asyncio.run(outcome(answer)) is None


@pytest.mark.parametrize(
    "what, answer",
    {
        "must not mask": frame_bytes(TEXT, b"hello") + CLOSE_ANSWER,
        "RSV1": plain(TEXT, b"hello", rsv=4) + CLOSE_ANSWER,
        "RSV2": plain(TEXT, b"hello", rsv=2) + CLOSE_ANSWER,
        "opcode 3": plain(3) + ECHO + CLOSE_ANSWER,
        "not minimal": plain(TEXT, b"hello", form=16) + CLOSE_ANSWER,
        "fragmented or too long": plain(PING, fin=False) + ECHO + CLOSE_ANSWER,
        "a message was due, not opcode 10": plain(PONG) + ECHO + CLOSE_ANSWER,
        "opcode 0": plain(CONTINUATION, b"hello") + CLOSE_ANSWER,
        "within a message": plain(TEXT, b"he", fin=False) + ECHO + CLOSE_ANSWER,
        "not what was sent": plain(TEXT, b"hellO") + CLOSE_ANSWER,
        "opcode 2, not 1": plain(2, b"hello") + CLOSE_ANSWER,
        "opcode 1 where a close was due": ECHO + ECHO + CLOSE_ANSWER,
        "closed with 1001": ECHO + plain(CLOSE, close_payload(1001)),
        "closed with None": ECHO + plain(CLOSE),
        "half a close code": ECHO + plain(CLOSE, b"\x03"),
        "can't decode": ECHO + plain(CLOSE, close_payload(1000, b"\xff")),
        "more came before the end": ECHO + CLOSE_ANSWER + plain(PONG),
        "the stream ended": ECHO,
    }.items(),
)
def test_a_bad_answer(what, answer):
    assert what in str(asyncio.run(outcome(answer)))


@pytest.mark.parametrize(
    "what, how",
    [
        ("is not the accept of", {"accept": "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="}),
        ("was not asked for", {"head": b"Sec-WebSocket-Extensions: permessage-deflate\r\n"}),
        ("Upgrade comes twice", {"head": b"Upgrade: websocket\r\n"}),
    ],
)
def test_a_bad_handshake(what, how):
    assert what in str(asyncio.run(outcome(ECHO + CLOSE_ANSWER, **how)))


@pytest.mark.parametrize(
    "offer, chosen, what",
    [
        ("permessage-deflate", "permessage-deflate", None),
        ("permessage-deflate", "permessage-deflate; server_no_context_takeover", None),
        ("permessage-deflate", "permessage-deflate; client_max_window_bits=10", "no offer"),
        ("permessage-deflate; server_no_context_takeover", "permessage-deflate", "no offer"),
        ("permessage-deflate; server_max_window_bits=10", "permessage-deflate", "no offer"),
        (
            "permessage-deflate; server_max_window_bits=10",
            "permessage-deflate; server_max_window_bits=11",
            "no offer",
        ),
        (
            "permessage-deflate; client_max_window_bits",
            "permessage-deflate; client_max_window_bits",
            "client_max_window_bits:",
        ),
        ("permessage-deflate; bogus", "permessage-deflate", "no offer"),
        ("permessage-deflate", "permessage-deflate; bogus", "bogus"),
        ("permessage-deflate", "x-other", "x-other"),
    ],
)
def test_answers_to_offers(offer, chosen, what):
    head = b"Sec-WebSocket-Extensions: %s\r\n" % chosen.encode()
    manner = Manner("offered", "whole", offer)
    said = asyncio.run(outcome(ECHO + CLOSE_ANSWER, head=head, manner=manner))
    assert said is None if what is None else what in str(said)


def test_what_does_not_inflate():
    head = b"Sec-WebSocket-Extensions: permessage-deflate\r\n"
    manner = Manner("offered", "whole", "permessage-deflate")
    answer = plain(TEXT, b"\x07", rsv=4) + CLOSE_ANSWER
    assert "does not inflate" in str(asyncio.run(outcome(answer, head=head, manner=manner)))


def test_a_close_that_does_not_come():
    case = Case("stub/closed", (text(b"hello"), closed(1002)))
    assert "a close was due" in str(asyncio.run(outcome(ECHO, case=case)))
