"""`/_debug/`: who may look, and what there is to see, in one process and in a process for each service."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from rethinkdb import r

from tests.running_suite import RunningSuite

ADMIN = ("admin", "")
SERVICES = ("auth", "changefeed", "gateway", "query", "storage")
REPORTS = {
    "auth": {"loop", "rpc"},
    "changefeed": {"loop", "rpc", "feeds"},
    "gateway": {"loop", "rpc", "clients"},
    "query": {"loop", "rpc", "queries"},
    "storage": {"loop", "rpc", "rocksdb"},
}
PAGES = {"profile", "memory", "stacks", "controls", "log_levels"}


@pytest.fixture(scope="module", params=[False, True], ids=["one process", "processes"])
def suite(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSuite]:
    data_dir = tmp_path_factory.mktemp("suite") / "data"
    with RunningSuite(data_dir, processes=bool(request.param)) as running:
        with r.connect("127.0.0.1", running.driver_port) as connection:
            r.table_create("t").run(connection)
            r.db("rethinkdb").table("users").insert({"id": "ada", "password": "lovelace"}).run(connection)
        yield running


@pytest.fixture
def addresses(suite: RunningSuite) -> dict[str, str]:
    """The base URL of each process, by its name."""
    targets = json.loads((suite.data_dir / "telemetry.json").read_text())
    return {target["labels"]["process"]: f"http://{target['targets'][0]}" for target in targets}


def get(url: str, auth: tuple[str, str] | None = ADMIN) -> httpx.Response:
    return httpx.get(url, auth=auth, timeout=30)


def of(addresses: dict[str, str], service: str) -> str:
    """The base URL of the process that runs a service."""
    return addresses.get(service) or addresses["photondb"]


def test_every_process_has_its_pages(addresses: dict[str, str]) -> None:
    found = {process: set(get(f"{url}/_debug").json()["pages"]) for process, url in addresses.items()}
    if len(found) == 1:
        assert found == {"photondb": set().union(PAGES, *REPORTS.values())}
    else:
        assert found == {service: REPORTS[service] | PAGES for service in SERVICES}
    for process, url in addresses.items():
        for page in found[process] - {"profile", "memory"}:
            assert get(f"{url}/_debug/{page}").status_code == 200, page


@pytest.mark.parametrize("page", ["", "/loop", "/profile", "/nothing"])
def test_only_admin_may_look(addresses: dict[str, str], page: str) -> None:
    for url in addresses.values():
        assert get(f"{url}/_debug{page}", None).status_code == 401
        assert get(f"{url}/_debug{page}", ("admin", "wrong")).status_code == 401
        assert get(f"{url}/_debug{page}", ("nobody", "")).status_code == 401
        assert get(f"{url}/_debug{page}", ("ada", "lovelace")).status_code == 403
    response = get(f"{url}/_debug{page}", None)
    assert response.headers["www-authenticate"].startswith("Basic ")
    assert httpx.get(f"{url}/_debug{page}", headers={"Authorization": "Basic !"}).status_code == 401
    assert httpx.put(f"{url}/_debug/log_levels", json={"level": "debug"}).status_code == 401


def test_a_running_query_is_shown(suite: RunningSuite, addresses: dict[str, str]) -> None:
    query = r.range().map(lambda x: x + 1).filter(lambda x: x < 0)
    with r.connect("127.0.0.1", suite.driver_port) as connection:
        thread = threading.Thread(target=run_until_it_is_ended, args=(query, connection))
        thread.start()
        shown: list[Any] = []
        while not shown:
            shown = [one for one in get(f"{of(addresses, 'query')}/_debug/queries").json() if one["running"]]
        (one,) = shown
        assert one["query"].startswith("r.range()")
        assert (one["user"], one["family"]) == ("admin", "compute")
        assert one["client"].startswith("127.0.0.1:")
        stacks = get(f"{of(addresses, 'query')}/_debug/stacks").json()
        assert any("suspend.py" in line for stack in stacks["evaluations"] for line in stack)
        assert any("_watch_lag" in line for task in stacks["tasks"] for line in task["stack"])
        assert "MainThread" in {thread["name"] for thread in stacks["threads"]}
        clients = get(f"{of(addresses, 'gateway')}/_debug/clients").json()
        assert [client["user"] for client in clients["sessions"] if client["outstanding"]] == ["admin"]
        profile = get(f"{of(addresses, 'query')}/_debug/profile?seconds=0.5&format=text").text
        assert "evaluate" in profile or "suspend.py" in profile
        with r.connect("127.0.0.1", suite.driver_port) as other:
            r.db("rethinkdb").table("jobs").filter({"type": "query"}).filter(
                lambda job: job["info"]["query"].match("^r.range")
            ).delete().run(other)
        thread.join()


def run_until_it_is_ended(query: Any, connection: Any) -> None:
    with pytest.raises(r.errors.ReqlError):
        list(query.run(connection))


def test_a_profile_has_each_format(addresses: dict[str, str]) -> None:
    url = f"{of(addresses, 'storage')}/_debug/profile?seconds=0.2"
    assert get(url).headers["content-type"].startswith("text/html")
    assert "<html" in get(url).text
    assert get(f"{url}&format=speedscope&clock=wall").json()["$schema"].startswith("https://www.speedscope.app")
    assert "Duration" in get(f"{url}&format=text").text


@pytest.mark.parametrize(
    "query",
    [
        "profile?seconds=61",
        "profile?seconds=x",
        "profile?format=gif",
        "profile?clock=sun",
        "memory?seconds=0",
        "memory?top=1000",
    ],
)
def test_bounds(addresses: dict[str, str], query: str) -> None:
    response = get(f"{of(addresses, 'auth')}/_debug/{query}")
    assert response.status_code == 400
    assert "must be" in response.json()["error"]


def test_one_profile_at_a_time(addresses: dict[str, str]) -> None:
    url = f"{of(addresses, 'auth')}/_debug"
    with ThreadPoolExecutor(3) as pool:
        for page in ("profile", "memory"):
            answers = list(pool.map(get, [f"{url}/{page}?seconds=1.5"] * 3))
            assert sorted(answer.status_code for answer in answers) == [200, 409, 409]


def test_memory_that_is_allocated_is_shown(suite: RunningSuite, addresses: dict[str, str]) -> None:
    def write() -> None:
        with r.connect("127.0.0.1", suite.driver_port) as connection:
            r.table("t").insert([{"id": number, "text": "x" * 1000} for number in range(2000)], conflict="replace").run(
                connection, durability="soft"
            )

    writer = threading.Timer(0.3, write)
    writer.start()
    report = get(f"{of(addresses, 'storage')}/_debug/memory?seconds=1.5&top=10&objects=1").json()
    writer.join()
    assert len(report["grown"]) == 10
    assert report["grown"][0]["bytes"] > 10_000
    assert report["resident_bytes"] > 10_000_000
    assert "dict" in report["objects"]


def test_log_levels_can_be_changed(suite: RunningSuite, addresses: dict[str, str]) -> None:
    url = f"{of(addresses, 'gateway')}/_debug/log_levels"
    assert get(url).json()["services"] == "info"
    changed = httpx.put(url, auth=ADMIN, json={"logger": "services.gateway", "level": "debug"})
    assert changed.json()["services.gateway"] == "debug"
    assert httpx.put(url, auth=ADMIN, json={"level": "error"}).json()["photondb"] == "error"
    assert httpx.put(url, auth=ADMIN, json={"level": "info"}).json()["services"] == "info"
    for wrong in ({"level": "loud"}, {"logger": "asyncio", "level": "info"}, {}, []):
        assert httpx.put(url, auth=ADMIN, json=wrong).status_code == 400


def test_metrics_from_elsewhere_need_a_password(suite: RunningSuite) -> None:
    """A request that a proxy on this machine passes on is not from this machine."""
    url = f"http://127.0.0.1:{suite.http_port}/_metrics"
    assert get(url, None).status_code == 200
    elsewhere = {"X-Forwarded-For": "203.0.113.7"}
    assert httpx.get(url, headers=elsewhere).status_code == 401
    assert httpx.get(url, headers=elsewhere, auth=("ada", "lovelace")).status_code == 200


def test_rocksdb_tells_of_its_levels(addresses: dict[str, str]) -> None:
    assert "Level" in get(f"{of(addresses, 'storage')}/_debug/rocksdb").json()["stats"]


def test_health_of_each_process(suite: RunningSuite, addresses: dict[str, str], tmp_path: Path) -> None:
    for url in addresses.values():
        assert get(f"{url}/health", None).json() == {"status": "alive"}
        assert get(f"{url}/health/ready", None).json()["status"] == "ready"


def test_the_documentation_lists_all_pages() -> None:
    """docs/operations.md has a row for each page, and for no other."""
    page = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
    documented = set(re.findall(r"^\| `/_debug/(\w+)` \|", page, re.MULTILINE))
    assert documented == set().union(PAGES, *REPORTS.values())
