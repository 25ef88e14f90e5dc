"""The servers: how each is started for one measurement and stopped again.

Every process is a child in a session of its own, so that a Ctrl-C reaches only this program, which then
stops them by their process IDs; should it be killed outright, the kernel ends them with it. They listen
on 127.0.0.1 and on free ports.
"""
import base64
import ctypes
import hashlib
import hmac
import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass

from programs import HERE, TOOLS, NotAvailable, hub_binary, nio_binary, quietly, uws_binary
from work import SECRET

LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Server:
    name: str
    family: str     # floor, uws, nio, hub, nchan, nats or skein
    dialect: str
    backplane: str  # memory or redis
    program: str    # which of the starters below
    loop: str = ""

    def is_a(self, family):
        return family in (self.family, f"{self.family} {self.backplane}")


SERVERS = [
    Server("C epoll", "floor", "floor", "memory", "floor", "epoll"),
    Server("C io_uring", "floor", "floor", "memory", "floor", "uring"),
    Server("uWebSockets", "uws", "floor", "memory", "uws"),
    Server("SwiftNIO", "nio", "floor", "memory", "nio"),
    Server("Go hub", "hub", "relay", "memory", "go"),
    Server("Go hub + Redis", "hub", "relay", "redis", "go"),
    Server("node ws", "hub", "relay", "memory", "node"),
    Server("nchan", "nchan", "nchan", "memory", "nchan"),
    Server("NATS", "nats", "nats", "memory", "nats"),
    Server("Skein io_uring", "skein", "relay", "memory", "skein", "uring"),
    Server("Skein epoll", "skein", "relay", "memory", "skein", "epoll"),
    Server("Skein+Redis io_uring", "skein", "relay", "redis", "skein", "uring"),
    Server("Skein+Redis epoll", "skein", "relay", "redis", "skein", "epoll"),
]
SERVER = {server.name: server for server in SERVERS}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def make_certificate(directory):
    paths = os.path.join(directory, "certificate.pem"), os.path.join(directory, "key.pem")
    quietly(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
             "-nodes", "-subj", "/CN=localhost", "-days", "30", "-out", paths[0], "-keyout",
             paths[1]], "openssl")
    for path in paths:
        os.chmod(path, 0o600)
    return paths


def make_token(user):
    def encode(data):
        return base64.urlsafe_b64encode(data).rstrip(b"=")
    head = encode(b'{"alg":"HS256","typ":"JWT"}')
    claims = encode(json.dumps({"sub": user, "iat": int(time.time()),
                                "exp": int(time.time()) + 600}).encode())
    text = head + b"." + claims
    signature = encode(hmac.new(SECRET.encode(), text, hashlib.sha256).digest())
    return (text + b"." + signature).decode()


def first_frame(url):
    """What a client is told first, as text."""
    host, port = re.fullmatch(r"ws://([\d.]+):(\d+)", url).groups()
    with socket.create_connection((host, int(port)), 5) as connection:
        connection.settimeout(5)
        connection.sendall(
            f"GET /ws?token={make_token('probe')} HTTP/1.1\r\nHost: {host}:{port}\r\n"
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode())
        received = b""
        while b'"connected"' not in received or not received.endswith(b"}"):
            part = connection.recv(4096)
            if not part:
                break
            received += part
    return received.split(b"\r\n\r\n", 1)[-1].decode(errors="replace")


def children_of(process):
    try:
        with open(f"/proc/{process}/task/{process}/children") as file:
            return [int(child) for child in file.read().split()]
    except OSError:
        return []


def prepare_child(core):
    def prepare():
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        os.sched_setaffinity(0, core)
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return prepare


class Running:
    """One server process, with its Redis where it has one, for as long as one measurement."""

    def __init__(self, server, settings, options):
        self.options, self.settings = options, settings
        self.directory = tempfile.mkdtemp(prefix="skein-compare-")
        os.chmod(self.directory, 0o755)  # nginx's workers are another user
        self.processes, self.redis, self.url = [], "", None
        self.certificate = None
        try:
            if settings.get("tls"):
                self.certificate = make_certificate(self.directory)
            if settings.get("redis"):
                self.redis = settings["redis"]  # another node's
            elif server.backplane == "redis":
                self.start_redis()
            getattr(self, "start_" + server.program)(server)
        except BaseException:
            self.stop()
            raise

    # Starting each kind

    def start_floor(self, server):
        self.start([os.path.join(TOOLS, f"{server.loop}_server"), "0"])

    def start_uws(self, server):
        self.start([uws_binary(), *(self.certificate or ())])

    def start_nio(self, server):
        self.start([nio_binary()])

    def start_go(self, server):
        command = [hub_binary(), "-secret", SECRET]
        if self.redis:
            command += ["-redis", self.redis]
        if self.certificate:
            command += ["-certificate", self.certificate[0], "-key", self.certificate[1]]
        self.start(command)

    def start_node(self, server):
        # Debian's modules, also for a node that came from elsewhere.
        self.start(["node", os.path.join(HERE, "Node", "server.js"), SECRET,
                    *(self.certificate or ())], NODE_PATH="/usr/share/nodejs")

    def start_nchan(self, server):
        tls = self.certificate
        port = free_port()
        path = self.configure(
            "nchan.conf", port=port, tls="ssl" if tls else "",
            certificate=(f"ssl_certificate {tls[0]}; ssl_certificate_key {tls[1]};" if tls else ""))
        self.start(["/usr/sbin/nginx", "-p", self.directory, "-c", path], port=port)

    def start_nats(self, server):
        tls = self.certificate
        port = free_port()
        path = self.configure(
            "nats.conf", port=port, plain_port=free_port(),
            tls=(f'tls {{ cert_file: "{tls[0]}", key_file: "{tls[1]}" }}' if tls
                 else "no_tls: true"))
        self.start(["nats-server", "-c", path], port=port)

    def start_skein(self, server):
        shards = self.settings.get("shards", 1)
        cores = [self.options.server_core, self.options.client_core][:shards]
        environment = {
            "JWT_SECRET": SECRET, "WS_ECHO_PATH": "/echo", "LOG_LEVEL": "error",
            # On, and out of the load's reach.
            **dict.fromkeys(
                ("WS_MESSAGE_RATE", "WS_MESSAGE_BURST", "WS_HANDSHAKE_RATE", "WS_HANDSHAKE_BURST",
                 "WS_MAX_CONNECTIONS_PER_IP"), "1000000"),
            "WS_HISTORY_SIZE": "256" if self.settings.get("history") else "0",
            "WS_ADAPTER": server.backplane,
            "DATABASE_URL": f"sqlite://{self.directory}/skein.db"}
        if self.certificate:
            environment["WS_TLS_CERTIFICATE"], environment["WS_TLS_KEY"] = self.certificate
        command = [self.options.skein, "serve", "--listen", "127.0.0.1:0",
                   "--control-listen", "127.0.0.1:0", "--shards", str(shards),
                   "--pin", ",".join(map(str, cores)), "--io", server.loop]
        if self.redis:
            command += ["--redis-url", f"redis://{self.redis}"]
        self.start(command, cores=cores, **environment)
        if self.settings.get("history"):
            self.wait_for_history()

    def wait_for_history(self):
        """A node that has just found its Redis tells where its users stand a moment later."""
        deadline = time.monotonic() + 10
        while '"resume":true' not in first_frame(self.url):
            if time.monotonic() > deadline:
                raise NotAvailable("not in this build")
            time.sleep(0.1)

    def start_redis(self):
        if not shutil.which("redis-server"):
            raise NotAvailable("no `redis-server`")
        port = free_port()
        self.spawn(["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "",
                    "--appendonly", "no", "--dir", self.directory], {self.options.redis_core})
        self.redis = f"127.0.0.1:{port}"
        self.wait_for_port(port)

    # What they share

    def configure(self, template, **values):
        with open(os.path.join(HERE, template)) as file:
            text = file.read()
        descriptors = min(resource.getrlimit(resource.RLIMIT_NOFILE)[1], 65536)
        values.update(directory=self.directory, descriptors=descriptors,
                      connections=descriptors + descriptors // 8)
        for name, value in values.items():
            text = text.replace("{%s}" % name, str(value))
        path = os.path.join(self.directory, template)
        with open(path, "w") as file:
            file.write(text)
        return path

    def spawn(self, command, cores, output=subprocess.DEVNULL, **environment):
        # Nothing of the caller's settings reaches a server that is measured.
        settings = {name: value for name, value in os.environ.items()
                    if not name.startswith(("WS_", "REDIS_", "JWT_", "DRAIN_"))}
        with open(os.path.join(self.directory, "log"), "a") as log:
            process = subprocess.Popen(
                command, cwd=self.directory, env={**settings, **environment}, stdin=subprocess.DEVNULL,
                stdout=output, stderr=log, start_new_session=True,
                preexec_fn=prepare_child(cores))
        self.processes.insert(0, process)
        return process

    def start(self, command, port=None, cores=None, **environment):
        """Starts the server and waits until it listens: on `port`, or where its first line says."""
        cores = set(cores or [self.options.server_core])
        if self.options.show:
            self.options.say("  $ " + " ".join(command))
        scheme = "wss" if self.certificate else "ws"
        if port:
            self.spawn(command, cores, **environment)
            self.wait_for_port(port)
        else:
            process = self.spawn(command, cores, subprocess.PIPE, **environment)
            port = self.read_port(process)
        self.url = f"{scheme}://127.0.0.1:{port}"

    def read_port(self, process):
        for line in process.stdout:
            found = re.search(rb"wss?://127\.0\.0\.1:(\d+)", line)
            if found:
                return int(found.group(1))
        raise RuntimeError("no listener line; the server said: " + self.log_tail())

    def wait_for_port(self, port):
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            if self.processes[0].poll() is not None:
                break
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError:
                time.sleep(0.02)
        raise RuntimeError("it does not listen; it said: " + self.log_tail())

    def log_tail(self):
        with open(os.path.join(self.directory, "log")) as log:
            return log.read()[-600:]

    def process_ids(self):
        own = [process.pid for process in self.processes]
        return own + [child for process in own for child in children_of(process)]

    def stop(self):
        for process in self.process_ids():
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                pass
        for process in self.processes:
            process.wait()
            if process.stdout:
                process.stdout.close()
        shutil.rmtree(self.directory, ignore_errors=True)
