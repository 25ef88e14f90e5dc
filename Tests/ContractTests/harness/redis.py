"""A real redis-server of the tests' own, and just enough RESP to play a backend beside it."""

import shutil
import signal
import socket
import subprocess
import tempfile

from .node import launch
from .wait import until


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class RedisError(Exception):
    pass


class Redis:
    """One connection to a server: `redis("GET", key)`."""

    def __init__(self, port, db=0, password=None, timeout=15):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout)
        self.stream = self.socket.makefile("rb")
        if password:
            self("AUTH", password)
        if db:
            self("SELECT", db)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.stream.close()
        self.socket.close()

    def __call__(self, *words):
        words = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        command = b"*%d\r\n" % len(words)
        for word in words:
            command += b"$%d\r\n%s\r\n" % (len(word), word)
        self.socket.sendall(command)
        return self.reply()

    def reply(self):
        line = self.stream.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("Redis closed")
        kind, rest = line[:1], line[1:-2]
        if kind == b"-":
            raise RedisError(rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"+":
            return rest.decode()
        if kind == b"$":
            return None if int(rest) < 0 else self.stream.read(int(rest) + 2)[:-2].decode()
        assert kind == b"*", line
        return None if int(rest) < 0 else [self.reply() for _ in range(int(rest))]


class RedisServer:
    def __init__(self, password=None, start=True):
        self.password = password
        self.port = free_port()
        self.folder = tempfile.mkdtemp(prefix="skein-redis-")
        self.process = None
        if start:
            self.start()

    @property
    def url(self) -> str:
        secret = f":{self.password}@" if self.password else ""
        return f"redis://{secret}127.0.0.1:{self.port}"

    def start(self):
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1"]
        command += ["--save", "", "--appendonly", "no", "--dir", self.folder]
        command += ["--requirepass", self.password] if self.password else []
        self.process = launch(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        def answers():
            assert self.process.poll() is None, "redis-server ended at its start"
            try:
                with self.client() as client:
                    return client("PING") == "PONG"
            except (OSError, RedisError):
                return False

        until(answers, 15, what="an answer of redis-server")

    def kill(self):
        self.process.kill()
        self.process.wait()

    def freeze(self):
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)

    def close(self):
        if self.process and self.process.poll() is None:
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def client(self, db=0, **how) -> Redis:
        return Redis(self.port, db, self.password, **how)

    def publish(self, channel, message) -> int:
        with self.client() as client:
            return client("PUBLISH", channel, message)
