"""`skein bench`: every scenario against a real node, and against servers that lie, stall and drain."""

import asyncio
import contextlib
import json
import re
import signal
import socket
import subprocess
import threading
import time

import pytest
from websockets.asyncio.server import serve

from harness.certificate import Certificate
from harness.node import BINARY, environment, launch, skein
from harness.tokens import SECRET, token
from harness.wait import until

BRIEF = ["--warmup", "0.1", "--seconds", "1", "--rest", "0.05"]
MARKER = re.compile(r"@@[0-9a-f]{16}")


def bench(*arguments, env=None, timeout=60):
    """One run with `--json`: its exit code, its result and its log."""
    run = skein(
        "bench", *arguments, "--json", env={"JWT_SECRET": SECRET} if env is None else env, timeout=timeout
    )
    result = json.loads(run.stdout) if run.stdout.strip() else None
    return run.returncode, result, run.stderr


def control(node) -> str:
    return f"http://127.0.0.1:{node.control_port}"


def passed(*arguments, **how) -> dict:
    code, result, log = bench(*arguments, **how)
    assert code == 0, f"{code}: {log}\n{result}"
    assert result["verdict"] == "ok"
    return result


class Server:
    """A WebSocket server in a thread, whose `handler` takes each connection."""

    def __init__(self, handler):
        self.loop = asyncio.new_event_loop()
        self.handler = handler
        self.users = {}
        self.port = None
        started = threading.Event()

        async def main():
            self.stopped = asyncio.Event()
            async with serve(self.serve, "127.0.0.1", 0, compression=None, ping_interval=None) as server:
                self.port = server.sockets[0].getsockname()[1]
                started.set()
                await self.stopped.wait()

        self.thread = threading.Thread(target=self.loop.run_until_complete, args=(main(),), daemon=True)
        self.thread.start()
        assert started.wait(10)

    async def serve(self, socket):
        user = socket.request.path.rpartition("=")[2]
        self.users[user] = socket
        with contextlib.suppress(Exception):
            await self.handler(self, user, socket)

    def url(self, path="/?user=%user%"):
        return f"ws://127.0.0.1:{self.port}{path}"

    def close(self):
        self.loop.call_soon_threadsafe(self.stopped.set)
        self.thread.join(10)


class Relay:
    """Passes `{"to","text"}` on, and may `lie` about message number `n` of a stream."""

    def __init__(self, lie):
        self.lie = lie

    async def __call__(self, server, user, socket):
        held = None
        async for n, text in numbered(socket):
            target = server.users[json.loads(text)["to"]]
            if self.lie == "lose" and n == 5:
                continue
            if self.lie == "misdirect" and n == 5:
                target = next(
                    other for other in server.users.values() if other not in (socket, target)
                )
            if self.lie == "swap" and n == 5:
                held = text
                continue
            if self.lie == "damage" and n == 5:
                text = MARKER.sub(lambda found: found.group()[:-9] + "zz" + found.group()[-7:], text)
            if self.lie == "close" and n == 5:
                await socket.close(1011)
                return
            await target.send(text)
            if self.lie == "repeat" and n == 5:
                await target.send(text)
            if held:
                await target.send(held)
                held = None


async def numbered(socket):
    n = 0
    async for text in socket:
        yield n, text
        n += 1


async def echo(server, user, socket):
    async for text in socket:
        await socket.send(text)


PLAIN = ["--preset", "plain", "--message", '{"to":"%to%","text":"%marker%%pad%"}', "--connections", "4"]


@pytest.fixture(scope="module")
def node(start_shared):
    return start_shared("--shards", "1", env={"WS_ECHO_PATH": "/echo", "WS_MAX_CONNECTIONS_PER_USER": "0"})


# Scenarios


def test_without_a_scenario_it_leads_with_two_numbers(node):
    run = skein("bench", "--url", node.url(), "--seconds", "1", env={"JWT_SECRET": SECRET}, timeout=60)
    assert run.returncode == 0, run.stderr
    first = run.stdout.strip().splitlines()[0]
    assert re.search(r"[\d,]+ messages/s, p99 [\d.]+ (µs|ms|s) at 2,000/s", first), run.stdout


def test_pair_open_loop(node):
    result = passed("pair", "--url", node.url(), "--connections", "20", "--rate", "2000", *BRIEF)
    assert result["mode"] == "pair" and result["connections"] == 20
    assert 1_700 < result["messagesPerSecond"] < 2_300
    assert result["sent"] == result["delivered"] > 2_000
    assert 0 < result["latencyP50Micros"] <= result["latencyP99Micros"] <= result["latencyMaxMicros"]
    assert 1_700 < result["latencySamples"] < 2_300


@pytest.mark.parametrize("message", ["receipt", "chat"])
def test_pair_closed_loop(node, message):
    arguments = ["--connections", "20", "--rate", "0", "--depth", "4", "--message", message]
    result = passed("pair", "--url", node.url(), *arguments, *BRIEF)
    assert result["messagesPerSecond"] > 1_000
    assert result["sent"] == result["delivered"]
    assert result["confirmed"] == (result["sent"] if message == "chat" else 0)


@pytest.mark.parametrize("threads", ["1", "3"])
@pytest.mark.parametrize("tenant", ["auto", "epoll"])
def test_echo_over_threads(node, threads, tenant):
    arguments = ["--connections", "13", "--depth", "3", "--threads", threads]
    result = passed("echo", "--url", node.url("/echo"), "--io", tenant, *arguments, *BRIEF)
    assert result["threads"] == int(threads) and result["sent"] == result["delivered"] > 1_000


def test_echo_of_messages_of_many_sizes(node):
    for size in ("18", "125", "126", "65000"):
        result = passed("echo", "--url", node.url("/echo"), "--connections", "3", "--payload", size, *BRIEF)
        assert result["delivered"] > 10


def test_connect(node):
    result = passed("connect", "--url", node.url(), "--connect-concurrency", "8", *BRIEF)
    assert result["connectsPerSecond"] > 50 and result["opened"] > 50
    assert result["latencySamples"] > 50
    result = passed("connect", "--url", node.url(), "--connect-rate", "100", "--close-frame", *BRIEF)
    assert 70 < result["connectsPerSecond"] < 130


def test_hold_tells_the_memory_of_a_connection(node):
    arguments = ["--connections", "2000", "--rate", "300", "--sources", "3"]
    result = passed("hold", "--url", node.url(), *arguments, *BRIEF)
    assert result["serverPSSBytes"] > 1 << 20
    assert "bytesPerIdleConnectionPSS" in result
    assert result["serverCPUMicrosPerDelivery"] > 0


@pytest.mark.parametrize("rate", ["0", "200"])
@pytest.mark.parametrize("threads", ["1", "2"])
def test_fanout_to_the_devices_of_a_user(node, rate, threads):
    arguments = ["--connections", "30", "--rate", rate, "--threads", threads]
    result = passed("fanout", "--url", node.url(), *arguments, *BRIEF)
    assert result["delivered"] == 30 * result["published"] > 300


def test_fanout_by_redis(start, redis):
    node = start(redis=redis)
    address = redis.url.removeprefix("redis://")
    arguments = ["--connections", "30", "--rate", "100", "--redis", address]
    result = passed("fanout", "--url", node.url(), *arguments, *BRIEF)
    assert result["delivered"] == 30 * result["published"] > 300
    assert result["redisErrors"] == 0


def test_chat_with_people_who_leave_and_return(node):
    arguments = ["--connections", "40", "--rate", "400", "--churn", "0.2"]
    result = passed("chat", "--url", node.url(), *arguments, "--warmup", "0.2", "--seconds", "4")
    assert result["returned"] > 3 and result["stillAway"] == 0
    assert result["typingSent"] > 50 and result["pings"] > 20
    assert result["confirmed"] > 500


def test_chat_with_presence(start, redis):
    node = start(redis=redis)
    arguments = ["--connections", "40", "--rate", "400", "--churn", "0.2", "--threads", "2"]
    address = redis.url.removeprefix("redis://")
    result = passed("chat", "--url", node.url(), *arguments, "--redis", address, "--seconds", "4")
    assert result["returned"] > 3
    assert result["presenceSent"] > result["returned"] and result["presenceLost"] == 0


def test_storm(node):
    arguments = ["--connections", "200", "--rounds", "2", "--seconds", "30"]
    result = passed("storm", "--url", node.url(), *arguments, "--rest", "0.05")
    assert result["returned"] == 400 and len(result["roundMillis"]) == 2
    # Each round is followed by a message of each to its partner, and so is the start.
    assert result["sent"] == result["delivered"] == 600


def test_drain_tells_who_was_told(start):
    node = start("--shards", "1")
    arguments = ["--connections", "40", "--rate", "400", "--control", control(node)]
    result = passed("drain", "--url", node.url(), *arguments, "--warmup", "0.3", "--seconds", "20")
    assert node.wait_exit() == 0
    assert result["closes"] == 40 and result["closeCodes"] == {"1012": 40}
    assert result["closesWithHint"] == 40 and result["acceptedLost"] == 0
    assert result["accepted"] > 20
    assert sum(result["closesPer250Ms"]) == 40


def test_drain_to_another_node(start, redis):
    """By `skein drain`, as an operator does it, under load from two nodes' clients."""
    nodes = [start(redis=redis), start(redis=redis)]
    urls = [word for node in nodes for word in ("--url", node.url())]
    run = subprocess_of("drain", *urls, "--connections", "40", "--rate", "400", "--seconds", "8")
    until(lambda: nodes[0].connections("u38"), what="the last of its connections")
    time.sleep(1)
    drain = skein("drain", "--control", control(nodes[0]), "--follow", env={"JWT_SECRET": SECRET})
    assert drain.returncode == 0, drain.stderr
    nodes[0].may_end = True
    out, log = run.communicate(timeout=60)
    assert run.returncode == 0, log + out
    result = json.loads(out)
    # Those of the other node were told nothing, and stayed.
    assert result["closes"] == 20 and result["closeCodes"] == {"1012": 20}
    assert result["notTold"] == 0 and result["verdict"] == "ok"
    assert result["returned"] == 20 and result["stillAway"] == 0
    assert result["acceptedLost"] == 0, log


def subprocess_of(*arguments):
    return launch(
        [BINARY, "bench", *arguments, "--json"],
        env=environment({"JWT_SECRET": SECRET}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


# Other servers


@pytest.mark.parametrize("auth", ["header", "query", "subprotocol"])
def test_a_token_may_be_given_and_goes_where_it_is_asked_to(node, auth):
    arguments = ["--connections", "2", "--token", token("u0"), "--auth", auth, "--rate", "20"]
    code, result, log = bench("echo", "--url", node.url("/echo"), *arguments, *BRIEF, env={})
    assert code == 0, log


def test_tokens_from_a_file(node, tmp_path):
    file = tmp_path / "tokens"
    file.write_text("".join(f"f{n} {token(f'f{n}')}\n" for n in range(4)))
    passed("pair", "--url", node.url(), "--tokens", str(file), "--connections", "4", *BRIEF, env={})


def test_another_server_by_templates(start):
    server = start(Relay(None), make=Server)
    result = passed("pair", "--url", server.url(), *PLAIN, "--rate", "200", *BRIEF, env={})
    assert result["delivered"] == result["sent"] > 150
    result = passed("pair", "--url", server.url(), *PLAIN, "--rate", "0", *BRIEF, env={})
    assert result["delivered"] == result["sent"] > 50


def test_first_message_header_and_greeting(start):
    seen = []

    async def greeter(server, user, socket):
        seen.append((socket.request.headers["X-User"], await socket.recv()))
        await socket.send('{"hello":"ready"}')
        await echo(server, user, socket)

    server = start(greeter, make=Server)
    arguments = ["--first-message", "iam %user% %index%", "--header", "X-User: %user%", "--await", "ready"]
    passed("echo", "--preset", "plain", "--url", server.url(), "--connections", "3", *arguments, *BRIEF, env={})
    assert sorted(seen) == [(f"u{n}", f"iam u{n} {n}") for n in range(3)]


@pytest.mark.parametrize("threads", ["1", "2"])
def test_over_tls(start, tmp_path, threads):
    certificate = Certificate(tmp_path)
    node = start(env={"WS_ECHO_PATH": "/echo", **certificate.settings})
    base = ["--connections", "6", "--threads", threads, "--ca", str(certificate.certificate)]
    url = node.url("/echo").replace("ws://", "wss://")
    for size in ("128", "40000"):
        passed("echo", "--url", url, "--depth", "4", "--payload", size, *base, *BRIEF)
    url = node.url().replace("ws://", "wss://")
    result = passed("pair", "--url", url, "--message", "chat", "--rate", "300", *base, *BRIEF)
    assert result["confirmed"] == result["sent"] > 200
    code, _, log = bench("pair", "--url", url, "--connections", "2", *BRIEF)
    assert code == 3 and "--ca" in log, log


def test_interrupted_it_shows_what_there_is(node):
    run = subprocess_of("pair", "--url", node.url(), "--connections", "4", "--seconds", "600")
    until(lambda: node.connections("u3"), what="its connections")
    time.sleep(1.5)
    run.send_signal(signal.SIGINT)
    out, log = run.communicate(timeout=20)
    assert run.returncode == 0, log
    result = json.loads(out)
    assert result["sent"] == result["delivered"] > 10 and result["measuredSeconds"] < 60


# What servers do wrong


@pytest.mark.parametrize(
    "lie, fault",
    [
        ("lose", "lost"),
        ("repeat", "duplicated"),
        ("swap", "outOfOrder"),
        ("misdirect", "misrouted"),
        ("damage", "lost"),
        ("close", "closedEarly"),
    ],
)
def test_a_server_that_lies_is_found_out(start, lie, fault):
    server = start(Relay(lie), make=Server)
    code, result, log = bench(
        "pair", "--url", server.url(), *PLAIN, "--rate", "100", "--grace", "1", *BRIEF, env={}
    )
    assert code == 1, (log, result)
    assert result["verdict"] == "FAILED" and result[fault] > 0, result
    assert len(log.strip().splitlines()) == 1


def test_an_echo_that_changes_a_byte_is_damaged(start):
    async def changing(server, user, socket):
        async for n, text in numbered(socket):
            await socket.send(text.replace("x", "y", 1) if n == 3 else text)

    server = start(changing, make=Server)
    code, result, _ = bench(
        "echo", "--preset", "plain", "--url", server.url(), "--connections", "1", "--rate", "50", *BRIEF, env={}
    )
    assert code == 1 and result["damaged"] == 1, result


def test_a_server_that_breaks_the_protocol(start):
    async def masked(server, user, socket):
        await socket.recv()
        socket.transport.write(b"\x81\x85abcd" + b"hello")
        await socket.wait_closed()

    server = start(masked, make=Server)
    code, result, _ = bench(
        "echo", "--preset", "plain", "--url", server.url(), "--connections", "1", *BRIEF, env={}
    )
    assert code == 1 and result["protocolErrors"] == 1 and result["firstProtocolError"] == "frameMasked", result


def test_a_stall_shows_in_the_latencies(start):
    """No coordinated omission: what was due during the stall waited, and is counted so."""

    async def stalling(server, user, socket):
        async for n, text in numbered(socket):
            if n == 60:
                time.sleep(0.5)  # the whole server
            await socket.send(text)

    server = start(stalling, make=Server)
    arguments = ["--connections", "1", "--rate", "100", "--warmup", "0.1", "--seconds", "2"]
    result = passed("echo", "--preset", "plain", "--url", server.url(), *arguments, env={})
    assert result["delivered"] == result["sent"]
    assert 450_000 < result["latencyMaxMicros"] < 900_000
    assert result["latencyP99Micros"] > 400_000
    # A quarter of the time stood still: a client that waits for answers would have seen one late one.
    assert result["latencyP90Micros"] > 150_000
    assert result["latencyP50Micros"] < 100_000


def test_messages_in_fragments_are_put_together(start):
    async def fragments(server, user, socket):
        async for text in socket:
            await socket.send([text[:7], text[7:20], text[20:]])

    server = start(fragments, make=Server)
    passed("echo", "--preset", "plain", "--url", server.url(), "--connections", "2", "--rate", "100", *BRIEF, env={})


def test_a_limit_of_the_node_is_told(start):
    node = start(env={"WS_MESSAGE_RATE": "5", "WS_MESSAGE_BURST": "5"})
    run = skein(
        "bench", "pair", "--url", node.url(), "--connections", "2", "--rate", "100", *BRIEF, "--grace", "0.5",
        env={"JWT_SECRET": SECRET}, timeout=60,
    )
    assert run.returncode == 1
    assert "WS_MESSAGE_RATE=0" in run.stdout and "RATE_LIMITED" in run.stdout


def test_a_server_that_never_answers_is_found_out():
    """It accepts, and says nothing: no handshake fails within the run, and none succeeds."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"ws://127.0.0.1:{silent.getsockname()[1]}/"
        code, result, _ = bench("connect", "--preset", "plain", "--url", url, *BRIEF, "--grace", "1")
    assert code == 1 and result["verdict"] == "FAILED"
    assert result["unanswered"] > 0 and result["opened"] == 0


def test_connects_at_a_pace_count_from_when_they_were_due(start):
    """Far more are due than two at a time can be: the last ones waited for nearly the whole run."""

    async def nothing(*_):
        pass

    server = start(nothing, make=Server)
    result = passed(
        "connect", "--preset", "plain", "--url", server.url("/"), *BRIEF, "--connect-rate", "100000",
        "--connect-concurrency", "2",
    )
    assert result["connectRatePerSecond"] == 100000
    assert result["latencyMaxMicros"] > 100_000


# Output


def test_the_shape_of_the_result(node):
    result = passed("pair", "--url", node.url(), "--label", 'a "label"', "--connections", "4", *BRIEF)
    for name in ("kernel", "processor", "loop", "version"):
        assert result[name], name
    assert result["label"] == 'a "label"'
    assert 0 <= result["clientCPUShare"] <= 4 and 0 <= result["clientThreadShareMax"] <= 1.1
    for name in ("lost", "duplicated", "outOfOrder", "misrouted", "protocolErrors", "errorFrames"):
        assert result[name] == 0
    assert result["serverCPUShare"] > 0


def test_hgrm_is_what_plotters_read(node, tmp_path):
    file = tmp_path / "pair.hgrm"
    result = passed("pair", "--url", node.url(), "--connections", "4", "--hgrm", str(file), *BRIEF)
    lines = file.read_text().splitlines()
    assert lines[0].split() == ["Value", "Percentile", "TotalCount", "1/(1-Percentile)"]
    rows = [line.split() for line in lines[1:] if line and not line.startswith("#")]
    percentiles = [float(row[1]) for row in rows]
    assert percentiles == sorted(percentiles) and percentiles[-1] == 1.0
    assert int(rows[-1][2]) == result["latencySamples"]
    assert float(rows[-1][0]) == pytest.approx(result["latencyMaxMicros"] / 1e3, rel=0.01)
    assert lines[-1].startswith("#[Buckets")


def test_help_has_examples():
    run = skein("bench", "--help")
    assert run.returncode == 0
    for word in ("storm", "%marker%", "Exit codes", "skein bench drain"):
        assert word in run.stdout


@pytest.mark.parametrize(
    "arguments, env, code, word",
    [
        (["nonsense"], {}, 64, "no scenario"),
        (["pair"], {}, 64, "JWT_SECRET"),
        (["pair", "--connections", "3"], {"JWT_SECRET": SECRET}, 64, "even"),
        (["pair", "--message", "hello"], {"JWT_SECRET": SECRET}, 64, "%marker%"),
        (["echo", "--url", "ws://127.0.0.1:1/"], {}, 3, "refused"),
        (["echo", "--url", "http://127.0.0.1:1/"], {}, 64, "ws://"),
        (["echo", "--url", "ws:///ws"], {}, 64, "no address"),
        (["connect", "--rate", "10"], {"JWT_SECRET": SECRET}, 64, "--connect-rate"),
        (["echo", "--pid", "4194304"], {}, 64, "no such process"),
        (["echo", "--hgrm", "/nowhere/there.hgrm"], {}, 64, "cannot be written"),
        (["echo", "--connections", "900000"], {}, 64, "descriptors"),
        (["echo", "--header", "nonsense"], {}, 64, "Name: value"),
        (["echo", "--source-address", "nonsense"], {}, 64, "IP address"),
        (["echo", "--control", "http://127.0.0.1:1"], {}, 64, "drain"),
    ],
)
def test_it_says_what_is_wrong(arguments, env, code, word):
    run = skein("bench", *arguments, env=env)
    assert run.returncode == code, run.stderr
    assert word in run.stderr and len(run.stderr.strip().splitlines()) == 1


def test_it_says_who_refused(node):
    bad = token("u0", secret="another-secret-of-more-than-32-bytes!")
    code, _, log = bench("pair", "--url", node.url(), "--token", bad, *BRIEF)
    assert code == 3 and "401" in log
    code, _, log = bench("echo", "--url", node.url("/nowhere"), *BRIEF)
    assert code == 3 and "404" in log
