"""A running `skein serve` and the commands beside it: the real binary, started with a clean
environment in a folder of its own, watched until it ends."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from . import http
from .client import Client
from .raw import RawSocket
from .tokens import SECRET, token
from .wait import until

REPOSITORY = Path(__file__).resolve().parents[3]
BINARY = os.environ.get("SKEIN_BINARY", str(REPOSITORY / ".build/release/skein"))
LAUNCHER = str(Path(__file__).with_name("launch.py"))
ADDRESS = re.compile(r"\b(wss?|https?)://([0-9.]+|\[[0-9a-f:]+\]|localhost):(\d+)")
TRAP = re.compile(r"^(\S+: )?Fatal error|\*\*\* (Signal|Program crashed)|^💣")

# Shared nodes must not refuse a test for what another test did a moment ago; the tests of these
# limits set them themselves.
ROOMY = {
    "WS_HANDSHAKE_RATE": "0",
    "WS_MAX_CONNECTIONS_PER_IP": "0",
    "WS_MESSAGE_RATE": "0",
    "DRAIN_DEADLINE": "2s",
    "DRAIN_WAVE": "50ms",
}


def environment(extra=None) -> dict:
    """Nothing of the caller's environment that could configure Skein gets in."""
    kept = ("PATH", "HOME", "LANG", "TMPDIR", "LD_LIBRARY_PATH", "LLVM_PROFILE_FILE")
    clean = {name: os.environ[name] for name in kept if name in os.environ}
    clean["SWIFT_BACKTRACE"] = "enable=yes,interactive=no,color=no"
    clean.update(extra or {})
    return {name: value for name, value in clean.items() if value is not None}


def loopback(arguments) -> list[str]:
    """What makes `serve` take free ports of the loopback, where `arguments` do not say else."""
    flags = [flag for flag in ("--listen", "--control-listen") if flag not in arguments]
    return [word for flag in flags for word in (flag, "127.0.0.1:0")]


def launch(command, *, nofile=None, deny_io_uring=None, seccomp=None, **how) -> subprocess.Popen:
    """Starts `command` so that it dies with this test run, whatever happens to that."""
    options = [str(os.getpid())]
    options += ["--nofile", str(nofile)] if nofile else []
    options += ["--deny-io-uring", str(deny_io_uring)] if deny_io_uring else []
    options += ["--seccomp", str(seccomp)] if seccomp else []
    return subprocess.Popen([sys.executable, LAUNCHER, *options, "--", *command], **how)


def skein(*arguments, env=None, cwd=None, stdin="", timeout=30) -> subprocess.CompletedProcess:
    """One command of the CLI, run to its end."""
    process = launch(
        [BINARY, *arguments],
        env=environment(env),
        cwd=cwd,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        out, log = process.communicate(stdin, timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        out, log = process.communicate()
        raise AssertionError(
            f"skein {' '.join(arguments)} did not end within {timeout} s:\n{out}\n{log}"
        ) from None
    return subprocess.CompletedProcess(arguments, process.returncode, out, log)


class Lines:
    """What a process prints, line by line, as it comes."""

    def __init__(self, stream):
        self.lines = []
        self.thread = threading.Thread(target=self.read, args=(stream,), daemon=True)
        self.thread.start()

    def read(self, stream):
        for line in stream:
            self.lines.append(line.rstrip("\n"))

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def until(self, pattern, timeout=20) -> str:
        """Waits for a line in which `pattern` is found, and returns it."""
        return until(
            lambda: next((line for line in list(self.lines) if re.search(pattern, line)), None),
            timeout,
            what=f"a line with {pattern!r} in:\n{self.text}\n",
        )


class Node:
    running: list["Node"] = []

    def __init__(self, *arguments, io=None, redis=None, env=None, wait="ready", **conditions):
        """`wait` is how far to go before returning: `ready`, `listening` or `started`."""
        self.folder = tempfile.mkdtemp(prefix="skein-node-")
        settings = {"JWT_SECRET": SECRET, "LOG_LEVEL": "info", **ROOMY}
        if redis:
            settings["REDIS_URL"] = redis.url
        settings.update(env or {})
        command = [BINARY, "serve", *loopback(arguments)]
        command += ["--io", io] if io else []
        command += arguments
        self.process = launch(
            command,
            env=environment(settings),
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            **conditions,
        )
        self.out, self.log = Lines(self.process.stdout), Lines(self.process.stderr)
        self.may_end = False
        Node.running.append(self)
        if wait != "started":
            self.find_listeners()
        if wait == "ready":
            self.wait_ready()

    # Starting and ending

    def find_listeners(self):
        self.port = self.control_port = None

        def found():
            for line in list(self.out.lines):
                for scheme, _, port in ADDRESS.findall(line):
                    if scheme.startswith("ws"):
                        self.port = self.port or int(port)
                    elif "api" not in line.lower():
                        self.control_port = int(port)
            if self.process.poll() is not None:
                self.may_end = True  # told here, not again at the end of the test
                raise AssertionError(f"skein serve ended at its start: {self.describe()}")
            return self.port and self.control_port

        until(found, 30, what="a line with ws://… and one with http://… on stdout")

    def wait_ready(self, timeout=30):
        until(lambda: self.ready()[0] == 200, timeout, what="readiness")

    def signal(self, number):
        self.may_end = True
        self.process.send_signal(number)

    def wait_exit(self, timeout=30) -> int:
        self.may_end = True
        try:
            status = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {timeout} s: {self.describe()}") from None
        self.out.thread.join(5)
        self.log.thread.join(5)
        return status

    def stop(self):
        """Ends a node that a test is done with, and says whether it ended well."""
        try:
            if self.process.poll() is None:
                self.signal(signal.SIGCONT)
                self.signal(signal.SIGTERM)
                status = self.wait_exit(20)
                assert status == 0, f"SIGTERM ended it with {status}: {self.describe()}"
            self.check()
        finally:
            self.kill()

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self in Node.running:
            Node.running.remove(self)
        self.out.thread.join(5)
        self.log.thread.join(5)
        shutil.rmtree(self.folder, ignore_errors=True)

    def check(self):
        """Fails when the process ended although no one asked it to, or by a signal or trap; also
        while a trap is still writing its backtrace."""
        if trap := next((line for line in list(self.log.lines) if TRAP.search(line)), None):
            try:
                self.process.wait(20)  # the backtrace takes its time
            except subprocess.TimeoutExpired:
                pass
            self.may_end = True
            self.kill()
            raise AssertionError(f"the node trapped: {trap}\n{self.describe(200)}")
        status = self.process.poll()
        if status is None:
            return
        crashed = status < 0 and -status not in (signal.SIGTERM, signal.SIGKILL)
        if crashed or not self.may_end:
            self.may_end = True
            how = signal.Signals(-status).name if status < 0 else f"status {status}"
            raise AssertionError(f"the node died: {how}: {self.describe()}")

    def describe(self, lines=40) -> str:
        time.sleep(0.05)  # the last lines may still be on their way
        tail = "\n".join(self.log.lines[-lines:])
        return f"status {self.process.poll()}\nstdout:\n{self.out.text}\nstderr:\n{tail}"

    # Clients

    def url(self, path="/ws") -> str:
        return f"ws://127.0.0.1:{self.port}{path}"

    def connect(self, user, path="/ws", *, claims=None, expect_connected=True, **how) -> Client:
        """A device of `user`, after its `connected`."""
        how.setdefault("token", token(user, **(claims or {})))
        client = Client(self.url(path), user=user, **how)
        if expect_connected:
            client.connected = client.expect("connected")
        return client

    def wire(self, **how) -> RawSocket:
        return RawSocket(self.port, **how)

    def raw(
        self, user="raw", path="/ws", *, source=None, receive_buffer=None, segment=None, **how
    ) -> RawSocket:
        """A raw socket after its handshake; on `/ws`, after its `connected`."""
        how.setdefault("token", token(user))
        raw = RawSocket(self.port, source=source, receive_buffer=receive_buffer, segment=segment)
        response = raw.handshake(self.port, path, **how)
        assert response.status == 101, response
        if path.startswith("/ws"):
            raw.connected = raw.expect_event("connected")
        return raw

    def handshake(self, path="/ws", *, source=None, **how) -> http.Response:
        """Only the answer to a handshake; the connection is closed after it."""
        with RawSocket(self.port, source=source) as raw:
            return raw.handshake(self.port, path, **how)

    # Control plane

    def control(self, method, path, body=None, **how) -> http.Response:
        return http.request(self.control_port, method, path, body, **how)

    def ready(self) -> tuple[int, dict]:
        response = self.control("GET", "/ready")
        return response.status, response.json()

    def metrics(self) -> "Metrics":
        response = self.control("GET", "/metrics")
        assert response.status == 200, response
        return Metrics(response.body.decode())

    def connections(self, user) -> list[dict]:
        """The open connections of `user`, whatever object holds the list."""
        response = self.control("GET", f"/connections?user={user}")
        assert response.status == 200, response
        found = response.json()
        if isinstance(found, dict):
            lists = [value for value in found.values() if isinstance(value, list)]
            assert len(lists) == 1, found
            found = lists[0]
        return found

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Metrics:
    """Prometheus text, read strictly."""

    SAMPLE = re.compile(
        r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? ([-+]?(?:[0-9.]+(?:e[-+]?[0-9]+)?|Inf|NaN))", re.I
    )
    LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"')

    def __init__(self, text):
        self.types, self.samples = {}, []
        for line in text.splitlines():
            if line.startswith("# TYPE "):
                _, _, name, kind = line.split(" ")
                assert name not in self.types, f"{name} is declared twice"
                self.types[name] = kind
            elif line and not line.startswith("#"):
                match = self.SAMPLE.fullmatch(line)
                assert match, f"not a sample: {line!r}"
                name, labels, value = match.groups()
                pairs = self.LABEL.findall(labels or "")
                rebuilt = ",".join(f'{label}="{text}"' for label, text in pairs)
                assert rebuilt == (labels or "").rstrip(","), f"labels of {line!r}"
                self.samples.append((name, dict(pairs), float(value)))
        keys = [(name, tuple(sorted(labels.items()))) for name, labels, _ in self.samples]
        assert len(keys) == len(set(keys)), "a sample occurs twice"

    def has(self, name) -> bool:
        return name in self.types or any(sample == name for sample, _, _ in self.samples)

    def total(self, metric, **labels) -> float:
        """The sum of all samples of `metric` that have `labels`; 0 when there is none."""
        return sum(
            value
            for name, found, value in self.samples
            if name == metric and labels.items() <= found.items()
        )
