"""Others' clients hold one conversation with a node's echo endpoint, plain and over TLS, with
permessage-deflate and without: Python's `websockets`, Node's `ws` and libwebsockets, each as its
users get it."""

import asyncio
import os
import re
import shutil
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.asyncio.client import connect

from harness.abilities import why_no_compression, why_no_tls
from harness.certificate import Certificate
from harness.http import Wire
from harness.node import Node
from harness.raw import upgrade_request
from harness.tokens import token

PROGRAMS = Path(__file__).with_name("interoperability")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    return Certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="module", params=["plain", "tls"])
def scheme(request):
    """`ws` or `wss`."""
    if request.param == "plain":
        return "ws"
    if reason := why_no_tls():
        pytest.skip(reason)
    return "wss"


@pytest.fixture(scope="module")
def echoing(io, scheme, certificate):
    """A node; its echo endpoint is served by `scheme`."""
    settings = certificate.settings if scheme == "wss" else {}
    with ExitStack() as stack:
        node = Node(io=io, env={"WS_ECHO_PATH": "/echo", **settings})
        stack.callback(node.stop)
        yield node


@pytest.fixture(params=["plain", "deflate"])
def compression(request):
    """Whether the client offers permessage-deflate. Offered to a node that has none, it stays off."""
    if request.param == "deflate" and (reason := why_no_compression()):
        pytest.skip(reason)
    return request.param


@pytest.fixture(scope="module")
def libwebsockets(tmp_path_factory):
    """The C program, built against the library that is installed."""
    program = tmp_path_factory.mktemp("libwebsockets") / "client"
    compiler = shutil.which("cc") or shutil.which("clang")
    assert compiler, "no C compiler on the PATH"
    flags = subprocess.run(
        ["pkg-config", "--cflags", "--libs", "libwebsockets"], capture_output=True, text=True
    )
    assert flags.returncode == 0, f"libwebsockets-dev is not installed: {flags.stderr}"
    source = PROGRAMS / "libwebsockets.c"
    command = [compiler, "-O1", "-Wall", "-Wextra", "-Werror", "-o", program, source]
    built = subprocess.run([*command, *flags.stdout.split()], capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return program


def run(command, **how):
    ended = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=60, **how
    )
    assert ended.returncode == 0, f"status {ended.returncode}: {ended.stdout}{ended.stderr}"


def authority(scheme, certificate):
    return certificate.certificate if scheme == "wss" else "-"


def test_python_websockets(echoing, scheme, certificate, compression):
    # Its asyncio client: the one with threads sets a time-out on a socket that it is reading, and then
    # misses close frames over TLS now and then.
    asyncio.run(converse(echoing, scheme, certificate, compression))


async def converse(echoing, scheme, certificate, compression):
    large = os.urandom(32_768) * 2
    async with connect(
        f"{scheme}://127.0.0.1:{echoing.port}/echo",
        additional_headers={"Authorization": f"Bearer {token('websockets')}"},
        compression="deflate" if compression == "deflate" else None,
        ssl=certificate.client_context() if scheme == "wss" else None,
        proxy=None,
    ) as socket:
        agreed = [type(extension) for extension in socket.protocol.extensions]
        assert agreed == ([PerMessageDeflate] if compression == "deflate" else [])
        for _ in range(3):
            for message in ("hello", "zoë 🧶 " * 1000, "", b"", bytes(range(256)), large):
                await socket.send(message)
                assert await socket.recv() == message
            await socket.send(iter(["one ", "two ", "three"]))
            assert await socket.recv() == "one two three"
            await socket.send(iter([large[:30_000], b"", large[30_000:]]))
            assert await socket.recv() == large
            await (await socket.ping(b"are you there?"))
        await socket.close(1000, "done")
        assert socket.close_code == 1000
        assert socket.protocol.close_rcvd.code == 1000


def test_node_ws(echoing, scheme, certificate, compression):
    program, ca = PROGRAMS / "node_ws.js", authority(scheme, certificate)
    url = f"{scheme}://127.0.0.1:{echoing.port}/echo"
    # Debian's modules, also for a Node that is not Debian's.
    environment = os.environ | {"NODE_PATH": "/usr/share/nodejs"}
    run(["node", program, url, token("node-ws"), ca, compression], env=environment)


def test_libwebsockets(echoing, scheme, certificate, compression, libwebsockets):
    ca = authority(scheme, certificate)
    run([libwebsockets, "localhost", echoing.port, "/echo", token("lws"), ca, compression])


def test_over_tls_only(echoing, scheme):
    """What is HTTP on a port of TLS is told so and gets no handshake, nor does TLS on a plain port."""
    with Wire(echoing.port) as wire:
        if scheme == "wss":
            wire.send(upgrade_request(echoing.port, "/echo", token=token("plain")))
            answer = wire.read_to_end()
            assert answer.startswith(b"HTTP/1.1 400 ") and b"wss://" in answer
        else:
            wire.send(bytes.fromhex("16030100c8010000c40303") + os.urandom(200))
            assert not re.match(rb"\x16\x03", wire.read_to_end())
