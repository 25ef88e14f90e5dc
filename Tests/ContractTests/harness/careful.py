"""A TLS socket for clients that read in one thread and write in another. OpenSSL lets only one of
them in at a time, Python 3.11 sees to nothing of the kind, and what comes of it are handshakes that
hang and errors that no server made."""

import select
import ssl
import threading
import time


class CarefulSocket(ssl.SSLSocket):
    """Never waits within OpenSSL; who waits, waits for the descriptor, and lets the other in."""

    @classmethod
    def _create(cls, *arguments, **how):
        socket = super()._create(*arguments, **how)
        socket.turn = threading.Lock()
        socket.patience = ssl.SSLSocket.gettimeout(socket)
        ssl.SSLSocket.settimeout(socket, 0)
        return socket

    def settimeout(self, seconds):
        if hasattr(self, "turn"):
            self.patience = seconds
        else:
            super().settimeout(seconds)

    def gettimeout(self):
        return self.patience if hasattr(self, "turn") else super().gettimeout()

    def recv(self, size=1024, flags=0):
        return self.patiently(lambda: super(CarefulSocket, self).recv(size, flags))

    def sendall(self, data, flags=0):
        rest = memoryview(data).cast("B")
        while rest:
            rest = rest[self.patiently(lambda: super(CarefulSocket, self).send(rest, flags)) :]

    def patiently(self, call):
        until = None if self.patience is None else time.monotonic() + self.patience
        while True:
            try:
                with self.turn:
                    return call()
            except ssl.SSLWantReadError:
                wanted = select.POLLIN
            except ssl.SSLWantWriteError:
                wanted = select.POLLOUT
            left = None if until is None else until - time.monotonic()
            if left is not None and left <= 0:
                raise TimeoutError("the other side neither sent nor took anything")
            poll = select.poll()
            poll.register(self, wanted)
            # The other thread may have taken what was there, or closed the socket.
            poll.poll(50 if left is None else min(50, 1_000 * left))
