"""Plays cases over sockets, many at once on one thread. The client side of RFC 6455 and RFC 7692 is
all here: it accepts only what they allow a server to send, and keeps what went over the wire for the
report of a failure."""

import asyncio
import errno
import base64
import json
import random
import ssl
import struct
import zlib
from dataclasses import dataclass

from harness.raw import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, accept_of

from . import offers
from .case import (
    TAIL,
    Answer,
    Case,
    Closed,
    CloseAnswered,
    Ended,
    Event,
    Leave,
    Message,
    Pong,
    Pongs,
    Request,
    frame,
)

AT_ONCE = 64
SECONDS_MAX = 30
"""For one case, on a machine that does much else; all but the largest take milliseconds."""


@dataclass(frozen=True)
class Manner:
    """How all cases of a run are sent: in the pieces they have, byte by byte, or cut at random; and
    what they offer where they do not say it themselves."""

    name: str
    cutting: str
    offer: str | None = None


@dataclass(frozen=True)
class Target:
    """A node to play against."""

    port: int
    token: str
    tls: ssl.SSLContext | None


class Violation(AssertionError):
    """The server did something that it must not, or not what it must."""


def require(holds, what):
    if not holds:
        raise Violation(what)


def shown(data: bytes) -> str:
    cut = f"… ({len(data)} bytes)" if len(data) > 80 else ""
    return data[:80].hex(" ") + cut


def cut(data: bytes, cutting: str, chance: random.Random) -> list[bytes]:
    """Pieces to be sent on their own. Long data is cut finely at both ends only."""
    if cutting == "whole" or len(data) < 2:
        return [data]
    fine = cutting == "bytes"
    pieces, at = [], 0
    while at < len(data):
        left = len(data) - at
        if fine and (at < 300 or left <= 16):
            size = 1
        elif len(data) <= 600:
            size = chance.randint(1, 40)
        else:
            size = min(chance.randint(1, 40 + len(data) // 8), max(1, left - 16))
        pieces.append(data[at : at + size])
        at += size
    return pieces


class Peer(asyncio.Protocol):
    """A client whose every byte the case decides."""

    def __init__(self, target: Target, cutting: str, chance: random.Random):
        self.target, self.cutting, self.chance = target, cutting, chance
        self.unread = bytearray()
        self.log: list[str] = []
        self.ended = self.reset = self.is_open = False
        self.notified = None  # of the end, by TLS itself
        self.changed = asyncio.Event()
        self.key = base64.b64encode(chance.randbytes(16)).decode()
        self.agreement: offers.Agreement | None = None
        self.inflater = None
        self.tls = None
        if target.tls:
            self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            self.tls = target.tls.wrap_bio(
                self.incoming, self.outgoing, server_hostname="127.0.0.1"
            )

    # The stream

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        if self.tls:
            self.incoming.write(data)
            if self.is_open:
                self.decrypt()
        else:
            self.unread += data
        self.changed.set()

    def eof_received(self):
        self.ended = True
        self.changed.set()
        return True

    def connection_lost(self, error):
        self.reset = error is not None and not self.ended
        self.ended = True
        self.changed.set()

    def decrypt(self):
        try:
            while data := self.tls.read(262_144):
                self.unread += data
            self.notified = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.notified = True
        if self.notified:
            self.ended = True

    async def wait(self):
        self.changed.clear()
        await self.changed.wait()

    async def open_tls(self):
        while True:
            try:
                self.tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self.flush()
                require(not self.ended, "the stream ended in the TLS handshake")
                await self.wait()
        self.is_open = True
        self.flush()
        self.decrypt()

    def flush(self):
        if (data := self.outgoing.read()) and not self.transport.is_closing():
            self.transport.write(data)

    async def send(self, data: bytes, cutting=None):
        """Never waits for the server to read: an answer may be what it waits for."""
        self.log.append(f"sent {shown(data)}")
        cutting = cutting or self.cutting
        for piece in cut(data, cutting, self.chance):
            if self.transport.is_closing():
                return
            if not self.tls:
                self.transport.write(piece)
            else:
                self.tls.write(piece)
                records = self.outgoing.read()
                # Records that come in pieces, and pieces that are records of their own.
                for part in cut(records, "cuts" if cutting == "cuts" else "whole", self.chance):
                    if not self.transport.is_closing():
                        self.transport.write(part)
                        await asyncio.sleep(0)
            if cutting != "whole":
                await asyncio.sleep(0)

    def leave(self):
        self.log.append("left")
        if self.tls:
            try:
                self.tls.unwrap()
            except ssl.SSLError:
                pass  # it wants the server's own notice, for which we do not wait
            self.flush()
        if not self.transport.is_closing():
            try:
                self.transport.write_eof()
            except OSError as error:
                # The node was quicker: it has answered and gone, and what it said is still to be read.
                if error.errno != errno.ENOTCONN:
                    raise

    async def take(self, count: int) -> bytes:
        while len(self.unread) < count:
            if self.ended:
                how = "was reset" if self.reset else "ended"
                raise Violation(f"the stream {how}, with {shown(self.unread)} unread")
            await self.wait()
        data = bytes(self.unread[:count])
        del self.unread[:count]
        return data

    async def take_head(self) -> list[str]:
        while (at := self.unread.find(b"\r\n\r\n")) < 0:
            require(not self.ended, f"the stream ended within a head: {shown(self.unread)}")
            await self.wait()
        head = await self.take(at + 4)
        self.log.append(f"got {head.decode('latin-1')!r}")
        return head[:-4].decode("latin-1").split("\r\n")

    async def end(self):
        while not self.ended:
            await self.wait()
        require(not self.unread, f"more came before the end: {shown(self.unread)}")

    # Frames and messages

    async def frame(self) -> tuple[int, bytes, bool, bool]:
        """Opcode, payload, FIN and RSV1 of the next frame, checked as far as one frame can be."""
        first, second = await self.take(2)
        head = bytes((first, second))
        opcode, length = first & 0x0F, second & 0x7F
        if length == 126:
            head += await self.take(2)
            (length,) = struct.unpack("!H", head[2:])
            require(length >= 126, f"length not minimal: {head.hex(' ')}")
        elif length == 127:
            head += await self.take(8)
            (length,) = struct.unpack("!Q", head[2:])
            require(65_536 <= length < 1 << 63, f"length not minimal: {head.hex(' ')}")
        payload = await self.take(length)
        self.log.append(f"got {shown(head + payload)}")
        rsv1 = bool(first & 0x40)
        require(second & 0x80 == 0, "a server must not mask")
        require(first & 0x30 == 0, "RSV2 or RSV3 is set")
        require(opcode in (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG), f"opcode {opcode}")
        require(not rsv1 or self.agreement, "RSV1 is set and nothing was agreed")
        require(not rsv1 or opcode in (TEXT, BINARY), "RSV1 on a frame that begins no message")
        if opcode >= CLOSE:
            require(first & 0x80 and length <= 125, "a control frame fragmented or too long")
        return opcode, payload, bool(first & 0x80), rsv1

    async def message(self) -> tuple[int, bytes, bool]:
        """Type and content of the next message, and whether it came compressed."""
        kind, payload, fin, rsv1 = await self.frame()
        require(kind in (TEXT, BINARY), f"a message was due, not opcode {kind}: {shown(payload)}")
        while not fin:
            opcode, part, fin, _ = await self.frame()
            require(opcode == CONTINUATION, f"opcode {opcode} within a message")
            payload += part
        return kind, self.inflate(payload) if rsv1 else payload, rsv1

    def inflate(self, payload: bytes) -> bytes:
        if not self.inflater or not self.agreement.server_takeover:
            self.inflater = zlib.decompressobj(-self.agreement.server_bits)
        try:
            return self.inflater.decompress(payload + TAIL)
        except zlib.error as error:
            raise Violation(f"what the server compressed does not inflate: {error}") from None

    # A case

    async def handshake(self, case: Case, path: str, offer: str | None):
        headers = [("Sec-WebSocket-Extensions", offer)] if offer else []
        request = Request(path, {"headers": headers})
        await self.request(request, "whole")
        await self.answer(Answer(), offer)
        if case.agreed is not None:
            require(bool(self.agreement) == case.agreed, f"{offer!r} led to {self.agreement}")
        if path == "/ws":
            await self.event(Event("connected"))

    async def request(self, request: Request, cutting=None):
        self.key = request.how.get("key") or self.key
        await self.send(request.head(self.target.port, self.target.token, self.key), cutting)

    async def answer(self, expected: Answer, offer: str | None = None):
        line, *lines = await self.take_head()
        version, status, *_ = line.split(" ", 2)
        require(version == "HTTP/1.1", line)
        statuses = (expected.status,) if isinstance(expected.status, int) else expected.status
        require(int(status) in statuses, f"{line}, not {statuses}")
        headers = {}
        for field in lines:
            name, colon, value = field.partition(":")
            require(colon and name and name == name.strip(), f"malformed header {field!r}")
            require(name.lower() not in headers, f"{name} comes twice")
            headers[name.lower()] = value.strip()
        for name, value in expected.headers.items():
            found = headers.get(name)
            require(found == value, f"{name} is {found!r}, not {value!r}")
        if int(status) != 101:
            self.unread.clear()  # a body that is no concern of ours
            return
        require(headers.get("upgrade", "").lower() == "websocket", "Upgrade")
        require(headers.get("connection", "").lower() == "upgrade", "Connection")
        accept = headers.get("sec-websocket-accept")
        require(accept == accept_of(self.key), f"{accept!r} is not the accept of {self.key}")
        self.agreement = offers.agreement(offer, headers.get("sec-websocket-extensions"))

    async def event(self, expected: Event):
        kind, payload, _ = await self.message()
        require(kind == TEXT, f"binary on the relay: {shown(payload)}")
        event = json.loads(payload.decode())
        require(event["type"] == expected.type, f"{event} where {expected.type} was due")
        if expected.data is not None:
            require(expected.data.items() <= event["data"].items(), f"{event}: not {expected.data}")

    async def close_frame(self, codes) -> bytes:
        opcode, payload, *_ = await self.frame()
        require(opcode == CLOSE, f"opcode {opcode} where a close was due: {shown(payload)}")
        require(len(payload) != 1, "half a close code")
        code = struct.unpack("!H", payload[:2])[0] if payload else None
        payload[2:].decode()
        require(code in codes, f"closed with {code} {payload[2:]!r}, not {codes}")
        return payload

    async def play(self, step):
        match step:
            case bytes():
                await self.send(step)
            case Request():
                await self.request(step)
            case Leave():
                self.leave()
            case Answer():
                await self.answer(step)
            case Message():
                kind, payload, compressed = await self.message()
                require(kind == step.opcode, f"opcode {kind}, not {step.opcode}")
                require(payload == step.payload, f"{shown(payload)} is not what was sent")
                if step.compressed is not None:
                    require(compressed == step.compressed, f"compressed: {compressed}")
            case Event():
                await self.event(step)
            case Pong():
                opcode, payload, *_ = await self.frame()
                require((opcode, payload) == (PONG, step.payload), f"no pong of {step.payload!r}")
            case Pongs():
                await self.pongs(step)
            case Closed():
                payload = await self.close_frame(step.codes)
                await self.send(frame(CLOSE, payload))
                await self.end()
            case CloseAnswered():
                await self.close_frame(step.codes)
                await self.end()
                require(not step.clean or not self.reset, "reset, though all had been read")
                if self.tls and step.clean:
                    require(self.notified, "TLS ended without a notice")
            case Ended():
                while not self.ended or self.unread:
                    if self.unread:
                        opcode, payload, *_ = await self.frame()
                        require(opcode == CLOSE, f"opcode {opcode} before the end")
                    else:
                        await self.wait()

    async def pongs(self, step: Pongs):
        due = iter(step.payloads)
        while True:
            opcode, payload, *_ = await self.frame()
            require(opcode == PONG, f"opcode {opcode} where a pong was due")
            require(payload in due, f"pong of {payload!r}: out of order, or of no ping")
            if payload == step.payloads[-1]:
                return


async def play(case: Case, path: str, target: Target, manner: Manner) -> str | None:
    """What is wrong with the server, or None."""
    chance = random.Random(f"{case.id} {manner.name}")
    step = "connecting"
    peer = Peer(target, "whole" if case.uncut else manner.cutting, chance)
    transport = None
    try:
        async with asyncio.timeout(SECONDS_MAX):
            loop = asyncio.get_running_loop()
            transport, _ = await loop.create_connection(lambda: peer, "127.0.0.1", target.port)
            if target.tls:
                await peer.open_tls()
            if case.opened:
                step = "the handshake"
                offer = case.offer or (None if case.plain else manner.offer)
                await peer.handshake(case, path, offer)
            for step in case.script:
                await peer.play(step)
        return None
    except (AssertionError, TimeoutError, OSError, ValueError, KeyError, ssl.SSLError) as error:
        what = "nothing came" if isinstance(error, TimeoutError) else str(error) or repr(error)
        said = shown(step) if isinstance(step, bytes) else repr(step)[:200]
        wire = "\n    ".join(peer.log[-12:])
        return f"{case.id} on {path}: {what}\n  at {said}\n    {wire}"
    finally:
        if transport:
            transport.abort()


async def play_all(cases, target_of, manner: Manner) -> list[str]:
    """Failures of `cases` on all their endpoints; `target_of` names the node for a profile."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(case, path):
        async with gate:
            return await play(case, path, target_of(case.profile), manner)

    outcomes = await asyncio.gather(*(one(case, path) for case in cases for path in case.paths))
    return [outcome for outcome in outcomes if outcome]
