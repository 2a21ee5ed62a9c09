"""A load that makes every metric of a suite move."""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import time
from collections.abc import Iterator

import httpx
from prometheus_client.parser import text_string_to_metric_families
from rethinkdb import r

from photondb.client import transaction
from photondb.telemetry.catalogue import CATALOGUE
from tests.post_server import post_server
from tests.running_suite import RunningSuite

ENVIRON = {
    "PHOTONDB_HTTP_ALLOW_PRIVATE": "1",
    "PHOTONDB_MAX_QUERY_SECONDS": "1",
    "PHOTONDB_MAX_CURSOR_SECONDS": "2",
    "PHOTONDB_SCAN_WORKERS": "1",
}
"""Settings that let queries and cursors reach their limits soon, and sinks reach the tests."""


@contextlib.contextmanager
def webhook() -> Iterator[str]:
    """The URL of an endpoint that refuses the first batch and takes all others."""
    statuses = itertools.chain([500], itertools.repeat(200))
    with post_server(lambda headers, body: next(statuses)) as url:
        yield url


@contextlib.contextmanager
def load(suite: RunningSuite) -> Iterator[None]:
    """Use everything once; cursors, feeds, sinks, groups and a transaction are open inside of the block."""
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(webhook())
        connection = stack.enter_context(r.connect("127.0.0.1", suite.driver_port))
        table = r.table("t")
        r.table_create("t").run(connection)
        table.index_create("a").run(connection)
        table.index_wait().run(connection)
        r.db("rethinkdb").table("sinks").insert(
            {"id": "hook", "db": "test", "table": "t", "kind": "webhook", "url": url}
        ).run(connection)
        feeds = stack.enter_context(r.connect("127.0.0.1", suite.driver_port))
        opened = [
            table.changes().run(feeds),
            table.get("nobody").changes().run(feeds),
            table.order_by(index="a").limit(2).changes(include_initial=True).run(feeds),
            table.count().changes(include_initial=True).run(feeds),
            table.changes(group="workers").run(feeds),
            table.changes(changefeed_queue_size=2).run(feeds),
        ]
        for first in range(0, 2000, 100):  # each within the time that ENVIRON gives a query, on any machine
            documents = [{"id": first + number, "a": number % 10, "text": "x" * 200} for number in range(100)]
            table.insert(documents).run(connection)
        for number in range(20):
            table.get(number).run(connection)
            table.get(number).update({"b": number}).run(connection)
        table.get("nobody").run(connection)
        for _ in range(6):
            table.map(lambda row: row["a"]).sum().run(connection)
            time.sleep(0.05)
        _aggregates(suite)
        table.count().run(connection, cache=True)
        table.group("a").count().run(connection, cache=True)
        table.group("a").count().run(connection, cache=True)
        r.expr(1).run(connection, noreply=True)
        connection.noreply_wait()
        connection.server()
        table.get(1).update({"c": 1}).run(connection, noreply=True)
        for wrong in (
            r.expr(1).add("x"),
            r.table("nothing"),
            table.get(1)["nothing"],
            table.get(1)["nothing"],
            r.expr({"a": 1}).nth(0),
        ):
            with contextlib.suppress(r.errors.ReqlError):
                wrong.run(connection)
        next(opened[0])
        next(opened[4])
        for password in ("wrong", ""):
            with contextlib.suppress(r.errors.ReqlError):
                r.connect("127.0.0.1", suite.driver_port, password=password).close()
        httpx.get(f"http://127.0.0.1:{suite.http_port}/_debug", auth=("nobody", ""))
        with socket.create_connection(("127.0.0.1", suite.driver_port)) as stranger:
            stranger.sendall(b"\0\0\0\0")
            stranger.recv(100)
        _transactions(suite)
        with contextlib.suppress(r.errors.ReqlError):
            list(r.range().filter(lambda number: number < 0).run(connection))  # until its time is up
        forgotten = table.run(connection, max_batch_rows=10)
        next(forgotten)
        time.sleep(3.2)  # its snapshot is given up meanwhile
        cursor = table.run(connection, max_batch_rows=10)
        next(cursor)
        other = stack.enter_context(r.connect("127.0.0.1", suite.driver_port))
        kept = r.db("rethinkdb").table("transactions").insert({"isolation": "snapshot"}).run(other)["generated_keys"][0]
        table.get(1).run(other, transaction=kept)
        third = table.run(connection, max_batch_rows=10)
        next(third)
        third.close()
        yield
        opened[-1].close()


def _aggregates(suite: RunningSuite) -> None:
    """Over columns, and by scan workers: ask until there are both."""
    waited = ("photondb_column_cache_hits_total", "photondb_scan_worker_rows_total")
    ends = time.monotonic() + 120
    with r.connect("127.0.0.1", suite.driver_port) as connection:
        r.table_create("large").run(connection)
        large = [{"n": number, "text": "x" * 100_000} for number in range(200)]
        for first in range(0, len(large), 10):  # so that each has a second on a machine with a lot to do
            r.table("large").insert(large[first : first + 10], durability="soft").run(connection)
        while time.monotonic() < ends:
            r.table("t").map(lambda row: row["a"]).sum().run(connection)
            r.table("large").sum("n").run(connection)
            found = totals(pages(suite))
            if all(found.get(name) for name in waited):
                break
            time.sleep(0.05)
        r.table_drop("large").run(connection)


def _transactions(suite: RunningSuite) -> None:
    """One that is committed, one that meets a conflict, and one that is aborted."""
    table = r.table("t")
    with r.connect("127.0.0.1", suite.driver_port) as connection, r.connect("127.0.0.1", suite.driver_port) as other:
        with transaction(connection) as tx:
            tx.run(table.get(1).update({"tx": 1}))
        with contextlib.suppress(r.errors.ReqlError), transaction(connection) as tx:
            tx.run(table.get(2).update({"tx": 2}))
            table.get(2).update({"tx": 3}).run(other)
        with contextlib.suppress(RuntimeError), transaction(connection) as tx:
            tx.run(table.get(3).update({"tx": 4}))
            raise RuntimeError


def pages(suite: RunningSuite) -> dict[str, str]:
    """The metrics page of each process, by its name."""
    targets = json.loads((suite.data_dir / "telemetry.json").read_text())
    return {
        target["labels"]["process"]: httpx.get(f"http://{target['targets'][0]}/_metrics").raise_for_status().text
        for target in targets
    }


def totals(texts: dict[str, str]) -> dict[str, float]:
    """Of each metric that is there the sum over all labels and processes; of a histogram, how many values it has."""
    found: dict[str, float] = {}
    for text in texts.values():
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                found[sample.name] = found.get(sample.name, 0) + sample.value
    kinds = {metric.name: metric.kind for metric in CATALOGUE}
    names = {name: f"{name}_count" if kind == "histogram" else name for name, kind in kinds.items()}
    return {name: found[sample] for name, sample in names.items() if sample in found}
