"""compose/storage-nodes.yaml: what it says, and the suite in containers with two storage nodes, each killed in turn."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from rethinkdb import r
from rethinkdb.errors import ReqlOpFailedError

from photondb.config import Settings
from tests.compose.docker import FOLDER, Stack, build_image, running_stack, why_not
from tests.compose.writer_and_feed import WriterAndFeed, connection_to

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


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    build_image()
    with running_stack(tmp_path / "secrets", files=("compose.yaml", "storage-nodes.yaml")) as stack:
        yield stack


@pytest.mark.skipif(why_not() is not None, reason=why_not() or "")
@pytest.mark.timeout(900)
def test_the_nodes_in_containers(stack: Stack) -> None:
    with WriterAndFeed(stack.ports, shards=2) as load:
        for service in ("storage-1", "storage"):
            (container,) = stack.containers(service)
            stack.kill(container)
            load.make_progress()
            stack.wait_healthy(container)
            load.make_progress()
        load.finish()
    with connection_to(stack.ports) as conn:
        stored = set(r.table("events")["id"].run(conn)) - {-1}
        assert len(r.table("events").config()["shards"]["primary_replica"].distinct().run(conn)) == 2
    assert stored >= set(load.acknowledged)
    assert sorted(load.seen) == sorted(stored)
    stop_one_and_start_it_again(stack, len(stored) + 1)
    stack.run("down")
    stack.run("up", "--wait")
    with connection_to(stack.ports) as conn:
        assert r.table("events").count().run(conn) == len(stored) + 1


def stop_one_and_start_it_again(stack: Stack, rows: int) -> None:
    """While a node is stopped, the suite says so, and what others have can be used."""
    stack.run("stop", "storage-1")
    with connection_to(stack.ports) as conn:
        assert r.table("events").status()["status"]["ready_for_reads"].run(conn) is False
        with pytest.raises(ReqlOpFailedError, match="Storage node 1"):
            r.table("events").count().run(conn)
        assert r.db("rethinkdb").table("users").count().run(conn) == 1
        assert health(stack)["status"] == "ready in part"
        (gateway,) = stack.containers("gateway")
        assert stack.inspect(gateway)["State"]["Health"]["Status"] == "healthy"
        stack.run("up", "--detach", "--wait")
        assert r.table("events").wait().run(conn) == {"ready": 1}
        assert r.table("events").count().run(conn) == rows


def health(stack: Stack) -> dict[str, Any]:
    (port,) = stack.ports(8080)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready") as answer:
        found: dict[str, Any] = json.load(answer)
    return found
