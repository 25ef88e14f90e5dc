"""The control listener over TLS: its certificate, those of its callers, and their change under a
node that runs."""

import http.client
import json
import shutil
import signal
import ssl

import pytest

from harness.http import Closed
from harness.issuer import Authority
from harness.node import skein
from harness.tokens import SECRET
from harness.wait import until

pytestmark = pytest.mark.one_tenant


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


def context(authority, certificate=None):
    context = ssl.create_default_context(cafile=authority.path)
    if certificate:
        context.load_cert_chain(*certificate)
    return context


def ask(node, context, path="/config"):
    connection = http.client.HTTPSConnection("127.0.0.1", node.control_port, context=context, timeout=10)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def is_refused(node, context):
    # In TLS 1.3 a client learns of it with its first read.
    with pytest.raises((ssl.SSLError, ConnectionError, http.client.RemoteDisconnected)):
        ask(node, context)
    return True


def serve(start, io, certificate, authorities=None, *arguments):
    env = {"CONTROL_TLS_CERTIFICATE": certificate[0], "CONTROL_TLS_KEY": certificate[1]}
    env |= {"CONTROL_TLS_CLIENT_CA": authorities} if authorities else {}
    return start(*arguments, io=io, env=env, wait="listening")


def test_a_certificate_of_its_own(start, io, authority, tmp_path):
    node = serve(start, io, authority.issue("node"))
    assert any(f"https://127.0.0.1:{node.control_port}" in line for line in node.out.lines)
    assert ask(node, context(authority))[0] == 200
    assert is_refused(node, ssl.create_default_context())
    old = context(authority)
    old.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    old.maximum_version = ssl.TLSVersion.TLSv1_1
    assert is_refused(node, old)
    with pytest.raises(Closed):
        node.control("GET", "/health")


def test_callers_need_a_certificate(start, io, authority, tmp_path):
    operators = Authority(tmp_path, "operators")
    stranger = Authority(tmp_path, "strangers").issue("stranger")
    # Everywhere: neither X-API-Key nor a token is asked of who has a certificate.
    node = serve(
        start, io, authority.issue("node"), operators.path, "--control-listen", "127.0.0.1:0"
    )
    me = operators.issue("me")
    assert ask(node, context(authority, me))[0] == 200
    assert ask(node, context(authority, me), "/health")[1]["status"] == "ok"
    assert is_refused(node, context(authority))
    assert is_refused(node, context(authority, stranger))
    # Signed by who signed the listener's is not signed by an operators' authority.
    assert is_refused(node, context(authority, authority.issue("other")))


def test_certificates_change_under_it(start, io, authority, tmp_path):
    files = authority.issue("node")
    node = serve(start, io, files)
    held = http.client.HTTPSConnection(
        "127.0.0.1", node.control_port, context=context(authority), timeout=10
    )
    held.request("GET", "/health")
    held.getresponse().read()

    fresh = Authority(tmp_path, "fresh")
    for source, target in zip(fresh.issue("fresh-node"), files):
        shutil.copy(source, target)
    node.process.send_signal(signal.SIGHUP)

    def is_new():
        try:
            return ask(node, context(fresh))[0] == 200
        except ssl.SSLError:
            return False

    until(is_new, what="the new certificate")
    assert is_refused(node, context(authority))
    # What is open stays open.
    held.request("GET", "/health")
    assert held.getresponse().status == 200
    held.close()

    with open(files[0], "w") as file:
        file.write("-----BEGIN CERTIFICATE-----\n")
    node.process.send_signal(signal.SIGHUP)
    node.log.until("CONTROL_TLS_CERTIFICATE")
    assert ask(node, context(fresh))[0] == 200


def test_the_tools_speak_it(start, io, authority, tmp_path):
    operators = Authority(tmp_path, "operators")
    node = serve(start, io, authority.issue("node"), operators.path)
    certificate, key = operators.issue("me")
    url = f"https://localhost:{node.control_port}"
    trust = ["--ca", authority.path, "--cert", certificate, "--key", key]
    result = skein("status", "--json", "--control", url, *trust)
    assert result.returncode == 0, result
    assert json.loads(result.stdout)["status"] == "ok"
    by_environment = {"CONTROL_CA": authority.path, "CONTROL_CERT": certificate, "CONTROL_KEY": key}
    assert skein("status", "--once", "--control", url, env=by_environment).returncode == 0

    for arguments in ([], ["--ca", authority.path], ["--cert", certificate, "--key", key]):
        result = skein("status", "--once", "--control", url, *arguments)
        assert result.returncode == 1 and "TLS" in result.stderr, result
    assert skein("status", "--control", url, "--cert", certificate).returncode == 64

    node.may_end = True
    result = skein("drain", "--follow", "--json", "--control", url, *trust)
    assert result.returncode == 0, result
    assert node.wait_exit() == 0


def test_the_check_says_what_is_wrong(authority, tmp_path):
    certificate, key = authority.issue("node")
    _, other = authority.issue("other")
    garbage = tmp_path / "garbage"
    garbage.write_text("garbage")
    good = {"CONTROL_TLS_CERTIFICATE": certificate, "CONTROL_TLS_KEY": key}
    for wrong, named in (
        ({}, None),
        ({"CONTROL_TLS_CLIENT_CA": authority.path}, None),
        ({"CONTROL_TLS_KEY": None}, "CONTROL_TLS_CERTIFICATE"),
        ({"CONTROL_TLS_CERTIFICATE": None}, "CONTROL_TLS_KEY"),
        ({"CONTROL_TLS_KEY": other}, "CONTROL_TLS_KEY"),
        ({"CONTROL_TLS_KEY": str(garbage)}, "CONTROL_TLS_KEY"),
        ({"CONTROL_TLS_CERTIFICATE": str(garbage)}, "CONTROL_TLS_CERTIFICATE"),
        ({"CONTROL_TLS_CLIENT_CA": str(tmp_path / "none")}, "CONTROL_TLS_CLIENT_CA"),
    ):
        result = skein("config", "check", "--json", env={"JWT_SECRET": SECRET, **good, **wrong})
        problems = json.loads(result.stdout)["problems"]
        assert [problem["key"] for problem in problems] == ([named] if named else []), problems
        assert result.returncode == (1 if named else 0)
