"""Every metric of the catalogue has data in a suite under load, and everybody can read it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families
from rethinkdb import r

from photondb.telemetry.catalogue import BY_NAME, CATALOGUE, MAX_TABLES, OTHER
from photondb.telemetry.reference import reference
from tests.observability.prometheus import scraping
from tests.running_suite import RunningSuite
from tests.telemetry.load import ENVIRON, load, pages, totals
from tests.telemetry.otlp_sink import OtlpSink, otlp_sink

AT_REST = {
    # what waits for less than the time between two looks
    "photondb_gateway_queued_queries",
    "photondb_query_unsent_answers",
    "photondb_storage_index_builds",
    # what is done for one query after the other, in one process
    "photondb_gateway_busy_polls_total",
    "photondb_column_cache_builds_running",
    "photondb_query_memory_bytes",
    "photondb_query_spill_bytes",
    "photondb_storage_aggregates_bytes",
    "photondb_scan_workers_busy",
    "photondb_commits_waiting_for_sync",
    "photondb_auth_exchanges_open",
    "photondb_auth_hashing_queue",
    "photondb_feed_backlog_records",
    "photondb_feed_missing_records",
    "photondb_bus_outbox_messages",
    "photondb_rpc_client_calls_waiting",
    "photondb_rpc_client_calls_in_flight",
    "photondb_rpc_server_calls_in_flight",
    # what queries do with more data than a test has
    "photondb_query_spill_files_total",
    "photondb_query_spill_written_bytes_total",
    "photondb_storage_aggregate_parts_total",
    # what RocksDB does with it
    "photondb_rocksdb_cache_hits_total",
    "photondb_rocksdb_cache_misses_total",
    "photondb_rocksdb_bloom_filter_useful_total",
    "photondb_rocksdb_table_files_bytes",
    "photondb_rocksdb_live_data_bytes",
    "photondb_rocksdb_level_files",
    "photondb_rocksdb_flushes_running",
    "photondb_rocksdb_flush_written_bytes_total",
    "photondb_rocksdb_compactions_running",
    "photondb_rocksdb_compaction_pending_bytes",
    "photondb_rocksdb_compaction_read_bytes_total",
    "photondb_rocksdb_compaction_written_bytes_total",
    "photondb_rocksdb_stall_seconds_total",
    # what nothing is wrong with
    "photondb_storage_indexes_outdated",
    "photondb_query_memory_refused_total",
    "photondb_column_cache_evictions_total",
    "photondb_scan_worker_failures_total",
    "photondb_scan_worker_deaths_total",
    "photondb_gateway_connections_refused_total",
    "photondb_gateway_clients_dropped_total",
    "photondb_gateway_query_service_losses_total",
    "photondb_wal_sync_failures_total",
    "photondb_spans_dropped_total",
    "photondb_rocksdb_writes_stopped",
    "photondb_rocksdb_delayed_write_rate_bytes",
    "photondb_rocksdb_background_errors",
    "photondb_feed_gap_reads_total",
    "photondb_bus_dropped_total",
    "photondb_bus_gaps_total",
    "photondb_rpc_client_reconnects_total",
    "photondb_rpc_client_connect_failures_total",
    "photondb_rpc_server_calls_refused_total",
}
"""Metrics that may be 0 in a suite that is well; they must be there all the same."""

BETWEEN_PROCESSES = {metric.name for metric in CATALOGUE if metric.name.startswith("photondb_rpc_client")} | {
    "photondb_bus_connects_total",
    "photondb_rpc_server_connections",
}
"""What there is only where services are processes of their own."""

OF_SEVERAL_NODES = {metric.name for metric in CATALOGUE if metric.name.startswith("photondb_storage_division")}
"""What there is only where there are several storage nodes (`tests/sharding/test_driver.py`)."""


def names_of(processes: bool) -> set[str]:
    """The metrics that there must be."""
    return set(BY_NAME) - OF_SEVERAL_NODES - (set() if processes else BETWEEN_PROCESSES)


@pytest.fixture(scope="module", params=[False, True], ids=["one process", "processes"])
def processes(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture(scope="module")
def sink() -> Iterator[OtlpSink]:
    with otlp_sink() as running:
        yield running


@pytest.fixture(scope="module")
def suite(processes: bool, sink: OtlpSink, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSuite]:
    """A suite under load, which exports its metrics to `sink`."""
    sink.metrics.clear()
    sink.services.clear()
    with pytest.MonkeyPatch.context() as patch:
        protocol, endpoint = ("grpc", sink.grpc_endpoint) if processes else ("http/protobuf", sink.endpoint)
        export = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
            "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
            "OTEL_METRIC_EXPORT_INTERVAL": "500",
            "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
            "OTEL_TRACES_SAMPLER_ARG": "0.2",
            "OTEL_BSP_SCHEDULE_DELAY": "200",
        }
        for name, value in {**ENVIRON, **export}.items():
            patch.setenv(name, value)
        with RunningSuite(tmp_path_factory.mktemp("suite") / "data", processes=processes) as running, load(running):
            yield running


@pytest.fixture(scope="module")
def readings(suite: RunningSuite, processes: bool) -> dict[str, float]:
    """The largest value of each metric that several looks have found: as many as it takes to find them all."""
    expected = names_of(processes)
    found: dict[str, float] = {}
    for _ in range(100):
        for name, value in totals(pages(suite)).items():
            found[name] = max(found.get(name, 0), value)
        if all(found.get(name) for name in expected - AT_REST):
            break
        time.sleep(0.3)
    return found


def test_every_metric_has_data(readings: dict[str, float], processes: bool) -> None:
    expected = names_of(processes)
    assert expected - readings.keys() == set()
    still = {name for name in expected if not readings[name]}
    assert still - AT_REST == set()


def test_nothing_is_told_that_is_not_in_the_catalogue(suite: RunningSuite) -> None:
    for page in pages(suite).values():
        for family in text_string_to_metric_families(page):
            name = f"{family.name}_total" if family.type == "counter" else family.name
            metric = BY_NAME[name]
            assert (family.type, family.documentation) == (metric.kind, metric.help)
            for sample in family.samples:
                assert sample.labels.keys() - {"le"} == set(metric.labels)


def test_services_and_operations_are_told_apart(suite: RunningSuite) -> None:
    requests: dict[str, set[str]] = {}
    errors: dict[str, set[str]] = {}
    for page in pages(suite).values():
        for family in text_string_to_metric_families(page):
            for sample in family.samples:
                if sample.name == "photondb_request_duration_seconds_count" and sample.value:
                    requests.setdefault(sample.labels["service"], set()).add(sample.labels["operation"])
                if sample.name == "photondb_request_errors_total" and sample.value:
                    errors.setdefault(sample.labels["operation"], set()).add(sample.labels["kind"])
    families = {"point_read", "read", "point_write", "write", "feed", "meta", "compute"}
    assert requests["query"] >= families | {"continue", "stop", "noreply_wait", "server_info"}
    assert requests["gateway"] == {"query"}
    assert requests["storage"] >= {"get", "write", "scan", "catalogue", "commit_transaction"}
    assert requests["auth"] >= {"scram_first", "scram_final", "password_login"}
    assert requests["changefeed"] == {"open"}
    assert {"non_existence"} <= errors["point_read"]
    assert {"authentication"} <= errors["scram_final"] | errors["password_login"]
    assert {"resource_limit"} <= errors["compute"]


def test_openmetrics(suite: RunningSuite) -> None:
    for _ in pages(suite):
        response = httpx.get(
            f"http://127.0.0.1:{suite.http_port}/_metrics", headers={"Accept": "application/openmetrics-text"}
        )
        assert response.headers["content-type"].startswith("application/openmetrics-text")
        assert len(list(read_openmetrics(response.text))) > 20


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (Debian: prometheus)")
def test_promtool_finds_nothing_wrong(suite: RunningSuite) -> None:
    for process, page in pages(suite).items():
        done = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True, text=True)
        assert (done.returncode, done.stdout + done.stderr) == (0, ""), process


@pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is not installed (Debian: prometheus)")
def test_prometheus_scrapes_it(suite: RunningSuite, processes: bool, tmp_path: Path) -> None:
    """With the configuration that docs/operations.md shows."""
    expected = [5.0] if processes else [1.0]
    with scraping(suite.data_dir / "telemetry.json", tmp_path / "prometheus") as prometheus:
        while prometheus.values("count(up == 1)") != expected:
            time.sleep(0.2)
        median = "histogram_quantile(0.5, sum by (le) (photondb_request_duration_seconds_bucket))"
        while not prometheus.values(median):
            time.sleep(0.2)
        assert prometheus.values("count(photondb_build_info)") == expected


def test_the_same_metrics_come_by_otlp(suite: RunningSuite, processes: bool, sink: OtlpSink) -> None:
    expected = names_of(processes)
    sink.wait_for(lambda: expected <= sink.metrics.keys())
    names = (
        {"photondb"}
        if not processes
        else {f"photondb-{service}" for service in ("gateway", "query", "storage", "auth", "changefeed")}
    )
    assert sink.services == names
    for name, received in sink.metrics.items():
        metric = BY_NAME[name]
        newest = received[-1]
        assert (newest.description, newest.unit) == (metric.help, metric.unit)
        kind = {"counter": "sum", "gauge": "gauge", "histogram": "histogram"}[metric.kind]
        assert newest.WhichOneof("data") == kind
        if kind == "sum":
            assert newest.sum.is_monotonic
        for point in getattr(newest, kind).data_points:
            assert {pair.key for pair in point.attributes} == set(metric.labels)
            if kind == "histogram":
                assert tuple(point.explicit_bounds) == metric.buckets
                assert sum(point.bucket_counts) == point.count
    assert any(metric.histogram.data_points[0].count for metric in sink.metrics["photondb_wal_sync_duration_seconds"])


def test_the_page_about_metrics_has_them_all() -> None:
    assert all(f"`{metric.name}`" in reference() for metric in CATALOGUE)
    assert f"At most {MAX_TABLES} tables" in reference()
    assert f"`{OTHER}`" in reference()


def test_outages_are_counted(tmp_path: Path) -> None:
    """The query service and NATS are killed under a client and a feed."""
    with contextlib.ExitStack() as stack:
        suite = stack.enter_context(RunningSuite(tmp_path / "data", processes=True))
        connection = stack.enter_context(r.connect("127.0.0.1", suite.driver_port))
        r.table_create("t").run(connection)
        r.table("t").changes().run(connection)
        for name in ("nats-server", "services.query"):
            os.kill(_child(suite, name), signal.SIGKILL)
        writer = stack.enter_context(r.connect("127.0.0.1", suite.driver_port))
        expected = {
            "photondb_gateway_query_service_losses_total",
            "photondb_rpc_client_reconnects_total",
            "photondb_bus_gaps_total",
            "photondb_log_records_total",
        }
        while not all(totals(pages_that_answer(suite)).get(name) for name in expected):
            with contextlib.suppress(r.errors.ReqlError):
                r.table("t").insert({}).run(writer)
            time.sleep(0.1)


def _child(suite: RunningSuite, name: str) -> int:
    """The process id of one of the suite's processes, by a word of its command line."""
    children = Path(f"/proc/{suite.pid}/task/{suite.pid}/children").read_text().split()
    return next(int(pid) for pid in children if name in Path(f"/proc/{pid}/cmdline").read_text())


def pages_that_answer(suite: RunningSuite) -> dict[str, str]:
    """The pages, none while one of the processes is away."""
    try:
        return pages(suite)
    except httpx.HTTPError:
        return {}
