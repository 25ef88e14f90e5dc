"""The files in Ops/kubernetes, for which Debian has no reader: what they say is held against what the
binary takes and against itself, and a node runs under the seccomp profile as in a container."""

import json
import re

import pytest
import yaml

from harness.node import REPOSITORY, skein

KUBERNETES = REPOSITORY / "Ops/kubernetes"
PROFILE = KUBERNETES / "skein-seccomp.json"


class UniqueKeys(yaml.SafeLoader):
    """YAML says that a key may be there once; PyYAML takes the last."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        assert len(keys) == len(set(keys)), f"a key occurs twice: {keys}{node.start_mark}"
        return super().construct_mapping(node, deep)


@pytest.fixture(scope="module")
def manifests() -> dict:
    text = (KUBERNETES / "skein.yaml").read_text()
    documents = list(yaml.load_all(text, Loader=UniqueKeys))
    kinds = [document["kind"] for document in documents]
    assert sorted(kinds) == ["ConfigMap", "Deployment", "PodDisruptionBudget", "Service"]
    return dict(zip(kinds, documents, strict=True))


@pytest.fixture(scope="module")
def pod(manifests) -> dict:
    return manifests["Deployment"]["spec"]["template"]["spec"]


@pytest.fixture(scope="module")
def container(pod) -> dict:
    [container] = pod["containers"]
    return container


def seconds(text) -> float:
    number, unit = re.fullmatch(r"([0-9.]+)(ms|s|m|h)", text).groups()
    return float(number) * {"ms": 0.001, "s": 1, "m": 60, "h": 3600}[unit]


# What each object has to have, and no field that is none: a misspelt one is ignored by default.
FIELDS = {
    "ConfigMap": {"apiVersion": "v1", "fields": {"data"}},
    "Deployment": {"apiVersion": "apps/v1", "fields": {"spec"}},
    "Service": {"apiVersion": "v1", "fields": {"spec"}},
    "PodDisruptionBudget": {"apiVersion": "policy/v1", "fields": {"spec"}},
}
SPECS = {
    "Deployment": {
        "replicas", "selector", "strategy", "minReadySeconds", "progressDeadlineSeconds", "template",
    },
    "Service": {"selector", "sessionAffinity", "ports"},
    "PodDisruptionBudget": {"maxUnavailable", "minAvailable", "selector"},
}
POD = {
    "terminationGracePeriodSeconds", "enableServiceLinks", "automountServiceAccountToken",
    "topologySpreadConstraints", "securityContext", "containers",
}
CONTAINER = {
    "name", "image", "args", "envFrom", "ports", "livenessProbe", "readinessProbe", "startupProbe",
    "lifecycle", "resources", "securityContext",
}


def test_objects_are_what_kubernetes_knows(manifests, pod, container):
    for kind, document in manifests.items():
        assert document["apiVersion"] == FIELDS[kind]["apiVersion"]
        assert set(document) == {"apiVersion", "kind", "metadata"} | FIELDS[kind]["fields"], kind
        assert document["metadata"]["name"] == "skein"
        assert set(document.get("spec", {})) <= SPECS.get(kind, set()), kind
    assert set(pod) <= POD
    assert set(container) <= CONTAINER
    for constraint in pod["topologySpreadConstraints"]:
        assert set(constraint) == {"maxSkew", "topologyKey", "whenUnsatisfiable", "labelSelector"}


def test_every_selector_finds_the_pods(manifests, pod):
    labels = manifests["Deployment"]["spec"]["template"]["metadata"]["labels"]
    selectors = [
        manifests["Deployment"]["spec"]["selector"]["matchLabels"],
        manifests["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        manifests["Service"]["spec"]["selector"],
        *(each["labelSelector"]["matchLabels"] for each in pod["topologySpreadConstraints"]),
    ]
    assert len(selectors) == 5
    for selector in selectors:
        assert selector and selector.items() <= labels.items()


def test_ports_and_probes_meet_the_listeners(manifests, container):
    settings = manifests["ConfigMap"]["data"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert settings["WS_LISTEN"] == f"0.0.0.0:{ports['sockets']}"
    assert settings["CONTROL_LISTEN"] == f"0.0.0.0:{ports['control']}"
    [service] = manifests["Service"]["spec"]["ports"]
    assert service["targetPort"] == "sockets"
    for probe, path in [("liveness", "/health"), ("readiness", "/ready"), ("startup", "/health")]:
        assert container[f"{probe}Probe"]["httpGet"] == {"path": path, "port": "control"}


def test_a_pod_is_not_killed_while_it_drains(manifests, pod, container):
    settings = manifests["ConfigMap"]["data"]
    drain = seconds(settings["DRAIN_PRE_STOP"]) + seconds(settings["DRAIN_DEADLINE"])
    assert pod["terminationGracePeriodSeconds"] >= drain + 10
    # A pod that drains has left the Service before its listeners close.
    probe = container["readinessProbe"]
    noticed = probe["periodSeconds"] * probe["failureThreshold"] + probe["timeoutSeconds"]
    assert seconds(settings["DRAIN_PRE_STOP"]) > noticed
    rolling = manifests["Deployment"]["spec"]["strategy"]["rollingUpdate"]
    assert rolling == {"maxSurge": 1, "maxUnavailable": 0}


def test_the_pod_has_no_privilege(pod, container):
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {
        "type": "Localhost",
        "localhostProfile": PROFILE.name,
    }
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_the_node_takes_its_settings(manifests):
    settings = {
        **manifests["ConfigMap"]["data"],
        "JWT_SECRET": "x" * 32,
        "API_KEY": "y" * 32,
        "REDIS_URL": "redis://127.0.0.1:1",
    }
    check = skein("config", "check", env=settings)
    assert check.returncode == 0, check.stdout + check.stderr
    keys = skein("config", "keys").stdout
    for name in settings:
        assert re.search(rf"^  {name}(=|$)", keys, re.M), f"{name} is no key of the configuration"


def test_the_pre_stop_hook_is_a_command(container):
    [command] = container["lifecycle"]["preStop"].values()
    binary, *words = command["command"]
    assert binary == "/usr/local/bin/skein"
    help = skein("drain", "--help").stdout
    assert words[0] == "drain"
    for word in words[1:]:
        assert not word.startswith("--") or re.search(rf"^\s+{word}\b", help, re.M), word


def test_the_profile_allows_io_uring_and_nothing_that_leads_out():
    profile = json.loads(PROFILE.read_text())
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
    allowed = [
        name
        for rule in profile["syscalls"]
        if rule["action"] == "SCMP_ACT_ALLOW"
        for name in rule["names"]
    ]
    assert {"io_uring_setup", "io_uring_enter", "io_uring_register"} <= set(allowed)
    forbidden = "mount umount2 unshare setns ptrace bpf kexec_load init_module reboot keyctl userfaultfd"
    assert not set(forbidden.split()) & set(allowed)


def test_a_node_runs_under_the_profile(start, name, open_client, io, redis):
    """Both tenants, with Redis, to the end of a drain: nothing that it needs is withheld."""
    node = start(io=io, redis=redis, seccomp=PROFILE)
    alice, bob = open_client(node, name()), open_client(node, name())
    alice.chat(bob.user, 1)
    bob.expect("chat_message", {"senderId": alice.user, "message": 1})
    alice.expect("chat_message_sent")
    assert f"io={io}" in node.log.text
    status = node.control("GET", "/metrics")
    assert status.status == 200
    assert node.control("POST", "/drain", {"deadlineSeconds": 2}).status == 202
    assert bob.expect_closed(1012)
    assert node.wait_exit() == 0
