"""The suite in containers, as compose/compose.yaml makes them: used, killed one by one, stopped, started, scaled."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rethinkdb import r
from rethinkdb.errors import ReqlDriverError

from tests.compose.docker import SERVICES, Stack, build_image, prometheus_beside, running_stack, why_not
from tests.compose.writer_and_feed import WriterAndFeed, connection_to

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"

_reason = why_not()
pytestmark = [pytest.mark.skipif(_reason is not None, reason=_reason or ""), pytest.mark.timeout(600)]


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    build_image()
    with running_stack(tmp_path / "secrets") as stack:
        yield stack


def test_it_works_and_survives_whatever_is_killed(stack: Stack) -> None:
    check_how_containers_are_confined(stack)
    run_a_session(stack)
    check_who_may_log_in(stack)
    kill_each_container_under_load(stack)
    stop_and_start(stack)
    scale(stack)
    if shutil.which("prometheus") is not None:
        watch(stack)


def check_how_containers_are_confined(stack: Stack) -> None:
    """No container runs as root, can write to its root file system, or may take all there is of the machine."""
    running = stack.run("ps", "--services").split()
    assert sorted(running) == sorted(SERVICES)
    for service in SERVICES:
        (container,) = stack.containers(service)
        found = stack.inspect(container)
        limits = found["HostConfig"]
        assert found["Config"]["User"] == "10001:10001"
        assert limits["ReadonlyRootfs"]
        assert limits["CapDrop"] == ["ALL"]
        assert "no-new-privileges:true" in limits["SecurityOpt"]
        assert limits["Memory"] > 0
        assert limits["NanoCpus"] > 0
        assert limits["PidsLimit"] > 0
        assert found["State"]["Health"]["Status"] == "healthy"
        bound = [binding for bindings in limits["PortBindings"].values() for binding in bindings or []]
        assert {binding["HostIp"] for binding in bound} == ({"127.0.0.1"} if service == "gateway" else set())


def run_a_session(stack: Stack) -> None:
    """What a newcomer does, with the official driver and over HTTP."""
    with connection_to(stack.ports) as conn:
        assert conn.server()["name"]
        r.table_create("films").run(conn)
        r.table("films").index_create("year").run(conn)
        r.table("films").index_wait().run(conn)
        films = [{"id": "metropolis", "year": 1927}, {"id": "m", "year": 1931}]
        assert r.table("films").insert(films).run(conn)["inserted"] == 2
        assert list(r.table("films").order_by(index="year")["id"].run(conn)) == ["metropolis", "m"]
        assert r.table("films").map(r.row["year"]).sum().run(conn) == 3858
        with r.table("films").changes().run(conn) as feed:
            r.table("films").get("m").update({"minutes": 117}).run(conn)
            assert feed.next()["new_val"]["minutes"] == 117
    (port,) = stack.ports(8080)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready") as answer:
        assert json.load(answer)["status"] == "ready"


def check_who_may_log_in(stack: Stack) -> None:
    """`admin` has the password of the secret."""
    (port,) = stack.ports()
    with pytest.raises(ReqlDriverError, match="Wrong password"):
        r.connect("127.0.0.1", port)


def kill_each_container_under_load(stack: Stack) -> None:
    """Nothing that was acknowledged is lost, and the feed sees everything once."""
    with WriterAndFeed(stack.ports) as load:
        for service in SERVICES:
            (container,) = stack.containers(service)
            stack.kill(container)
            load.make_progress()
            stack.wait_healthy(container)
            load.make_progress()
        load.finish()
    with connection_to(stack.ports) as conn:
        stored = set(r.table("events")["id"].run(conn)) - {-1}
    assert stored >= set(load.acknowledged)
    assert load.seen == sorted(stored)


def stop_and_start(stack: Stack) -> None:
    """The data is there again, and the containers ended by themselves when they were asked to."""
    with connection_to(stack.ports) as conn:
        before = contents(conn)
    stack.run("stop")
    for container in stack.run("ps", "-aq").split():
        state = stack.inspect(container)["State"]
        assert (state["Status"], state["OOMKilled"]) == ("exited", False)
        assert state["ExitCode"] in (0, 1) if "nats" in stack.inspect(container)["Name"] else state["ExitCode"] == 0
    stack.run("up", "--wait")
    with connection_to(stack.ports) as conn:
        assert contents(conn) == before
    stack.run("down")
    stack.run("up", "--wait")
    with connection_to(stack.ports) as conn:
        assert contents(conn) == before


def contents(conn: Any) -> dict[str, int]:
    """How many documents each table has."""
    return {name: r.table(name).count().run(conn) for name in r.table_list().run(conn)}


def scale(stack: Stack) -> None:
    """Two gateways and two query services share the work, and one of each may go."""
    stack.run("up", "--detach", "--wait", "--scale", "gateway=2", "--scale", "query=2")
    ports = stack.ports()
    assert len(set(ports)) == 2
    for port in ports:
        with connection_to(lambda port=port: [port]) as conn:
            assert r.table("films").count().run(conn) == 2
    connections = [connection_to(lambda port=port: [port]) for port in ports for _ in range(4)]
    for conn in connections:
        assert r.table("films").get("m")["year"].run(conn) == 1931
    for container in stack.containers("query"):
        assert sessions_of(stack, container) > 0
    for conn in connections:
        conn.close()


def watch(stack: Stack) -> None:
    """Prometheus, with its configuration, finds every container of every service and gets their metrics."""
    with prometheus_beside(stack) as ask:
        up: dict[str, int] = {}
        ends = time.monotonic() + 90
        while up != {"gateway": 2, "query": 2, "storage": 1, "auth": 1, "changefeed": 1}:
            assert time.monotonic() < ends, up
            time.sleep(1)
            found = ask("/api/v1/query?query=sum%20by%20(process)%20(up)")["data"]["result"]
            up = {series["metric"]["process"]: int(series["value"][1]) for series in found}
        assert {rule["health"] for group in ask("/api/v1/rules")["data"]["groups"] for rule in group["rules"]} == {"ok"}


def test_the_commands_of_the_documentation_work(tmp_path: Path) -> None:
    build_image()
    section = re.search(r"^## In containers$(.*?)^## ", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert section is not None
    commands = re.findall(r"^    (docker compose .*)$", section[1], re.MULTILINE)
    assert len(commands) >= 10
    with running_stack(tmp_path / "secrets", start=False):
        for command in commands:
            # Images of the first are nowhere but in a registry, and there is no way back from the second.
            if "observability" in command or "storage-nodes" in command:
                command = re.sub(r" up .*", " config --quiet", command)
            done = subprocess.run(command.split(), cwd=PAGE.parents[1], capture_output=True, text=True)
            assert done.returncode == 0, f"{command}: {done.stdout} {done.stderr}"


def sessions_of(stack: Stack, container: str) -> float:
    """How many clients a query service has, by its metrics."""
    program = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:28100/_metrics').read().decode())"
    page = stack.run("exec", "-T", "--index", str(_index(stack, container)), "query", "python", "-c", program)
    (line,) = [line for line in page.splitlines() if line.startswith("photondb_query_sessions")]
    return float(line.split()[-1])


def _index(stack: Stack, container: str) -> int:
    return int(stack.inspect(container)["Config"]["Labels"]["com.docker.compose.container-number"])
