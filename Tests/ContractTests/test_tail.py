"""`skein tail`: two people at two terminals, in pipes and on a pseudo-terminal."""

import json
import os
import pty
import signal
import subprocess

import pytest

from harness.node import BINARY, Lines, environment, launch, skein
from harness.tokens import SECRET, token
from harness.wait import until


class Tail:
    """A running `skein tail` of a user."""

    def __init__(self, node, user, *arguments, env=None, terminal=False):
        self.user = user
        command = [BINARY, "tail", "--user", user, "--url", node.url(), *arguments]
        self.keyboard = None
        stdin = subprocess.PIPE
        if terminal:
            self.keyboard, stdin = pty.openpty()
        self.process = launch(
            command,
            env=environment({"JWT_SECRET": SECRET} if env is None else env),
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        if terminal:
            os.close(stdin)
        self.out, self.log = Lines(self.process.stdout), Lines(self.process.stderr)
        until(lambda: node.connections(user) or self.process.poll() is not None, what="its arrival")
        assert self.process.poll() is None, self.log.text

    def type(self, line):
        if self.keyboard is not None:
            os.write(self.keyboard, line.encode() + b"\n")
        else:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()

    def say(self, receiver, message):
        data = {"receiverId": receiver, "message": message}
        self.type(json.dumps({"type": "chat_message", "data": data}))

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if self.keyboard is not None:
            os.close(self.keyboard)
            self.keyboard = None


@pytest.fixture(scope="module")
def node(start_shared):
    return start_shared()


@pytest.mark.parametrize("terminal", [False, True], ids=["pipe", "pty"])
def test_a_conversation(start, node, name, terminal):
    alice = start(node, name("alice"), make=Tail, terminal=terminal)
    bob = start(node, name("bob"), make=Tail, terminal=terminal)
    alice.say(bob.user, "how do you do")
    line = bob.out.until("how do you do")
    assert "chat_message" in line and alice.user in line
    alice.out.until("chat_message_sent")
    bob.say(alice.user, "fine, thanks: zoë 🧶")
    assert bob.user in alice.out.until("fine, thanks")
    # One line per event.
    assert sum("how do you do" in line for line in bob.out.lines) == 1


def test_it_prints_what_arrives(start, node, name, open_client):
    bob = start(node, name("bob"), make=Tail)
    alice = open_client(node, name("alice"))
    for n in range(50):
        alice.chat(bob.user, f"line {n};")
    bob.out.until("line 49;")
    told = [line for line in bob.out.lines if "line " in line]
    assert len(told) == 50
    for n, line in enumerate(told):
        assert f"line {n};" in line


def test_a_token_may_be_given(start, node, name):
    user = name()
    tail = start(node, user, "--token", token(user), make=Tail, env={})
    assert len(node.connections(tail.user)) == 1


def test_interrupt_leaves(start, node, name):
    tail = start(node, name(), make=Tail)
    tail.process.send_signal(signal.SIGINT)
    assert tail.process.wait(15) in (0, 130, -signal.SIGINT)
    until(lambda: node.connections(tail.user) == [], what="its leaving")


def test_it_outlives_the_node(start, name, open_client):
    """Says that the node has left, and is back when the node is."""
    node = start()
    port = node.port
    tail = start(node, name("bob"), make=Tail)
    assert node.control("POST", "/drain", {}).status == 202
    assert node.wait_exit() == 0
    until(lambda: tail.log.text or "1012" in tail.out.text, what="a word on it")
    assert tail.process.poll() is None
    node = start("--listen", f"127.0.0.1:{port}")
    until(lambda: node.connections(tail.user), timeout=40, what="its return")
    alice = open_client(node, name("alice"))
    alice.chat(tail.user, "welcome back")
    tail.out.until("welcome back")


@pytest.mark.parametrize(
    "arguments, env",
    [
        (["--url", "ws://127.0.0.1:1/ws"], {"JWT_SECRET": SECRET}),
        (["--url", "nonsense"], {"JWT_SECRET": SECRET}),
        (["--url", "ws://127.0.0.1:1/ws"], {}),
    ],
    ids=["nobody there", "no address", "no secret"],
)
def test_it_says_why_it_cannot(arguments, env):
    result = skein("tail", "--user", "u", *arguments, env=env)
    assert result.returncode > 0
    assert "Fatal error" not in result.stderr
    assert len(result.stderr.strip().splitlines()) >= 1


def test_it_says_when_it_is_refused(node):
    bad = token("u", secret="another-secret-of-more-than-32-bytes!")
    result = skein("tail", "--user", "u", "--url", node.url(), "--token", bad)
    assert result.returncode > 0
    assert "401" in result.stderr or "nauthorized" in result.stderr
