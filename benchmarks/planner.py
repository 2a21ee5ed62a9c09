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
    """A query, and the run options with which it is compared, or `instead` of it one with the same answer for which
    the planner has nothing better than it used to have."""

    name: str
    query: Any
    otherwise: dict[str, Any]
    options: dict[str, Any] = {}  # noqa: RUF012  # never changed
    instead: Any = None


WITH_RARE = r.row["rare"].default(-1) >= 0
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
    Case("filter by the first field of a compound index", T.filter(r.row["b"] == 7), NO_INDEX),
    Case(
        "filter, two ranges of 10 % each (two indexes, intersected)",
        T.filter((r.row["a"] >= 900) & (r.row["c"] < 100)),
        NO_INDEX,
    ),
    Case(
        "filter, one value of either of two fields (two indexes, united)",
        T.filter((r.row["a"] == 77) | (r.row["c"] == 33)),
        NO_INDEX,
    ),
    Case("filter behind a projection", T.pluck("id", "a").filter(r.row["a"] == 77), NO_INDEX),
    Case("documents with a field that 1 % have", T.has_fields("rare").count(), {}, instead=T.filter(WITH_RARE).count()),
    Case(
        "first 10 in ascending order",
        T.order_by("a").limit(10),
        {},
        instead=T.order_by(lambda row: row["a"] + 0).limit(10),
    ),
    Case(
        "first 10 in the order of two fields",
        T.order_by("a", r.desc("g")).limit(10),
        {},
        instead=T.order_by(lambda row: row["a"] + 0, r.desc("g")).limit(10),
    ),
    Case(
        "first 10 in the order of the primary key",
        T.order_by("id").limit(10),
        {},
        instead=T.order_by(lambda row: row["id"] + 0).limit(10),
    ),
    Case("7 different values", T["g"].distinct(), {}, instead=T.map(r.row["g"] + 0).distinct()),
    Case(
        "groups of an index that has 1 % of the documents",
        T.group(index="rare").count(),
        {},
        instead=T.filter(WITH_RARE).group("rare").count(),
    ),
    Case(
        "inner_join of 500 rows with all documents by the primary key (looked up)",
        SMALL.inner_join(T, lambda left, right: left["a"] == right["id"]).count(),
        {},
        instead=SMALL.inner_join(T, lambda left, right: left["a"] == right["id"] + 0).count(),
    ),
    Case(
        "inner_join of 20 rows with all documents by an index (looked up)",
        SMALL.limit(20).inner_join(T, lambda left, right: left["a"] == right["a"]).count(),
        {},
        instead=SMALL.limit(20).inner_join(T, lambda left, right: left["a"] == right["a"] + 0).count(),
    ),
    Case(
        "inner_join of all documents with all documents, which are too many to be kept, by the primary key (merged)",
        T.inner_join(T, lambda left, right: left["id"] == right["id"]).count(),
        {"array_limit": 1000},
        {"array_limit": 1000},
        instead=T.inner_join(T, lambda left, right: left["id"] == right["id"] + 0).count(),
    ),
    Case("eq_join of all documents with 500 rows (hash table)", T.eq_join("s", SMALL).count(), PLAIN),
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
    Case(
        "eq_join of all documents with 500 rows, filtered by the left side",
        T.eq_join("s", SMALL).filter(r.row["left"]["a"] == 77).count(),
        PLAIN,
    ),
    Case(
        "the same, filtered by the right side (which is read first)",
        T.eq_join("s", SMALL).filter(r.row["right"]["g"] == 3).filter(r.row["right"]["a"] < 20).count(),
        {},
        {},
        instead=T.filter(r.row["s"] + 0 >= 0)
        .eq_join("s", SMALL)
        .filter(r.row["right"]["g"] + 0 == 3)
        .filter(r.row["right"]["a"] < 20)
        .count(),
    ),
    Case(
        "inner_join of all documents with 20 rows by an index (right side first)",
        T.inner_join(SMALL.limit(20), lambda left, right: left["s"] == right["id"]).count(),
        {"join_first": "left"},
    ),
    Case(
        "the same by the primary key",
        T.inner_join(SMALL.limit(20), lambda left, right: left["id"] == right["a"]).count(),
        {"join_first": "left"},
    ),
    Case(
        "chain of two eq_joins, the second one filtered",
        T.eq_join("a", SMALL).eq_join(r.row["left"]["s"], SMALL).filter(r.row["right"]["a"] < 5).count(),
        {"join_first": "left"},
    ),
    Case("the first 10 pairs of an eq_join of all documents", T.eq_join("s", SMALL).limit(10), {"join_method": "hash"}),
    Case("filter by the primary key", T.filter({"id": 77}), NO_INDEX),
    Case("all documents in the order of an index", T.order_by("c"), PLAIN),
    Case(
        "two fields of all documents, in the order of an index that carries them",
        T.order_by("c").pluck("c", "b"),
        PLAIN,
    ),
    Case(
        "documents in a box (geo index)",
        T.filter(r.row["place"].intersects(r.polygon([10, 10], [13, 10], [13, 13], [10, 13]))).count(),
        NO_INDEX,
    ),
    Case(
        "an average that stands in the query three times",
        [T.filter(r.row["name"] > "name 9").avg("b")] * 3,
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
    T.index_create("of_b", [r.row["b"], r.row["name"]]).run(connection)
    for name in ("g", "rare", "s"):
        T.index_create(name).run(connection)
    T.index_create("c", include=["b"]).run(connection)
    T.index_create("place", geo=True).run(connection)
    T.index_create("tags", multi=True).run(connection)
    T.index_wait().run(connection)
    time.sleep(2)  # for the first statistics


def document(n: int) -> dict[str, Any]:
    """A document of about 250 bytes."""
    return {
        "id": n,
        "a": n % 1000,
        "b": n * 31 % 997,
        "c": n * 17 % 1009,
        "g": n % 7,
        "s": n * 13 % 500,
        **({} if n % 100 else {"rare": n}),
        "name": f"name {n * 7919 % 10007}",
        "tags": [f"t{n % 500}", f"u{n % 3}"],
        "place": {"$reql_type$": "GEOMETRY", "type": "Point", "coordinates": [n % 120, n * 7 % 80]},
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
    found = r.expr(query).run(connection, **options)
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
            other = case.query if case.instead is None else case.instead
            found, expected = rows(case.query, connection, case.options), rows(other, connection, case.otherwise)
            assert found == expected, case.name
            with_ms, without_ms = both_ms(
                lambda case=case: rows(case.query, connection, case.options),  # type: ignore[misc]
                lambda case=case, other=other: rows(other, connection, case.otherwise),  # type: ignore[misc]
                arguments.seconds,
            )
            print(f"| {case.name} | {without_ms:.1f} | {with_ms:.2f} | {without_ms / with_ms:.1f} |")
        connection.close()


if __name__ == "__main__":
    main()
