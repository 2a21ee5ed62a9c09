"""How many documents a key set is taken to lead to."""

from __future__ import annotations

from photondb.api.storage_status import IndexStatistics
from photondb.datum.keys import encode_key
from photondb.reql.planner import costs
from photondb.reql.planner.estimates import documents
from photondb.reql.planner.key_sets import NOTHING, compared, equal_to, one_of
from photondb.reql.wire import Term


def statistics(*bounds: int, distinct: int, entries: int = 1000, **apart: int) -> IndexStatistics:
    return IndexStatistics(entries, distinct, tuple(map(encode_key, bounds)), apart, 1)


EVEN = statistics(*range(0, 100, 10), distinct=100)


def test_ranges_by_the_histogram() -> None:
    assert documents(compared(Term.GE, 50), 1000, EVEN) == 500
    assert documents(compared(Term.LT, 20), 1000, EVEN) == 200
    assert documents(compared(Term.GT, 51) & compared(Term.LT, 52), 1000, EVEN) == 50
    assert documents(NOTHING, 1000, EVEN) == 0


def test_single_values() -> None:
    assert documents(equal_to(55), 1000, EVEN) == 10
    assert documents(one_of([1, 55, 3000]), 1000, EVEN) == 30
    often = statistics(1, 5, 5, 5, 5, 5, 7, 8, 9, 10, distinct=50)
    assert documents(equal_to(5), 1000, often) == 500
    assert documents(equal_to(6), 1000, often) == 20


def test_documents_apart() -> None:
    known = statistics(1, distinct=1, NULL=70, OBJECT=5)
    assert documents(equal_to(None), 1000, known) == 70
    assert documents(compared(Term.GT, 1), 1000, known) >= 5


def test_nothing_known() -> None:
    assert documents(equal_to(5), 1000, None) == 10
    assert documents(compared(Term.GT, 5), 1000, None) == 250
    assert documents(compared(Term.GT, 5) & compared(Term.LT, 9), 1000, None) == 100
    assert documents(equal_to(5), 1000, IndexStatistics(0, 0, (), {}, 1)) == 0


def test_costs() -> None:
    assert costs.of_index(1, 10, None, in_order=False) < costs.of_table(1000, 10, None)
    assert costs.of_index(1, 900, None, in_order=False) > costs.of_table(1000, 900, None)
    assert costs.of_table(1000, 500, 1) < costs.of_table(1000, 500, None)
    assert costs.of_index(1, 500, 1, in_order=True) < costs.of_index(1, 500, 1, in_order=False)
