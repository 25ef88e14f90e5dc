"""Ops/rolling-restart over three nodes on one Redis, with clients that talk through all of them."""

import json
import subprocess
import sys
import threading
import time
import urllib.request

import pytest
from websockets.exceptions import ConnectionClosed, WebSocketException

from harness.client import Client
from harness.node import BINARY, REPOSITORY, environment
from harness.redis import RedisServer, free_port
from harness.tokens import SECRET, token
from harness.wait import until

SCRIPT = REPOSITORY / "Ops/rolling-restart"
ENVIRONMENT = {
    "JWT_SECRET": SECRET, "WS_HANDSHAKE_RATE": "0", "WS_MAX_CONNECTIONS_PER_IP": "0",
    "WS_MESSAGE_RATE": "0", "DRAIN_WAVE": "50ms", "WS_NODE_LEASE": "2s", "WS_NODE_GRACE": "200ms",
}

pytestmark = pytest.mark.one_tenant


class Places:
    """Where nodes are started, and started again, at ports that stay."""

    def __init__(self, count, server, folder):
        self.server, self.folder = server, folder
        self.ports = [(free_port(), free_port()) for _ in range(count)]
        self.started = []

    def command(self, place) -> str:
        """For a shell: starts the node and goes on; its ID of process is kept."""
        port, control = self.ports[place]
        return (
            f"{BINARY} serve --listen 127.0.0.1:{port} --control-listen 127.0.0.1:{control} "
            f"--redis-url {self.server.url} --shards 1 "
            f">{self.folder}/{place}.out 2>{self.folder}/{place}.log & echo $! >>{self.folder}/pids"
        )

    def control(self, place) -> str:
        return f"http://127.0.0.1:{self.ports[place][1]}"

    def run(self, command):
        subprocess.run(command, shell=True, check=True, env=environment(ENVIRONMENT))

    def close(self):
        for pid in (self.folder / "pids").read_text().split():
            subprocess.run(["kill", "-KILL", pid], stderr=subprocess.DEVNULL)


@pytest.fixture
def places(start, tmp_path):
    return start(make=lambda: Places(3, start(make=RedisServer), tmp_path))


def rolling_restart(*words, timeout=150):
    return subprocess.run(
        [sys.executable, SCRIPT, "--deadline", "5", "--timeout", "30", *words],
        env=environment(ENVIRONMENT), capture_output=True, text=True, timeout=timeout,
    )


def begin(places):
    for place in range(3):
        places.run(places.command(place))


class Pair:
    """Someone who writes to someone, both at whatever node will have them; who is told to leave goes on at
    another where he left off."""

    def __init__(self, name, ports):
        self.ports = ports
        self.sender, self.receiver = name("sender"), name("receiver")
        self.confirmed, self.got, self.resumed, self.failures = [], [], [], []
        self.point = None
        self.ends, self.reads = threading.Event(), threading.Event()
        self.threads = [threading.Thread(target=self.guard, args=(work,)) for work in (self.write, self.read)]
        for thread in self.threads:
            thread.start()

    def guard(self, work):
        try:
            work()
        except Exception as failure:
            self.failures.append(failure)
            raise

    def connect(self, user, resume=None):
        """At the first place that lets us in."""
        query = f"?resume={resume[0]}:{resume[1]}" if resume else ""
        while not self.ends.is_set():
            for port, _ in self.ports:
                try:
                    url = f"ws://127.0.0.1:{port}/ws{query}"
                    client = Client(url, user=user, token=token(user))
                    client.connected = client.expect("connected")["data"]
                    return client
                except (OSError, AssertionError, WebSocketException):
                    time.sleep(0.02)  # it is leaving, or not there yet
        return None

    def write(self):
        self.reads.wait(30)  # what is said before that is nobody's loss
        client, number = self.connect(self.sender), 0
        while client and not self.ends.is_set():
            try:
                client.chat(self.receiver, number)
                client.expect("chat_message_sent")
                self.confirmed.append(number)
                time.sleep(0.01)
            except (AssertionError, ConnectionClosed):
                client = self.connect(self.sender)
            number += 1

    def read(self):
        client = self.connect(self.receiver)
        self.point = (client.connected["epoch"], client.connected["offset"])
        self.reads.set()
        while client and not self.ends.is_set():
            try:
                event = json.loads(client.socket.recv(1))
            except TimeoutError:
                continue
            except ConnectionClosed as closed:
                assert closed.rcvd is not None and closed.rcvd.code == 1012, closed
                assert json.loads(closed.rcvd.reason)["resume"] is True
                client = self.connect(self.receiver, self.point)
                continue
            if event["type"] == "resumed":
                self.resumed.append(event["data"])
            else:
                self.got.append(event["data"]["message"])
                self.point = (self.point[0], event["offset"])

    def finish(self):
        self.ends.set()
        for thread in self.threads:
            thread.join()


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_three_nodes_one_after_the_other(places, name):
    """Nothing that was confirmed is missed, nothing comes twice, and everything comes in order, though
    everyone is moved to another node, most of them more than once."""
    begin(places)
    pairs = []
    try:
        for place in range(3):
            until(lambda: is_ready(places.control(place)), 30, what="a node")
        pairs = [Pair(name, places.ports[n % 3 :] + places.ports[: n % 3]) for n in range(6)]
        until(lambda: all(pair.got for pair in pairs), what="messages")
        words = [f"{places.control(place)}={places.command(place)}" for place in range(3)]
        result = rolling_restart(*words)
        assert result.returncode == 0, result.stderr
        reports = [json.loads(line) for line in result.stdout.splitlines()]
        assert [report["node"] for report in reports] == [places.control(place) for place in range(3)]
        assert len({report["was"] for report in reports} | {report["is"] for report in reports}) == 6
        assert sum(report["told"] for report in reports) >= 12, "every client was moved once at least"
        assert all(report["eventsLeft"] == 0 and report["closedAtDeadline"] == 0 for report in reports)
        time.sleep(1)
    finally:
        for pair in pairs:
            pair.finish()
    for pair in pairs:
        assert not pair.failures, pair.failures
        assert pair.got == sorted(set(pair.got)), "in order, and nothing twice"
        assert all(resumed["recovered"] for resumed in pair.resumed), pair.resumed
        # From the first that he was there for to the last that he was given.
        due = {number for number in pair.confirmed if pair.got[0] < number < pair.got[-1]}
        assert due <= set(pair.got), f"{sorted(due - set(pair.got))} of {len(pair.confirmed)} are missing"
    assert sum(len(pair.resumed) for pair in pairs) >= len(pairs), "every receiver was moved"


def is_ready(control):
    try:
        with urllib.request.urlopen(control + "/ready", timeout=2) as answer:
            return answer.status == 200
    except OSError:
        return False


@pytest.mark.slow
def test_it_stops_at_the_first_that_does_not_come_back(places):
    begin(places)
    for place in range(3):
        until(lambda: is_ready(places.control(place)), 30, what="a node")
    words = [f"{places.control(0)}=false"] + [f"{places.control(n)}={places.command(n)}" for n in (1, 2)]
    result = rolling_restart(*words)
    assert result.returncode != 0
    assert "`false` ended with 1" in result.stderr
    assert result.stdout == ""
    assert not is_ready(places.control(0))
    assert is_ready(places.control(1)) and is_ready(places.control(2)), "the others were left alone"


@pytest.mark.parametrize(
    "words,says",
    [
        (["http://127.0.0.1:1"], "NODE=COMMAND"),
        (["http://127.0.0.1:1=true"], "nobody to take"),
        (["http://127.0.0.1:1=true", "http://127.0.0.1:2=true"], "nothing answers"),
    ],
)
def test_what_it_will_not_begin(words, says):
    result = rolling_restart(*words)
    assert result.returncode != 0
    assert says in result.stderr
    assert "Traceback" not in result.stderr
