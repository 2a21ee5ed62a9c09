"""What all queries of a service may take together: who wants more is told so, or puts aside on the disk what it can,
and everybody else goes on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from rethinkdb import r

from photondb.reql.memory import MemoryUse
from photondb.telemetry.scrape import Scrape
from tests.query.test_optimizations import ask
from tests.reql.test_fuzz import Target

TABLE = r.table("t")
ROWS = 3000
RESOURCE_LIMIT = 2000000
REFUSED = "The queries that are running take as much memory as they may together"


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    running = Target(tmp_path_factory.mktemp("budget") / "data", False, time_s=60)
    ask(running, TABLE.delete())
    rows = [{"id": n, "a": n * 7919 % ROWS, "b": "x" * 1000} for n in range(ROWS)]
    assert ask(running, TABLE.insert(rows), array_limit=10_000)["r"]["inserted"] == ROWS
    yield running
    running.stop()


@pytest.fixture
def taken(target: Target) -> Iterator[MemoryUse]:
    """Another query, which has taken all memory."""
    other = MemoryUse(1 << 50, target.query.memory)
    other.hold(target.query.memory.limit + 1)
    yield other
    other.give_back()


def ordered(target: Target, query: Any, **options: Any) -> Any:
    response = ask(target, query, array_limit=10_000, **options)
    assert response["t"] in (1, 2), response
    return response["r"]


def test_arrays_are_refused_and_small_queries_go_on(target: Target, taken: MemoryUse) -> None:
    refused = target.query.memory.refused
    response = ask(target, TABLE.order_by("a"), array_limit=10_000)
    assert (response["t"], response["e"]) == (18, RESOURCE_LIMIT)
    assert REFUSED in response["r"]
    assert target.query.memory.refused == refused + 1
    assert ordered(target, TABLE.order_by("a").limit(2)["a"]) == [0, 1]
    assert ordered(target, TABLE.get(1)["id"]) == 1
    assert ordered(target, TABLE.count()) == ROWS
    taken.give_back()
    assert [row["a"] for row in ordered(target, TABLE.order_by("a"))] == list(range(ROWS))


def test_sorts_and_groups_put_aside_what_they_have(target: Target, taken: MemoryUse) -> None:
    spills = target.query.spills
    queries = [
        TABLE.order_by("a").map(lambda row: row["a"]).filter(lambda a: a % 100 == 0),
        TABLE.order_by(r.desc("b"), "a").map(lambda row: row["a"]).sum(),
        TABLE.group("a").max("id").ungroup().filter(lambda group: group["group"] % 500 == 0)["reduction"]["a"],
        TABLE.map(lambda row: row.without("id")).distinct().count(),
    ]
    files, found = spills.files, []
    for query in queries:
        found.append(ordered(target, query))
        assert spills.files > files
        files = spills.files
    taken.give_back()
    assert [ordered(target, query) for query in queries] == found
    assert spills.files == files
    assert spills.bytes == 0


def test_the_first_rows_of_an_order_that_are_too_large(target: Target, taken: MemoryUse) -> None:
    files = target.query.spills.files
    query = TABLE.order_by("a").limit(2900).map(lambda row: row["a"]).nth(2899)
    assert ordered(target, query) == 2899
    assert target.query.spills.files > files


def test_what_is_told(target: Target, taken: MemoryUse) -> None:
    scrape = Scrape()
    target.query.collect(scrape)
    numbers = {metric.name: sum(values.values()) for metric, values in scrape.numbers.items()}
    limit = target.query.memory.limit
    assert numbers["photondb_query_memory_limit_bytes"] == limit
    assert numbers["photondb_query_memory_bytes"] == limit + 1
    assert numbers["photondb_query_memory_refused_total"] == target.query.memory.refused
    assert numbers["photondb_query_spill_files_total"] == target.query.spills.files
    assert numbers["photondb_query_spill_written_bytes_total"] >= numbers["photondb_query_spill_files_total"]
    assert numbers["photondb_query_spill_bytes"] == 0
