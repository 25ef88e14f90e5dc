"""A node that has run out of descriptors: it does not spin, goes on with those it has, counts what
it refused, and takes new ones as soon as some are free."""

import time

import pytest

from harness.http import Closed
from harness.raw import RawSocket, upgrade_request
from harness.tokens import token
from harness.wait import until


def open_until_refused(node, name, most):
    """Opens sockets until handshakes have stopped getting through; gives those that did and those
    that hang or were refused."""
    served, turned_away = [], []
    while len(served) + len(turned_away) < most:
        raw = RawSocket(node.port, timeout=1)
        try:
            raw.send(upgrade_request(node.port, "/ws", token=token(name())))
            status = raw.response().status
        except (AssertionError, Closed, OSError):
            status = None  # waits in the backlog, or was closed
        if status == 101:
            raw.socket.settimeout(20)
            raw.expect_event("connected")
            served.append(raw)
        else:
            assert status in (None, 503), status
            turned_away.append(raw)
            if len(turned_away) == 5:
                break
    return served, turned_away


def refusals(node) -> float:
    metrics = node.metrics()
    return (
        metrics.total("skein_handshakes_total")
        - metrics.total("skein_handshakes_total", result="accepted")
        + metrics.total("skein_dropped_total")
    )


@pytest.mark.timeout(180)
def test_out_of_descriptors(start, io, name):
    limit = 160
    node = start(io=io, nofile=limit, env={"WS_MAX_CONNECTIONS_PER_USER": "0"})
    before = refusals(node)
    served, turned_away = open_until_refused(node, name, most=limit + 60)
    try:
        assert turned_away, f"{len(served)} sockets were served with {limit} descriptors"
        assert len(served) > 20, "the node keeps most descriptors for itself"

        # More keep knocking, at both doors, while its CPU is measured.
        knocking = [RawSocket(node.port) for _ in range(20)]
        knocking.append(RawSocket(node.control_port))
        time.sleep(0.5)
        spent = node.cpu_seconds()
        time.sleep(2)
        spent = node.cpu_seconds() - spent
        assert spent < 0.5, f"{spent:.2f} s of CPU within 2 s of standing still"

        # Whoever is in is served.
        for raw in (served[0], served[-1]):
            raw.event("ping")
            raw.expect_event("pong")
        for raw in knocking:
            raw.close()
    finally:
        for raw in turned_away:
            raw.close()
        for raw in served[1:]:
            raw.close()

    def gets_in():
        try:
            return node.handshake(token=token(name())).status == 101
        except (AssertionError, Closed, OSError):
            return False

    until(gets_in, timeout=60, every=0.2, what="room after the others left")
    served[0].event("ping")
    served[0].expect_event("pong")
    served[0].close()
    node.wait_ready()
    assert refusals(node) > before, "the refusals were not counted"
