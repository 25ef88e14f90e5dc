"""HTTP/1.1 on a bare socket: requests may be as malformed as a test likes, responses may not."""

import json
import socket
from dataclasses import dataclass, field


@dataclass
class Response:
    status: int
    headers: dict = field(default_factory=dict)
    body: bytes = b""

    def json(self):
        return json.loads(self.body)


class Closed(Exception):
    """The other side closed, or reset, before what was waited for had come."""


class Wire:
    """A TCP connection with a reader that remembers what it has not used yet."""

    def __init__(self, port, host="127.0.0.1", source=None, receive_buffer=None, segment=None, timeout=15.0):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if receive_buffer:  # before connecting: it decides the window that is offered
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if segment:  # what the other side may have under way is measured in these
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, segment)
        if source:
            self.socket.bind((source, 0))
        self.socket.settimeout(timeout)
        try:
            self.socket.connect((host, port))
        except BaseException:
            self.socket.close()
            raise
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.unread = bytearray()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def send(self, data: bytes):
        self.socket.sendall(data)

    def send_whatever_happens(self, data: bytes):
        """Sends to a peer that may well have closed already."""
        try:
            self.socket.sendall(data)
        except OSError:
            pass

    def fill(self):
        """Reads more; raises `Closed` at the end."""
        try:
            data = self.socket.recv(262_144)
        except TimeoutError:
            raise AssertionError(
                f"nothing came in {self.socket.gettimeout():g} s; unread: {bytes(self.unread)!r}"
            ) from None
        except OSError as error:
            raise Closed(str(error)) from None
        if not data:
            raise Closed(f"closed with {len(self.unread)} bytes unread")
        self.unread += data

    def take(self, count: int) -> bytes:
        while len(self.unread) < count:
            self.fill()
        data = bytes(self.unread[:count])
        del self.unread[:count]
        return data

    def take_until(self, mark: bytes) -> bytes:
        while (at := self.unread.find(mark)) < 0:
            self.fill()
        return self.take(at + len(mark))

    def read_to_end(self) -> bytes:
        """All that comes until the other side closes."""
        try:
            while True:
                self.fill()
        except Closed:
            data = bytes(self.unread)
            self.unread.clear()
            return data

    def expect_end(self):
        rest = self.read_to_end()
        assert rest == b"", f"expected the end, got {rest[:200]!r}"

    def response(self) -> Response:
        head = self.take_until(b"\r\n\r\n")[:-4].decode("latin-1").split("\r\n")
        version, status, *_ = head[0].split(" ", 2)
        assert version == "HTTP/1.1", head[0]
        headers = {}
        for line in head[1:]:
            name, colon, value = line.partition(":")
            assert colon and name and name == name.strip(), f"malformed header {line!r}"
            headers[name.lower()] = value.strip()
        response = Response(int(status), headers)
        if "content-length" in headers:
            response.body = self.take(int(headers["content-length"]))
        elif headers.get("transfer-encoding", "").lower() == "chunked":
            response.body = self.chunks()
        elif response.status >= 200 and response.status not in (204, 304):
            response.body = self.read_to_end()
        return response

    def chunks(self) -> bytes:
        body = b""
        while size := int(self.take_until(b"\r\n").split(b";")[0], 16):
            body += self.take(size)
            self.take(2)
        self.take_until(b"\r\n")
        return body


def request(port, method, path, body=None, headers=None, timeout=15.0, source=None) -> Response:
    """One well-formed request on a connection of its own."""
    payload = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    if body is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(payload)}"]
    with Wire(port, source=source, timeout=timeout) as wire:
        wire.send("\r\n".join([*lines, "", ""]).encode() + payload)
        return wire.response()
