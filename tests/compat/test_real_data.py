"""The main job on real data: an unmodified driver loads it, queries it, and finds it again after a crash.

Every answer is computed a second time in plain Python from the same rows.
"""

from __future__ import annotations

import collections
import datetime
import statistics
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from rethinkdb import r
from rethinkdb.errors import ReqlNonExistenceError

from tests.compat import datasets
from tests.running_suite import RunningSuite

AIRPORTS = datasets.airports()
CARS = datasets.cars()
TEMPERATURES = datasets.temperatures()
BY_IATA = {row["iata"]: row for row in AIRPORTS}


def batches(rows: list[dict[str, Any]], size: int = 200) -> Iterator[list[dict[str, Any]]]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


@pytest.fixture(scope="module")
def conn(suite: RunningSuite) -> Iterator[Any]:
    """A connection to a suite that holds the three data sets."""
    connection = r.connect(port=suite.driver_port)
    r.db_create("vega").run(connection)
    connection.use("vega")
    for name, key, rows in (
        ("airports", "iata", AIRPORTS),
        ("cars", "id", CARS),
        ("temperatures", "id", TEMPERATURES),
    ):
        assert r.table_create(name, primary_key=key).run(connection)["tables_created"] == 1
        for batch in batches(rows):
            assert r.table(name).insert(batch).run(connection)["inserted"] == len(batch)
    yield connection
    connection.close(noreply_wait=False)  # the last test kills its server


def by_id(rows: Any, key: str = "id") -> list[Any]:
    return sorted(rows, key=lambda row: row[key])


def close_to(value: float) -> Any:
    return pytest.approx(value, rel=1e-9)


QUERIES: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "count a table": (lambda: r.table("airports").count(), lambda: len(AIRPORTS)),
    "get by key": (lambda: r.table("airports").get("SEA"), lambda: BY_IATA["SEA"]),
    "get what is not there": (lambda: r.table("airports").get("nowhere"), lambda: None),
    "get and pluck": (
        lambda: r.table("airports").get("SFO").pluck("name", "city"),
        lambda: {name: BY_IATA["SFO"][name] for name in ("name", "city")},
    ),
    "get several": (
        lambda: r.table("airports").get_all("SEA", "JFK", "none").order_by("iata"),
        lambda: [BY_IATA["JFK"], BY_IATA["SEA"]],
    ),
    "a range of keys": (
        lambda: r.table("airports").between("A", "B").order_by("iata")["iata"],
        lambda: sorted(key for key in BY_IATA if "A" <= key < "B"),
    ),
    "a closed range from its end": (
        lambda: r.table("airports").between("SEA", "SFO", right_bound="closed").order_by(r.desc("iata")).limit(3),
        lambda: [BY_IATA[key] for key in sorted((k for k in BY_IATA if "SEA" <= k <= "SFO"), reverse=True)[:3]],
    ),
    "filter by a pattern": (
        lambda: r.table("airports").filter({"state": "WA"}).count(),
        lambda: sum(row["state"] == "WA" for row in AIRPORTS),
    ),
    "filter by a function": (
        lambda: r.table("airports").filter((r.row["latitude"] > 60) & (r.row["longitude"] < -150)).count(),
        lambda: sum(row["latitude"] > 60 and row["longitude"] < -150 for row in AIRPORTS),
    ),
    "order and limit": (
        lambda: r.table("airports").order_by(r.desc("latitude")).limit(5)["iata"],
        lambda: [row["iata"] for row in sorted(AIRPORTS, key=lambda row: -row["latitude"])[:5]],
    ),
    "group and count": (
        lambda: r.table("airports").group("state").count().ungroup().order_by(r.desc("reduction"), "group").limit(3),
        lambda: [
            {"group": state, "reduction": count}
            for state, count in sorted(
                collections.Counter(row["state"] for row in AIRPORTS).items(), key=lambda pair: (-pair[1], pair[0])
            )[:3]
        ],
    ),
    "average": (
        lambda: r.table("temperatures").avg("temp"),
        lambda: close_to(statistics.fmean(row["temp"] for row in TEMPERATURES)),
    ),
    "sum of a function": (
        lambda: r.table("cars").sum(lambda car: car["Weight_in_lbs"] / 2),
        lambda: close_to(sum(car["Weight_in_lbs"] / 2 for car in CARS)),
    ),
    "max by a field": (
        lambda: r.table("cars").max("Weight_in_lbs")["Name"],
        lambda: max(CARS, key=lambda car: car["Weight_in_lbs"])["Name"],
    ),
    "average of what is there": (
        lambda: r.table("cars").filter(r.row["Horsepower"] != None).avg("Horsepower"),  # noqa: E711
        lambda: close_to(statistics.fmean(car["Horsepower"] for car in CARS if car["Horsepower"] is not None)),
    ),
    "distinct": (
        lambda: r.table("cars")["Origin"].distinct(),
        lambda: sorted({car["Origin"] for car in CARS}),
    ),
    "map and reduce": (
        lambda: r.table("cars").map(lambda car: car["Cylinders"]).reduce(lambda left, right: left + right),
        lambda: sum(car["Cylinders"] for car in CARS),
    ),
    "strings": (
        lambda: r.table("cars").filter(r.row["Name"].match("^ford (mustang|pinto)")).count(),
        lambda: sum(car["Name"].startswith(("ford mustang", "ford pinto")) for car in CARS),
    ),
    "times": (
        lambda: (
            r.table("temperatures")
            .filter(r.row["date"].month() == 7)
            .group(r.row["date"].hours())
            .avg("temp")
            .ungroup()
            .filter({"group": 14})[0]["reduction"]
        ),
        lambda: close_to(
            statistics.fmean(row["temp"] for row in TEMPERATURES if row["date"].month == 7 and row["date"].hour == 14)
        ),
    ),
    "a range of times": (
        lambda: (
            r.table("temperatures")
            .filter(r.row["date"].during(r.time(2010, 3, 1, "Z"), r.time(2010, 3, 2, "Z")))
            .order_by("date")
            .nth(0)["date"]
        ),
        lambda: datetime.datetime(2010, 3, 1, tzinfo=datetime.UTC),
    ),
    "merge, without and branch": (
        lambda: (
            r.table("cars")
            .get(0)
            .merge(lambda car: {"heavy": r.branch(car["Weight_in_lbs"] > 3000, True, False)})
            .without("Name", "Year")
        ),
        lambda: {
            **{name: value for name, value in CARS[0].items() if name not in ("Name", "Year")},
            "heavy": CARS[0]["Weight_in_lbs"] > 3000,
        },
    ),
}


@pytest.mark.parametrize("name", QUERIES)
def test_an_answer_is_what_plain_python_computes(conn: Any, name: str) -> None:
    query, expected = QUERIES[name]
    answer = query().run(conn)
    if not isinstance(answer, (dict, list, str, int, float, type(None), datetime.datetime)):
        answer = list(answer)
    assert answer == expected()


def test_a_whole_table_streams_through_a_cursor(conn: Any) -> None:
    cursor = r.table("temperatures").run(conn, max_batch_rows=500)
    assert by_id(cursor) == TEMPERATURES


def test_errors_have_the_drivers_classes(conn: Any) -> None:
    with pytest.raises(ReqlNonExistenceError, match="No attribute `altitude` in object"):
        r.table("airports").get("SEA")["altitude"].run(conn)


async def test_the_asyncio_driver_reads_what_the_other_one_wrote(conn: Any, suite: RunningSuite) -> None:
    r_async = type(r)()
    r_async.set_loop_type("asyncio")
    connection = await r_async.connect(port=suite.driver_port, db="vega")
    try:
        assert await r.table("cars").get(7).run(connection) == CARS[7]
        cursor = await r.table("cars").run(connection, max_batch_rows=50)
        found = [car async for car in cursor]
        assert by_id(found) == CARS
    finally:
        await connection.close()


def test_everything_acknowledged_survives_kill_9(conn: Any, suite: RunningSuite) -> None:
    r.table("airports").get("SEA").update({"seen": True}).run(conn)
    r.table("airports").get("JFK").delete().run(conn)
    r.table("cars").insert([{"id": 1000 + i, "Name": f"new {i}"} for i in range(50)], durability="hard").run(conn)
    suite.kill()
    suite.start()
    again = r.connect(port=suite.driver_port, db="vega")
    try:
        expected = {**BY_IATA, "SEA": {**BY_IATA["SEA"], "seen": True}}
        del expected["JFK"]
        assert {row["iata"]: row for row in r.table("airports").run(again)} == expected
        assert r.table("cars").count().run(again) == len(CARS) + 50
        assert by_id(r.table("temperatures").run(again)) == TEMPERATURES
    finally:
        again.close()
