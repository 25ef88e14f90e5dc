"""TLS on the sockets listener: what goes over the wire, which certificate and version a client gets,
tickets, files that are replaced while clients talk, and storms of handshakes."""

import os
import signal
import socket
import ssl
import threading
import time

import pytest

from harness.certificate import Certificate
from harness.client import Client
from harness.raw import PING, TEXT, frame_bytes
from harness.redis import Redis
from harness.tls import ALERT, SealedSocket, records
from harness.tokens import token
from harness.wait import until

VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    return Certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def secure(start_shared, io, certificate):
    """A node of two shards that speaks TLS."""
    return start_shared("--shards", "2", io=io, env=certificate.settings | {"WS_ECHO_PATH": "/echo"})


def context_of(certificate, version=None) -> ssl.SSLContext:
    context = certificate.client_context()
    if version:
        context.minimum_version = context.maximum_version = VERSIONS[version]
    return context


def device(node, certificate, user, **how) -> Client:
    client = Client(
        f"wss://localhost:{node.port}/ws", user=user, token=token(user), ssl=context_of(certificate), **how
    )
    client.connected = client.expect("connected")
    return client


def presented(node, *certificates, name="localhost") -> bytes:
    """The certificate that a new handshake gets, where one of `certificates` is trusted."""
    context = ssl.create_default_context(cadata="".join(one.certificate.read_text() for one in certificates))
    with SealedSocket(node.port, context, name=name) as wire:
        wire.shake_hands()
        return wire.session.getpeercert(binary_form=True)


def der(certificate) -> bytes:
    return ssl.PEM_cert_to_DER_cert(certificate.certificate.read_text())


# The wire


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", [PING, TEXT], ids=["ping", "echo"])
def test_nothing_goes_out_unsealed(secure, certificate, name, version, kind):
    """An answer and, in the same turn and behind it in memory, what TLS has to say of a bad record."""
    secret = b"nobody on the way may read this"
    for _ in range(5):
        with SealedSocket(secure.port, context_of(certificate, version)) as wire:
            wire.open(token=token(name()))
            good = wire.seal(frame_bytes(kind, secret))
            bad = b"\x17\x03\x03\x00\x20" + os.urandom(32)
            wire.socket.sendall(good + bad)
            received = wire.rest()
        assert secret not in received
        found = records(received)
        assert found, "not even an alert"
        if version == "1.2":
            assert any(kind == ALERT for kind, _ in found), found


@pytest.mark.parametrize("version", VERSIONS)
def test_answers_of_many_records_are_whole(secure, certificate, name, version):
    with SealedSocket(secure.port, context_of(certificate, version)) as wire:
        wire.open(token=token(name()))
        wire.socket.sendall(b"".join(wire.seal(frame_bytes(PING, b"%d" % n)) for n in range(50)))
        plain = wire.read_until(b"\x8a\x0249")
        assert plain == b"".join(b"\x8a" + bytes([len(b"%d" % n)]) + b"%d" % n for n in range(50))
