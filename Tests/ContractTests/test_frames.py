"""RFC 6455 at the level of frames, the same for `/ws` and the echo endpoint: what is a violation and
which close code it earns, what is not, and how closing goes."""

import json
import os
import struct

import pytest

from harness.raw import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    close_payload,
    frame_bytes,
)

LIMIT = 65_536
PATHS = ["/ws", "/echo"]


@pytest.fixture(params=PATHS)
def raw(request, node, name, open_raw):
    """A raw socket on either endpoint."""
    socket = open_raw(node, name(), request.param)
    socket.path = request.param
    return socket


def ping_text(n=1) -> bytes:
    """A relay message whose answer is known, and that the echo endpoint just returns."""
    return json.dumps({"type": "ping", "data": {"timestamp": n}}).encode()


def expect_answer(raw, n=1):
    message = raw.read_message()
    assert message.opcode == TEXT
    if raw.path == "/echo":
        assert message.payload == ping_text(n)
    else:
        event = json.loads(message.payload)
        assert (event["type"], event["data"]) == ("pong", {"timestamp": n})


def still_serves(raw, n=99):
    raw.frame(TEXT, ping_text(n))
    expect_answer(raw, n)


# Violations


@pytest.mark.parametrize("opcode", [TEXT, BINARY, PING, PONG, CLOSE])
@pytest.mark.parametrize("payload", [b"", b"hello"])
def test_unmasked(raw, opcode, payload):
    raw.frame(opcode, close_payload(1000) if opcode == CLOSE and payload else payload, mask=False)
    raw.expect_close(1002)


@pytest.mark.parametrize("rsv", range(1, 8))
@pytest.mark.parametrize("opcode", [TEXT, PING, CLOSE])
def test_reserved_bits(raw, rsv, opcode):
    raw.frame(opcode, rsv=rsv)
    raw.expect_close(1002)


@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
def test_reserved_opcodes(raw, opcode):
    raw.frame(opcode, b"x")
    raw.expect_close(1002)


@pytest.mark.parametrize("opcode", [PING, PONG, CLOSE])
@pytest.mark.parametrize("size", [126, 127, 1000, 70_000])
def test_control_frames_over_125_bytes(raw, opcode, size):
    raw.frame(opcode, close_payload(1000, b"x" * (size - 2)))
    raw.expect_close(1002)


@pytest.mark.parametrize("opcode", [PING, PONG, CLOSE])
def test_fragmented_control_frames(raw, opcode):
    raw.frame(opcode, b"", fin=False)
    raw.expect_close(1002)


@pytest.mark.parametrize(
    "length, form", [(0, 16), (1, 16), (125, 16), (0, 64), (125, 64), (126, 64), (65_535, 64)]
)
def test_lengths_that_are_not_minimal(raw, length, form):
    raw.send(frame_bytes(TEXT, b"", length=length, form=form))
    raw.expect_close(1002)


def test_control_length_that_is_not_minimal(raw):
    raw.send(frame_bytes(PING, b"x" * 10, form=16))
    raw.expect_close(1002)


@pytest.mark.parametrize("payload", [b"", b"x"])
def test_continuation_of_nothing(raw, payload):
    for fin in (True, False):
        raw.frame(CONTINUATION, payload, fin=fin)
    raw.expect_close(1002)


def test_continuation_after_a_finished_message(raw):
    raw.frame(TEXT, ping_text()[:5], fin=False)
    raw.frame(CONTINUATION, ping_text()[5:])
    expect_answer(raw)
    raw.frame(CONTINUATION, b"x")
    raw.expect_close(1002)


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_a_message_within_a_message(raw, opcode):
    raw.frame(TEXT, b'{"type"', fin=False)
    raw.frame(opcode, b"x")
    # A binary frame on /ws is refused for two reasons; this one is the protocol's.
    raw.expect_close(1002, *([1003] if raw.path == "/ws" and opcode == BINARY else []))


# Size


def test_too_large_by_its_header_alone(raw):
    """Not a byte of the body is sent, and none is waited for."""
    raw.send(frame_bytes(TEXT, b"", length=LIMIT + 1))
    raw.expect_close(1009)


@pytest.mark.parametrize("length", [1 << 20, 1 << 31, 1 << 32, (1 << 63) - 1])
def test_absurd_sizes(raw, length):
    raw.send(frame_bytes(TEXT, b"", length=length))
    raw.expect_close(1009)


@pytest.mark.parametrize("length", [1 << 63, (1 << 64) - 1])
def test_a_length_with_its_highest_bit_set(raw, length):
    raw.send(frame_bytes(TEXT, b"", length=length))
    raw.expect_close(1002, 1009)


def test_one_byte_over(raw):
    raw.frame(TEXT, b"x" * (LIMIT + 1))
    raw.expect_close(1009)


@pytest.mark.parametrize("pieces", [[LIMIT, 1], [1] * 10 + [LIMIT - 9], [30_000] * 3])
def test_fragments_too_large_together(raw, pieces):
    """Told by the header of the fragment that is one too many."""
    raw.frame(TEXT, b"x" * pieces[0], fin=False)
    for size in pieces[1:-1]:
        raw.frame(CONTINUATION, b"x" * size, fin=False)
    raw.send(frame_bytes(CONTINUATION, b"", length=pieces[-1]))
    raw.expect_close(1009)


def test_fragments_of_the_full_size(raw):
    message = b" " * (LIMIT - len(ping_text())) + ping_text()
    raw.frame(TEXT, message[:30_000], fin=False)
    raw.frame(CONTINUATION, message[30_000:60_000], fin=False)
    raw.frame(CONTINUATION, message[60_000:])
    answer = raw.read_message()
    assert answer.payload == message if raw.path == "/echo" else b'"pong"' in answer.payload
    still_serves(raw)


def test_the_full_size(raw):
    message = b" " * (LIMIT - len(ping_text())) + ping_text()
    raw.frame(TEXT, message)
    answer = raw.read_message()
    assert answer.payload == message if raw.path == "/echo" else b'"pong"' in answer.payload
    still_serves(raw)


def test_the_limit_is_configurable(start, io, name, open_raw):
    node = start(io=io, env={"WS_MAX_MESSAGE_SIZE": "1000", "WS_ECHO_PATH": "/echo"})
    for path in PATHS:
        raw = open_raw(node, name(), path)
        raw.path = path
        raw.frame(TEXT, b" " * (1000 - len(ping_text())) + ping_text())
        raw.read_message()
        still_serves(raw)
        raw.send(frame_bytes(TEXT, b"", length=1001))
        raw.expect_close(1009)


# Text


BAD_TEXT = {
    "stray continuation": b"ab\x80cd",
    "start without continuation": b"\xc3\x28",
    "overlong slash": b"\xc0\xaf",
    "overlong in three": b"\xe0\x80\xaf",
    "overlong in four": b"\xf0\x80\x80\xaf",
    "surrogate": b"\xed\xa0\x80",
    "surrogate pair": b"\xed\xa0\xbd\xed\xb8\x80",
    "beyond Unicode": b"\xf4\x90\x80\x80",
    "five bytes": b"\xf8\x88\x80\x80\x80",
    "ff": b"\xff",
    "fe": b"\xfe\xfe",
    "cut at the end": b'{"type":"ping"}\xe2\x82',
    "after much ASCII": b"x" * 1000 + b"\x80",
    "across a block": b"x" * 15 + b"\xed\xa0\x80" + b"x" * 30,
}


@pytest.mark.parametrize("what", BAD_TEXT)
def test_bad_utf8(raw, what):
    raw.frame(TEXT, BAD_TEXT[what])
    raw.expect_close(1007)


@pytest.mark.parametrize("what", BAD_TEXT)
def test_bad_utf8_byte_by_byte(raw, what):
    """In fragments of one byte. The close may come before the last of them."""
    text = BAD_TEXT[what][-60:]
    for index in range(len(text)):
        opcode, fin = CONTINUATION if index else TEXT, index == len(text) - 1
        raw.send_whatever_happens(frame_bytes(opcode, text[index : index + 1], fin=fin))
    raw.expect_close(1007)


GOOD_TEXT = "κόσμε \ud7ff\ue000\ufffd\uffff \U00010000\U0010ffff \u0000\u0080\u0800 🧶".encode()


def test_good_utf8_however_it_is_cut(node, name, open_raw):
    raw = open_raw(node, name(), "/echo")
    for cut in range(1, len(GOOD_TEXT)):
        raw.frame(TEXT, GOOD_TEXT[:cut], fin=False)
        raw.frame(CONTINUATION, GOOD_TEXT[cut:])
        assert raw.read_message().payload == GOOD_TEXT


def test_binary_on_ws(node, name, open_raw):
    for payload in (b"", b"\x00\xff", b'{"type":"ping"}'):
        raw = open_raw(node, name())
        raw.frame(BINARY, payload)
        raw.expect_close(1003)


def test_fragmented_binary_on_ws(node, name, open_raw):
    raw = open_raw(node, name())
    raw.frame(BINARY, b"x", fin=False)
    raw.send_whatever_happens(frame_bytes(CONTINUATION, b"y"))
    raw.expect_close(1003)


# Fragments and control frames


def test_a_fragmented_text_with_a_ping_in_between(raw):
    raw.frame(TEXT, ping_text()[:7], fin=False)
    raw.frame(PING, b"between")
    frame = raw.read_frame()
    assert (frame.opcode, frame.payload) == (PONG, b"between"), "before the message is whole"
    raw.frame(PONG, b"unasked")
    raw.frame(CONTINUATION, b"", fin=False)
    raw.frame(CONTINUATION, ping_text()[7:-1], fin=False)
    raw.frame(CONTINUATION, ping_text()[-1:])
    expect_answer(raw)


def test_fragments_of_one_byte(raw):
    text = ping_text()
    for index in range(len(text)):
        raw.frame(CONTINUATION if index else TEXT, text[index : index + 1], fin=False)
    raw.frame(CONTINUATION)
    expect_answer(raw)


def test_many_empty_fragments(raw):
    raw.frame(TEXT, b"", fin=False)
    raw.send(frame_bytes(CONTINUATION, b"", fin=False) * 5000)
    raw.frame(CONTINUATION, ping_text())
    expect_answer(raw)


@pytest.mark.parametrize("payload", [b"", b"x", bytes(range(125))])
def test_ping_is_answered_with_its_payload(raw, payload):
    raw.frame(PING, payload)
    frame = raw.read_frame()
    assert (frame.opcode, frame.payload) == (PONG, payload)


def test_pings_in_a_row(raw):
    """Each is answered, in order; the RFC would allow answering the last alone."""
    raw.send(b"".join(frame_bytes(PING, str(n).encode()) for n in range(100)))
    numbers = []
    while not numbers or numbers[-1] != 99:
        frame = raw.read_frame()
        assert frame.opcode == PONG
        numbers.append(int(frame.payload))
    assert numbers == sorted(set(numbers))


def test_unasked_pongs_are_ignored(raw):
    for payload in (b"", b"hello", b"x" * 125):
        raw.frame(PONG, payload)
    still_serves(raw)


def test_a_frame_byte_by_byte(raw):
    for byte in frame_bytes(TEXT, ping_text()):
        raw.send(bytes([byte]))
    expect_answer(raw)


def test_many_frames_in_one_packet(raw):
    raw.send(b"".join(frame_bytes(TEXT, ping_text(n)) for n in range(200)))
    for n in range(200):
        expect_answer(raw, n)


@pytest.mark.parametrize("cut", [1, 2, 3, 5, 6, 7, 9, 13, 20])
def test_frames_cut_at_odd_places(raw, cut):
    stream = b"".join(
        frame_bytes(TEXT, b" " * pad + ping_text(n)) for n, pad in enumerate((0, 150, 70, 3000))
    )
    for at in range(0, len(stream), 50 + cut):
        raw.send(stream[at : at + 50 + cut])
    for n, pad in enumerate((0, 150, 70, 3000)):
        answer = raw.read_message().payload
        assert json.loads(answer)["data"]["timestamp"] == n
        if raw.path == "/echo":
            assert answer == b" " * pad + ping_text(n)


def test_zero_and_full_masks(raw):
    for key in (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x01\0\0\x80"):
        text = ping_text()
        mixed = bytes(byte ^ key[index % 4] for index, byte in enumerate(text))
        raw.send(bytes([0x81, 0x80 | len(text)]) + key + mixed)
        expect_answer(raw)


# Closing


@pytest.mark.parametrize(
    "code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999]
)
@pytest.mark.parametrize("reason", ["", "bye", "é" * 61])
def test_close_is_answered_with_its_code(raw, code, reason):
    raw.frame(CLOSE, close_payload(code, reason))
    frame = raw.read_frame()
    assert frame.opcode == CLOSE
    assert frame.code == code
    raw.expect_end()


def test_empty_close(raw):
    raw.frame(CLOSE)
    frame = raw.read_frame()
    assert frame.opcode == CLOSE
    assert frame.code in (None, 1000)
    raw.expect_end()


@pytest.mark.parametrize("code", [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535])
def test_invalid_close_codes(raw, code):
    raw.frame(CLOSE, close_payload(code))
    raw.expect_close(1002)


@pytest.mark.parametrize(
    "payload",
    [b"\x03", close_payload(1000, b"\xff"), close_payload(1000, b"ok \xed\xa0\x80"), close_payload(1000, b"\xc3")],
    ids=["one byte", "not UTF-8", "surrogate", "cut"],
)
def test_invalid_close_payloads(raw, payload):
    raw.frame(CLOSE, payload)
    raw.expect_close(1002)


def test_what_comes_before_a_close_is_answered(raw):
    raw.send(
        frame_bytes(TEXT, ping_text(1))
        + frame_bytes(TEXT, ping_text(2))
        + frame_bytes(CLOSE, close_payload(1000))
    )
    expect_answer(raw, 1)
    expect_answer(raw, 2)
    raw.expect_close(1000)


def test_what_comes_after_a_close_is_not(raw):
    raw.send(frame_bytes(CLOSE, close_payload(1000)) + frame_bytes(TEXT, ping_text()))
    assert raw.read_frame().opcode == CLOSE
    raw.expect_end()


def test_a_close_within_a_fragmented_message(raw):
    raw.frame(TEXT, b"begun", fin=False)
    raw.frame(CLOSE, close_payload(1001))
    raw.expect_close(1001)


def test_closing_without_a_close_frame(node, raw, name, open_raw):
    """A half-closed or reset stream ends that connection alone."""
    raw.socket.shutdown(1)
    raw.read_to_end()
    other = open_raw(node, name(), raw.path)
    other.path = raw.path
    linger = struct.pack("ii", 1, 0)
    reset = open_raw(node, name(), raw.path)
    reset.frame(TEXT, ping_text())
    reset.socket.setsockopt(1, 13, linger)  # SOL_SOCKET, SO_LINGER: close with a reset
    reset.close()
    still_serves(other)


def test_closes_are_counted_by_code(node, name, open_raw):
    before = node.metrics().total("skein_closes_total", code="1009")
    raw = open_raw(node, name())
    raw.send(frame_bytes(TEXT, b"", length=LIMIT + 1))
    raw.expect_close(1009)
    assert node.metrics().total("skein_closes_total", code="1009") == before + 1


# Echo


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 4096, 65_535, 65_536])
def test_echo(node, name, open_raw, opcode, size):
    raw = open_raw(node, name(), "/echo")
    payload = os.urandom(size)
    if opcode == TEXT:
        payload = ("aé日🧶" * size).encode()[:size].decode(errors="ignore").encode().ljust(size)
    raw.frame(opcode, payload)
    message = raw.read_message()
    assert message.opcode == opcode
    assert message.payload == payload


def test_echo_of_fragments(node, name, open_raw):
    raw = open_raw(node, name(), "/echo")
    for opcode in (TEXT, BINARY):
        raw.frame(opcode, b"one ", fin=False)
        raw.frame(CONTINUATION, b"two ", fin=False)
        raw.frame(CONTINUATION, b"three")
        message = raw.read_message()
        assert (message.opcode, message.payload) == (opcode, b"one two three")


def test_echo_keeps_order_under_load(node, name, open_raw):
    """More than the sockets hold at once, read while it is written."""
    raw = open_raw(node, name(), "/echo")
    payloads = [struct.pack("!I", n) + os.urandom(n * 37 % 5000) for n in range(600)]
    for at in range(0, 600, 50):
        raw.send(b"".join(frame_bytes(BINARY, payload) for payload in payloads[at : at + 50]))
        for payload in payloads[at : at + 50]:
            assert raw.read_message().payload == payload


def test_echo_obeys_no_message_rate(start, io, name, open_raw):
    """Not even where the rate is the default one, which 400 messages at once would break."""
    node = start(io=io, env={"WS_MESSAGE_RATE": None, "WS_ECHO_PATH": "/other-echo"})
    raw = open_raw(node, name(), "/other-echo")
    raw.send(frame_bytes(TEXT, b"x") * 400)
    for _ in range(400):
        assert raw.read_message().payload == b"x"
