"""TLS by hand: a client that sees the very bytes on the wire, and may send any between its records."""

import socket
import ssl

from .raw import upgrade_request

ALERT = 21


def records(data: bytes) -> list[tuple[int, bytes]]:
    """Type and inside of each record; fails where `data` is anything but whole records."""
    found, offset = [], 0
    while offset < len(data):
        kind, major = data[offset], data[offset + 1]
        assert kind in (20, 21, 22, 23) and major == 3, f"no record at {offset}: {data[offset:][:40]!r}"
        length = int.from_bytes(data[offset + 3 : offset + 5], "big")
        assert offset + 5 + length <= len(data), f"a record of {length} bytes is cut at {len(data)}"
        found.append((kind, data[offset + 5 : offset + 5 + length]))
        offset += 5 + length
    return found


class SealedSocket:
    """A TCP connection and a TLS session beside it, with the test in between."""

    def __init__(self, port, context, *, name="localhost", timeout=15.0, receive_buffer=None):
        self.port = port
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(timeout)
        self.socket.connect(("127.0.0.1", port))
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.session = context.wrap_bio(self.incoming, self.outgoing, server_hostname=name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def begin(self):
        """Sends the first flight of the handshake and no more."""
        try:
            self.session.do_handshake()
        except ssl.SSLWantReadError:
            self.flush()

    def flush(self):
        if data := self.outgoing.read():
            self.socket.sendall(data)

    def until_done(self, call):
        while True:
            try:
                result = call()
                self.flush()
                return result
            except ssl.SSLWantReadError:
                self.flush()
                data = self.socket.recv(65_536)
                if not data:
                    raise ConnectionError("closed") from None
                self.incoming.write(data)

    def shake_hands(self):
        self.until_done(self.session.do_handshake)

    def seal(self, plain: bytes) -> bytes:
        self.session.write(plain)
        return self.outgoing.read()

    def read_until(self, mark: bytes) -> bytes:
        plain = b""
        while mark not in plain:
            plain += self.until_done(lambda: self.session.read(65_536))
        return plain

    def open(self, path="/echo", **how) -> bytes:
        """The handshakes of TLS and of WebSocket."""
        self.shake_hands()
        self.socket.sendall(self.seal(upgrade_request(self.port, path, **how)))
        head = self.read_until(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101"), head
        return head

    def rest(self) -> bytes:
        """What comes on the wire from now on, to its end, as it is."""
        data = b""
        while True:
            try:
                more = self.socket.recv(65_536)
            except OSError:
                return data
            if not more:
                return data
            data += more
