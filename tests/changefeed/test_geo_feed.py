"""Feeds on what a geo index finds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from rethinkdb import r

from tests.running_suite import RunningSuite

WAIT_S = 120  # for what must come; that it does not is the failure
T = r.table("places")
AROUND = r.circle([1, 1], 130_000)
"""A circle with the points at (1, 2) and (2, 1), but not (2, 2), though that is in the box around it."""


@pytest.fixture
def conn(tmp_path: Any) -> Iterator[Any]:
    with RunningSuite(tmp_path / "data") as running:
        connection = r.connect(port=running.driver_port)
        yield connection
        connection.close()


def fetch(cursor: Any, count: int) -> list[Any]:
    return [cursor.next(wait=WAIT_S) for _ in range(count)]


def test_feed_on_a_geo_index(conn: Any) -> None:
    r.table_create("places").run(conn)
    T.index_create("at", geo=True).run(conn)
    T.index_create("stops", geo=True, multi=True).run(conn)
    T.index_wait().run(conn)
    T.insert([{"id": 11, "at": r.point(1, 1)}, {"id": 22, "at": r.point(2, 2)}, {"id": 0, "at": "none"}]).run(conn)
    feed = T.get_intersecting(AROUND, index="at")["id"].changes(include_initial=True).run(conn)
    assert fetch(feed, 1) == [{"new_val": 11}]
    T.insert([{"id": 12, "at": r.point(1, 2)}, {"id": 33, "at": r.point(3, 3)}]).run(conn)
    assert fetch(feed, 1) == [{"old_val": None, "new_val": 12}]
    T.get(22).update({"at": r.point(2, 1)}).run(conn)
    assert fetch(feed, 1) == [{"old_val": None, "new_val": 22}]
    T.get(11).update({"at": r.point(9, 9)}).run(conn)
    T.get(12).delete().run(conn)
    assert fetch(feed, 2) == [{"old_val": 11, "new_val": None}, {"old_val": 12, "new_val": None}]

    stops = T.get_intersecting(AROUND, index="stops")["id"].changes().run(conn)
    T.insert({"id": "line", "stops": [r.point(1, 1), r.point(1, 2), r.point(9, 9)]}).run(conn)
    T.get("line").update({"stops": [r.point(9, 9)]}).run(conn)
    assert fetch(stops, 2) == [{"old_val": None, "new_val": "line"}, {"old_val": "line", "new_val": None}]
