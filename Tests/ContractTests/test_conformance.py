"""Plays the whole conformance catalogue against real nodes: on each I/O tenant, plain and over TLS,
in whole pieces, byte by byte and cut at random, with permessage-deflate agreed and without.

One test is a group of cases played at once. To see one case alone:
`.venv/bin/python -m pytest test_conformance.py --case framing/rsv1-text`.
"""

import asyncio
import fnmatch
from contextlib import ExitStack

import pytest

from conformance.catalogue import (
    BASE,
    CASES,
    GROUPS,
    MANNERS,
    NEEDING_COMPRESSION,
    PROFILES,
)
from conformance.player import Target, play_all
from harness.abilities import why_no_compression, why_no_tls
from harness.certificate import Certificate
from harness.node import Node
from harness.tokens import token


@pytest.fixture(scope="module", params=["plain", "tls"])
def transport(request):
    """`plain` or `tls`."""
    if request.param == "tls" and (reason := why_no_tls()):
        pytest.skip(reason)
    return request.param


@pytest.fixture(scope="module")
def target_of(io, transport, tmp_path_factory):
    """Names the node of a profile; it is started when it is asked for first."""
    secret = token("conformance")
    context, settings, targets = None, {}, {}
    if transport == "tls":
        certificate = Certificate(tmp_path_factory.mktemp("certificate"))
        context, settings = certificate.client_context(), certificate.settings
    with ExitStack() as stack:

        def target(profile):
            if profile not in targets:
                env = {**BASE, **settings, **PROFILES[profile]}
                node = Node(io=io, env=env)
                stack.callback(node.stop)
                targets[profile] = Target(node.port, secret, context)
            return targets[profile]

        yield target


@pytest.mark.timeout(300)
@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("manner", MANNERS, ids=lambda manner: manner.name)
def test_cases(target_of, manner, group, pytestconfig):
    if (group in NEEDING_COMPRESSION or manner.offer) and (reason := why_no_compression()):
        pytest.skip(reason)
    wanted = pytestconfig.getoption("--case")
    cases = [case for case in GROUPS[group] if fnmatch.fnmatchcase(case.id, wanted)]
    if not cases:
        pytest.skip(f"no case of {group} is called {wanted}")
    failures = asyncio.run(play_all(cases, target_of, manner))
    assert not failures, f"{len(failures)} of {len(cases)} cases:\n" + "\n".join(failures)


def test_the_catalogue_is_whole():
    """Each case has a name of its own, an endpoint and a node that exist."""
    assert len(CASES) == sum(map(len, GROUPS.values())) >= 400
    for case in CASES.values():
        assert case.script and set(case.paths) <= {"/echo", "/ws"}, case.id
        assert case.profile in PROFILES, case.id
