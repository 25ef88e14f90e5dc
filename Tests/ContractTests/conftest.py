"""Fixtures of the contract tests. A module shares one node for each combination of I/O tenant and
backplane that it names; whatever a test starts is ended after it, and a node that dies fails the
test in which it died, with its last words.

Run one file with `.venv/bin/python -m pytest test_relay.py -k order --io uring`.
"""

import ctypes
import functools
import os
import signal
import uuid
from contextlib import ExitStack

import pytest

from harness.node import BINARY, Node
from harness.redis import RedisServer

IO_URING_SETUP = 425


def pytest_addoption(parser):
    parser.addoption("--io", default="uring,epoll", help="I/O tenants to test, comma-separated")
    parser.addoption(
        "--backplane", default="memory,redis", help="backplanes to test, comma-separated"
    )
    parser.addoption("--case", default="*", help="conformance cases to play, as a glob of their ids")


@functools.cache
def why_no_io_uring() -> str | None:
    """The kernel's own word on io_uring for processes like ours; None when it is to be had."""
    libc = ctypes.CDLL(None, use_errno=True)
    parameters = ctypes.create_string_buffer(120)
    descriptor = libc.syscall(IO_URING_SETUP, 4, parameters)
    if descriptor < 0:
        return f"the kernel denies io_uring here: {os.strerror(ctypes.get_errno())}"
    os.close(descriptor)
    return None


def pytest_generate_tests(metafunc):
    denied = why_no_io_uring()
    without_uring = pytest.mark.skipif(bool(denied), reason=str(denied))
    if "io" in metafunc.fixturenames:
        chosen = metafunc.config.getoption("io").split(",")
        if metafunc.definition.get_closest_marker("one_tenant"):
            chosen = [io for io in chosen if io != "uring" or not denied][:1] or chosen[:1]
        tenants = [
            pytest.param(io, marks=without_uring if io == "uring" else ()) for io in chosen
        ]
        metafunc.parametrize("io", tenants, indirect=True, scope="module")
    if "backplane" in metafunc.fixturenames:
        chosen = metafunc.config.getoption("backplane").split(",")
        metafunc.parametrize("backplane", chosen, indirect=True, scope="module")


def pytest_make_parametrize_id(config, val):
    """Long parameters make readable names too."""
    if isinstance(val, (str, bytes)) and len(val) > 40:
        return ascii(val[:37]) + "..."
    return None


def pytest_sessionstart(session):
    if not os.access(BINARY, os.X_OK):
        pytest.exit(f"{BINARY} is not there: build it with Ops/test or Ops/run first", 2)


@pytest.fixture(scope="module")
def io(request):
    """`uring` or `epoll`."""
    return request.param


@pytest.fixture(scope="module")
def backplane(request):
    """None for memory, or a Redis server."""
    if request.param == "memory":
        yield None
    else:
        server = RedisServer()
        yield server
        server.close()


@pytest.fixture(scope="module")
def redis():
    """A Redis server of the module's own."""
    server = RedisServer()
    yield server
    server.close()


def starter():
    """A function that makes nodes and all else that is to be closed or stopped in the end."""
    with ExitStack() as stack:

        def start(*arguments, make=Node, **how):
            made = make(*arguments, **how)
            stack.callback(made.stop if isinstance(made, Node) else made.close)
            return made

        yield start


@pytest.fixture(scope="module")
def start_shared():
    yield from starter()


@pytest.fixture
def start():
    yield from starter()


@pytest.fixture(scope="module")
def node(start_shared, io):
    """One node for each tenant, on the memory backplane. Modules that need another say so."""
    return start_shared(io=io, env={"WS_ECHO_PATH": "/echo"})


@pytest.fixture
def open_client():
    """Connects devices that are closed after the test: `open_client(node, user)`."""
    with ExitStack() as stack:

        def connect(node, user, *arguments, **how):
            return stack.enter_context(node.connect(user, *arguments, **how))

        yield connect


@pytest.fixture
def open_raw():
    """Connects raw sockets that are closed after the test: `open_raw(node, user, path)`."""
    with ExitStack() as stack:

        def connect(node, *arguments, **how):
            return stack.enter_context(node.raw(*arguments, **how))

        yield connect


@pytest.fixture
def name():
    """Makes user names that no other test uses."""
    return lambda stem="user": f"{stem}-{uuid.uuid4().hex[:12]}"


@pytest.fixture(autouse=True)
def nodes_survive():
    yield
    for node in list(Node.running):
        node.check()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """A test that hangs fails by itself: no bound inside it may be forgotten."""
    marker = item.get_closest_marker("timeout")
    seconds = marker.args[0] if marker else 90

    def expired(*_):
        raise TimeoutError(f"the test took more than {seconds} s")

    previous = signal.signal(signal.SIGALRM, expired)
    signal.alarm(seconds)
    try:
        return (yield)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.failed:
        for node in Node.running:
            report.sections.append((f"node {node.process.pid}", node.describe()))
    return report
