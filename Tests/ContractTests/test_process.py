"""The program as an operator meets it: how it starts, what it says when it cannot, configuration,
and the small commands."""

import json
import re
import socket
import threading
import time

import pytest

from harness.node import environment, loopback, skein
from harness.raw import TEXT
from harness.tokens import SECRET, claims_of, token
from harness.wait import until

def assert_sentence(result, *words):
    """It failed, on purpose, and stderr says in a sentence what is wrong."""
    assert result.returncode > 0, f"ended by signal {-result.returncode}: {result.stderr}"
    assert "Fatal error" not in result.stderr
    assert "Backtrace" not in result.stderr
    lines = [line for line in result.stderr.splitlines() if line.strip()]
    assert 1 <= len(lines) <= 5, result.stderr
    for word in words:
        assert word in result.stderr, f"{word!r} is not in {result.stderr!r}"


def serve(*arguments, env=None, cwd=None, **how):
    """A `serve` that is expected to end by itself."""
    settings = {"JWT_SECRET": SECRET, **(env or {})}
    arguments = loopback(arguments) + list(arguments)
    return skein("serve", *arguments, env=settings, cwd=cwd, timeout=20, **how)


# Starting


def test_one_line_for_each_listener(start):
    node = start()
    listeners = [line for line in node.out.lines if "://" in line]
    assert any(f"ws://127.0.0.1:{node.port}" in line for line in listeners)
    assert any(f"http://127.0.0.1:{node.control_port}" in line for line in listeners)
    assert node.port and node.control_port, "port 0 is printed as the real one"
    # stdout is for these lines and the report alone.
    assert len(node.out.lines) == len(listeners), node.out.text


def test_dev_makes_a_secret_and_a_token_that_works(start):
    node = start("--dev", env={"JWT_SECRET": None})
    found = re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]+")
    text = until(
        lambda: found.search(node.out.text + "\n" + node.log.text), what="a token to use"
    ).group()
    with node.wire() as raw:
        assert raw.handshake(node.port, "/ws", token=text).status == 101
        raw.expect_event("connected")


def test_dev_uses_the_secret_that_is_set(start, name, open_client):
    node = start("--dev")
    open_client(node, name())


def test_dev_has_an_echo_without_token(start):
    node = start("--dev")
    with node.wire() as raw:
        assert raw.handshake(node.port, "/echo").status == 101
        raw.frame(TEXT, "hello")
        assert raw.read_message().payload == b"hello"
    assert node.handshake("/ws").status == 401, "only the echo is open"


def test_no_echo_outside_dev_unless_asked(start, name):
    node = start()
    assert node.handshake("/echo", token=token(name())).status == 404


@pytest.mark.parametrize("shards", ["1", "2", "4"])
def test_any_number_of_shards(start, name, open_client, shards):
    node = start("--shards", shards)
    assert len(node.control("GET", "/health").json()["shards"]) == int(shards)
    clients = [open_client(node, name()) for _ in range(6)]
    for sender in clients:
        for receiver in clients:
            if sender is not receiver:
                sender.chat(receiver.user, "hi")
                receiver.expect("chat_message", {"senderId": sender.user, "message": "hi"})
                sender.expect("chat_message_sent")


@pytest.mark.parametrize("pin", ["auto", "none", "0"])
def test_pinning(start, name, open_client, pin):
    node = start("--pin", pin, *(["--shards", "1"] if pin == "0" else []))
    client = open_client(node, name())
    client.send("ping")
    client.expect("pong")


def test_node_ids_are_unique(start):
    ids = {start().control("GET", "/health").json()["nodeId"] for _ in range(2)}
    assert len(ids) == 2


# Refusing to start


def test_missing_secret():
    assert_sentence(serve(env={"JWT_SECRET": None}), "JWT_SECRET")


def test_short_secret():
    short = "a-short-secret-of-31-bytes-only"
    assert len(short) == 31
    result = serve(env={"JWT_SECRET": short})
    assert_sentence(result, "JWT_SECRET", "32")
    assert short not in result.stderr + result.stdout


def test_short_secret_even_in_dev():
    assert_sentence(serve("--dev", env={"JWT_SECRET": "short"}), "JWT_SECRET")


def test_short_api_key():
    good = "k" * 32
    assert_sentence(serve(env={"API_KEY": f"{good},short"}), "API_KEY")


@pytest.mark.parametrize("which", ["--listen", "--control-listen"])
def test_port_held_by_another_program(which):
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        assert_sentence(serve(which, f"127.0.0.1:{port}"), str(port))


def test_port_held_by_another_skein(start):
    """Although both would set SO_REUSEPORT, which would let the kernel share the port."""
    node = start()
    for which, port in (("--listen", node.port), ("--control-listen", node.control_port)):
        assert_sentence(serve(which, f"127.0.0.1:{port}"), str(port))
    assert node.ready()[0] == 200


@pytest.mark.parametrize(
    "address", ["nonsense", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:70000", ":", "127.0.0.1:-1"]
)
def test_addresses_that_are_none(address):
    assert_sentence(serve("--listen", address))


def test_an_address_of_another_machine():
    assert_sentence(serve("--listen", "192.0.2.1:0"), "192.0.2.1")


@pytest.mark.parametrize(
    "key, value",
    [
        ("WS_PING_INTERVAL", "often"),
        ("WS_PING_INTERVAL", "-1s"),
        ("WS_MAX_MESSAGE_SIZE", "64KB!"),
        ("WS_MAX_MESSAGE_SIZE", "-5"),
        ("WS_MAX_CONNECTIONS", "many"),
        ("WS_MESSAGE_RATE", "1e99"),
        ("DRAIN_DEADLINE", "soon"),
        ("AUTH_SESSION", "perhaps"),
        ("WS_ADAPTER", "pigeon"),
        ("REDIS_URL", "http://127.0.0.1"),
        ("REDIS_URL", "redis://127.0.0.1:99999999"),
        ("WS_ECHO_PATH", "no-slash"),
        ("READY_WHEN_DEGRADED", "maybe"),
        ("LOG_LEVEL", "loud"),
    ],
)
def test_values_that_make_no_sense_are_named(key, value):
    assert_sentence(serve(env={key: value}), key)


@pytest.mark.parametrize(
    "arguments",
    [["--io", "kqueue"], ["--shards", "-1"], ["--shards", "x"], ["--pin", "99999"], ["--nonsense"]],
)
def test_flags_that_make_no_sense(arguments):
    result = serve(*arguments)
    assert result.returncode > 0, result
    assert "Fatal error" not in result.stderr
    assert result.stderr.strip()


# Configuration


def write(folder, name, text):
    path = folder / name
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(
    "called, text",
    [
        ("skein.yaml", "WS_ECHO_PATH: /from-file\nWS_MAX_MESSAGE_SIZE: 1000\n"),
        ("skein.yml", 'WS_ECHO_PATH: "/from-file"\nWS_MAX_MESSAGE_SIZE: "1000"\n'),
        ("skein.json", '{"WS_ECHO_PATH": "/from-file", "WS_MAX_MESSAGE_SIZE": 1000}'),
    ],
)
def test_configuration_from_a_file(start, open_raw, tmp_path, called, text):
    file = write(tmp_path, called, text)
    node = start("--config", file)
    raw = open_raw(node, "file-user", "/from-file")
    raw.frame(TEXT, b"x" * 1000)
    assert len(raw.read_message().payload) == 1000
    raw.frame(TEXT, b"x" * 1001)
    raw.expect_close(1009)


def test_environment_goes_before_file_and_flag_before_environment(start, tmp_path, redis):
    file = write(tmp_path, "c.yaml", "WS_ECHO_PATH: /file\nWS_ADAPTER: redis\n")
    env = {"WS_ECHO_PATH": "/environment", "WS_ADAPTER": "memory"}
    node = start("--config", file, env=env)
    assert node.handshake("/environment", token=token("u")).status == 101
    assert node.handshake("/file", token=token("u")).status == 404
    # Nobody listens at port 1, so that only a node that took the flag's address becomes ready.
    env = {"REDIS_URL": "redis://127.0.0.1:1"}
    start("--config", file, "--redis-url", redis.url, env=env)


def test_unknown_key_in_a_file(tmp_path):
    file = write(tmp_path, "c.yaml", "WS_PING_INTERVAL: 20s\nWS_PING_INTERVALL: 25s\n")
    result = skein("config", "check", "--config", file, env={"JWT_SECRET": SECRET})
    assert result.returncode > 0
    assert "WS_PING_INTERVALL" in result.stdout + result.stderr
    result = serve("--config", file)
    assert_sentence(result, "WS_PING_INTERVALL")


@pytest.mark.parametrize(
    "text", ["{", "- a\n- b\n", "WS_PING_INTERVAL: [1,2]\n", "\t:\n\t- x: y: z\n"]
)
def test_a_file_that_is_none(tmp_path, text):
    file = write(tmp_path, "c.yaml", text)
    assert_sentence(serve("--config", file))


def test_a_file_that_is_not_there(tmp_path):
    assert_sentence(serve("--config", str(tmp_path / "nowhere.yaml")), "nowhere.yaml")


def test_a_file_that_is_being_written(tmp_path):
    """Half a file of YAML is one, too: it is read when it stands still."""
    file = write(tmp_path, "c.yaml", "WS_PONG_TIMEOUT: 61s\n")

    def go_on():
        with open(file, "a", buffering=1) as stream:
            for number in range(30):
                stream.write(f"# {number}\n")
                time.sleep(0.02)
            stream.write("WS_PING_INTERVAL: 19s\n")

    writing = threading.Thread(target=go_on)
    writing.start()
    result = skein("config", "check", "--config", file, env={"JWT_SECRET": SECRET})
    writing.join()
    assert result.returncode == 0, result
    line = next(line for line in result.stdout.splitlines() if "WS_PING_INTERVAL" in line)
    assert "19" in line, line


def test_config_check(tmp_path):
    file = write(tmp_path, "c.yaml", "WS_PONG_TIMEOUT: 61s\n")
    env = {"JWT_SECRET": SECRET, "WS_PING_INTERVAL": "17s"}
    result = skein("config", "check", "--config", file, env=env)
    assert result.returncode == 0, result
    for key in ("WS_PING_INTERVAL", "WS_PONG_TIMEOUT", "WS_MAX_MESSAGE_SIZE", "JWT_SECRET"):
        assert key in result.stdout
    assert "17" in result.stdout and "61" in result.stdout and "65536" in result.stdout
    assert SECRET not in result.stdout + result.stderr
    assert "***" in result.stdout


def test_config_check_names_every_bad_value():
    env = {"JWT_SECRET": "short", "WS_PING_INTERVAL": "often", "WS_MESSAGE_RATE": "lots"}
    result = skein("config", "check", env=env)
    assert result.returncode > 0
    for key in env:
        assert key in result.stdout + result.stderr


# token


def test_token_alone(start, name):
    user = name()
    result = skein("token", "--user", user, env={"JWT_SECRET": SECRET})
    assert result.returncode == 0, result
    assert result.stdout == result.stdout.strip() + "\n"
    claims = claims_of(result.stdout.strip())
    assert claims["sub"] == user
    assert abs(claims["exp"] - time.time() - 3600) < 120, "an hour by default"
    assert start().handshake(token=result.stdout.strip()).status == 101


def test_token_with_everything():
    result = skein(
        "token", "--user", "u", "--username", "Zoë", "--role", "service", "--ttl", "5m",
        env={"JWT_SECRET": SECRET},
    )  # fmt: skip
    assert result.returncode == 0, result
    claims = claims_of(result.stdout.strip())
    assert claims["sub"] == "u"
    assert claims["username"] == "Zoë"
    assert claims["role"] == "service"
    assert abs(claims["exp"] - time.time() - 300) < 60


@pytest.mark.parametrize(
    "arguments, env",
    [
        (["--user", "u"], {}),
        (["--user", "u"], {"JWT_SECRET": "short"}),
        (["--user", "a b"], {"JWT_SECRET": SECRET}),
        (["--user", ""], {"JWT_SECRET": SECRET}),
        (["--user", "u", "--ttl", "long"], {"JWT_SECRET": SECRET}),
        (["--user", "u", "--role", "king"], {"JWT_SECRET": SECRET}),
        ([], {"JWT_SECRET": SECRET}),
    ],
)
def test_token_refused(arguments, env):
    result = skein("token", *arguments, env=env)
    assert result.returncode > 0
    assert result.stderr.strip()
    assert result.stdout == ""


# In general


@pytest.mark.parametrize("arguments", [["--help"], ["serve", "--help"], ["token", "--help"], ["tail", "--help"]])
def test_help(arguments):
    result = skein(*arguments)
    assert result.returncode == 0
    assert "USAGE" in result.stdout.upper()


def test_unknown_command():
    result = skein("nonsense")
    assert result.returncode > 0
    assert result.stderr.strip()


def test_the_tests_own_environment_stays_outside(monkeypatch):
    """What protects all other tests from a REDIS_URL in the shell."""
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1")
    assert "REDIS_URL" not in environment()
    assert json.dumps(environment({"A": None})) == json.dumps(environment())


# status, drain


def test_status(start, name, open_client):
    node = start()
    open_client(node, name())
    control = f"http://127.0.0.1:{node.control_port}"
    node_id = node.control("GET", "/health").json()["nodeId"]
    result = skein("status", "--control", control)
    assert result.returncode == 0, result
    assert node_id in result.stdout
    assert "memory" in result.stdout
    result = skein("status", "--control", control, "--json")
    assert result.returncode == 0, result
    assert node_id in json.dumps(json.loads(result.stdout))


def test_drain_command(start, name):
    """Exit 0 when the node is empty."""
    node = start(env={"DRAIN_DEADLINE": "60s"})
    client = node.connect(name())
    control = f"http://127.0.0.1:{node.control_port}"
    thread = threading.Thread(target=client.expect_closed, args=(1012,))
    thread.start()
    node.may_end = True
    result = skein("drain", "--control", control, "--deadline", "10s", "--follow")
    thread.join()
    assert result.returncode == 0, result
    assert node.wait_exit() == 0


@pytest.mark.parametrize("command", ["status", "drain"])
def test_nobody_at_the_control_address(command):
    result = skein(command, "--control", "http://127.0.0.1:1")
    assert result.returncode > 0
    assert "127.0.0.1:1" in result.stderr
    assert "Fatal error" not in result.stderr
