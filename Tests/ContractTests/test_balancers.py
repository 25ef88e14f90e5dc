"""A restart as users see it: two nodes on one Redis behind HAProxy, and behind nginx, by the files in Ops.
One node drains. Newcomers keep coming and nobody is refused; who was there is told 1012, comes back, and
is on the other node."""

import threading
import uuid

import pytest

from harness.balancer import HAProxy, Nginx, node_id
from harness.wait import holds, until

# The balancer's end of the loopback; clients of the tests come from others.
BEHIND_HAPROXY = {"WS_PROXY_PROTOCOL": "127.0.0.1/32", "DRAIN_PRE_STOP": "6s", "DRAIN_DEADLINE": "10s"}
BEHIND_NGINX = {"WS_TRUSTED_PROXIES": "127.0.0.1/32", "DRAIN_PRE_STOP": "0s", "DRAIN_DEADLINE": "4s"}

pytestmark = pytest.mark.one_tenant


class Newcomers:
    """New clients, one after the other, until it is told to stop; each stays for a moment."""

    def __init__(self, balancer):
        self.balancer, self.nodes, self.failures = balancer, [], []
        self.going = True
        self.thread = threading.Thread(target=self.come)
        self.thread.start()

    def come(self):
        while self.going:
            try:
                with self.balancer.connect(f"newcomer-{uuid.uuid4().hex[:8]}") as client:
                    self.nodes.append(client.node)
            except Exception as failure:  # whatever it is, a client was not served
                self.failures.append(failure)

    def stop(self):
        self.going = False
        self.thread.join()


@pytest.fixture
def newcomers():
    started = []

    def start(balancer):
        started.append(Newcomers(balancer))
        return started[-1]

    yield start
    for each in started:
        each.stop()


def ping(client):
    client.send("ping")
    client.expect("pong")


def test_haproxy_moves_clients_from_a_draining_node(start, io, redis, name, newcomers):
    first, second = (start(io=io, redis=redis, env=BEHIND_HAPROXY) for _ in range(2))
    balancer = start(first, second, make=HAProxy)
    until(lambda: set(balancer.states().values()) == {"UP"}, what="two nodes that are up")
    clients = [balancer.connect(name(), source="127.5.0.1") for _ in range(12)]
    for node in (first, second):
        assert 4 <= sum(client.node is node for client in clients) <= 8, "leastconn does not spread"
    [entry] = clients[0].node.connections(clients[0].user)
    assert entry["remoteAddress"].startswith("127.5.0.1"), "the client's own address"

    leavers = [client for client in clients if client.node is first]
    stayers = [client for client in clients if client.node is second]
    coming = newcomers(balancer)
    until(lambda: {first, second} <= set(coming.nodes), what="newcomers on both nodes")
    assert first.control("POST", "/drain").status == 202
    first.may_end = True

    # Readiness fails first. From then on nobody new comes here, and who is here stays.
    until(lambda: balancer.states()[first].startswith("DOWN"), what="HAProxy's word that it is down")
    assert first.ready()[1]["status"] == "draining"
    for client in leavers:
        ping(client)
    since = len(coming.nodes)
    until(lambda: len(coming.nodes) > since + 20, what="newcomers")
    assert set(coming.nodes[since + 1 :]) == {second}
    assert first.process.poll() is None, "the drain was over before anything could be seen of it"

    for client in leavers:
        assert "reconnectAfterMs" in client.expect_closed(1012)
    assert first.wait_exit() == 0
    for client in leavers:
        again = balancer.connect(client.user)
        assert again.node is second
        stayers.append(again)
    coming.stop()
    assert not coming.failures, coming.failures
    for client in stayers:
        ping(client)
    balancer_log = balancer.log.text
    assert " 503 " not in balancer_log, balancer_log
    for client in stayers:
        client.close()


def test_nginx_passes_newcomers_on_when_a_node_leaves(start, io, redis, name, newcomers):
    first, second = (start(io=io, redis=redis, env=BEHIND_NGINX) for _ in range(2))
    for node in (first, second):
        node_id(node)
    balancer = start(first, second, make=Nginx)
    clients = [balancer.connect(name(), source="127.5.0.1") for _ in range(12)]
    [entry] = clients[0].node.connections(clients[0].user)
    assert entry["remoteAddress"].startswith("127.5.0.1"), "the client's own address"
    leavers = [client for client in clients if client.node is first]
    assert 4 <= len(leavers) <= 8, "least_conn does not spread"

    coming = newcomers(balancer)
    until(lambda: {first, second} <= set(coming.nodes), what="newcomers on both nodes")
    assert first.control("POST", "/drain").status == 202
    first.may_end = True
    for client in leavers:
        assert "reconnectAfterMs" in client.expect_closed(1012)
        again = balancer.connect(client.user)
        assert again.node is second
        ping(again)
        again.close()
    assert first.wait_exit() == 0
    since = len(coming.nodes)
    until(lambda: len(coming.nodes) > since + 20, what="newcomers")
    holds(lambda: not coming.failures, 0.5, what="that newcomers are served")
    coming.stop()
    assert not coming.failures, coming.failures
    for client in clients:
        client.close()
