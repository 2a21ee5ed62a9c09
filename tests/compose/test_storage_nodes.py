"""compose/storage-nodes.yaml, as far as that can be seen without Docker."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from photondb.config import Settings
from tests.compose.docker import FOLDER

BASE, NODES = (yaml.safe_load((FOLDER / name).read_text()) for name in ("compose.yaml", "storage-nodes.yaml"))
ADDRESSES = ["tcp:storage:28102", "tcp:storage-1:28102"]


def environment(service: str) -> dict[str, str]:
    """What a service gets: the base's environment, that of what it extends, and its own."""
    found: dict[str, Any] = NODES["services"].get(service, {})
    extended = found.get("extends", {}).get("service", service)
    merged = {**BASE["services"][extended]["environment"], **found.get("environment", {})}
    return {name: str(value) for name, value in merged.items() if "STORAGE" in name and "$" not in str(value)}


@pytest.mark.parametrize("service", ["auth", "changefeed", "query", "gateway"])
def test_all_services_know_all_storage_nodes(service: str) -> None:
    settings = Settings.load({}, environment(service))
    assert list(settings.addresses_of_storage()) == ADDRESSES
    assert settings.address_of("storage") == ADDRESSES[0]


@pytest.mark.parametrize(("service", "number"), [("storage", 0), ("storage-1", 1)])
def test_a_node_has_its_number_and_its_volume(service: str, number: int) -> None:
    settings = Settings.load({}, environment(service))
    assert (settings.storage_node, settings.own_address_of("storage")) == (number, "tcp:0.0.0.0:28102")
    assert ADDRESSES[number].split(":")[1] == service
    volumes = NODES["services"][service].get("volumes", BASE["services"]["storage"]["volumes"])
    (volume,) = [name.split(":")[0] for name in volumes if name.endswith(":/var/lib/photondb")]
    assert volume in (NODES if number else BASE)["volumes"]
    assert volume == ("data-1" if number else "data")
