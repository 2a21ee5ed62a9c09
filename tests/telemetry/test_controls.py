"""What operators change while the suite runs, and the log of slow queries that they get."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from rethinkdb import r

from tests.running_suite import ENDED, RunningSuite
from tests.telemetry.otlp_sink import OtlpSink, otlp_sink

ADMIN = ("admin", "")


@pytest.fixture(scope="module")
def sink() -> Iterator[OtlpSink]:
    with otlp_sink() as sink:
        yield sink


@pytest.fixture(scope="module")
def suite(sink: OtlpSink, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSuite]:
    flags = ("--log-format", "json", "--slow-query-ms", "0")
    tracing = ("--otlp-endpoint", sink.grpc_endpoint, "--otlp-protocol", "grpc")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
        patch.setenv("OTEL_SERVICE_NAME", "shop-db")
        patch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
        data = tmp_path_factory.mktemp("controls") / "data"
        with RunningSuite(data, processes=False, arguments=(*flags, *tracing)) as suite:
            yield suite


def controls(suite: RunningSuite, changes: Any = None, auth: tuple[str, str] | None = ADMIN) -> httpx.Response:
    url = f"http://127.0.0.1:{suite.http_port}/_debug/controls"
    return httpx.get(url, auth=auth) if changes is None else httpx.patch(url, json=changes, auth=auth)


def lines(suite: RunningSuite, message: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in suite.log.splitlines() if line.startswith("{")]
    return [line for line in found if line["message"] == message]


def slow_query(suite: RunningSuite, count: int) -> dict[str, Any]:
    """The newest of so many slow queries in the log, as soon as it is there."""
    end = time.monotonic() + 120
    while len(lines(suite, "slow query")) < count:
        assert time.monotonic() < end
        time.sleep(0.02)
    return lines(suite, "slow query")[-1]


def test_controls_are_shown_and_changed_for_the_admin_only(suite: RunningSuite) -> None:
    assert controls(suite).json() == {"slow_query_ms": 0, "trace_ratio": 1.0}
    assert controls(suite, auth=None).status_code == 401
    assert controls(suite, {"slow_query_ms": 5}, auth=None).status_code == 401
    assert controls(suite, {"slow_query_ms": 5}).json()["slow_query_ms"] == 5
    assert controls(suite).json()["slow_query_ms"] == 5
    assert controls(suite, {"slow_query_ms": 0}).json()["slow_query_ms"] == 0


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"slow_query_ms": -1}, "`slow_query_ms` must be a number of milliseconds, 0 for no log of slow queries."),
        (
            {"slow_query_ms": 7, "trace_ratio": 2},
            "`trace_ratio` must be a number from 0 to 1, or null to trace nothing.",
        ),
        ({"cache": 1}, "there is no `cache`: there are slow_query_ms, trace_ratio."),
        ([], "expected an object."),
    ],
)
def test_what_makes_no_sense_changes_nothing(suite: RunningSuite, changes: Any, complaint: str) -> None:
    before = controls(suite).json()
    answer = controls(suite, changes)
    assert (answer.status_code, answer.json()["error"]) == (400, complaint)
    assert controls(suite).json() == before


def lost_spans(suite: RunningSuite, reason: str) -> float:
    return spans(suite, "dropped", f'{{reason="{reason}",service="photondb"}}')


def spans(suite: RunningSuite, outcome: str, labels: str) -> float:
    page = httpx.get(f"http://127.0.0.1:{suite.http_port}/_metrics").text
    (line,) = [line for line in page.splitlines() if line.startswith(f"photondb_spans_{outcome}_total{labels}")]
    return float(line.rsplit(" ", 1)[1])


def test_slow_queries_are_logged_with_text_and_plan_and_without_values(suite: RunningSuite) -> None:
    connection = r.connect(port=suite.driver_port)
    r.table_create("accounts").run(connection)
    accounts = r.table("accounts")
    accounts.insert([{"id": number, "pin": "secret"} for number in range(500)]).run(connection)
    controls(suite, {"slow_query_ms": 1})
    try:
        parent = f"00-{'ab' * 16}-{'cd' * 8}-01"
        accounts.filter({"pin": "hunter2"}).map(lambda row: row["id"] + 1).count().run(connection, traceparent=parent)
        slow = slow_query(suite, 1)
        hidden = r.db("rethinkdb").table("users").insert({"id": "eve", "password": "hunter2"})
        r.range(50_000).map(lambda number: hidden if False else number + 77_001).sum().run(connection)
        other = slow_query(suite, 2)
    finally:
        controls(suite, {"slow_query_ms": 0})
    assert slow["level"] == "warning"
    assert slow["duration_ms"] >= 1
    assert slow["user"] == "admin"
    assert slow["client"].startswith("127.0.0.1:")
    assert slow["trace_id"] == "ab" * 16
    assert (
        slow["query"] == 'r.table("accounts").filter(?).map(function (var1) { return r.add(var1("id"), ?); }).count()'
    )
    assert "scan test.accounts by whole table (storage, 500 rows)" in slow["plan"]
    assert slow["plan"].startswith("count (")
    assert "77001" not in other["query"]
    assert "hunter2" not in suite.log


def test_traces_are_sent_by_grpc_with_the_names_of_the_environment(suite: RunningSuite, sink: OtlpSink) -> None:
    connection = r.connect(port=suite.driver_port)
    sink.clear()
    r.expr(1).run(connection)
    sink.wait_for(lambda: any(span.name == "query" for span in sink.spans))
    assert {span.service for span in sink.spans} == {"shop-db"}
    assert sink.resources[-1]["deployment.environment.name"] == "test"


def test_the_share_of_traces_changes_at_once(suite: RunningSuite, sink: OtlpSink) -> None:
    connection = r.connect(port=suite.driver_port)

    def traced(count: int) -> int:
        sink.wait_until_quiet()
        sink.clear()
        for _ in range(count):
            r.expr(1).run(connection)
        sink.wait_until_quiet()
        return sum(span.name == "query" for span in sink.spans)

    try:
        controls(suite, {"trace_ratio": 0})
        assert traced(50) == 0
        controls(suite, {"trace_ratio": 0.5})
        assert 20 < traced(100) < 80
        controls(suite, {"trace_ratio": None})
        connection = r.connect(port=suite.driver_port)
        assert traced(20) == 0
        assert controls(suite).json()["trace_ratio"] is None
    finally:
        controls(suite, {"trace_ratio": 1})
    connection = r.connect(port=suite.driver_port)
    assert traced(10) == 10


def test_what_becomes_of_spans_is_counted(suite: RunningSuite) -> None:
    with r.connect(port=suite.driver_port) as connection:
        r.expr(1).run(connection)
    end = time.monotonic() + 120
    while not spans(suite, "exported", '{service="photondb"}'):
        assert time.monotonic() < end
        time.sleep(0.02)
    assert lost_spans(suite, "queue") == lost_spans(suite, "collector") == 0


def test_a_collector_that_is_down_hurts_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.2")
    flags = ("--otlp-endpoint", "http://127.0.0.1:9", "--log-format", "json")
    with RunningSuite(tmp_path / "data", processes=False, arguments=flags) as suite:
        connection = r.connect(port=suite.driver_port)
        for number in range(100):
            assert r.expr(number).run(connection) == number
        end = time.monotonic() + 120
        while lost_spans(suite, "collector") < 100:
            assert time.monotonic() < end
            time.sleep(0.1)
        assert suite.stop() in ENDED
        complaints = [line for line in suite.log.splitlines() if "spans cannot be exported" in line]
        assert len(complaints) == 1
