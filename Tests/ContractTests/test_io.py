"""Where the kernel denies io_uring, as Docker's default profile makes it: `auto` takes epoll and says
why, `uring` refuses to start."""

import errno

import pytest

from harness.node import BINARY, Node, environment, launch
from harness.tokens import SECRET


@pytest.mark.parametrize("error", [errno.EPERM, errno.ENOSYS])
def test_auto_falls_back_to_epoll(start, name, open_client, error):
    node = start(io="auto", deny_io_uring=error)
    alice, bob = open_client(node, name()), open_client(node, name())
    alice.chat(bob.user, 1)
    bob.expect("chat_message", {"senderId": alice.user, "message": 1})
    alice.expect("chat_message_sent")
    said = [line for line in node.log.lines if "io_uring" in line and "epoll" in line]
    assert len(said) == 1, f"one line that says why:\n{node.log.text}"
    assert node.control("GET", "/health").status == 200


@pytest.mark.parametrize("error", [errno.EPERM, errno.ENOSYS])
def test_uring_refuses_to_start(start, error):
    node = Node(io="uring", deny_io_uring=error, wait="started")
    try:
        status = node.wait_exit()
        assert status > 0, f"ended by signal {-status}: {node.describe()}"
        assert "io_uring" in node.log.text
        assert "Fatal error" not in node.log.text
        assert "://" not in node.out.text, "no listener was announced"
    finally:
        node.kill()


def test_epoll_asks_for_no_io_uring(start, name, open_client):
    node = start(io="epoll", deny_io_uring=errno.EPERM)
    client = open_client(node, name())
    client.send("ping")
    client.expect("pong")


def test_the_default_is_auto(start, name, open_client):
    node = start(deny_io_uring=errno.EPERM)
    client = open_client(node, name())
    client.send("ping")
    client.expect("pong")


def test_too_few_descriptors_to_start_with():
    """A sentence, not a crash."""
    process = launch(
        [BINARY, "serve", "--listen", "127.0.0.1:0", "--control-listen", "127.0.0.1:0"],
        nofile=12,
        env=environment({"JWT_SECRET": SECRET}),
        stdin=-3,
        stdout=-1,
        stderr=-1,
        text=True,
    )
    try:
        _, text = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode > 0, f"ended by signal {-process.returncode}: {text}"
    assert "Fatal error" not in text
