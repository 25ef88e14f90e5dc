"""Redis in the shapes that production has: with an ACL, on a Unix socket, in TLS, as a primary with
replicas and Sentinels. All real processes on free ports."""

import shutil
import ssl
import socket
import subprocess
import tempfile
from pathlib import Path

from .node import launch
from .redis import Redis, RedisError, RedisServer, free_port
from .wait import until


class Shaped(RedisServer):
    """A server with more words in its configuration: `Shaped("--maxclients", 5)`."""

    def __init__(self, *words, start=True, port=None):
        super().__init__(start=False)
        self.words = [str(word).format(folder=self.folder) for word in words]
        self.port = port or self.port
        if start:
            self.start()

    def start(self):
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1"]
        command += ["--save", "", "--appendonly", "no", "--dir", self.folder, *self.words]
        self.process = launch(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.wait()

    def wait(self):
        def answers():
            assert self.process.poll() is None, "redis-server ended at its start"
            try:
                with self.client() as client:
                    client("PING")
            except RedisError:
                return True
            except OSError:
                return False
            return True

        until(answers, 15, what="an answer of redis-server")


class Sentinel(RedisServer):
    """One Sentinel that watches `primary` under the name `chat`."""

    def __init__(self, primary, quorum=2):
        super().__init__(start=False)
        file = Path(self.folder, "sentinel.conf")
        file.write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {self.folder}\n"
            f"sentinel monitor chat 127.0.0.1 {primary.port} {quorum}\n"
            "sentinel down-after-milliseconds chat 500\n"
            "sentinel failover-timeout chat 5000\n"
        )
        self.process = launch(
            ["redis-server", str(file), "--sentinel"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def primary(self):
        with self.client() as client:
            return int(client("SENTINEL", "get-master-addr-by-name", "chat")[1])


class Farm:
    """A primary, a replica and three Sentinels that know each other."""

    def __init__(self):
        self.servers = [Shaped(), None]
        self.servers[1] = Shaped("--replicaof", "127.0.0.1", self.servers[0].port)
        self.sentinels = [Sentinel(self.servers[0]) for _ in range(3)]
        until(self.is_whole, 30, what="Sentinels that know each other and the replica")

    def is_whole(self):
        try:
            for sentinel in self.sentinels:
                with sentinel.client() as client:
                    words = client("SENTINEL", "master", "chat")
                facts = dict(zip(words[::2], words[1::2]))
                if facts["num-other-sentinels"] != "2" or facts["num-slaves"] != "1":
                    return False
                if facts["flags"] != "master":
                    return False
        except (OSError, RedisError, ConnectionError):
            return False
        return True

    @property
    def settings(self):
        addresses = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return {"REDIS_SENTINELS": addresses, "REDIS_SENTINEL_MASTER": "chat"}

    def primary(self):
        port = self.sentinels[0].primary()
        return next(server for server in self.servers if server.port == port)

    def publish(self, channel, message):
        return self.primary().publish(channel, message)

    def close(self):
        for server in self.sentinels + self.servers:
            server.close()


class Authority:
    """Certificates for the tests, made by openssl."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="skein-tls-"))
        self.file = self.folder / "ca.pem"
        self.run(
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=Test CA",
            "-keyout", self.folder / "ca.key", "-out", self.file,
        )  # fmt: skip

    def run(self, *words):
        subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)

    def issue(self, name, names="IP:127.0.0.1,DNS:localhost", days=30):
        """(certificate, key) for `names`; `days` below zero makes one that has expired."""
        base = self.folder / name
        key, request, certificate = (base.with_suffix(s) for s in (".key", ".csr", ".pem"))
        extensions = base.with_suffix(".ext")
        extensions.write_text(f"subjectAltName={names}\n")
        self.run(
            "req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-keyout", key,
            "-out", request,
        )  # fmt: skip
        self.run(
            "x509", "-req", "-in", request, "-CA", self.file, "-CAkey", self.folder / "ca.key",
            "-CAcreateserial", "-days", days, "-extfile", extensions, "-out", certificate,
        )  # fmt: skip
        return certificate, key

    def close(self):
        shutil.rmtree(self.folder, ignore_errors=True)


class SecureRedis(Shaped):
    """A server that speaks TLS only; `clients` is what it asks of their certificates."""

    def __init__(self, authority, certificate, key, clients="no"):
        self.authority = authority
        port = free_port()
        self.tls = ["--tls-port", port, "--tls-cert-file", certificate, "--tls-key-file", key]
        self.tls += ["--tls-ca-cert-file", authority.file, "--tls-auth-clients", clients]
        self.certificate = None
        super().__init__("--port", "0", *self.tls, port=port)

    @property
    def url(self):
        return f"rediss://127.0.0.1:{self.port}"

    def start(self):
        command = ["redis-server", "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        command += ["--dir", self.folder, *self.words]
        self.process = launch(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        def listens():
            assert self.process.poll() is None, "redis-server ended at its start"
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return True
            except OSError:
                return False

        until(listens, 15, what="an answer of redis-server")

    def client(self, db=0, **how):
        context = ssl.create_default_context(cafile=self.authority.file)
        if self.certificate:
            context.load_cert_chain(*self.certificate)
        client = Redis.__new__(Redis)
        raw = socket.create_connection(("127.0.0.1", self.port), 15)
        client.socket = context.wrap_socket(raw, server_hostname="127.0.0.1")
        client.stream = client.socket.makefile("rb")
        if db:
            client("SELECT", db)
        return client
