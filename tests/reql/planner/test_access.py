"""The choice between the table and its indexes."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from rethinkdb import r

from photondb.api.catalogue import IndexInfo, TableInfo
from photondb.api.storage_status import IndexStatistics, TableStatistics
from photondb.datum.keys import encode_key
from photondb.reql.errors import ReqlError
from photondb.reql.index_values import Apart
from photondb.reql.planner.access import Decision, choose
from photondb.reql.planner.conditions import asked_of
from photondb.reql.steps import FilterStep
from tests.reql.evaluate import wire_term
from tests.reql.planner.test_conditions import function

row = r.row
ROWS = 10_000


def index(number: int, name: str, on: Any, **options: Any) -> IndexInfo:
    (term,) = wire_term(r.table("t").map(on))[1][1:]
    return IndexInfo(number, name, term, ready=True, complete=True, **options)


TABLE = TableInfo(
    1,
    "uuid",
    "t",
    "test",
    indexes=(
        index(1, "a", row["a"]),
        index(2, "both", [row["a"], row["b"]]),
        index(3, "tags", row["tags"], multi=True),
        index(4, "deep", row["x"]["y"]),
    ),
)


def by(predicate: Any, **how: Any) -> str:
    return decide(predicate, **how).chosen.by


def spread(distinct: int, **apart: int) -> IndexStatistics:
    bounds = tuple(encode_key(number) for number in range(0, 1000, 10))
    return IndexStatistics(ROWS, distinct, bounds, apart, 1)


STATISTICS = TableStatistics(ROWS, 10**6, {1: spread(1000), 2: spread(ROWS), 3: spread(10), 4: spread(1000)})


def decide(predicate: Any, table: TableInfo = TABLE, statistics: TableStatistics = STATISTICS, **how: Any) -> Decision:
    conditions, alternatives = asked_of([FilterStep(function(predicate))])
    return choose(table, conditions, statistics, alternatives=alternatives, **how)


def chosen(predicate: Any, **how: Any) -> str:
    decision = decide(predicate, **how)
    return "table" if decision.chosen.index is None else decision.chosen.index.name


def test_the_index_that_leads_to_fewest_documents() -> None:
    assert chosen(row["a"] == 5) == "a"
    assert chosen((row["a"] == 5) & (row["b"] == 6)) == "both"
    assert chosen((row["b"] == 6) & (row["a"] == 5)) == "both"
    assert chosen(row["tags"].contains(5)) == "tags"
    assert chosen(row["x"]["y"] == 5) == "deep"
    assert chosen(row["c"] == 5) == "table"


def test_the_table_where_an_index_leads_to_too_many() -> None:
    assert chosen(row["a"] > 900) == "a"
    assert chosen(row["a"] > 100) == "table"
    assert decide(row["a"] > 100).chosen.why.startswith("cheaper")


def test_geometry() -> None:
    place = index(5, "place", row["place"], geo=True)
    table = msgspec.structs.replace(TABLE, indexes=(*TABLE.indexes, place))
    point = r.point(1, 2)
    for predicate in (row["place"].intersects(point), point.intersects(row["place"])):
        way = decide(predicate, table=table).chosen
        assert way.by == "index place"
        assert way.keys is not None
        assert way.keys.apart == {Apart.FAILED}
    assert chosen(row["place"].includes(point), table=table) == "table"  # it fails for other shapes than polygons
    assert chosen((row["a"] == 5) & row["place"].intersects(point), table=table) == "a"
    assert chosen(row["place"].intersects(point) & (row["a"] == 5), table=table) == "place"  # which may fail
    assert chosen(row["place"] == point, table=table) == "table"
    old = msgspec.structs.replace(TABLE, indexes=(msgspec.structs.replace(place, complete=False),))
    assert chosen(row["place"].intersects(point), table=old) == "table"


def test_by_the_primary_key() -> None:
    assert by(row["id"] == 5) == by((row["a"] == 3) & (row["id"] == 5)) == "primary key"
    assert by((row["id"] > 5) & (row["a"] == 6)) == "index a"
    assert by((row["id"] > 5) & (row["c"] == 6)) == "primary key"
    assert by(row["id"] == 5, hint=False) == "whole table"
    assert by(row["id"] > 5, hint="id") == "primary key"
    found = decide(row["id"] == 5).chosen
    assert (found.rows, found.ranges[0].low) == (1, encode_key(5))
    with pytest.raises(ReqlError, match="Index `id` cannot answer this filter"):
        decide(row["a"] == 5, hint="id")


def test_a_limit_counts() -> None:
    assert chosen(row["a"] > 100, limit=3) == "table"  # which has soon been read far enough
    assert chosen(row["a"] == 5, limit=1) == "a"


def test_a_part_of_a_compound_index_is_not_enough() -> None:
    """The index lacks the documents without the other part."""
    only = msgspec.structs.replace(TABLE, indexes=TABLE.indexes[1:2])
    assert chosen(row["a"] == 5, table=only) == "table"
    assert chosen((row["a"] == 5) & (row["b"] > 6), table=only) == "both"


def test_the_beginning_of_a_compound_index_that_lists_all_documents() -> None:
    both = msgspec.structs.replace(TABLE.indexes[1], lists_lacking=True)
    only = msgspec.structs.replace(TABLE, indexes=(both,))
    known = TableStatistics(ROWS, 10**6, {2: spread(ROWS, LACKING=7)})
    found = decide(row["a"] == 5, table=only, statistics=known).chosen
    assert found.keys is not None
    assert found.keys.apart == {Apart.LACKING, Apart.FAILED, Apart.ARRAY}
    assert found.keys.ranges == ((b"A" + encode_key(5), b"A" + encode_key(5) + b"\xff"),)
    assert chosen(row["b"] == 5, table=only, statistics=known) == "table"


def test_what_several_indexes_lead_to_together() -> None:
    assert by((row["a"] > 900) & (row["x"]["y"] > 900)) == "indexes a and deep"
    assert by((row["a"] == 5) & (row["x"]["y"] > 900)) == "index a"  # which leads to few already
    assert by((row["a"] > 900) & (row["x"]["y"] > 900), hint="a") == "index a"
    both = decide((row["a"] > 900) & (row["x"]["y"] > 900)).chosen
    assert both.every
    assert [part.index for part in both.parts] == [4]
    assert both.rows == pytest.approx(100, rel=0.3)


def test_alternatives() -> None:
    assert by((row["a"] == 5) | (row["x"]["y"] == 6)) == "indexes a or deep"
    assert by((row["a"] == 5) | ((row["x"]["y"] == 6) & (row["c"] == 1))) == "whole table"  # it may fail in between
    assert by((row["a"] == 5) | ((row["a"] == 6) & (row["b"] == 1))) == "indexes a or both"
    assert by((row["a"] == 5) | (row["c"] == 6)) == "whole table"
    assert by((row["a"] > 5) | (row["x"]["y"] == 6)) == "whole table"
    assert by((row["a"] == 5) | (row["x"]["y"] == 6), hint=False) == "whole table"
    either = decide((row["a"] == 5) | (row["x"]["y"] == 6)).chosen
    assert not either.every
    assert either.why == 'row["a"] == value or row["x"]["y"] == value'


@pytest.mark.parametrize("change", [{"ready": False}, {"complete": False}, {"geo": True}])
def test_indexes_that_cannot_be_used(change: dict[str, bool]) -> None:
    other = msgspec.structs.replace(TABLE.indexes[0], **change)
    table = msgspec.structs.replace(TABLE, indexes=(other,))
    assert chosen(row["a"] == 5, table=table) == "table"
    with pytest.raises(ReqlError, match="Index `a`"):
        decide(row["a"] == 5, table=table, hint="a")


def test_documents_listed_apart_are_read_where_the_filter_could_match_or_fail_on_them() -> None:
    assert Apart.OBJECT.value in {wanted.low for wanted in decide(row["a"] > 990).chosen.ranges}
    failing = decide(row["x"]["y"] == 5).chosen
    assert failing.keys is not None
    assert failing.keys.apart == {Apart.FAILED}
    assert decide(row["a"] == 5).chosen.keys.apart == frozenset()  # type: ignore[union-attr]
    many = TableStatistics(ROWS, 1, {1: spread(1000, OBJECT=ROWS)})
    assert chosen(row["a"] > 990, statistics=many) == "table"


def test_hints() -> None:
    assert chosen(row["a"] > 100, hint="a") == "a"
    assert chosen(row["a"] == 5, hint=False) == "table"
    for name, why in (("nope", "was not found"), ("tags", "cannot answer this filter")):
        with pytest.raises(ReqlError, match=why):
            decide(row["a"] == 5, hint=name)


def test_the_choice_is_always_the_same() -> None:
    twice = msgspec.structs.replace(TABLE, indexes=(index(9, "z", row["a"]), *TABLE.indexes[:1]))
    assert {chosen(row["a"] == 5, table=twice, statistics=TableStatistics(ROWS, 1, {})) for _ in range(3)} == {"a"}
    ways = decide((row["a"] == 5) & (row["b"] == 6)).considered
    assert [way.cost for way in ways] == sorted(way.cost for way in ways)
