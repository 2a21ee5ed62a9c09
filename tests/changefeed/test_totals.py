"""Aggregates that are kept up to date give what the aggregate of the rows gives."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from photondb.datum.json import loads_stored
from photondb.reql.accumulators import Aggregate
from photondb.reql.aggregates import Avg, Count, Sum
from photondb.reql.errors import ReqlError
from photondb.reql.function import Func
from photondb.reql.grouping import Group, Grouping
from services.changefeed.totals import Totals
from tests.storage.language import term

numbers = st.one_of(st.integers(-(2**53), 2**53), st.floats(-1e300, 1e300, allow_nan=False, width=64))
rows = st.fixed_dictionaries({"g": st.sampled_from(["a", "b", 1, None])}, optional={"n": numbers})


def func(function: Any) -> Func:
    return Func.from_wire(term(function))


FIELD = func(lambda row: row["n"])
GROUP = func(lambda row: row["g"])


class Reader:
    """Knows what the changes told."""

    def __init__(self, aggregate: Aggregate) -> None:
        self.totals = Totals(aggregate)
        self.values: dict[Any, Any] = {}
        self.look()

    def look(self) -> None:
        for change in self.totals.show():
            assert change.old != change.new
            group = None if change.group is None else loads_stored(change.group)
            old = None if change.old is None else loads_stored(change.old)
            assert self.values.get(group) == old, "changes follow one another"
            if change.new is None:
                del self.values[group]
            else:
                self.values[group] = loads_stored(change.new)


def exact(kind: type[Aggregate], members: list[Any]) -> Any:
    values = [row["n"] for row in members if "n" in row]
    if kind is Count:
        return len(members)
    if kind is Sum:
        return math.fsum(values)
    return math.fsum(values) / len(values) if values else None


def check(reader: Reader, kind: type[Aggregate], present: list[Any], grouped: bool) -> None:
    groups: dict[Any, list[Any]] = {} if grouped else {None: []}
    for row in present:
        groups.setdefault(row["g"] if grouped else None, []).append(row)
    expected = {group: exact(kind, members) for group, members in groups.items()}
    if grouped and kind is not Count:
        expected = {group: expected[group] for group, members in groups.items() if any("n" in row for row in members)}
    expected = {group: value for group, value in expected.items() if value is not None}
    assert reader.values.keys() == expected.keys()
    for group, value in expected.items():
        assert reader.values[group] == pytest.approx(value, rel=1e-15, abs=0)


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("kind", [Count, Sum, Avg])
@given(data=st.data(), steps=st.lists(rows, min_size=1, max_size=12))
def test_rows_come_and_go(kind: Any, grouped: bool, data: st.DataObject, steps: list[Any]) -> None:
    aggregate = kind() if kind is Count else kind(FIELD)
    reader = Reader(Group(Grouping([GROUP]), aggregate, 100) if grouped else aggregate)
    present: list[Any] = []
    for row in steps:
        reader.totals.add(row)
        present.append(row)
        if data.draw(st.booleans()):
            reader.totals.remove(present.pop(data.draw(st.integers(0, len(present) - 1))))
        if data.draw(st.booleans()):
            reader.look()
            check(reader, kind, present, grouped)
    while present:
        reader.totals.remove(present.pop())
    reader.look()
    check(reader, kind, present, grouped)


def test_sums_do_not_drift() -> None:
    reader = Reader(Sum(FIELD))
    for number in (1e300, 0.1, 0.2):
        reader.totals.add({"n": number})
    reader.totals.remove({"n": 1e300})
    reader.totals.remove({"n": 0.2})
    reader.look()
    assert reader.values == {None: 0.1}


def test_what_is_no_number_and_what_is_none() -> None:
    totals = Totals(Sum(FIELD))
    totals.add({"n": None})
    totals.add({})
    assert [change.new for change in totals.show()] == [b"0"]
    with pytest.raises(ReqlError, match="Expected type NUMBER but found STRING"):
        totals.add({"n": "one"})


def test_too_many_groups() -> None:
    totals = Totals(Group(Grouping([GROUP]), Count(), 2))
    for group in (1, 2, 1):
        totals.add({"g": group})
    with pytest.raises(ReqlError, match="Too many groups"):
        totals.add({"g": 3})
    totals.remove({"g": 2})
    totals.show()
    totals.add({"g": 3})


def test_a_few_changes_at_a_time() -> None:
    totals = Totals(Group(Grouping([GROUP]), Count(), 10))
    for group in (1, 2, 3):
        totals.add({"g": group})
    assert [change.group for change in totals.show(2)] == [b"1", b"2"]
    assert totals.changed
    assert [change.group for change in totals.show(2)] == [b"3"]
    assert not totals.changed
