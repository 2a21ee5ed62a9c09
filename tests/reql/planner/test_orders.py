"""The index that a whole order is read from."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from rethinkdb import r

from photondb.api.storage import TableStatistics
from photondb.reql.index_values import Apart
from photondb.reql.ordering import Ordering
from photondb.reql.planner.orders import MAX_LOOKED_UP_BYTES, IndexOrder, index_order_of
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
    how: dict[str, Any] = {"steps": [], "wanted": None, "statistics": STATISTICS, "sorted_cost": SORTED_COST, **given}
    return index_order_of(table, Ordering(ordering), **how)


def test_the_index() -> None:
    found = order([(A, False)])
    assert found is not None
    assert (found.index.name, found.carried) == ("a", False)
    both = order([(A, False), (B, False)])
    assert both is not None
    assert both.index.name == "both"
    assert order([(A, False)], steps=[step(lambda row: row.pluck("a"))]) == found
    others = [[(A, True)], [(B, False)], [(A, False), (B, True)], [(B, False), (A, False)]]
    assert [order(other) for other in others] == [None] * 4
    assert order([(A, False)], table=TABLE) is None  # which does not list documents without the field
    assert order([(A, False)], sorted_cost=ROWS) is None


def test_what_an_index_carries() -> None:
    known = msgspec.structs.replace(STATISTICS, indexes={**STATISTICS.indexes, 9: spread(1000)})
    found = order([(A, False)], table=CARRYING, wanted=frozenset("an"), statistics=known)
    assert found is not None
    assert (found.index.name, found.carried) == ("c", True)
    large = TableStatistics(ROWS, MAX_LOOKED_UP_BYTES + 1, known.indexes)
    assert order([(A, False)], table=CARRYING, wanted=frozenset("an"), statistics=large) == found
    assert order([(A, False)], table=CARRYING, statistics=large) is None


@pytest.mark.parametrize(
    ("apart", "one", "two"), [({}, True, True), ({"LACKING": 3}, True, False), ({"NULL": 1}, False, False)]
)
def test_documents_that_stand_elsewhere(apart: dict[str, int], one: bool, two: bool) -> None:
    known = TableStatistics(ROWS, 10**6, {1: spread(1000, **apart), 2: spread(ROWS, **apart)})
    assert (order([(A, False)], statistics=known) is not None) is one
    assert (order([(A, False), (B, False)], statistics=known) is not None) is two
    assert order([(A, False)], statistics=TableStatistics(ROWS, 10**6, {})) is None  # nothing is known


def test_what_is_read() -> None:
    found = order([(A, False)])
    assert found is not None
    lows = [wanted.low for wanted in found.ranges]
    places = [Apart.ARRAY, Apart.FAILED, Apart.NULL, Apart.OBJECT, Apart.LACKING]
    assert lows == [*(place.value for place in places), b""]
    assert found.places == (Apart.LACKING.value,)
    both = order([(A, False), (B, False)])
    assert both is not None
    assert both.places == ()
