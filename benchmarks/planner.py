"""Measures what the planner and the result cache give: each query as it is run, and without what is measured.

    python -m benchmarks.planner [--documents 20000] [--seconds 0.5]

It starts a suite with a temporary data directory of its own. Both ways of a query alternate in one run, so that what
else the machine does meets both.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from rethinkdb import r

from tests.running_suite import RunningSuite

CHUNK = 2000
T, SMALL = r.table("documents"), r.table("small")


class Case(NamedTuple):
    """A query, and the run options with which it is compared."""

    name: str
    query: Any
    otherwise: dict[str, Any]
    options: dict[str, Any] = {}  # noqa: RUF012  # never changed


NO_INDEX = {"index": False}
PLAIN = {"optimizations": False}

CASES = (
    Case("filter, one value of 1,000 (index)", T.filter(r.row["a"] == 77), NO_INDEX),
    Case(
        "filter, a range of 2 % of the documents, counted",
        T.filter((r.row["a"] > 100) & (r.row["a"] <= 120)).count(),
        NO_INDEX,
    ),
    Case("filter, a range of 20 % of the documents, counted", T.filter(r.row["a"] >= 800).count(), NO_INDEX),
    Case("filter by two fields (compound index)", T.filter({"a": 77, "g": 3}), NO_INDEX),
    Case("filter, an element of an array (multi index)", T.filter(r.row["tags"].contains("t77")), NO_INDEX),
    Case(
        "first 10 in another order, of 2 %",
        T.filter((r.row["a"] > 100) & (r.row["a"] <= 120)).order_by("name").limit(10),
        NO_INDEX,
    ),
    Case(
        "inner_join of 500 and 500 rows (hash table)",
        SMALL.inner_join(SMALL, lambda left, right: left["a"] == right["a"]).count(),
        PLAIN,
    ),
    Case(
        "a sub-query in a filter of 500 rows, computed once",
        SMALL.filter(lambda row: row["a"] >= SMALL.avg("a")).count(),
        PLAIN,
    ),
    Case("group and count, from the result cache", T.group("g").count(), {}, {"cache": True}),
    Case("the whole table, from the result cache", T.pluck("id", "a"), {}, {"cache": True}),
)


def load(connection: Any, documents: int) -> None:
    """Make the tables and their indexes."""
    for name in ("documents", "small"):
        r.table_create(name, durability="soft").run(connection)
    for number in range(0, documents, CHUNK):
        T.insert([document(n) for n in range(number, min(number + CHUNK, documents))]).run(connection)
    SMALL.insert([document(n) for n in range(500)]).run(connection)
    T.index_create("a").run(connection)
    T.index_create("both", [r.row["g"], r.row["a"]]).run(connection)
    T.index_create("tags", multi=True).run(connection)
    T.index_wait().run(connection)
    time.sleep(2)  # for the first statistics


def document(n: int) -> dict[str, Any]:
    """A document of about 250 bytes."""
    return {
        "id": n,
        "a": n % 1000,
        "g": n % 7,
        "name": f"name {n * 7919 % 10007}",
        "tags": [f"t{n % 500}", f"u{n % 3}"],
        "pad": "x" * 150,
    }


def both_ms(one: Callable[[], object], other: Callable[[], object], seconds: float) -> tuple[float, float]:
    """The shortest time in milliseconds that each takes, called in turns for so long."""
    best = [float("inf")] * 2
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for place, call in enumerate((one, other)):
            began = time.perf_counter()
            call()
            best[place] = min(best[place], time.perf_counter() - began)
    return best[0] * 1000, best[1] * 1000


def rows(query: Any, connection: Any, options: dict[str, Any]) -> object:
    """Run a query to its end."""
    found = query.run(connection, **options)
    return found if isinstance(found, dict | list | int) else list(found)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=0.5, help="how long each query is measured")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, RunningSuite(Path(directory, "data")) as suite:
        connection = r.connect("127.0.0.1", suite.driver_port)
        load(connection, arguments.documents)
        print(f"| {arguments.documents:,} documents of 250 bytes | without, ms | with, ms | times |")
        print("| --- | --- | --- | --- |")
        for case in CASES:
            assert rows(case.query, connection, case.options) == rows(case.query, connection, case.otherwise)
            with_ms, without_ms = both_ms(
                lambda case=case: rows(case.query, connection, case.options),  # type: ignore[misc]
                lambda case=case: rows(case.query, connection, case.otherwise),  # type: ignore[misc]
                arguments.seconds,
            )
            print(f"| {case.name} | {without_ms:.1f} | {with_ms:.2f} | {without_ms / with_ms:.0f} |")
        connection.close()


if __name__ == "__main__":
    main()
