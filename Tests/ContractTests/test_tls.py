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


# Versions and names


def test_versions(start, io, certificate, secure):
    for version in VERSIONS:
        with SealedSocket(secure.port, context_of(certificate, version)) as wire:
            wire.shake_hands()
            assert wire.session.version() == f"TLSv{version}"
    strict = start(io=io, env=certificate.settings | {"WS_TLS_MIN_VERSION": "1.3"})
    with SealedSocket(strict.port, context_of(certificate, "1.2")) as wire:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            wire.shake_hands()
    with SealedSocket(strict.port, context_of(certificate, "1.3")) as wire:
        wire.shake_hands()


def test_two_certificates_by_name(start, io, tmp_path):
    one = Certificate(tmp_path, "one", ["localhost", "one.example"])
    two = Certificate(tmp_path, "two", ["two.example"])
    node = start(
        io=io,
        env={
            "WS_TLS_CERTIFICATE": f"{one.certificate},{two.certificate}",
            "WS_TLS_KEY": f"{one.key},{two.key}",
        },
    )
    assert presented(node, one, two, name="one.example") == der(one)
    assert presented(node, one, two, name="two.example") == der(two)
    assert presented(node, one, two, name="localhost") == der(one)


# Tickets


def resumed(node, certificate, context, earlier):
    """Connects with the session of before. - Whether it was taken, and the session of now."""
    sock = context.wrap_socket(
        socket.create_connection(("127.0.0.1", node.port), 15),
        server_hostname="localhost",
        session=earlier,
    )
    with sock:
        # Tickets come behind the handshake: an answer is behind them.
        sock.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert sock.recv(4096).startswith(b"HTTP/1.1 200")
        return sock.session_reused, sock.session


@pytest.mark.parametrize("version", VERSIONS)
def test_tickets_are_good_on_every_shard_and_after_a_reload(secure, certificate, version):
    context = context_of(certificate, version)
    before = secure.metrics().total("skein_tls_resumed_total")
    was, session = resumed(secure, certificate, context, None)
    assert not was
    for _ in range(16):  # the kernel spreads them over both shards
        was, session = resumed(secure, certificate, context, session)
        assert was, "a ticket was not taken"
    reloads = len([line for line in secure.log.lines if "new handshakes get" in line])
    secure.process.send_signal(signal.SIGHUP)
    until(
        lambda: len([line for line in secure.log.lines if "new handshakes get" in line]) > reloads,
        what="the reload",
    )
    for _ in range(8):
        was, session = resumed(secure, certificate, context, session)
        assert was, "a ticket was not taken after the reload"
    assert secure.metrics().total("skein_tls_resumed_total") - before == 24
    assert secure.metrics().total("skein_tls_handshakes_total") >= 25


# Files that are replaced


def replace(path, data: bytes):
    path.with_suffix(".new").write_bytes(data)
    path.with_suffix(".new").rename(path)


def test_certificates_are_replaced_under_traffic(start, io, name, tmp_path):
    """Half a file, and a key that comes later than its certificate, never take what works away; nobody
    who is connected notices anything."""
    served = Certificate(tmp_path, "served")
    old = Certificate(tmp_path, "old")
    new = Certificate(tmp_path, "new")
    replace(served.certificate, old.certificate.read_bytes())
    replace(served.key, old.key.read_bytes())
    node = start(io=io, env=served.settings)
    alice = device(node, old, name())
    stop, counts = threading.Event(), []

    def talk():
        while not stop.is_set():
            alice.chat("nobody", len(counts))
            counts.append(alice.expect("chat_message_sent")["data"]["message"])

    talking = threading.Thread(target=talk)
    talking.start()
    try:
        # Cut within a block.
        served.certificate.write_bytes(new.certificate.read_bytes()[:-60])
        node.process.send_signal(signal.SIGHUP)
        node.log.until("certificates in use stay")
        assert presented(node, old) == der(old)
        # The certificate of one moment and the key of another, which comes while the node looks.
        replace(served.certificate, new.certificate.read_bytes())
        reloads = len([line for line in node.log.lines if "certificates in use stay" in line])
        node.process.send_signal(signal.SIGHUP)
        time.sleep(1)
        assert presented(node, old, new) == der(old)
        replace(served.key, new.key.read_bytes())
        node.log.until("new handshakes get the certificates")
        assert presented(node, old, new) == der(new)
        # A key that never fits: told, and nothing changes.
        replace(served.key, old.key.read_bytes())
        node.process.send_signal(signal.SIGHUP)
        until(
            lambda: len([line for line in node.log.lines if "certificates in use stay" in line]) > reloads,
            what="the complaint about the key",
        )
        assert presented(node, old, new) == der(new)
    finally:
        stop.set()
        talking.join(20)
    assert counts == list(range(len(counts))) and len(counts) > 20
    alice.close()


def test_a_chain_that_is_being_written_is_waited_for(start, io, tmp_path):
    """A chain cut between its certificates reads well, and is not taken."""
    served = Certificate(tmp_path, "served")
    issuer = Certificate(tmp_path, "issuer")
    node = start(io=io, env=served.settings)
    before = der(served)
    new = Certificate(tmp_path, "served")
    # Written piece by piece, the node being told at the first: it takes what stands still in the end.
    whole = new.certificate.read_bytes()
    node.process.send_signal(signal.SIGHUP)
    for end in range(0, len(whole) + 1, max(1, len(whole) // 10)):
        new.certificate.write_bytes(whole[:end])
        time.sleep(0.1)
    new.certificate.write_bytes(whole)
    node.log.until("new handshakes get the certificates")
    assert presented(node, new, issuer) == der(new) != before


# Storms


def test_a_storm_of_handshakes_stops_nobody(start, io, certificate, name):
    node = start(
        "--shards", "1", io=io,
        env=certificate.settings | {"WS_TLS_HANDSHAKES_PER_TURN": "1", "WS_ECHO_PATH": "/echo"},
    )
    alice = device(node, certificate, name())
    context = context_of(certificate)
    wires = [SealedSocket(node.port, context) for _ in range(100)]
    for wire in wires:
        wire.begin()
    slowest, answered = 0.0, 0
    while answered < 30:
        began = time.monotonic()
        alice.chat("nobody", answered)
        alice.expect("chat_message_sent")
        slowest = max(slowest, time.monotonic() - began)
        answered += 1
    assert slowest < 1
    for wire in wires:
        wire.open(token=token(name()))
        wire.socket.close()
    assert node.metrics().total("skein_tls_handshakes_total") >= 101
    until(lambda: node.metrics().total("skein_tls_sessions") == 1, what="sessions but one freed")
    alice.close()


# Everyone at once


def test_a_slow_consumer_is_told_so(start, io, certificate, name):
    """Its close frame comes behind what was queued, in one sealed stream that holds to the end."""
    node = start(io=io, env=certificate.settings | {"WS_MESSAGE_RATE": "0"})
    alice, bob = device(node, certificate, name()), name()
    with SealedSocket(node.port, context_of(certificate), receive_buffer=4_096) as slow:
        slow.open("/ws", token=token(bob))
        deadline = time.monotonic() + 40
        while node.metrics().total("skein_slow_consumers_total") == 0:
            assert time.monotonic() < deadline, "it was never counted as slow"
            for _ in range(20):
                alice.chat(bob, "x" * 60_000)
                alice.expect("chat_message_sent")
        slow.read_until(b"\x88\x0f\x0f\xa8slow consumer")
    alice.close()


def test_an_event_for_everyone_in_slices_keeps_its_place(start, io, redis, certificate, name):
    """Where a turn may make little, an event for everyone takes many; what is published behind it comes
    behind it, to every device."""
    node = start(
        "--shards", "1", io=io, redis=redis,
        env=certificate.settings | {"WS_FAN_OUT_TURN_SIZE": "65536"},
    )
    devices = [device(node, certificate, name()) for _ in range(25)]
    rounds = 6
    text = "x" * 20_000
    with Redis(redis.port) as backend:
        for number in range(rounds):
            backend(
                "PUBLISH", "websocket:broadcast",
                '{"type":"system","data":{"message":"%s","number":%d}}' % (text, number),
            )
            for one in devices:
                backend(
                    "PUBLISH", f"user:{one.user}", '{"type":"alert","data":{"number":%d}}' % number
                )
    for one in devices:
        for number in range(rounds):
            assert one.expect("system")["data"] == {"message": text, "number": number}
            one.expect("alert", {"number": number})
    assert node.metrics().total("skein_sliced_broadcasts_total") > 0
    for one in devices:
        one.close()
