"""HAProxy and nginx in front of nodes, configured by the very files in Ops: only addresses, ports and what a
test machine cannot give are put in their places."""

import os
import re
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

from .client import Client
from .node import REPOSITORY, Lines, launch
from .redis import free_port
from .tokens import token
from .wait import until


def replaced(text, pattern, replacement, count=1) -> str:
    text, found = re.subn(pattern, replacement, text, flags=re.M)
    assert found == count, f"{pattern!r} is in the file {found} times"
    return text


class Balancer:
    """Runs until closed; `connect` comes through it."""

    def __init__(self, *nodes):
        self.nodes = nodes
        self.folder = tempfile.mkdtemp(prefix="skein-balancer-")
        self.port = free_port()
        self.process = launch(
            self.command(),
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.log = Lines(self.process.stdout)

        def listens():
            assert self.process.poll() is None, f"ended at its start:\n{self.log.text}"
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", self.port)) == 0

        until(listens, 15, what="a listener of the load balancer")

    def write(self, name, text) -> str:
        path = Path(self.folder, name)
        path.write_text(text)
        return str(path)

    def close(self):
        self.process.kill()
        self.process.wait()
        self.log.thread.join(5)
        shutil.rmtree(self.folder, ignore_errors=True)

    def connect(self, user, **how) -> Client:
        """A device of `user`, after its `connected`, which says on which node it is."""
        url = f"ws://127.0.0.1:{self.port}/ws"
        client = Client(url, user=user, token=token(user), **how)
        client.connected = client.expect("connected")
        identifier = client.connection_id.split("-")[0]
        [client.node] = [node for node in self.nodes if node_id(node) == identifier]
        return client


def node_id(node) -> str:
    """Of a node that answers, and from then on."""
    if not hasattr(node, "identifier"):
        node.identifier = node.control("GET", "/health").json()["nodeId"]
    return node.identifier


class HAProxy(Balancer):
    def command(self):
        text = (REPOSITORY / "Ops/haproxy/haproxy.cfg").read_text()
        text = replaced(text, r"bind :80$", f"bind 127.0.0.1:{self.port}")
        for number, node in enumerate(self.nodes, 1):
            server = f"127.0.0.1:{node.port} port {node.control_port}"
            text = replaced(text, rf"(server node{number}) \S+$", rf"\1 {server}")
        # Descriptors for so many are not to be had everywhere.
        limits = f"    maxconn 2000\n    stats socket {self.folder}/stats level admin"
        text = replaced(text, r"^    maxconn 200000$", limits)
        return ["haproxy", "-db", "-f", self.write("haproxy.cfg", text)]

    def states(self) -> dict:
        """By node: `UP`, `DOWN`, or on the way, as `UP 1/2`."""
        with socket.socket(socket.AF_UNIX) as control:
            control.connect(os.path.join(self.folder, "stats"))
            control.sendall(b"show stat\n")
            answer = control.makefile().read()
        head, *rows = (line.split(",") for line in answer.splitlines() if line)
        table = {row[1]: row[head.index("status")] for row in rows if row[0] == "nodes"}
        return {node: table[f"node{number}"] for number, node in enumerate(self.nodes, 1)}


class Nginx(Balancer):
    def command(self):
        text = (REPOSITORY / "Ops/nginx/nginx.conf").read_text()
        text = replaced(text, r"listen 80\b", f"listen 127.0.0.1:{self.port}")
        for number, node in enumerate(self.nodes, 1):
            text = replaced(text, rf"server 10\.0\.0\.1{number}:8080\b", f"server 127.0.0.1:{node.port}")
        text = replaced(text, r"^worker_rlimit_nofile 200000;$", "worker_rlimit_nofile 4000;")
        text = replaced(text, r"worker_connections 100000;", "worker_connections 2000;")
        once = "daemon off; master_process off; pid nginx.pid; error_log stderr;"
        return ["nginx", "-p", self.folder, "-c", self.write("nginx.conf", text), "-g", once]
