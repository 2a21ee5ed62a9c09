"""compose/fronts.yaml, as far as that can be seen without Docker."""

from __future__ import annotations

import yaml

from tests.compose.docker import FOLDER

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
