"""The chart renders, lints and validates for its default, a small and a production set of values."""

from __future__ import annotations

import base64
import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

helm = pytest.importorskip("helm_python.chart", reason="helm-python-sdk has no wheel for this platform")

from photondb.config import Settings  # noqa: E402
from tests.helm.values_table import CHART, README, documented_values, page  # noqa: E402

KUBERNETES = ("1.30", kubernetes_validate.latest_version())
VALUES: dict[str, Path | None] = {"default": None, "small": None, "production": None}
VALUES |= {path.stem: path for path in (CHART / "examples").glob("*.yaml")}
SERVICES = ("gateway", "query", "storage", "auth", "changefeed")
WITH_FRONTS = ("front", "storage", "auth", "changefeed")


def values_of(name: str) -> dict[str, Any]:
    path = VALUES[name]
    return {} if path is None else yaml.safe_load(path.read_text())


def render(values: dict[str, Any]) -> list[dict[str, Any]]:
    rendered = helm.Chart.load(str(CHART)).render(values, name="mydb", namespace="here")
    pages = rendered.values() if isinstance(rendered, dict) else [rendered]
    return [found for text in pages for found in yaml.safe_load_all(_without_notes(text)) if isinstance(found, dict)]


def _without_notes(text: str) -> str:
    return "" if text.startswith("PhotonDB ") else text


@functools.cache
def manifests(name: str) -> list[dict[str, Any]]:
    return render(values_of(name))


def of_kind(found: list[dict[str, Any]], kind: str) -> dict[str, dict[str, Any]]:
    return {manifest["metadata"]["name"]: manifest for manifest in found if manifest["kind"] == kind}


def pods(found: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    for manifest in found:
        if manifest["kind"] in ("Deployment", "StatefulSet"):
            yield manifest["metadata"]["labels"]["app.kubernetes.io/component"], manifest["spec"]["template"]["spec"]


@pytest.mark.parametrize("name", VALUES)
def test_it_lints(name: str) -> None:
    report = helm.lint(str(CHART), values_of(name), strict=True)
    assert not report["errors"]
    assert not [message for message in report["messages"] if message["severity"] > 1]


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("name", VALUES)
def test_it_validates(name: str, version: str) -> None:
    for manifest in manifests(name):
        if not manifest["apiVersion"].startswith("monitoring.coreos.com/"):  # not a part of Kubernetes
            kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize("name", VALUES)
def test_all_services_are_there_and_confined(name: str) -> None:
    found = dict(pods(manifests(name)))
    services = WITH_FRONTS if name == "fronts" else SERVICES
    assert set(found) == {*services, *(["nats"] if name != "production" else [])}
    assert list(of_kind(manifests(name), "StatefulSet")) == ["mydb-photondb-storage"]
    for pod in found.values():
        (container,) = pod["containers"]
        assert pod["securityContext"]["runAsNonRoot"]
        assert not pod["automountServiceAccountToken"]
        assert container["securityContext"]["readOnlyRootFilesystem"]
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert not container["securityContext"]["allowPrivilegeEscalation"]
        assert container["resources"]["limits"]["memory"]
        assert container["livenessProbe"]
        assert container["readinessProbe"]


@pytest.mark.parametrize("name", VALUES)
def test_every_name_that_is_referred_to_exists(name: str) -> None:
    """Addresses are those of Services with the port, selectors choose pods, volumes and secrets are there."""
    found = manifests(name)
    services = of_kind(found, "Service")
    workloads = [manifest for manifest in found if manifest["kind"] in ("Deployment", "StatefulSet")]
    templates = [workload["spec"]["template"] for workload in workloads]
    for service in services.values():
        chosen = service["spec"]["selector"].items()
        assert any(chosen <= template["metadata"]["labels"].items() for template in templates)
    for policy in of_kind(found, "NetworkPolicy").values():
        chosen = policy["spec"]["podSelector"]["matchLabels"].items()
        (template,) = [template for template in templates if chosen <= template["metadata"]["labels"].items()]
        named = {port["name"] for port in template["spec"]["containers"][0]["ports"]}
        assert {port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]} <= named
    for component, pod in pods(found):
        (container,) = pod["containers"]
        for variable in container.get("env", []):
            for text in variable.get("value", "").split(","):
                # A pod of a stateful set has a name of its own within its headless Service's.
                address = re.fullmatch(r"(?:tcp:|nats://)(?:mydb-[\w-]+\.)?(mydb-[\w-]+):(\d+)", text)
                if address:
                    ports = [port["port"] for port in services[address[1]]["spec"]["ports"]]
                    assert int(address[2]) in ports, (component, variable)
        claims = ["data"] if component == "storage" else []
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]} | set(claims)


def test_one_storage_node_is_as_it_was() -> None:
    assert of_kind(manifests("default"), "StatefulSet")["mydb-photondb-storage"]["spec"]["replicas"] == 1
    for _, pod in pods(manifests("default")):
        names = {variable["name"] for variable in pod["containers"][0].get("env", [])}
        assert not names & {"PHOTONDB_STORAGE_ADDRESSES", "PHOTONDB_STORAGE_NODE"}


def test_several_storage_nodes_find_each_other() -> None:
    """Each has its number from its pod's name, all services have the same list, and nodes may reach each other."""
    found = manifests("production")
    stateful = of_kind(found, "StatefulSet")["mydb-photondb-storage"]
    assert stateful["spec"]["replicas"] == 3
    service = of_kind(found, "Service")[stateful["spec"]["serviceName"]]
    assert service["spec"]["clusterIP"] == "None"  # or its pods have no names
    base = "mydb-photondb-storage"
    wanted = ",".join(f"tcp:{base}-{number}.{base}:28102" for number in range(3))
    for component, pod in pods(found):
        variables = {variable["name"]: variable for variable in pod["containers"][0].get("env", [])}
        environ = {name: v["value"] for name, v in variables.items() if "STORAGE" in name and "value" in v}
        assert environ["PHOTONDB_STORAGE_ADDRESSES"] == wanted
        if component == "storage":
            source = variables["PHOTONDB_STORAGE_NODE"]["valueFrom"]
            assert source == {"fieldRef": {"fieldPath": "metadata.name"}}
            settings = Settings.load({}, {**environ, "PHOTONDB_STORAGE_NODE": f"{base}-2"})
            assert (settings.storage_node, settings.own_address_of("storage")) == (2, "tcp:0.0.0.0:28102")
        else:
            assert Settings.load({}, environ).address_of("storage") == wanted.split(",")[0]
    policy = of_kind(found, "NetworkPolicy")["mydb-photondb-storage"]
    callers = [
        peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"]
        for rule in policy["spec"]["ingress"]
        for peer in rule.get("from", [])
        if "podSelector" in peer
    ]
    assert "storage" in callers


def test_fronts_are_in_the_place_of_gateways_and_query_services() -> None:
    """Clients are led to them, and only they may call the others."""
    found = manifests("fronts")
    assert of_kind(found, "Deployment")["mydb-photondb-front"]["spec"]["replicas"] == 3
    (pod,) = [pod for component, pod in pods(found) if component == "front"]
    (container,) = pod["containers"]
    assert container["command"] == ["python", "-m", "services.front"]
    assert {port["name"] for port in container["ports"]} == {"telemetry", "driver", "http"}
    assert {"PHOTONDB_SPILL_DIR", "PHOTONDB_STORAGE_ADDRESSES"} <= {variable["name"] for variable in container["env"]}
    assert of_kind(found, "Service")["mydb-photondb"]["spec"]["selector"]["app.kubernetes.io/component"] == "front"
    policies = of_kind(found, "NetworkPolicy")
    callers = {
        name: {
            peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"]
            for rule in policy["spec"]["ingress"]
            for peer in rule.get("from", [])
        }
        for name, policy in policies.items()
    }
    assert callers["mydb-photondb-changefeed"] == callers["mydb-photondb-auth"] == {"front"}
    assert callers["mydb-photondb-storage"] == {"front", "auth", "changefeed", "storage"}
    assert callers["mydb-photondb-nats"] == {"storage", "front", "changefeed"}
    assert set(of_kind(found, "PodDisruptionBudget")) == {f"mydb-photondb-{service}" for service in WITH_FRONTS}


def test_a_password_is_made_up_unless_there_is_a_secret() -> None:
    (secret,) = of_kind(manifests("default"), "Secret").values()
    assert len(base64.b64decode(secret["data"]["password"])) == 32
    assert not of_kind(manifests("production"), "Secret")
    (auth,) = [pod for name, pod in pods(manifests("production")) if name == "auth"]
    assert {"photondb-admin", "photondb-tls"} <= {v["secret"]["secretName"] for v in auth["volumes"] if "secret" in v}


def test_what_is_optional() -> None:
    assert not of_kind(manifests("small"), "PodDisruptionBudget")
    assert not of_kind(manifests("small"), "NetworkPolicy")
    assert len(of_kind(manifests("default"), "PodDisruptionBudget")) == len(SERVICES)
    assert not of_kind(manifests("default"), "ServiceMonitor")
    (monitor,) = of_kind(manifests("production"), "ServiceMonitor").values()
    telemetry = of_kind(manifests("production"), "Service")["mydb-photondb-telemetry"]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= telemetry["metadata"]["labels"].items()


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"gateway": {"replica": 2}}, "replica"),
        ({"query": {"replicas": 0}}, "minimum"),
        ({"storage": {"nodes": 0}}, "minimum"),
        ({"logLevel": "loud"}, "logLevel"),
        ({"storage": {"persistence": {"size": "much"}}}, "size"),
        ({"nats": {"enabled": False}}, "set nats.url or nats.existingSecret"),
    ],
)
def test_what_makes_no_sense_is_refused(values: dict[str, Any], complaint: str) -> None:
    with pytest.raises(Exception, match=complaint):
        render(values)


def test_the_page_of_the_chart_has_all_values() -> None:
    assert README.read_text() == page(), "run `make docs`"
    for path in _leaves(yaml.safe_load((CHART / "values.yaml").read_text())):
        assert any(f"{path}.".startswith(f"{known}.") for known in documented_values()), path


def _leaves(value: Any, path: str = "") -> Iterator[str]:
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _leaves(inner, f"{path}.{name}" if path else name)
    else:
        yield path
