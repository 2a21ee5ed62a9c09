"""The index that an order is read from."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from rethinkdb import r

from photondb.api.storage import KeyRange
from photondb.api.storage_status import TableStatistics
from photondb.reql.index_values import Apart
from photondb.reql.ordering import Ordering
from photondb.reql.planner.orders import MAX_LOOKED_UP_BYTES, IndexOrder, cheapest, index_orders_of
from tests.reql.planner.test_access import ROWS, STATISTICS, TABLE, spread
from tests.reql.planner.test_conditions import function
from tests.reql.planner.test_projections import step

A, B = function(r.row["a"]), function(r.row["b"])
LISTING = msgspec.structs.replace(
    TABLE, indexes=tuple(msgspec.structs.replace(index, lists_lacking=not index.multi) for index in TABLE.indexes)
)
CARRYING = msgspec.structs.replace(
    LISTING, indexes=(*LISTING.indexes, msgspec.structs.replace(LISTING.indexes[0], id=9, name="c", include=("a", "n")))
)
SORTED_COST = 6.0 * ROWS


def order(ordering: list[Any], table: Any = LISTING, **given: Any) -> IndexOrder | None:
    how = {"matching": ROWS, "limit": None, "sorted_cost": SORTED_COST, "steps": [], "wanted": None, **given}
    known = given.get("statistics", STATISTICS)
    orders = index_orders_of(table, Ordering(ordering), how["steps"], how["wanted"], known)
    return cheapest(orders, known, how["matching"], how["limit"], how["sorted_cost"])


def test_the_index() -> None:
    found = order([(A, False)])
    assert found is not None
    assert (found.index.name, found.carried, found.descending) == ("a", False, False)
    both = order([(A, False), (B, False)])
    assert both is not None
    assert both.index.name == "both"
    assert order([(A, False)], steps=[step(lambda row: row.pluck("a"))]) == found
    assert order([(B, False)]) is None
    assert order([(B, False), (A, False)]) is None
    assert order([(A, False)], table=TABLE) is None  # which does not list documents without the field
    assert order([(A, False)], sorted_cost=ROWS) is None


def test_the_direction() -> None:
    for ordering in ([(A, True)], [(A, True), (B, True)]):
        assert order(ordering) is None  # to turn equal ones around takes as long as to sort
        found = order(ordering, limit=10)
        assert found is not None
        assert found.descending
    assert order([(A, False), (B, True)], limit=10) is None


def test_the_first_rows() -> None:
    first = order([(A, False)], limit=10, sorted_cost=1.5 * ROWS)
    assert first is not None
    assert first.reads == 10
    rare = order([(A, False)], limit=10, matching=100, sorted_cost=1.5 * ROWS)
    assert rare is not None
    assert rare.reads == ROWS / 10
    assert rare.most_read(ROWS) == ROWS / 4
    assert order([(A, False)], limit=10, matching=10, sorted_cost=1.5 * ROWS) is None
    assert order([(A, False)], limit=10, sorted_cost=10.0) is None


def test_what_an_index_carries() -> None:
    known = msgspec.structs.replace(STATISTICS, indexes={**STATISTICS.indexes, 9: spread(1000)})
    found = order([(A, False)], table=CARRYING, wanted=frozenset("an"), statistics=known)
    assert found is not None
    assert (found.index.name, found.carried) == ("c", True)
    large = TableStatistics(ROWS, MAX_LOOKED_UP_BYTES + 1, known.indexes)
    assert order([(A, False)], table=CARRYING, wanted=frozenset("an"), statistics=large) == found
    assert order([(A, False)], table=CARRYING, statistics=large) is None
    assert order([(A, False)], table=CARRYING, statistics=large, limit=10) is not None  # few of them are looked up


@pytest.mark.parametrize(
    ("apart", "one", "two"), [({}, True, True), ({"LACKING": 3}, True, False), ({"NULL": 1}, False, False)]
)
def test_documents_that_stand_elsewhere(apart: dict[str, int], one: bool, two: bool) -> None:
    known = TableStatistics(ROWS, 10**6, {1: spread(1000, **apart), 2: spread(ROWS, **apart)})
    assert (order([(A, False)], statistics=known) is not None) is one
    assert (order([(A, False), (B, False)], statistics=known) is not None) is two
    assert order([(A, False)], statistics=TableStatistics(ROWS, 10**6, {})) is None  # nothing is known


def test_what_is_read() -> None:
    elsewhere = [place.value for place in (Apart.ARRAY, Apart.FAILED, Apart.NULL, Apart.OBJECT)]
    lacking = Apart.LACKING.value
    for descending, rest in ((False, [lacking, b""]), (True, [b"", lacking])):
        found = order([(A, descending)], limit=10)
        assert found is not None
        assert [wanted.low for wanted in found.elsewhere] == elsewhere
        assert [wanted.low for wanted in found.ranges] == [*elsewhere, *rest]
    both = order([(A, False), (B, False)])
    assert both is not None
    assert lacking in [wanted.low for wanted in both.elsewhere]
    assert both.ranges == [*both.elsewhere, KeyRange()]
