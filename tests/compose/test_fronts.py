"""compose/fronts.yaml: what it says, and the suite in containers with two fronts, each killed in turn."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from rethinkdb import r

from tests.compose.docker import FOLDER, Stack, build_image, running_stack, why_not
from tests.compose.writer_and_feed import WriterAndFeed, connection_to

BASE, FRONTS = (yaml.safe_load((FOLDER / name).read_text())["services"] for name in ("compose.yaml", "fronts.yaml"))
REPLACED = ("gateway", "query")


def test_fronts_are_in_the_place_of_gateways_and_query_services() -> None:
    front = FRONTS["front"]
    assert all(FRONTS[service]["profiles"] for service in REPLACED)
    assert front["ports"] == BASE["gateway"]["ports"]
    assert front["command"] == ["python", "-m", "services.front"]
    used = {name for service in REPLACED for name in BASE[service]["depends_on"]}
    assert set(front["depends_on"]) == used - set(REPLACED)


def test_nobody_who_runs_depends_on_those_that_do_not() -> None:
    running = {name: service for name, service in BASE.items() if name not in REPLACED}
    assert not any(set(service.get("depends_on", ())) & set(REPLACED) for service in running.values())


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    build_image()
    with running_stack(tmp_path / "secrets", files=("compose.yaml", "fronts.yaml")) as stack:
        yield stack


@pytest.mark.skipif(why_not() is not None, reason=why_not() or "")
@pytest.mark.timeout(900)
def test_the_fronts_in_containers(stack: Stack) -> None:
    stack.run("up", "--detach", "--wait", "--scale", "front=2")
    assert not stack.containers("gateway")
    assert not stack.containers("query")
    write_and_read_over_each(stack)
    with WriterAndFeed(stack.ports) as load:
        for front in stack.containers("front"):
            stack.kill(front)
            load.make_progress()
            stack.wait_healthy(front)
            load.make_progress()
        first, _ = stack.containers("front")
        subprocess.run(["docker", "kill", first], check=True, capture_output=True)  # it does not come back
        load.make_progress()
        assert len(stack.ports()) == 1
        load.finish()
    with connection_to(stack.ports) as conn:
        stored = set(r.table("events")["id"].run(conn)) - {-1}
    assert stored >= set(load.acknowledged)
    assert load.seen == sorted(stored)
    end_one_in_good_order(stack)


def write_and_read_over_each(stack: Stack) -> None:
    """What is written over one front, the other one reads at once."""
    ports = stack.ports()
    assert len(set(ports)) == 2
    for number, port in enumerate(ports):
        with connection_to(lambda port=port: [port]) as conn:
            r.table_create(f"t{number}").run(conn)
            assert r.table(f"t{number}").insert([{"id": key} for key in range(10)]).run(conn)["inserted"] == 10
    for port in ports:
        with connection_to(lambda port=port: [port]) as conn:
            assert [r.table(f"t{number}").count().run(conn) for number in range(2)] == [10, 10]


def end_one_in_good_order(stack: Stack) -> None:
    """A front that is asked to end does so by itself."""
    (front,) = stack.containers("front")
    stack.run("stop", "front")
    state = stack.inspect(front)["State"]
    assert (state["Status"], state["ExitCode"], state["OOMKilled"]) == ("exited", 0, False)
